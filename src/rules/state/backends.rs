//! What one selector matches.

use std::collections::BTreeSet;

use crate::model::{ClusterView, Pod, Selector, Workload, WorkloadKind};

/// The workloads and Pods that a selector matches.
pub struct Fleet<'a> {
    /// Workloads whose Pod template carries what the selector asks for.
    pub workloads: Vec<&'a Workload>,
    /// Matched Pods that no matched workload owns: bare ones, those of an operator's own kind, those that got
    /// their labels at run time. Ones that have ended, or are on their way out, are left out.
    pub standing: Vec<&'a Pod>,
    /// Matched Pods that are about to go, because what owned them is gone: after a background DELETE of a Deployment, its
    /// ReplicaSet and Pods live on for a moment.
    pub leaving: Vec<&'a Pod>,
    /// Matched Pods that serve now.
    pub serving: Vec<&'a Pod>,
}

impl<'a> Fleet<'a> {
    /// The fleet of a selector.
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
        let unowned = matched().filter(|pod| !pod.terminal && !pod.meta.deleting && !owned(pod));
        let (leaving, standing) = unowned.partition(|pod| lost_its_owner(view, pod));
        Self { standing, leaving, serving: matched().filter(|pod| pod.serves()).collect(), workloads }
    }

    /// How many matched Pods serve now.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.serving.len()
    }

    /// How many of those are not about to go.
    #[must_use]
    pub fn lasting(&self) -> usize {
        self.serving.iter().filter(|pod| !self.leaving.iter().any(|leaving| leaving.meta == pod.meta)).count()
    }

    /// Whether the selector matches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.standing.is_empty() && self.leaving.is_empty()
    }
}

/// Whether what owned a Pod is gone, or on its way out.
fn lost_its_owner(view: &ClusterView, pod: &Pod) -> bool {
    let Some(owner) = &pod.meta.controller else { return false };
    if owner.kind != WorkloadKind::ReplicaSet.name() {
        return WorkloadKind::ALL.iter().any(|kind| kind.name() == owner.kind)
            && !view.workloads.iter().any(|workload| workload.meta.uid == owner.uid);
    }
    let Some(replica_set) = view.workloads.iter().find(|workload| workload.meta.uid == owner.uid) else { return true };
    let Some(above) = &replica_set.meta.controller else { return replica_set.meta.deleting };
    let is_deployment = above.kind == WorkloadKind::Deployment.name();
    replica_set.meta.deleting
        || (is_deployment && !view.workloads.iter().any(|workload| workload.meta.uid == above.uid))
}
