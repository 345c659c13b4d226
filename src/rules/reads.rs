//! What must be read to judge a change.

use super::{Finding, Reason, relevance};
use crate::model::{Change, ClusterView, Policy, Selector, Write};

/// What to read: all workloads of a namespace, and the Pods that carry some labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reads {
    /// The namespace.
    pub namespace: String,
    /// Every Pod that the old or the new selector matches carries these; empty: all Pods of the namespace.
    pub pods: Selector,
}

/// What to read for a change; `None` where no rule speaks on it.
#[must_use]
pub fn needed(change: &Change, policy: &Policy) -> Option<Reads> {
    let Write::ServiceUpdate { old, new } = &change.write else {
        return None;
    };
    relevance::service_update(old, new, &policy.colours).then(|| Reads {
        namespace: new.meta.namespace.clone(),
        // One list serves both selectors, in one consistent snapshot. An empty selector matches no Pod, so it
        // narrows nothing.
        pods: if old.selector.is_empty() { new.selector.clone() } else { old.selector.common(&new.selector) },
    })
}

/// The finding for what could not be read: unknown is never "not applicable".
pub(super) fn unreadable(view: &ClusterView) -> Option<Finding> {
    let first = view.unread.first()?;
    Some(Finding {
        reason: Reason::ClusterUnreadable,
        message: format!("could not read {}: {}", first.what, first.why),
        next_step: "try again; if it stays, ask the cluster admin to look at flipguard's log".to_owned(),
        details: view.unread.iter().skip(1).map(|unread| format!("{}: {}", unread.what, unread.why)).collect(),
        way_out: None,
    })
}
