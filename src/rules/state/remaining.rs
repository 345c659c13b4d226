//! The ready Pods that are sure to remain behind a selector after a change. They may be fewer than the Pods that are
//! ready now.

use super::backends::Backends;
use crate::model::{ClusterView, Pod, Selector, Strategy, Workload, WorkloadKind};

/// The state of a workload after a change.
pub(crate) enum After<'a> {
    /// The workload is deleted.
    Gone,
    /// The workload becomes this one.
    Becomes(&'a Workload),
}

/// The number of ready Pods that a selector is sure to keep after `changed` becomes `after`. `backends` are those of
/// the selector. Other workloads count with the Pods that are sure now, and unowned Pods count as they are.
pub(crate) fn ready_after(
    selector: &Selector,
    backends: &Backends<'_>,
    view: &ClusterView,
    changed: &Workload,
    after: &After<'_>,
) -> usize {
    let workloads: usize = backends
        .workloads
        .iter()
        .map(|workload| {
            let mut ready = serving(selector, view, workload);
            if adopts(workload, changed, after) {
                ready.extend(serving(selector, view, changed));
            }
            if workload.meta.uid == changed.meta.uid && workload.kind == changed.kind {
                return match after {
                    After::Gone => 0,
                    // The Pods count with those of the new owner.
                    After::Becomes(new) if !new.stands_alone() => 0,
                    After::Becomes(new) if !selector.matches(&new.template.labels) => keeping_their_labels(new, &ready),
                    After::Becomes(new) => sure(workload, new, &ready),
                };
            }
            let stays = sure(workload, workload, &ready);
            if changed.meta.is_controlled_by(&workload.meta.uid) {
                return stays.saturating_sub(taken_from_part(changed, after, &ready));
            }
            stays
        })
        .sum();
    let drifting: usize = view
        .workloads
        .iter()
        .filter(|workload| drifts(workload, selector))
        .map(|workload| {
            let ready = serving(selector, view, workload);
            let is_changed = workload.meta.uid == changed.meta.uid && workload.kind == changed.kind;
            match after {
                After::Gone if is_changed => 0,
                After::Becomes(new) if is_changed && selector.matches(&new.template.labels) => {
                    sure(workload, new, &ready)
                }
                After::Becomes(new) if is_changed => keeping_their_labels(new, &ready),
                _ if workload.is_rolled_out() => ready.len(),
                _ => keeping_their_labels(workload, &ready),
            }
        })
        .sum();
    let is_drifting = |pod: &Pod| {
        view.workloads.iter().filter(|workload| drifts(workload, selector)).any(|workload| {
            let owners = view.owners_of_pods(workload);
            pod.meta.controller.as_ref().is_some_and(|owner| owners.contains(&owner.uid.as_str()))
        })
    };
    let unowned = backends.unowned.iter().filter(|pod| pod.serves() && !is_drifting(pod)).count();
    workloads + drifting + unowned
}

/// The workloads that are about to take serving Pods away from a selector, each with their number. The Pods still have the
/// labels, but a rollout replaces them by others that do not.
pub(crate) fn leaving<'a>(
    selector: &'a Selector,
    view: &'a ClusterView,
) -> impl Iterator<Item = (&'a Workload, usize)> {
    // A ReplicaSet replaces no Pod because of its template.
    let replaces = |workload: &&Workload| {
        workload.kind != WorkloadKind::ReplicaSet && drifts(workload, selector) && !workload.is_rolled_out()
    };
    view.workloads.iter().filter(replaces).filter_map(move |workload| {
        let ready = serving(selector, view, workload);
        let leaving = ready.len().saturating_sub(keeping_their_labels(workload, &ready));
        (leaving > 0).then_some((workload, leaving))
    })
}

/// Whether a standalone ReplicaSet becomes part of this workload.
fn adopts(workload: &Workload, changed: &Workload, after: &After<'_>) -> bool {
    let owner = match after {
        After::Becomes(new) if changed.stands_alone() => new.meta.controller.as_ref(),
        _ => None,
    };
    owner.is_some_and(|owner| owner.uid == workload.meta.uid)
}

/// Whether the template of a workload does not match a selector. Its Pods may: those of an older template, or with labels
/// that were put on at run time.
fn drifts(workload: &Workload, selector: &Selector) -> bool {
    workload.stands_alone() && !selector.matches(&workload.template.labels)
}

