//! A traffic Service, with the facts that rules need about its Pods.

use super::app::App;
use super::backends::Backends;
use super::blue_green;
use super::readiness::Demand;
use super::remaining::{After, ready_after};
use super::roles::{is_traffic, traffic_services};
use crate::model::{ClusterView, Pod, Policy, Selector, Service, Workload, setting};

/// A traffic Service with the Pods behind its current selector, or behind the one before its last flip.
pub(crate) struct TrafficService<'a> {
    pub(crate) service: &'a Service,
    pub(crate) selector: &'a Selector,
    pub(crate) view: &'a ClusterView,
    pub(crate) backends: Backends<'a>,
    /// The workloads of the other colours.
    pub(crate) siblings: Vec<&'a Workload>,
    /// The first sibling that no traffic Service selects.
    pub(crate) idle: Option<&'a Workload>,
    pub(crate) uses_blue_green: bool,
    /// The version key in its selector.
    pub(crate) version_key: Option<&'a str>,
    /// The number of Pods that must stay ready: that of the Service, or that of a policy if it is larger.
    pub(crate) floor: usize,
    /// The policy that says a larger number than the Service.
    floor_by: Option<&'a str>,
    /// Whether the live colour may be scaled to 0. Where a policy says a number, it may not.
    pub(crate) may_sleep: bool,
    /// What a flip to another colour asks of it.
    pub(crate) demand: Demand,
}

impl<'a> TrafficService<'a> {
    /// A Service with the Pods behind its current selector.
    pub(crate) fn of(service: &'a Service, view: &'a ClusterView, policy: &'a Policy) -> Self {
        Self::behind(service.routed(), service, view, policy)
    }

    /// A Service with the Pods behind another selector.
    pub(crate) fn behind(
        selector: &'a Selector,
        service: &'a Service,
        view: &'a ClusterView,
        policy: &'a Policy,
    ) -> Self {
        let colours = &policy.colours;
        let own_floor = service.floor();
        let floor = policy.floor.map_or(own_floor, |floor| own_floor.max(usize::try_from(floor).unwrap_or(usize::MAX)));
        let app = App::of(service.routed(), colours);
        let siblings = app.siblings(view);
        let is_live = |workload: &Workload| {
            view.services.iter().any(|other| {
                !other.meta.deleting
                    && other.routed().matches(&workload.template.labels)
                    && is_traffic(other, view, colours)
            })
        };
        let idle = siblings.iter().copied().find(|sibling| !is_live(sibling));
        // Two numbers that are both live are two versions side by side (`orders-v1`, `orders-v2`).
        let side_by_side = app.pins_only_numbers() && !siblings.is_empty() && idle.is_none();
        Self {
            service,
            selector,
            view,
            backends: Backends::of(selector, view),
            uses_blue_green: !side_by_side && blue_green::uses_blue_green(service, &siblings, view, colours),
            idle,
            siblings,
            version_key: service.routed().pairs().map(|(key, _)| key).find(|key| colours.is_version_key(key)),
            floor,
            floor_by: policy.source(setting::FLOOR).filter(|_| floor > own_floor),
            may_sleep: service.may_sleep() && policy.floor.is_none(),
            demand: Demand::of_flip(policy),
        }
    }

    /// All traffic Services of a namespace.
    pub(crate) fn all(view: &'a ClusterView, policy: &'a Policy) -> Vec<Self> {
        traffic_services(view, &policy.colours).map(|service| Self::of(service, view, policy)).collect()
    }

    /// `metadata.name` of the Service.
    pub(crate) fn name(&self) -> &'a str {
        &self.service.meta.name
    }

    /// The number of Pods behind the selector that are ready now.
    pub(crate) fn ready(&self) -> usize {
        self.backends.ready()
    }

    /// Whether at least as many Pods are ready as the Service itself says. The larger number of a policy must not soften
    /// what is asked of a colour that serves.
    pub(crate) fn is_healthy(&self) -> bool {
        self.ready() >= self.service.floor()
    }

    /// The policy without which this number of remaining Pods would be enough.
    pub(crate) fn floor_source(&self, remaining: usize) -> Option<&'a str> {
        self.floor_by.filter(|_| remaining >= self.service.floor())
    }

    /// Whether the selector matches a workload, or the Deployment of a ReplicaSet.
    pub(crate) fn selects(&self, workload: &Workload) -> bool {
        if workload.stands_alone() {
            let serves = || {
                let pods = self.view.pods_of(workload);
                pods.iter().any(|pod| pod.serves() && self.selector.matches(&pod.meta.labels))
            };
            self.selector.matches(&workload.template.labels) || serves()
        } else {
            self.backends.workloads.iter().any(|whole| workload.meta.is_controlled_by(&whole.meta.uid))
        }
    }

    /// The number of ready Pods that are sure to remain after a workload changes.
    pub(crate) fn ready_after(&self, changed: &Workload, after: &After<'_>) -> usize {
        ready_after(self.selector, &self.backends, self.view, changed, after)
    }

    /// Whether this number of ready Pods is less than now, and less than the Service needs.
    pub(crate) fn is_loss(&self, remaining: usize) -> bool {
        remaining < self.ready() && remaining < self.floor
    }

    /// Whether a workload only seems to serve nothing: none of its Pods is ready at the moment, waiting alone may mend
    /// that, and a ready colour stands by. Nothing else behind the selector wants Pods.
    pub(crate) fn only_blips(&self, workload: &Workload) -> bool {
        let pods = self.view.pods_of(workload);
        let may_recover = |pod: &&Pod| !pod.terminal && !pod.meta.deleting && !pod.is_broken();
        let is_alone =
            self.backends.workloads.iter().all(|other| other.meta.uid == workload.meta.uid || other.desired == 0);
        let stands_by = |idle: &Workload| self.view.pods_of(idle).iter().any(|pod| pod.serves());
        self.ready() == 0
            && workload.stands_alone()
            && workload.desired > 0
            && is_alone
            && pods.iter().any(may_recover)
            && self.idle.is_some_and(stands_by)
    }

    /// The number of ready Pods that would remain, if that is a loss.
    pub(crate) fn loss(&self, changed: &Workload, after: &After<'_>) -> Option<usize> {
        Some(self.ready_after(changed, after)).filter(|remaining| self.is_loss(*remaining))
    }
}
