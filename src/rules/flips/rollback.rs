//! Rollback: a flip to the previous colour with an unchanged template. The colour has served before, so fewer Pods must
//! be ready.

use crate::model::{ClusterView, ColourScheme, Records, Service, Timestamp, Workload, WorkloadKind};
use crate::rules::state::backends::Backends;

/// Whether a change returns to the previous colour, whatever its template is now.
pub(crate) fn may_be(old: &Service, new: &Service, records: &Records, colours: &ColourScheme) -> bool {
    let pins = colours.pins(new.routed());
    !pins.is_empty() && records.last_flip(old).is_some_and(|flip| colours.pins(&flip.from) == pins)
}

/// Whether a change is a rollback: it returns to the previous colour, and the template is unchanged since.
pub(crate) fn is_rollback(old: &Service, new: &Service, view: &ClusterView, colours: &ColourScheme) -> bool {
    let Some(flip) = view.records.last_flip(old) else { return false };
    let target = Backends::of(new.routed(), view);
    may_be(old, new, &view.records, colours)
        && !target.workloads.is_empty()
        && target.workloads.iter().all(|workload| has_served_as_it_is(workload, view, flip.at))
}

/// Whether the template of a workload is older than the flip away from it.
fn has_served_as_it_is(workload: &Workload, view: &ClusterView, flipped: Timestamp) -> bool {
    match workload.kind {
        WorkloadKind::Deployment => view
            .current_replica_set(workload)
            .and_then(|replica_set| replica_set.meta.created)
            .is_some_and(|created| created < flipped),
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => view
            .revisions
            .iter()
            .filter(|revision| {
                revision.meta.is_controlled_by(&workload.meta.uid) && revision.matches_template(workload)
            })
            .any(|revision| revision.meta.created.is_some_and(|created| created < flipped)),
        // Nothing shows the age of a standalone ReplicaSet's template.
        WorkloadKind::ReplicaSet => false,
    }
}
