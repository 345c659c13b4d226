//! What was read of a cluster to judge one change.

use std::collections::BTreeMap;

use super::{Meta, Owner, Pod, Records, Revision, Service, Workload, WorkloadKind};

/// A namespace as it was read after the request arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterView {
    /// All workloads, ReplicaSets that Deployments own included.
    pub workloads: Vec<Workload>,
    /// The revisions of all StatefulSets and DaemonSets, where the template of one changes or a Service may go back.
    pub revisions: Vec<Revision>,
    /// All Pods that the old or the new selector of the change can match.
    pub pods: Vec<Pod>,
    /// All Services of the namespace, where a label or a workload is at stake.
    pub services: Vec<Service>,
    /// Whether the user has the verb `override`, by the name of the Service that was asked about.
    pub may_override: BTreeMap<String, bool>,
    /// Whether an owner exists that is no workload, Service or Pod, by its uid; `None` where flipguard may not look.
    pub owners: BTreeMap<String, Option<bool>>,
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

/// What of a view an owner is to be found in.
enum WhereOwnersAre {
    Workloads(WorkloadKind),
    Services,
    Pods,
    Elsewhere,
}

impl WhereOwnersAre {
    fn of(owner: &Owner) -> Self {
        let workload = WorkloadKind::ALL.into_iter().find(|kind| kind.name() == owner.kind);
        match (owner.api_version.as_str(), owner.kind.as_str(), workload) {
            ("apps/v1", _, Some(kind)) => Self::Workloads(kind),
            ("v1", "Service", _) => Self::Services,
            ("v1", "Pod", _) => Self::Pods,
            _ => Self::Elsewhere,
        }
    }
}

impl Owner {
    /// Whether a view of all that a namespace holds does not show whether it exists.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(WhereOwnersAre::of(self), WhereOwnersAre::Elsewhere)
    }
}

impl Unread {
    /// Something that the API server did not give in time.
    #[must_use]
    pub fn online(what: String, why: String) -> Self {
        let next_step = "try again; if it stays, the cluster admin finds more in flipguard's log".to_owned();
        Self { what, why, next_step }
    }
}

/// Nothing could be read.
impl From<Unread> for ClusterView {
    fn from(unread: Unread) -> Self {
        Self { unread: vec![unread], ..Self::default() }
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

    /// Whether an owner exists, and is to stay, as the garbage collector sees it: by kind, name and uid, in the same
    /// namespace. `None` where nobody knows.
    #[must_use]
    pub fn is_there(&self, owner: &Owner) -> Option<bool> {
        let is_it = |meta: &Meta| meta.uid == owner.uid && meta.name == owner.name && !meta.deleting;
        match WhereOwnersAre::of(owner) {
            WhereOwnersAre::Workloads(kind) => {
                Some(self.workloads.iter().any(|workload| workload.kind == kind && is_it(&workload.meta)))
            }
            WhereOwnersAre::Services => Some(self.services.iter().any(|service| is_it(&service.meta))),
            WhereOwnersAre::Pods => Some(self.pods.iter().any(|pod| is_it(&pod.meta))),
            WhereOwnersAre::Elsewhere => self.owners.get(&owner.uid).copied().flatten(),
        }
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
