//! Is blue-green really used here? A `version` that never changes, as meshes want it, or a product whose name ends in a
//! colour pins something too, and is none.

use crate::model::{ClusterView, ColourScheme, Service, VERSION, Workload, annotation};

/// Whether blue-green is practised by a Service: it pins a colour key other than `version`, or says so, or another
/// colour stands beside the one that it pins, or a flip of it is on record.
pub(crate) fn is_practised(
    service: &Service,
    siblings: &[&Workload],
    view: &ClusterView,
    colours: &ColourScheme,
) -> bool {
    let by_key = |key: &str| key != VERSION && colours.keys.iter().any(|known| known == key);
    service.meta.annotation(annotation::ROLE) == Some("traffic")
        || colours.pins(service.routed()).iter().any(|pin| by_key(pin.key))
        || !siblings.is_empty()
        || view.records.last_flip(service).is_some()
}

/// Other workloads of the namespace that the selector would match if only its pinned values were others.
pub(crate) fn siblings<'a>(service: &Service, view: &'a ClusterView, colours: &ColourScheme) -> Vec<&'a Workload> {
    let selector = service.routed();
    let pins = colours.pins(selector);
    let is_sibling = |workload: &&Workload| {
        let labels = &workload.template.labels;
        let like = selector.pairs().all(|(key, value)| {
            let Some(own) = labels.get(key) else { return false };
            match pins.iter().find(|pin| pin.key == key) {
                None => own == value,
                // A colour key may say anything; elsewhere only the colour's name may differ.
                Some(_) if colours.keys.iter().any(|known| known == key) => true,
                Some(pin) => {
                    let stem = value.strip_suffix(pin.colour).unwrap_or(value);
                    colours.names.iter().any(|name| own.strip_prefix(stem) == Some(name))
                }
            }
        });
        workload.stands_alone() && like && !selector.matches(labels) && !pins.is_empty()
    };
    view.workloads.iter().filter(is_sibling).collect()
}
