//! What a traffic Service may not become, whether it flips or not.

use super::update::Update;
use crate::rules::wording::{pods, pods_serve};
use crate::rules::{Finding, Reason};

pub(crate) fn external_name(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, current, .. } = update;
    (!old.is_external_name && current.ready() > 0).then(|| {
        Finding::new(
            Reason::TypeExternalName,
            format!(
                "type becomes ExternalName while {}; clients would move as their DNS caches end",
                pods_serve(current.ready())
            ),
            format!("keep the type of {}, and make a Service of another name for the alias", new.meta.name),
        )
    })
}

pub(crate) fn emptied(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, current, .. } = update;
    (!old.routed().is_empty()).then(|| {
        Finding::new(
            Reason::SelectorEmptied,
            if current.ready() == 0 {
                format!("the selector {} would be empty, and nobody would write its endpoints any more", old.routed())
            } else {
                format!(
                    "the selector {} would be empty, and the endpoints of {} would stay as they are for ever",
                    old.routed(),
                    pods(current.ready(), "")
                )
            },
            format!(
                "keep it; to take the app down: kubectl -n {} delete service {}",
                new.meta.namespace, new.meta.name
            ),
        )
    })
}

pub(crate) fn unpinned(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, colours, target, .. } = update;
    let before = colours.pins(old.routed());
    let pinned: Vec<String> = before.iter().map(|pin| format!("{}={}", pin.key, pin.value)).collect();
    let next_step = format!(
        "keep {} in the selector, or put another colour there, since all of them would serve at once",
        pinned.join(",")
    );
    if before.is_empty() {
        return None;
    }
    if colours.pins(new.routed()).is_empty() {
        let message = format!("selector {} pins no colour any more (it was {})", new.routed(), pinned.join(","));
        return Some(Finding::new(Reason::SelectorUnpinned, message, next_step));
    }
    // Both colours behind one selector serve at once.
    before.iter().find_map(|pin| {
        let wanting = target.workloads.iter().filter(|workload| workload.wanted > 0);
        let of_workloads = wanting.filter_map(|workload| workload.template.labels.get(pin.key));
        let of_pods = target.standing.iter().filter_map(|pod| pod.meta.labels.get(pin.key));
        let mut values: Vec<&str> = of_workloads.chain(of_pods).map(String::as_str).collect();
        values.sort_unstable();
        values.dedup();
        (values.len() > 1).then(|| {
            let message = format!("selector {} matches {} {} at once", new.routed(), pin.key, values.join(" and "));
            Finding::new(Reason::SelectorUnpinned, message, next_step.clone())
        })
    })
}

pub(crate) fn publishes_not_ready(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, .. } = update;
    (new.publishes_not_ready && !old.publishes_not_ready).then(|| {
        Finding::new(
            Reason::PublishesNotReady,
            "publishNotReadyAddresses would send traffic to pods that are not ready".to_owned(),
            "leave it out; set it on a Service of its own if peers must find each other before they are ready"
                .to_owned(),
        )
    })
}
