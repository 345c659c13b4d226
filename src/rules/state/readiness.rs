//! What "fully ready" means.
//!
//! A workload's status counters alone are not enough: they lag behind its spec and its Pods, and they count Pods of
//! every template. So the counters must agree with the spec, **and** the Pods must be there: Ready, with an IP, not
//! on their way out, of the current template. Unknown is not ready.

use crate::model::{ClusterView, Pod, Selector, Strategy, Workload, WorkloadKind};
use crate::rules::wording::pods;

/// Why a workload is not fully ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// What is wrong, as the rest of a sentence that begins with the workload: `has 3 of 5 pods ready`.
    pub what: String,
    /// What to do, with the command.
    pub next_step: String,
}

/// What a workload lacks to serve behind a selector; `None` if it is fully ready, or so many of a hundred of its Pods are.
#[must_use]
pub fn shortfall(workload: &Workload, selector: &Selector, view: &ClusterView, percent: u32) -> Option<Shortfall> {
    let enough = enough(workload.wanted, percent);
    blocked(workload)
        .or_else(|| uncounted(workload, enough, view).map(|what| waiting(workload, what)))
        .or_else(|| unserved(workload, enough, selector, view).map(|what| waiting(workload, what)))
}

/// The counters, in one line.
#[must_use]
pub fn counters(workload: &Workload) -> String {
    let counts = workload.counts;
    format!(
        "{workload}: wanted {}, updated {}, ready {}, available {}",
        workload.wanted, counts.updated, counts.ready, counts.available
    )
}

/// What waiting alone does not mend.
fn blocked(workload: &Workload) -> Option<Shortfall> {
    let Workload { kind, meta, .. } = workload;
    let object = format!("{}/{}", kind.singular(), meta.name);
    let namespace = &meta.namespace;
    if meta.deleting {
        return Some(Shortfall {
            what: "is being deleted".to_owned(),
            next_step: format!("see what holds it: kubectl -n {namespace} get {object} -o yaml"),
        });
    }
    if workload.paused {
        return Some(Shortfall {
            what: "is paused".to_owned(),
            next_step: format!("resume it: kubectl -n {namespace} rollout resume {object}"),
        });
    }
    if workload.wanted == 0 {
        return Some(if *kind == WorkloadKind::DaemonSet {
            Shortfall {
                what: "runs on no node".to_owned(),
                next_step: format!("check its node selector and tolerations: kubectl -n {namespace} describe {object}"),
            }
        } else {
            Shortfall {
                what: "is scaled to 0".to_owned(),
                next_step: format!("scale it up: kubectl -n {namespace} scale {object} --replicas=N"),
            }
        });
    }
    None
}

fn waiting(workload: &Workload, what: String) -> Shortfall {
    let Workload { kind, meta, .. } = workload;
    if workload.deadline_exceeded {
        let next_step = format!(
            "waiting does not mend it, so see why: kubectl -n {} describe {}/{}",
            meta.namespace,
            kind.singular(),
            meta.name
        );
        return Shortfall { what, next_step };
    }
    let is_behind = workload.counts.updated < workload.wanted;
    if workload.strategy == Strategy::OnDelete && *kind != WorkloadKind::ReplicaSet && is_behind {
        let next_step = format!(
            "its updateStrategy is OnDelete, so delete its old pods: kubectl -n {} get pods -L controller-revision-hash",
            meta.namespace
        );
        return Shortfall { what, next_step };
    }
    if *kind == WorkloadKind::StatefulSet && is_behind {
        let next_step = format!(
            "wait for it, or lower spec.updateStrategy.rollingUpdate.partition: kubectl -n {} get statefulset/{} -o yaml",
            meta.namespace, meta.name
        );
        return Shortfall { what, next_step };
    }
    // `rollout status` knows three of the four kinds.
    let command = if *kind == WorkloadKind::ReplicaSet { "get" } else { "rollout status" };
    let next_step = format!("wait for it: kubectl -n {} {command} {}/{}", meta.namespace, kind.singular(), meta.name);
    Shortfall { what, next_step }
}

/// So many of a hundred, rounded up, and one at least.
fn enough(wanted: u32, percent: u32) -> u32 {
    let share = (u64::from(wanted) * u64::from(percent)).div_ceil(100);
    u32::try_from(share).unwrap_or(u32::MAX).clamp(1, wanted.max(1))
}

