//! How a namespace is understood: each Service with its role and why, its app, and the colours of that.

use std::time::Duration;

use serde::Serialize;

use super::app::App;
use super::backends::Backends;
use super::blue_green::uses_blue_green;
use super::past::was_rollback;
use super::roles::{role_because, traffic_services};
use crate::model::{ClusterView, Policy, Role, Service, Timestamp, Workload};

/// How one Service is understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The name of the Service.
    pub service: String,
    /// Its role: `traffic`, `preview`, `plain` or `unguarded`.
    pub role: &'static str,
    /// Why it has that role.
    pub because: &'static str,
    /// The stem of its app, as a selector; empty for a Service that picks no colour.
    pub app: String,
    /// Whether blue-green is in use; elsewhere, every rule only warns.
    pub uses_blue_green: bool,
    /// Its colours: the workloads that it selects, and those that it would select with other colours.
    pub colours: Vec<Colour>,
}

/// One colour of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Colour {
    /// The workload: `Deployment app-blue`.
    pub workload: String,
    /// `live`, `held` or `idle`.
    pub state: &'static str,
    /// The number of its Pods that serve.
    pub ready: usize,
    /// The desired number of Pods.
    pub desired: u32,
}

/// How all Services of a namespace are understood, by name.
#[must_use]
pub fn explain(view: &ClusterView, policy: &Policy, now: Timestamp) -> Vec<Explanation> {
    let mut all: Vec<Explanation> =
        view.services.iter().map(|service| of_service(service, view, policy, now)).collect();
    all.sort_by(|a, b| a.service.cmp(&b.service));
    all
}

fn of_service(service: &Service, view: &ClusterView, policy: &Policy, now: Timestamp) -> Explanation {
    let colours = &policy.colours;
    let (role, because) = role_because(service, view, colours);
    let app = App::of(service.routed(), colours);
    let siblings = app.siblings(view);
    let has_colours = matches!(role, Role::Traffic | Role::Preview);
    let stem: Vec<String> = app.stem().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let workloads: Vec<&Workload> =
        Backends::of(service.routed(), view).workloads.into_iter().chain(siblings.iter().copied()).collect();
    let colour = |workload: &Workload| Colour {
        workload: workload.to_string(),
        state: state_of(workload, view, policy, now),
        ready: view.pods_of(workload).iter().filter(|pod| pod.serves()).count(),
        desired: workload.desired,
    };
    Explanation {
        service: service.meta.name.clone(),
        role: role.name(),
        because: because.words(),
        app: if app.pins().is_empty() { String::new() } else { stem.join(",") },
        uses_blue_green: has_colours && uses_blue_green(service, &siblings, view, colours),
        colours: if has_colours { workloads.into_iter().map(colour).collect() } else { Vec::new() },
    }
}

/// A workload is live while a traffic Service selects it, and held while it was live before a recent flip.
pub(crate) fn state_of(workload: &Workload, view: &ClusterView, policy: &Policy, now: Timestamp) -> &'static str {
    let labels = &workload.template.labels;
    if traffic_services(view, &policy.colours).any(|service| service.routed().matches(labels)) {
        return "live";
    }
    if held_for(workload, view, policy, now).is_some() { "held" } else { "idle" }
}

/// How much longer a workload is held.
pub(crate) fn held_for(workload: &Workload, view: &ClusterView, policy: &Policy, now: Timestamp) -> Option<Duration> {
    let rest = |service: &Service| {
        let lasts = service.hold().ok().flatten().unwrap_or_default().max(policy.hold);
        let flip = view.records.last_flip(service)?;
        let holds = flip.from.matches(&workload.template.labels) && !was_rollback(flip, view);
        Some(lasts.saturating_sub(now.since(flip.at))).filter(|rest| holds && !rest.is_zero())
    };
    traffic_services(view, &policy.colours).filter_map(rest).max()
}
