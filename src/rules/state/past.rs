//! What the records tell, together with the age of the templates that run now.

use super::backends::Backends;
use crate::model::{ClusterView, Flip, Revision, Rollout, Selector, Timestamp, Workload, WorkloadKind};

/// Whether all workloads behind a selector run a template that is older than a moment.
pub(crate) fn run_since(selector: &Selector, before: Timestamp, view: &ClusterView) -> bool {
    all_behind(selector, view, |workload| runs_since(workload, before, view))
}

/// The same, where a restart is no change: the template from before the moment runs again, with another time of restart.
pub(crate) fn run_since_but_for_restarts(selector: &Selector, before: Timestamp, view: &ClusterView) -> bool {
    all_behind(selector, view, |workload| runs_since(workload, before, view) || was_restarted(workload, before, view))
}

/// Whether there are workloads behind a selector, and something holds for each.
fn all_behind(selector: &Selector, view: &ClusterView, holds: impl Fn(&Workload) -> bool) -> bool {
    let workloads = Backends::of(selector, view).workloads;
    !workloads.is_empty() && workloads.into_iter().all(holds)
}

/// Whether a Deployment runs the template that was its newest one at a moment, and was only restarted since.
fn was_restarted(workload: &Workload, at: Timestamp, view: &ClusterView) -> bool {
    let created = |replica_set: &&Workload| replica_set.meta.created.filter(|created| *created < at);
    let before = view.replica_sets_of(workload).filter(|one| created(one).is_some()).max_by_key(created);
    before.is_some_and(|before| workload.template.is_restart_of(&before.template))
}

/// Whether all workloads behind a selector run a template that served before a moment, as far as that can be known. The
/// selector was that of the Service at that moment.
pub(crate) fn served_before(selector: &Selector, before: Timestamp, view: &ClusterView) -> bool {
    all_behind(selector, view, |workload| serves_since(workload, before, view))
}

/// The same for the templates that these workloads ran at a later moment. They may have others by now.
fn had_served_before(selector: &Selector, before: Timestamp, later: Timestamp, view: &ClusterView) -> bool {
    all_behind(selector, view, |workload| {
        if is_older(workload, later, view) {
            serves_since(workload, before, view)
        } else {
            // The present rollout tells nothing about the one of that template.
            newest_before(workload, later, view).is_some_and(|created| created < before)
        }
    })
}

fn serves_since(workload: &Workload, before: Timestamp, view: &ClusterView) -> bool {
    runs_since(workload, before, view) && was_rolled_out(workload, before, view)
}

/// Whether the rollout of the current template was complete at a moment. A template that an undo brought back was rolled out
/// a second time, and the time of the first rollout is not known.
fn was_rolled_out(workload: &Workload, at: Timestamp, view: &ClusterView) -> bool {
    let was_brought_back = || {
        let created = view.current_replica_set(workload).and_then(|replica_set| replica_set.meta.created);
        view.replica_sets_of(workload).any(|other| other.meta.created > created)
    };
    match workload.rollout {
        Rollout::Unknown => true,
        Rollout::Complete(time) if time <= at => true,
        Rollout::Incomplete | Rollout::Complete(_) => was_brought_back(),
    }
}

/// Whether a flip on record was a rollback: its target had kept its template since before the flip that it took back, and
/// that one was none itself. A new version in the previous colour makes it a flip forward, and so does a second try of a
/// version that was rolled back. What happened to a template after the flip, such as a restart, changes nothing.
pub(crate) fn was_rollback(flip: &Flip, view: &ClusterView) -> bool {
    let count = flip.earlier.len();
    let has_revisions = |workload: &Workload| {
        matches!(workload.kind, WorkloadKind::StatefulSet | WorkloadKind::DaemonSet)
            && [&flip.from, &flip.to].iter().any(|selector| selector.matches(&workload.template.labels))
    };
    // Where the revisions were not read, the selectors decide.
    if !view.done.revisions && view.workloads.iter().any(has_revisions) {
        return count % 2 == 1;
    }
    let mut was = false;
    let times = flip.earlier.iter().zip(flip.earlier.iter().skip(1).chain([&flip.at]));
    for (index, (before, at)) in times.enumerate() {
        let goes_to = if (count - index) % 2 == 1 { &flip.to } else { &flip.from };
        was = !was && had_served_before(goes_to, *before, *at, view);
    }
    was
}

fn runs_since(workload: &Workload, before: Timestamp, view: &ClusterView) -> bool {
    // An undo makes an old template of a Deployment current again. Another one ran in between, at the moment in question too.
    let ran_later = || {
        let created = view.current_replica_set(workload).and_then(|replica_set| replica_set.meta.created);
        let mut others = view.replica_sets_of(workload).filter_map(|replica_set| replica_set.meta.created);
        others.any(|other| created < Some(other) && other < before)
    };
    is_older(workload, before, view) && (workload.kind != WorkloadKind::Deployment || !ran_later())
}

/// Whether the current template of a workload is older than a moment.
fn is_older(workload: &Workload, moment: Timestamp, view: &ClusterView) -> bool {
    let is_older = |created: Option<Timestamp>| created.is_some_and(|created| created < moment);
    match workload.kind {
        WorkloadKind::Deployment => {
            view.current_replica_set(workload).is_some_and(|replica_set| is_older(replica_set.meta.created))
        }
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => revisions_of(workload, view)
            .filter(|revision| revision.matches_template(workload))
            .any(|revision| is_older(revision.meta.created)),
        // Nothing shows the age of its template.
        WorkloadKind::ReplicaSet => false,
    }
}

/// When the newest template from before a moment was created.
fn newest_before(workload: &Workload, moment: Timestamp, view: &ClusterView) -> Option<Timestamp> {
    let replica_sets = view.replica_sets_of(workload).filter_map(|replica_set| replica_set.meta.created);
    let revisions = revisions_of(workload, view).filter_map(|revision| revision.meta.created);
    replica_sets.chain(revisions).filter(|created| *created < moment).max()
}

fn revisions_of<'a>(workload: &'a Workload, view: &'a ClusterView) -> impl Iterator<Item = &'a Revision> {
    view.revisions.iter().filter(|revision| revision.meta.is_controlled_by(&workload.meta.uid))
}