/// The ready Pods that keep their old labels although the template has others.
fn keeping_their_labels(new: &Workload, ready: &[&Pod]) -> usize {
    let desired = usize::try_from(new.desired).unwrap_or(usize::MAX);
    if new.kind != WorkloadKind::StatefulSet {
        return if new.strategy == Strategy::OnDelete { ready.len().min(desired) } else { 0 };
    }
    let end = new.first_ordinal.saturating_add(new.desired);
    let end = if new.strategy == Strategy::OnDelete { end } else { end.min(new.partition) };
    let keeps =
        |pod: &&&Pod| ordinal(&pod.meta.name).is_some_and(|ordinal| (new.first_ordinal..end).contains(&ordinal));
    ready.iter().filter(keeps).count()
}

/// How many Pods are sure to serve of a workload that becomes another.
fn sure(old: &Workload, new: &Workload, ready: &[&Pod]) -> usize {
    if old.meta.deleting {
        return 0;
    }
    let desired = number(new.desired);
    match new.kind {
        WorkloadKind::StatefulSet => sure_of_stateful_set(old, new, ready),
        WorkloadKind::DaemonSet if !old.is_rolled_out() && new.strategy != Strategy::OnDelete => {
            let (unavailable, _) = new.strategy.limits(new.desired);
            ready.len().min(desired.saturating_sub(number(unavailable)))
        }
        // During a rollout, the controller spreads a scale-down by proportion, ready or not. Only the limits of the
        // strategy are sure.
        WorkloadKind::Deployment if !old.is_rolled_out() && new.strategy != Strategy::OnDelete => {
            if new.strategy == Strategy::Recreate {
                return 0;
            }
            let (unavailable, surge) = new.strategy.limits(new.desired);
            let removed = number(old.counts.replicas.saturating_sub(new.desired).saturating_sub(surge));
            ready.len().saturating_sub(removed).min(desired.saturating_sub(number(unavailable)))
        }
        WorkloadKind::Deployment | WorkloadKind::ReplicaSet | WorkloadKind::DaemonSet => ready.len().min(desired),
    }
}

/// A scale-down deletes the highest ordinals, ready or not. Another start ordinal deletes the Pods below it. A rollout
/// replaces the Pods from `partition` on, so many at a time as `maxUnavailable` permits (Kubernetes,
/// `pkg/controller/statefulset/stateful_set_control.go`).
fn sure_of_stateful_set(old: &Workload, new: &Workload, ready: &[&Pod]) -> usize {
    let end = new.first_ordinal.saturating_add(new.desired);
    let among = |ordinals: std::ops::Range<u32>| {
        ready.iter().filter(|pod| ordinal(&pod.meta.name).is_some_and(|ordinal| ordinals.contains(&ordinal))).count()
    };
    if new.strategy == Strategy::OnDelete || !is_replacing(old) {
        return among(new.first_ordinal..end);
    }
    let first = new.partition.clamp(new.first_ordinal, end);
    let (unavailable, _) = new.strategy.limits(new.desired);
    let replaced = number((end - first).saturating_sub(unavailable));
    among(new.first_ordinal..first) + among(first..end).min(replaced)
}

/// Whether the controller of a StatefulSet has Pods to replace: it has not seen the latest change, or fewer Pods have the
/// current template than the partition permits.
fn is_replacing(workload: &Workload) -> bool {
    let kept = workload.partition.saturating_sub(workload.first_ordinal);
    let due = workload.counts.replicas.saturating_sub(kept);
    workload.observed_generation < workload.meta.generation || workload.counts.updated < due
}

fn number(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The number of ready Pods that a Deployment loses by a write to one of its ReplicaSets.
fn taken_from_part(part: &Workload, after: &After<'_>, ready: &[&Pod]) -> usize {
    let of_part = ready.iter().filter(|pod| pod.meta.is_controlled_by(&part.meta.uid)).count();
    match after {
        After::Gone => of_part,
        After::Becomes(new) => of_part.saturating_sub(usize::try_from(new.desired).unwrap_or(usize::MAX)),
    }
}

/// The Pods of a workload that serve behind a selector.
fn serving<'a>(selector: &Selector, view: &'a ClusterView, workload: &Workload) -> Vec<&'a Pod> {
    let pods = view.pods_of(workload).into_iter();
    pods.filter(|pod| pod.serves() && selector.matches(&pod.meta.labels)).collect()
}

/// The ordinal at the end of the name of a StatefulSet's Pod.
fn ordinal(name: &str) -> Option<u32> {
    name.rsplit_once('-')?.1.parse().ok()
}
