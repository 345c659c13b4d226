//! Changes of a traffic Service that are denied even without a flip.

use super::update::Update;
use crate::model::Workload;
use crate::rules::state::app::App;
use crate::rules::wording::{Remedy, pods};
use crate::rules::{Finding, Reason};

pub(crate) fn external_name(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, current, .. } = update;
    (!old.is_external_name && current.ready() > 0).then(|| {
        let ready = pods(current.ready(), "ready");
        let message =
            format!("ExternalName would bypass the {ready} of this Service; clients move as their DNS caches expire");
        let remedy = Remedy::words("Create a separate Service for the alias");
        let finding = Finding::new(Reason::TypeExternalName, message, remedy);
        // An app that moves to another namespace of the same cluster.
        if new.external_name.as_deref().is_some_and(is_of_a_cluster) { finding.at_most_warn() } else { finding }
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

/// The new selector lacks a pair that pinned nothing, and reaches another app: `kubectl set selector` replaces all pairs.
pub(crate) fn too_wide(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, colours, target, .. } = update;
    let app = App::of(old.routed(), colours);
    let is_pin = |key: &str| app.pins().iter().any(|pin| pin.key == key);
    let lost = old.routed().without(new.routed());
    let lost: Vec<String> =
        lost.pairs().filter(|(key, _)| !is_pin(key)).map(|(key, value)| format!("{key}={value}")).collect();
    let (own, others): (Vec<&Workload>, Vec<&Workload>) =
        target.workloads.iter().copied().partition(|workload| app.has(&workload.template.labels));
    let pins_only = colours.pins(new.routed()).len() == new.routed().pairs().count();
    let pod = target.unowned.iter().find(|pod| !app.has(&pod.meta.labels)).map(|pod| format!("Pod {}", pod.meta.name));
    let other = others.first().map(ToString::to_string).or(pod);
    let other = other.filter(|_| !lost.is_empty() && (!own.is_empty() || pins_only))?;
    let message = format!("without {}, it also matches {other} of another app", lost.join(","));
    let keep = Remedy::words(format!("Keep {}", lost.join(",")));
    Some(Finding::new(Reason::SelectorTooWide, message, keep))
}

/// The new selector matches, or with the deployed workloads would match, two colours of this app.
pub(crate) fn unpinned(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, colours, target, .. } = update;
    let app = App::of(old.routed(), colours);
    let before = app.pins();
    if before.is_empty() {
        return None;
    }
    let pinned: Vec<String> = before.iter().map(|pin| format!("{}={}", pin.key, pin.value)).collect();
    let pinned = pinned.join(",");
    let pins_nothing = colours.pins(new.routed()).is_empty();
    let of_app = target.workloads.iter().filter(|workload| app.has(&workload.template.labels));
    // Where the new selector still pins a colour, a workload at 0 replicas is left out: a part that is off.
    let of_app: Vec<_> = of_app.filter(|workload| pins_nothing || workload.desired > 0).collect();
    before.iter().find_map(|pin| {
        let of_workloads = of_app.iter().filter_map(|workload| workload.template.labels.get(pin.key));
        let of_pods = target.unowned.iter().filter(|pod| app.has(&pod.meta.labels));
        let of_pods = of_pods.filter_map(|pod| pod.meta.labels.get(pin.key));
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
            Finding::new(
                Reason::SelectorUnpinned,
                message,
                Remedy::words(format!("Keep {pinned}, or name another colour")),
            )
        })
    })
}

/// A selector that reaches no ready Pod, where the old one did: of a Service that is no traffic Service.
pub(crate) fn endpoints_lost(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, current, target, .. } = update;
    let moves = old.routed() != new.routed() && !new.routed().is_empty();
    (moves && current.ready() > 0 && target.ready() == 0).then(|| {
        let message =
            format!("selector {} matches no ready pod; {} served until now", new.routed(), pods(current.ready(), ""));
        let remedy = Remedy::kubectl(
            "Compare the labels",
            update.namespace(),
            &format!("get pods --show-labels -l {}", old.routed()),
        );
        Finding::new(Reason::EndpointsLost, message, remedy)
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

/// Whether a DNS name is that of a Service of the cluster: `app.shop.svc`, `app.shop.svc.cluster.local`.
fn is_of_a_cluster(name: &str) -> bool {
    let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
    labels.len() >= 3 && labels.get(2) == Some(&"svc") && labels.iter().all(|label| !label.is_empty())
}
