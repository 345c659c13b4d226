//! An update of a Service, with the backends of its old and its new selector.

use crate::model::{ClusterView, ColourScheme, Policy, Service};
use crate::rules::state::backends::Backends;
use crate::rules::state::readiness::Demand;

/// An update of a traffic Service.
pub(crate) struct Update<'a> {
    pub(crate) old: &'a Service,
    pub(crate) new: &'a Service,
    pub(crate) view: &'a ClusterView,
    pub(crate) colours: &'a ColourScheme,
    /// The backends of the old selector.
    pub(crate) current: Backends<'a>,
    /// The backends of the new selector.
    pub(crate) target: Backends<'a>,
    pub(crate) policy: &'a Policy,
    /// What is asked of the target: all Pods by default, and fewer for a rollback.
    pub(crate) demand: Demand,
}

impl<'a> Update<'a> {
    pub(crate) fn new(
        old: &'a Service,
        new: &'a Service,
        view: &'a ClusterView,
        policy: &'a Policy,
        demand: Demand,
    ) -> Self {
        let (current, target) = (Backends::of(old.routed(), view), Backends::of(new.routed(), view));
        Self { old, new, view, colours: &policy.colours, current, target, policy, demand }
    }

    /// `metadata.namespace` of the Service.
    pub(crate) fn namespace(&self) -> &'a str {
        &self.new.meta.namespace
    }
}
