//! The workloads and Pods that one selector matches.

use std::collections::BTreeSet;

use crate::model::{ClusterView, Pod, Selector, Workload, WorkloadKind};

/// The workloads and Pods that a selector matches.
pub struct Backends<'a> {
    /// Workloads whose Pod template has the labels of the selector.
    pub workloads: Vec<&'a Workload>,
    /// Matched Pods without a matched workload: bare Pods, Pods of an operator's own kind, and Pods labelled at run
    /// time. Ended Pods and Pods that are being deleted are left out.
    pub unowned: Vec<&'a Pod>,
    /// Matched Pods whose owner was deleted. After a background DELETE of a Deployment, its ReplicaSet and Pods exist
    /// until the garbage collector deletes them.
    pub orphaned: Vec<&'a Pod>,
    /// Matched Pods that serve now.
    pub serving: Vec<&'a Pod>,
}

impl<'a> Backends<'a> {
    /// The backends of a selector.
    #[must_use]
    pub fn of(selector: &Selector, view: &'a ClusterView) -> Self {
        let workloads: Vec<&Workload> = view
            .workloads
            .iter()
            .filter(|workload| workload.stands_alone() && selector.matches(&workload.template.labels))
            .collect();
        let owners: BTreeSet<&str> = workloads.iter().flat_map(|workload| view.owners_of_pods(workload)).collect();
        let owned = |pod: &Pod| pod.meta.controller.as_ref().is_some_and(|owner| owners.contains(owner.uid.as_str()));
        let matched = || view.pods.iter().filter(|pod| selector.matches(&pod.meta.labels));
        let others = matched().filter(|pod| !pod.terminal && !pod.meta.deleting && !owned(pod));
        let (orphaned, unowned) = others.partition(|pod| is_orphaned(view, pod));
        Self { unowned, orphaned, serving: matched().filter(|pod| pod.serves()).collect(), workloads }
    }

    /// The number of matched Pods that serve now.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.serving.len()
    }

    /// The number of serving Pods without the orphaned ones.
    #[must_use]
    pub fn ready_with_owner(&self) -> usize {
        self.serving.iter().filter(|pod| !self.orphaned.iter().any(|orphaned| orphaned.meta == pod.meta)).count()
    }

    /// The workloads that want Pods and are not being deleted.
    pub fn wanted(&self) -> impl Iterator<Item = &'a Workload> {
        self.workloads.iter().copied().filter(|workload| workload.desired > 0 && !workload.meta.deleting)
    }

    /// Whether the selector matches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.unowned.is_empty() && self.orphaned.is_empty()
    }
}

/// Whether the owner of a Pod was deleted, or is being deleted. Owners of other API groups are not listed, so their
/// state is unknown. OpenKruise has its own StatefulSet and DaemonSet (`apps.kruise.io`).
fn is_orphaned(view: &ClusterView, pod: &Pod) -> bool {
    let Some(owner) = pod.meta.controller.as_ref().filter(|owner| owner.workload_kind().is_some()) else {
        return false;
    };
    let Some(found) = view.workloads.iter().find(|workload| workload.meta.uid == owner.uid) else { return true };
    if found.kind != WorkloadKind::ReplicaSet {
        return false;
    }
    let of_deployment =
        found.meta.controller.as_ref().filter(|above| above.workload_kind() == Some(WorkloadKind::Deployment));
    found.meta.deleting
        || of_deployment.is_some_and(|above| !view.workloads.iter().any(|workload| workload.meta.uid == above.uid))
}
