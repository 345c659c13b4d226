//! The definition of "fully ready".
//!
//! The status counters of a workload alone are not enough. They lag behind its spec and its Pods, and they count Pods
//! of every template. So the counters must agree with the spec, **and** the Pods themselves must exist: Ready, with an
//! IP, not being deleted, of the current template. Unknown is not ready.

use crate::model::{ClusterView, Pod, Policy, ReadinessBasis, Selector, Strategy, Workload, WorkloadKind, setting};
use crate::rules::wording::{Remedy, object, pods};

/// The reason why a workload is not fully ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// The rest of a sentence that begins with the workload: `has 3 of 5 pods ready`.
    pub what: String,
    /// The next step for the user.
    pub remedy: Remedy,
}

/// What is asked of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// The percentage of its Pods that must be ready.
    pub percent: u32,
    /// What counts as ready.
    pub basis: ReadinessBasis,
    is_rollback: bool,
}

impl Demand {
    /// What is asked of the target of a flip forward.
    #[must_use]
    pub fn of_flip(policy: &Policy) -> Self {
        Self { percent: policy.ready_percent, basis: policy.basis, is_rollback: false }
    }

    /// What is asked of the target of a rollback: never more than of a flip forward.
    #[must_use]
    pub fn of_rollback(policy: &Policy) -> Self {
        let percent = policy.rollback_percent.min(policy.ready_percent);
        Self { percent, is_rollback: true, ..Self::of_flip(policy) }
    }

    /// The same without any policy.
    #[must_use]
    pub fn by_default(self) -> Self {
        let policy = Policy::default();
        if self.is_rollback { Self::of_rollback(&policy) } else { Self::of_flip(&policy) }
    }

    /// The policy that says the percentage.
    #[must_use]
    pub fn source(self, policy: &Policy) -> Option<&str> {
        policy.source(if self.is_rollback { setting::ROLLBACK_PERCENT } else { setting::READY_PERCENT })
    }
}

/// The shortfall of a workload behind a selector. `None` if the workload is as ready as demanded.
#[must_use]
pub fn shortfall(workload: &Workload, selector: &Selector, view: &ClusterView, demand: Demand) -> Option<Shortfall> {
    let enough = enough(workload.desired, demand.percent);
    let failing = || first_failing(workload, view);
    blocked(workload)
        .or_else(|| unobserved(workload).map(|what| waiting(workload, None, what)))
        .or_else(|| uncounted(workload, enough, demand.basis, view).map(|what| waiting(workload, failing(), what)))
        .or_else(|| surplus(workload).map(|what| waiting(workload, None, what)))
        .or_else(|| unserved(workload, enough, selector, view).map(|what| waiting(workload, failing(), what)))
}

/// The status counters, in one line.
#[must_use]
pub fn counters(workload: &Workload) -> String {
    let counts = workload.counts;
    format!(
        "{workload}: desired {}, updated {}, ready {}, available {}",
        workload.desired, counts.updated, counts.ready, counts.available
    )
}

/// A shortfall that does not resolve by waiting alone.
fn blocked(workload: &Workload) -> Option<Shortfall> {
    let Workload { kind, meta, .. } = workload;
    let object = object(workload);
    let blocked = |what: &str, words: &str, command: String| {
        Some(Shortfall { what: what.to_owned(), remedy: Remedy::kubectl(words, &meta.namespace, &command) })
    };
    if meta.deleting {
        return blocked("is being deleted", "Deploy it again", format!("get {object} -o yaml"));
    }
    if workload.paused {
        return blocked("is paused", "Resume it", format!("rollout resume {object}"));
    }
    if workload.desired > 0 {
        return None;
    }
    if *kind == WorkloadKind::DaemonSet {
        let words = "Check its node selector and tolerations";
        return blocked("runs on no node", words, format!("describe {object}"));
    }
    blocked("is scaled to 0", "Scale it up", format!("scale {object} --replicas=N"))
}

/// A shortfall that resolves by waiting, or after the named step.
fn waiting(workload: &Workload, failing: Option<&Pod>, what: String) -> Shortfall {
    let Workload { kind, meta, .. } = workload;
    let object = object(workload);
    let with = |words: &str, command: String| Remedy::kubectl(words, &meta.namespace, &command);
    let is_behind = workload.counts.updated < workload.desired;
    let remedy = if let Some(pod) = failing.filter(|pod| pod.is_broken()) {
        with("Fix it, then retry", format!("describe pod {}", pod.meta.name))
    } else if workload.deadline_exceeded {
        with("Fix it, then retry", format!("describe {object}"))
    } else if workload.strategy == Strategy::OnDelete && *kind != WorkloadKind::ReplicaSet && is_behind {
        let words = "Its updateStrategy is OnDelete: delete its old pods";
        with(words, "get pods -L controller-revision-hash".to_owned())
    } else if *kind == WorkloadKind::StatefulSet && is_behind {
        with("Wait, or lower spec.updateStrategy.rollingUpdate.partition", format!("get {object} -o yaml"))
    } else {
        // `kubectl rollout status` supports three of the four kinds.
        let command = if *kind == WorkloadKind::ReplicaSet { "get" } else { "rollout status" };
        with("Wait, then retry", format!("{command} {object}"))
    };
    Shortfall { what, remedy }
}

