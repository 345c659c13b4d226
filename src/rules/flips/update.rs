//! An update of a Service, with what its selectors match.

use crate::model::{ClusterView, ColourScheme, Service};
use crate::rules::state::backends::Fleet;

/// An update of a Service, with what its selectors match.
pub(crate) struct Update<'a> {
    pub(crate) old: &'a Service,
    pub(crate) new: &'a Service,
    pub(crate) view: &'a ClusterView,
    pub(crate) colours: &'a ColourScheme,
    pub(crate) current: Fleet<'a>,
    pub(crate) target: Fleet<'a>,
    /// How many of a hundred Pods of the target must be ready.
    pub(crate) percent: u32,
}
