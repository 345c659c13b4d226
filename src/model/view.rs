//! What was read of a cluster to judge one change.

use std::collections::BTreeMap;

use super::{Pod, Records, Service, Workload, WorkloadKind};

/// A namespace as it was read after the request arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterView {
    /// All workloads, ReplicaSets that Deployments own included.
    pub workloads: Vec<Workload>,
    /// All Pods that the old or the new selector of the change can match.
    pub pods: Vec<Pod>,
    /// All Services of the namespace, where a label or a workload is at stake.
    pub services: Vec<Service>,
    /// Whether the user has the verb `override`, by the name of the Service that was asked about.
    pub may_override: BTreeMap<String, bool>,
    /// Whether the Rollout exists that Argo Rollouts' mark names; `None` where nobody asked.
    pub rollout_exists: Option<bool>,
    /// What is remembered: flips, and Services that were deleted.
    pub records: Records,
    /// What could not be read. A rule that needs it denies: unknown is not ready.
    pub unread: Vec<Unread>,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What, in the user's words: `pods in namespace shop`.
    pub what: String,
    /// Why, in one line.
    pub why: String,
    /// What to do about it.
    pub next_step: String,
}

impl Unread {
    /// Something that the API server did not give in time.
    #[must_use]
    pub fn online(what: String, why: String) -> Self {
        let next_step = "try again; if it stays, the cluster admin finds more in flipguard's log".to_owned();
        Self { what, why, next_step }
    }
}

impl ClusterView {
    /// The ReplicaSet that runs a Deployment's present template: the one that the Deployment controls by uid and
    /// whose revision equals its own. After an undo that is not the newest.
    #[must_use]
    pub fn current_replica_set<'a>(&'a self, deployment: &'a Workload) -> Option<&'a Workload> {
        let revision = deployment.revision()?;
        self.replica_sets_of(deployment).find(|replica_set| replica_set.revision() == Some(revision))
    }

    /// All ReplicaSets that a Deployment controls.
    pub fn replica_sets_of<'a>(&'a self, deployment: &'a Workload) -> impl Iterator<Item = &'a Workload> {
        self.workloads.iter().filter(move |workload| {
            workload.kind == WorkloadKind::ReplicaSet && workload.meta.is_controlled_by(&deployment.meta.uid)
        })
    }

    /// All Pods that belong to a workload, of whatever revision.
    #[must_use]
    pub fn pods_of(&self, workload: &Workload) -> Vec<&Pod> {
        let owners = self.owners_of_pods(workload);
        let owned = |pod: &&Pod| pod.meta.controller.as_ref().is_some_and(|owner| owners.contains(&owner.uid.as_str()));
        self.pods.iter().filter(owned).collect()
    }

    /// The uids that the Pods of a workload have as their controller: its own, and those of its ReplicaSets.
    #[must_use]
    pub fn owners_of_pods<'a>(&'a self, workload: &'a Workload) -> Vec<&'a str> {
        let mut owners = vec![workload.meta.uid.as_str()];
        if workload.kind == WorkloadKind::Deployment {
            owners.extend(self.replica_sets_of(workload).map(|replica_set| replica_set.meta.uid.as_str()));
        }
        owners
    }
}
