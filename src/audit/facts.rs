//! What all checks ask of a namespace.

use super::checks::Check;
use super::extras::{Extras, PodSpec};
use super::finding::Finding;
use super::routes::{self, Route};
use super::snapshot::Snapshot;
use super::whatif::other_colours;
use crate::model::{Policy, Selector, Workload};
use crate::rules::state::traffic::TrafficService;

/// A namespace with its traffic Services.
pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) extras: &'a Extras,
    pub(super) policy: &'a Policy,
    pub(super) apps: Vec<AppFacts<'a>>,
    /// Routes above the Services, of any kind.
    pub(super) routes: Vec<Route<'a>>,
    pub(super) options: Options,
}

/// What is looked for beyond the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether folders that end with their Pod count as state.
    pub ephemeral_state: bool,
}

/// A traffic Service with its colours.
pub(super) struct AppFacts<'a> {
    pub(super) traffic: TrafficService<'a>,
    /// The live colour.
    pub(super) colour: String,
    /// The other colours, each with its selector and workloads.
    pub(super) others: Vec<(Selector, String, Vec<&'a Workload>)>,
    namespace: &'a str,
}

impl<'a> Facts<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, extras: &'a Extras, policy: &'a Policy, options: Options) -> Self {
        let colours = &policy.colours;
        let mut apps: Vec<AppFacts<'a>> = TrafficService::all(&snapshot.view, policy)
            .into_iter()
            .map(|traffic| {
                let others = other_colours(traffic.service, &snapshot.view, colours).into_iter();
                let named = others.map(|(selector, workloads)| (colours.colour_of(&selector), selector, workloads));
                AppFacts {
                    colour: colours.colour_of(traffic.service.routed()),
                    others: named.map(|(colour, selector, workloads)| (selector, colour, workloads)).collect(),
                    namespace: &snapshot.namespace,
                    traffic,
                }
            })
            .collect();
        apps.sort_by(|a, b| a.traffic.name().cmp(b.traffic.name()));
        Self { routes: routes::all(extras, &snapshot.namespace), snapshot, extras, policy, apps, options }
    }
}

impl AppFacts<'_> {
    /// The workloads of the live colour that want Pods.
    pub(super) fn live(&self) -> impl Iterator<Item = &Workload> {
        self.traffic.backends.workloads.iter().copied().filter(|workload| workload.desired > 0)
    }

    /// The workloads of all other colours.
    pub(super) fn idle(&self) -> impl Iterator<Item = &Workload> {
        self.others.iter().flat_map(|(_, _, workloads)| workloads.iter().copied())
    }

    /// A finding about the Service, or about one of its colours.
    pub(super) fn finding(&self, check: &Check, colour: &str, message: String) -> Finding {
        Finding::new(check, self.namespace, ("Service", self.traffic.name()), colour, message)
    }
}

/// The `spec` of a workload's Pods, as far as it tells of state and migrations. Of a ReplicaSet with a controller, it is
/// not kept.
pub(super) fn pod_spec(workload: &Workload) -> PodSpec {
    serde_json::from_str(&workload.template.spec).unwrap_or_default()
}
