//! Rollback: a flip to the colour that was live before, with an unchanged template. It served, so less is asked of it.

use crate::model::{ClusterView, ColourScheme, Records, Service, Timestamp, Workload, WorkloadKind};
use crate::rules::state::backends::Fleet;

/// Whether a change of a Service goes back to the colour before, if that is as it was.
pub(crate) fn may_be(old: &Service, new: &Service, records: &Records, colours: &ColourScheme) -> bool {
    let pins = colours.pins(new.routed());
    !pins.is_empty() && records.last_flip(old).is_some_and(|flip| colours.pins(&flip.from) == pins)
}

/// Whether a change of a Service goes back.
pub(crate) fn is(old: &Service, new: &Service, target: &Fleet<'_>, view: &ClusterView, colours: &ColourScheme) -> bool {
    let Some(flip) = view.records.last_flip(old) else { return false };
    may_be(old, new, &view.records, colours)
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
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => view
            .revisions
            .iter()
            .filter(|revision| revision.meta.is_controlled_by(&workload.meta.uid) && revision.keeps(workload))
            .any(|revision| revision.meta.created.is_some_and(|created| created < flipped)),
        // Nothing tells how old its template is.
        WorkloadKind::ReplicaSet => false,
    }
}
