//! What must be read to judge a change.

use super::{filter, flips, overrides};
use crate::model::{
    Change, ClusterView, Meta, Owner, Policy, Selector, Service, Timestamp, Workload, WorkloadKind, Write, annotation,
};

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reads {
    /// The namespace.
    pub namespace: String,
    /// All workloads, and the Pods that carry these labels; empty labels: all Pods of the namespace.
    pub pods: Option<Selector>,
    /// All Services.
    pub services: bool,
    /// All revisions of StatefulSets and DaemonSets.
    pub revisions: bool,
    /// Whether the Rollout of this name exists.
    pub rollout: Option<String>,
    /// Whether these owners exist, which are neither workloads nor Services nor Pods.
    pub owners: Vec<Owner>,
}

/// What to read for a change; `None` where no rule speaks on it.
#[must_use]
pub fn needed(change: &Change, policy: &Policy) -> Option<Reads> {
    if !filter::matters(&change.write, &policy.colours) {
        return None;
    }
    let all_of = |namespace: &str| Reads {
        namespace: namespace.to_owned(),
        pods: Some(Selector::nothing()),
        services: true,
        ..Reads::default()
    };
    match &change.write {
        Write::ServiceUpdate { old, new } => Some(for_service(old, new, policy)),
        // Only one that takes the place of another is looked at; of that, the ledger tells.
        Write::ServiceCreate { new } => Some(Reads { services: false, ..all_of(&new.meta.namespace) }),
        Write::ServiceDelete { old } => {
            Some(Reads { namespace: old.meta.namespace.clone(), pods: Some(old.routed().clone()), ..Reads::default() })
        }
        Write::WorkloadUpdate { old, new } => {
            let owners = owners(&old.meta, &new.meta);
            Some(Reads { owners, revisions: may_go_back(old, new), ..all_of(&new.meta.namespace) })
        }
        Write::WorkloadCreate { new: workload } | Write::WorkloadDelete { old: workload } => {
            Some(all_of(&workload.meta.namespace))
        }
        Write::Scale { namespace, .. } => Some(all_of(namespace)),
        Write::Other => None,
    }
}

/// What to read besides, now that it is known what is remembered: to go back, the age of templates counts. That of
/// Deployments is the age of their ReplicaSets, which are read already.
#[must_use]
pub fn besides(needed: &Reads, change: &Change, view: &ClusterView, policy: &Policy) -> Option<Reads> {
    let goes_back = match &change.write {
        Write::ServiceUpdate { old, new } => flips::may_be_rollback(old, new, &view.records, &policy.colours),
        _ => false,
    };
    (goes_back && view.workloads.iter().any(has_revisions)).then(|| Reads {
        namespace: needed.namespace.clone(),
        revisions: true,
        ..Reads::default()
    })
}

/// The names of the Services for which the user needs the verb `override`, now that the Services are known.
#[must_use]
pub fn permissions(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> Vec<String> {
    let mut names = overrides::to_be_permitted(change, &view.services, &policy.colours, now);
    if let Write::ServiceUpdate { old, new } = &change.write
        && flips::opts_out(old, new, &policy.colours)
    {
        names.push(new.meta.name.clone());
    }
    if let Write::ServiceCreate { new } = &change.write
        && flips::recreation_opts_out(new, view, policy, now)
    {
        names.push(new.meta.name.clone());
    }
    names.sort();
    names.dedup();
    names
}

fn for_service(old: &Service, new: &Service, policy: &Policy) -> Reads {
    // One list serves both selectors, in one consistent snapshot. An empty selector matches no Pod, so it narrows
    // nothing.
    let pods = match (old.routed().is_empty(), new.routed().is_empty()) {
        (true, _) => new.routed().clone(),
        (_, true) => old.routed().clone(),
        (false, false) => old.routed().common(new.routed()),
    };
    let opts_out = flips::opts_out(old, new, &policy.colours);
    Reads {
        namespace: new.meta.namespace.clone(),
        pods: Some(pods),
        services: false,
        revisions: false,
        rollout: new.meta.annotation(annotation::ARGO_ROLLOUTS).filter(|_| opts_out).map(str::to_owned),
        owners: Vec::new(),
    }
}

/// Whether revisions tell a new version from one that is gone back to. Those of Deployments are ReplicaSets.
fn may_go_back(old: &Workload, new: &Workload) -> bool {
    has_revisions(new) && old.template.spec != new.template.spec
}

fn has_revisions(workload: &Workload) -> bool {
    matches!(workload.kind, WorkloadKind::StatefulSet | WorkloadKind::DaemonSet)
}

/// The owners that have to be looked for: those of an object whose owners change.
fn owners(old: &Meta, new: &Meta) -> Vec<Owner> {
    let elsewhere = new.owners.iter().filter(|owner| owner.is_elsewhere());
    if old.owners == new.owners { Vec::new() } else { elsewhere.cloned().collect() }
}
