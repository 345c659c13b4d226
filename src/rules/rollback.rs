//! Rollback: a flip to the colour that was live before, with an unchanged template. It served, so less is asked of it.

use super::fleet::Fleet;
use crate::model::{ClusterView, ColourScheme, Service, Timestamp, Workload, WorkloadKind};

/// Whether a change of a Service goes back.
pub(super) fn is(old: &Service, new: &Service, target: &Fleet<'_>, view: &ClusterView, colours: &ColourScheme) -> bool {
    let Some(flip) = view.records.last_flip(old) else { return false };
    let pins = colours.pins(new.routed());
    !pins.is_empty()
        && colours.pins(&flip.from) == pins
        && !target.workloads.is_empty()
        && target.workloads.iter().all(|workload| has_served_as_it_is(workload, view, flip.at))
}

/// Whether the template that a workload runs is older than the flip away from it.
fn has_served_as_it_is(workload: &Workload, view: &ClusterView, flipped: Timestamp) -> bool {
    match workload.kind {
        WorkloadKind::Deployment => view
            .current_replica_set(workload)
            .and_then(|replica_set| replica_set.meta.created)
            .is_some_and(|created| created < flipped),
        // Their templates' ages are not read.
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet | WorkloadKind::ReplicaSet => false,
    }
}
