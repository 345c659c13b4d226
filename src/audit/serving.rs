//! Does the live colour serve?

use std::collections::BTreeSet;

use super::checks::{
    LIVE_BELOW_FLOOR, LIVE_DEGRADED, LIVE_NOT_READY, NO_READINESS_PROBE, ONE_NODE, PUBLISHES_NOT_READY,
};
use super::facts::{AppFacts, Facts};
use super::finding::Finding;
use crate::model::Workload;
use crate::rules::state::readiness::first_failing;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    facts
        .apps
        .iter()
        .flat_map(|app| ready(app).into_iter().chain(one_node(app)).chain(publishes(app)).chain(without_probe(app)))
        .collect()
}

fn ready(app: &AppFacts<'_>) -> Option<Finding> {
    let (ready, floor) = (app.traffic.ready(), app.traffic.floor);
    let failing = app.live().find_map(|workload| first_failing(workload, app.traffic.view));
    let why = failing.map(|pod| format!(" ({}: {})", pod.meta.name, pod.not_ready_because())).unwrap_or_default();
    let step = failing.map(|pod| format!("kubectl -n {} describe pod {}", pod.meta.namespace, pod.meta.name));
    let wanted: u64 = app.live().map(|workload| u64::from(workload.desired)).sum();
    let (check, message) = if ready == 0 && !app.traffic.may_sleep {
        (&LIVE_NOT_READY, format!("no pod behind {} is ready{why}", app.traffic.selector))
    } else if ready < floor && !app.traffic.may_sleep {
        (&LIVE_BELOW_FLOOR, format!("{ready} ready of the {floor} that it needs{why}"))
    } else if u64::try_from(ready).is_ok_and(|ready| ready < wanted) {
        (&LIVE_DEGRADED, format!("{ready} of {wanted} ready{why}"))
    } else {
        return None;
    };
    let finding = app.finding(check, &app.colour, message);
    Some(match step {
        Some(step) => finding.with_step(step),
        None => finding,
    })
}

fn one_node(app: &AppFacts<'_>) -> Option<Finding> {
    let serving = &app.traffic.backends.serving;
    let nodes: BTreeSet<&str> = serving.iter().map(|pod| pod.node.as_str()).collect();
    let node = nodes.first().filter(|node| nodes.len() == 1 && serving.len() > 1 && !node.is_empty())?;
    let message = format!("all {} ready pods are on node {node}", serving.len());
    Some(app.finding(&ONE_NODE, &app.colour, message))
}

fn publishes(app: &AppFacts<'_>) -> Option<Finding> {
    let message = || "publishNotReadyAddresses is set".to_owned();
    app.traffic.service.publishes_not_ready.then(|| app.finding(&PUBLISHES_NOT_READY, "", message()))
}

/// Of the other colours, the rules say the same at an imagined flip.
fn without_probe(app: &AppFacts<'_>) -> Option<Finding> {
    let has_probe = |workload: &Workload| workload.template.main().is_some_and(|one| one.has_readiness_probe);
    let workload = app.live().find(|workload| !has_probe(workload))?;
    let message = format!("{workload} has no readiness probe: ready only means started");
    Some(app.finding(&NO_READINESS_PROBE, &app.colour, message))
}