/// What the status says is missing.
fn uncounted(workload: &Workload, enough: u32, view: &ClusterView) -> Option<String> {
    let Workload { wanted, counts, meta, .. } = workload;
    if workload.observed_generation < meta.generation {
        return Some(format!(
            "was just changed and its controller has not seen it yet (generation {}, observed {})",
            meta.generation, workload.observed_generation
        ));
    }
    let why = first_failing(workload, view).map(|failing| format!(" ({failing})")).unwrap_or_default();
    let ready = counts.ready.min(*wanted);
    if workload.deadline_exceeded && (enough == *wanted || counts.ready < enough) {
        return Some(format!("gave up on its rollout with {ready} of {wanted} pods ready{why}"));
    }
    if counts.ready < enough {
        return Some(format!("has {ready} of {wanted} pods ready{why}"));
    }
    if counts.updated < *wanted {
        return Some(format!("has {} of {wanted} pods updated to its current template{why}", counts.updated));
    }
    if counts.available < enough {
        return Some(format!("has {} of {wanted} pods available (minReadySeconds not over)", counts.available));
    }
    // A DaemonSet counts elsewhere the Pods on Nodes that should run none.
    if workload.kind != WorkloadKind::DaemonSet && (counts.replicas != *wanted || counts.updated != *wanted) {
        return Some(format!("still has {} where it wants {wanted}", pods(number(counts.replicas), "")));
    }
    if counts.ready > *wanted || counts.available > *wanted {
        return Some(format!("still counts {} where it wants {wanted}", pods(number(counts.ready), "ready")));
    }
    None
}

fn number(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// What the Pods say is missing although the status is content.
fn unserved(workload: &Workload, enough: u32, selector: &Selector, view: &ClusterView) -> Option<String> {
    let wanted = workload.wanted;
    let current: Vec<&Pod> = match workload.kind {
        WorkloadKind::Deployment => {
            let Some(replica_set) = view.current_replica_set(workload) else {
                let revision = workload.revision().unwrap_or("unknown");
                return Some(format!("has no ReplicaSet of its current revision ({revision})"));
            };
            view.pods_of(replica_set)
        }
        WorkloadKind::StatefulSet => {
            let Some(revision) = workload.update_revision.as_deref() else {
                return Some("has no update revision yet".to_owned());
            };
            let of_revision =
                |pod: &&Pod| pod.meta.labels.get("controller-revision-hash").map(String::as_str) == Some(revision);
            view.pods_of(workload).into_iter().filter(of_revision).collect()
        }
        WorkloadKind::DaemonSet | WorkloadKind::ReplicaSet => view.pods_of(workload),
    };
    let ready = current.iter().filter(|pod| pod.serves());
    let (serving, lost): (Vec<&Pod>, Vec<&Pod>) = ready.partition(|pod| selector.matches(&pod.meta.labels));
    let (serving, lost) = (serving.len(), lost.iter().map(|pod| &pod.meta.name).min());
    if serving >= number(enough) {
        return None;
    }
    if let Some(lost) = lost {
        let behind =
            format!("has {serving} of {wanted} ready pods with the labels that the selector {selector} asks for");
        return Some(format!("{behind} ({lost} has not)"));
    }
    let why = first_failing(workload, view).map(|failing| format!(" ({failing})")).unwrap_or_default();
    Some(format!("reports all ready, but only {serving} of {wanted} pods of its current template serve{why}"))
}

/// The first Pod by name that does not serve, with its trouble.
fn first_failing(workload: &Workload, view: &ClusterView) -> Option<String> {
    let failing = |pod: &&Pod| !pod.serves() && !pod.terminal && !pod.meta.deleting;
    let pod = view.pods_of(workload).into_iter().filter(failing).min_by(|a, b| a.meta.name.cmp(&b.meta.name))?;
    Some(format!("{}: {}", pod.meta.name, trouble(pod)))
}

/// Why a Pod does not serve.
#[must_use]
pub fn trouble(pod: &Pod) -> &str {
    if pod.meta.deleting {
        "is being deleted"
    } else if let Some(trouble) = &pod.trouble {
        trouble
    } else {
        "has no IP address"
    }
}
