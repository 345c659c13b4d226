//! Changes of a traffic Service that are denied even without a flip.

use super::update::Update;
use crate::rules::wording::{Remedy, pods};
use crate::rules::{Finding, Reason};

pub(crate) fn external_name(update: &Update<'_>) -> Option<Finding> {
    let Update { old, current, .. } = update;
    (!old.is_external_name && current.ready() > 0).then(|| {
        let ready = pods(current.ready(), "ready");
        let message =
            format!("ExternalName would bypass the {ready} of this Service; clients move as their DNS caches expire");
        Finding::new(Reason::TypeExternalName, message, Remedy::words("Create a separate Service for the alias"))
    })
}

pub(crate) fn emptied(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, .. } = update;
    (!old.routed().is_empty()).then(|| {
        let message = "an empty selector freezes the endpoints: Kubernetes stops updating them".to_owned();
        let keep = Remedy::words(format!("Keep the selector {}", old.routed()));
        let retire = Remedy::words(format!("To retire the app, delete Service {}", new.meta.name));
        Finding::new(Reason::SelectorEmptied, message, keep).or(Some(retire))
    })
}

pub(crate) fn unpinned(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, colours, target, .. } = update;
    let before = colours.pins(old.routed());
    if before.is_empty() {
        return None;
    }
    let pinned: Vec<String> = before.iter().map(|pin| format!("{}={}", pin.key, pin.value)).collect();
    let pinned = pinned.join(",");
    let keep = Remedy::words(format!("Keep {pinned}, or name another colour"));
    if colours.pins(new.routed()).is_empty() {
        let message = format!(
            "selector {} no longer picks one colour (was {pinned}), so every colour would get traffic",
            new.routed()
        );
        return Some(Finding::new(Reason::SelectorUnpinned, message, keep));
    }
    before.iter().find_map(|pin| {
        let running = target.workloads.iter().filter(|workload| workload.desired > 0);
        let of_workloads = running.filter_map(|workload| workload.template.labels.get(pin.key));
        let of_pods = target.unowned.iter().filter_map(|pod| pod.meta.labels.get(pin.key));
        let mut values: Vec<&str> = of_workloads.chain(of_pods).map(String::as_str).collect();
        values.sort_unstable();
        values.dedup();
        (values.len() > 1).then(|| {
            let message = format!(
                "selector {} no longer picks one {}: {} would all get traffic",
                new.routed(),
                pin.key,
                values.join(" and ")
            );
            Finding::new(Reason::SelectorUnpinned, message, keep.clone())
        })
    })
}

pub(crate) fn publishes_not_ready(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, .. } = update;
    (new.publishes_not_ready && !old.publishes_not_ready).then(|| {
        Finding::new(
            Reason::PublishesNotReady,
            "publishNotReadyAddresses would send traffic to pods that are not ready".to_owned(),
            Remedy::words("Leave it out"),
        )
        .or(Some(Remedy::words(
            "Peers that must find each other before they are ready need a separate Service with it",
        )))
    })
}