/// This percentage of the desired Pods, rounded up; at least one.
pub(crate) fn enough(desired: u32, percent: u32) -> u32 {
    let share = (u64::from(desired) * u64::from(percent)).div_ceil(100);
    u32::try_from(share).unwrap_or(u32::MAX).clamp(1, desired.max(1))
}

/// A shortfall because the controller has not processed the latest generation.
fn unobserved(workload: &Workload) -> Option<String> {
    let (generation, observed) = (workload.meta.generation, workload.observed_generation);
    (observed < generation).then(|| {
        format!("has a change that its controller has not seen (generation {generation}, observed {observed})")
    })
}

/// A shortfall by the status counters.
fn uncounted(workload: &Workload, enough: u32, basis: ReadinessBasis, view: &ClusterView) -> Option<String> {
    let Workload { desired, counts, .. } = workload;
    let why = why(workload, view);
    let ready = counts.ready.min(*desired);
    if workload.deadline_exceeded && (enough == *desired || counts.ready < enough) {
        return Some(format!("has {ready} of {desired} pods ready after ProgressDeadlineExceeded{why}"));
    }
    if counts.ready < enough {
        return Some(format!("has {ready} of {desired} pods ready{why}"));
    }
    // Pods that do not exist are like Pods that are not ready: no old ones are in their place.
    let due = if counts.updated == counts.replicas { enough } else { *desired };
    if counts.updated < due {
        return Some(format!("has {} of {desired} pods updated to its current template{why}", counts.updated));
    }
    if counts.available < enough && basis == ReadinessBasis::Available {
        return Some(format!("has {} of {desired} pods available (minReadySeconds not over)", counts.available));
    }
    None
}

fn number(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The Pods of a workload's current template.
///
/// # Errors
/// When it is not known which they are; the rest of a sentence that begins with the workload.
pub(crate) fn current_pods<'a>(workload: &Workload, view: &'a ClusterView) -> Result<Vec<&'a Pod>, String> {
    Ok(match workload.kind {
        WorkloadKind::Deployment => {
            let Some(replica_set) = view.current_replica_set(workload) else {
                let revision = workload.revision().unwrap_or("unknown");
                return Err(format!("has no ReplicaSet of its current revision ({revision})"));
            };
            view.pods_of(replica_set)
        }
        WorkloadKind::StatefulSet => {
            let Some(revision) = workload.update_revision.as_deref() else {
                return Err("has no update revision yet".to_owned());
            };
            let of_revision =
                |pod: &&Pod| pod.meta.labels.get("controller-revision-hash").map(String::as_str) == Some(revision);
            view.pods_of(workload).into_iter().filter(of_revision).collect()
        }
        WorkloadKind::DaemonSet | WorkloadKind::ReplicaSet => view.pods_of(workload),
    })
}

/// A shortfall by the Pods, although the status is complete.
fn unserved(workload: &Workload, enough: u32, selector: &Selector, view: &ClusterView) -> Option<String> {
    let desired = workload.desired;
    let current = match current_pods(workload, view) {
        Ok(current) => current,
        Err(what) => return Some(what),
    };
    let ready = current.iter().filter(|pod| pod.serves());
    let (serving, lost): (Vec<&Pod>, Vec<&Pod>) = ready.partition(|pod| selector.matches(&pod.meta.labels));
    let (serving, lost) = (serving.len(), lost.iter().map(|pod| &pod.meta.name).min());
    if serving >= number(enough) {
        return None;
    }
    if let Some(lost) = lost {
        let behind = format!("has {serving} of {desired} ready pods that match selector {selector}");
        return Some(format!("{behind} ({lost} does not)"));
    }
    let why = why(workload, view);
    let ready = workload.counts.ready.min(desired);
    Some(format!("says {ready} of {desired} ready, but {serving} of {desired} current pods serve{why}"))
}

/// A shortfall because surplus Pods still exist.
fn surplus(workload: &Workload) -> Option<String> {
    let Workload { desired, counts, .. } = workload;
    // A DaemonSet counts the Pods on Nodes that should run none in another field.
    if workload.kind != WorkloadKind::DaemonSet && (counts.replicas > *desired || counts.updated != counts.replicas) {
        return Some(format!("still has {} instead of {desired}", pods(number(counts.replicas), "")));
    }
    if counts.ready > *desired || counts.available > *desired {
        return Some(format!("still counts {} instead of {desired}", pods(number(counts.ready), "ready")));
    }
    None
}

/// The first failing Pod with its reason, in brackets.
fn why(workload: &Workload, view: &ClusterView) -> String {
    let failing = first_failing(workload, view);
    failing.map(|pod| format!(" ({}: {})", pod.meta.name, pod.not_ready_because())).unwrap_or_default()
}

/// The first failing Pod by name. A Pod whose failure does not resolve by waiting comes before all others.
pub(crate) fn first_failing<'a>(workload: &Workload, view: &'a ClusterView) -> Option<&'a Pod> {
    let failing = |pod: &&Pod| !pod.serves() && !pod.terminal && !pod.meta.deleting;
    let failing = view.pods_of(workload).into_iter().filter(failing);
    failing.min_by(|a, b| (!a.is_broken(), &a.meta.name).cmp(&(!b.is_broken(), &b.meta.name)))
}
