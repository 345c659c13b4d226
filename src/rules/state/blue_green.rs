//! Whether an app uses blue-green at all. A constant `version` label (common with service meshes) or a product name
//! that ends in a colour also pins a value, but is not blue-green.

use crate::model::{ClusterView, ColourScheme, Service, Workload, annotation};

/// Whether blue-green is in use behind a Service. Any of these shows it: a pinned colour key, the annotation, another
/// colour beside the pinned one, or a flip on record.
pub(crate) fn uses_blue_green(
    service: &Service,
    siblings: &[&Workload],
    view: &ClusterView,
    colours: &ColourScheme,
) -> bool {
    service.meta.annotation(annotation::ROLE) == Some("traffic")
        || colours.pins(service.routed()).iter().any(|pin| colours.is_colour_key(pin.key))
        || !siblings.is_empty()
        || view.records.last_flip(service).is_some()
}

/// The other colours: workloads that the selector would match with other pinned values.
pub(crate) fn siblings<'a>(service: &Service, view: &'a ClusterView, colours: &ColourScheme) -> Vec<&'a Workload> {
    let selector = service.routed();
    let pins = colours.pins(selector);
    let is_sibling = |workload: &&Workload| {
        let labels = &workload.template.labels;
        let like = selector.pairs().all(|(key, value)| {
            let Some(own) = labels.get(key) else { return false };
            match pins.iter().find(|pin| pin.key == key) {
                None => own == value,
                // A colour key may have any value; under other keys, only the colour name may differ.
                Some(_) if colours.is_key(key) => true,
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
