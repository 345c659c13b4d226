//! Traffic Services, and what each must keep.

use super::backends::Fleet;
use super::blue_green;
use super::remaining::{After, left};
use crate::model::{ClusterView, ColourScheme, Role, Selector, Service, Workload};
use crate::rules::{Finding, Reason};

/// A traffic Service that a changed workload stands behind.
pub(crate) struct Stake<'a> {
    pub(crate) service: &'a Service,
    /// What it must keep: what it selects, or what it selected before a flip.
    pub(crate) selector: &'a Selector,
    pub(crate) view: &'a ClusterView,
    pub(crate) fleet: Fleet<'a>,
    pub(crate) siblings: Vec<&'a Workload>,
    /// The sibling that could take over.
    idle: Option<&'a Workload>,
    is_practised: bool,
    /// How many ready Pods it must keep.
    pub(crate) floor: usize,
}

impl<'a> Stake<'a> {
    pub(crate) fn of(service: &'a Service, view: &'a ClusterView, colours: &ColourScheme) -> Self {
        Self::of_selector(service, service.routed(), view, colours)
    }

    /// What a Service has at stake behind a selector.
    pub(crate) fn of_selector(
        service: &'a Service,
        selector: &'a Selector,
        view: &'a ClusterView,
        colours: &ColourScheme,
    ) -> Self {
        let siblings = blue_green::siblings(service, view, colours);
        let is_live = |workload: &Workload| {
            let traffic = |other: &&Service| other.role(colours) == Role::Traffic;
            view.services.iter().filter(traffic).any(|other| other.routed().matches(&workload.template.labels))
        };
        Self {
            service,
            selector,
            view,
            fleet: Fleet::of(selector, view),
            is_practised: blue_green::is_practised(service, &siblings, view, colours),
            idle: siblings.iter().copied().find(|sibling| !is_live(sibling)),
            siblings,
            floor: service.minimum_replicas().max(1),
        }
    }

    /// How many ready Pods its Service is sure to keep when a workload becomes what it is to be.
    pub(crate) fn left(&self, changed: &Workload, after: &After<'_>) -> usize {
        left(self.selector, &self.fleet, self.view, changed, after)
    }

    /// Whether a workload stands behind its Service, or is a part of one that does.
    pub(crate) fn concerns(&self, workload: &Workload) -> bool {
        if workload.stands_alone() {
            self.selector.matches(&workload.template.labels)
        } else {
            self.fleet.workloads.iter().any(|whole| workload.meta.is_controlled_by(&whole.meta.uid))
        }
    }

    /// Whether a change leaves fewer than are ready now, and fewer than it needs.
    pub(crate) fn too_little(&self, left: usize) -> bool {
        left < self.fleet.ready() && left < self.floor
    }

    /// Where blue-green is not practised, a rule only warns.
    pub(crate) fn finding(&self, reason: Reason, message: String, next_step: String) -> Finding {
        let finding = Finding::new(reason, message, next_step);
        if self.is_practised { finding } else { finding.only_a_warning() }
    }

    /// What is left to go back to.
    pub(crate) fn would_keep(&self, left: usize) -> String {
        let Self { fleet, floor, .. } = self;
        format!("it would keep {left} of its {} ready pods (going back needs {floor})", fleet.ready())
    }

    pub(crate) fn would_leave(&self, left: usize) -> String {
        let Self { service, fleet, floor, .. } = self;
        format!(
            "it would leave Service {} with {left} of {} ready pods (it needs {floor})",
            service.meta.name,
            fleet.ready()
        )
    }

    /// `kubectl` in the Service's namespace.
    pub(crate) fn delete_service(&self) -> String {
        let meta = &self.service.meta;
        format!(
            "to take the app down, delete the Service first: kubectl -n {} delete service {}",
            meta.namespace, meta.name
        )
    }

    /// Where a new version goes.
    pub(crate) fn other_colour(&self) -> Option<String> {
        match (self.idle, self.siblings.first()) {
            (Some(idle), _) => Some(idle.to_string()),
            (None, Some(live)) => Some(format!("another colour ({live} is live, too)")),
            (None, None) => None,
        }
    }

    pub(crate) fn flip_first(&self) -> String {
        format!("flip Service {} to the other colour first; {}", self.service.meta.name, self.delete_service())
    }
}

/// The traffic Services of a namespace that route at all.
pub(crate) fn stakes<'a>(view: &'a ClusterView, colours: &ColourScheme) -> Vec<Stake<'a>> {
    // One that is on its way out promises nothing any more.
    let traffic =
        view.services.iter().filter(|service| service.role(colours) == Role::Traffic && !service.meta.deleting);
    traffic.map(|service| Stake::of(service, view, colours)).collect()
}
