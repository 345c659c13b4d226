//! An update of a Service, with the backends of its old and its new selector.

use crate::model::{ClusterView, ColourScheme, Service};
use crate::rules::state::backends::Backends;

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
    /// The percentage of the target's Pods that must be ready: 100, or less for a rollback.
    pub(crate) percent: u32,
}

impl<'a> Update<'a> {
    pub(crate) fn new(
        old: &'a Service,
        new: &'a Service,
        view: &'a ClusterView,
        colours: &'a ColourScheme,
        percent: u32,
    ) -> Self {
        let (current, target) = (Backends::of(old.routed(), view), Backends::of(new.routed(), view));
        Self { old, new, view, colours, current, target, percent }
    }

    /// `metadata.namespace` of the Service.
    pub(crate) fn namespace(&self) -> &'a str {
        &self.new.meta.namespace
    }
}
