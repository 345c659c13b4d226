//! The part of a cluster that was read to judge one change.

use std::collections::BTreeMap;

use super::{GateJob, GateRight, Meta, Owner, Pod, Records, Revision, Selector, Service, Workload, WorkloadKind};

/// A namespace, read after the request arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterView {
    /// All workloads, including the ReplicaSets of Deployments. In a large namespace, those of Deployments that the old and
    /// the new selector cannot match may be left out.
    pub workloads: Vec<Workload>,
    /// The revisions of all StatefulSets and DaemonSets. They are read if such a template changes, or if a flip may be
    /// a rollback.
    pub revisions: Vec<Revision>,
    /// All Pods that the old or the new selector can match.
    pub pods: Vec<Pod>,
    /// All Services of the namespace. They are read if a rule needs to know which Services select a workload.
    pub services: Vec<Service>,
    /// Whether the user has the verb `override`, by the name of the Service; an empty name is the whole namespace.
    pub may_override: BTreeMap<String, bool>,
    /// Whether an owner exists, by its uid, for owners that are neither workload, Service nor Pod. `None` where
    /// flipguard has no permission to read the owner.
    pub owners: BTreeMap<String, Option<bool>>,
    /// Whether the Rollout named by Argo Rollouts' annotation exists; `None` where it was not read.
    pub rollout_exists: Option<bool>,
    /// The Jobs with the label of a gate. They are read for a flip where a gate of kind Job applies.
    pub jobs: Vec<GateJob>,
    /// Whether the user has a right on a gate.
    pub gate_rights: BTreeMap<GateRight, bool>,
    /// The flips, deletions and proofs on record.
    pub records: Records,
    /// Failed reads. A rule that needs one of them denies, because unknown is not ready.
    pub failures: Vec<ReadFailure>,
    /// The completed reads. None of them is repeated.
    pub done: ReadRequest,
}

/// The reads to make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadRequest {
    /// All workloads, and the Pods with these labels. Empty labels request all Pods of the namespace.
    pub pods: Option<Selector>,
    /// All Services.
    pub services: bool,
    /// All revisions of StatefulSets and DaemonSets.
    pub revisions: bool,
    /// Whether the Rollout of this name exists.
    pub rollout: Option<String>,
    /// The owners to look up. They are neither workloads nor Services nor Pods.
    pub owners: Vec<Owner>,
    /// The Services on which the user's verb `override` is checked; an empty name is the whole namespace.
    pub permissions: Vec<String>,
    /// The Jobs with the label of a gate.
    pub jobs: bool,
    /// The rights on gates that are checked.
    pub gate_rights: Vec<GateRight>,
}

impl ReadRequest {
    /// The reads of this request that are not among the completed ones.
    #[must_use]
    pub fn without(self, done: &Self) -> Self {
        Self {
            pods: self.pods.filter(|_| done.pods.is_none()),
            services: self.services && !done.services,
            revisions: self.revisions && !done.revisions,
            rollout: self.rollout.filter(|_| done.rollout.is_none()),
            owners: self.owners.into_iter().filter(|owner| !done.owners.contains(owner)).collect(),
            permissions: self.permissions.into_iter().filter(|name| !done.permissions.contains(name)).collect(),
            jobs: self.jobs && !done.jobs,
            gate_rights: self.gate_rights.into_iter().filter(|right| !done.gate_rights.contains(right)).collect(),
        }
    }

    /// Whether no read is requested.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A failed read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFailure {
    /// The subject of the read, in the user's words: `pods in namespace shop`.
    pub what: String,
    /// The cause of the failure, in one line.
    pub why: String,
    /// The remedy, where one is known. After a failure of the API server, `None`: the client only retries.
    pub remedy: Option<String>,
}

/// The part of a view that lists an owner.
enum WhereOwnersAre {
    Workloads(WorkloadKind),
    Services,
    Pods,
    Elsewhere,
}

impl WhereOwnersAre {
    fn of(owner: &Owner) -> Self {
        match (owner.api_version.as_str(), owner.kind.as_str(), owner.workload_kind()) {
            ("apps/v1", _, Some(kind)) => Self::Workloads(kind),
            ("v1", "Service", _) => Self::Services,
            ("v1", "Pod", _) => Self::Pods,
            _ => Self::Elsewhere,
        }
    }
}

impl Owner {
    /// Whether the lists of a namespace cannot show the owner: it is neither a workload, Service nor Pod.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(WhereOwnersAre::of(self), WhereOwnersAre::Elsewhere)
    }
}

impl ReadFailure {
    /// A read that the API server did not answer in time or answered with an error.
    #[must_use]
    pub fn online(what: String, why: String) -> Self {
        Self { what, why, remedy: None }
    }
}

/// A view with no data but the failure.
impl From<ReadFailure> for ClusterView {
    fn from(failure: ReadFailure) -> Self {
        Self { failures: vec![failure], ..Self::default() }
    }
}

impl ClusterView {
    /// A namespace without objects. Only permissions are still to be read.
    #[must_use]
    pub fn of_an_empty_namespace() -> Self {
        let done =
            ReadRequest { pods: Some(Selector::nothing()), services: true, revisions: true, ..ReadRequest::default() };
        Self { done, ..Self::default() }
    }

    /// Adds the results of a further read.
    pub fn add(&mut self, more: Self) {
        let Self {
            workloads,
            revisions,
            pods,
            services,
            may_override,
            owners,
            rollout_exists,
            jobs,
            gate_rights,
            records: _,
            failures,
            done,
        } = more;
        self.workloads.extend(workloads);
        self.revisions.extend(revisions);
        self.pods.extend(pods);
        self.services.extend(services);
        self.may_override.extend(may_override);
        self.owners.extend(owners);
        self.rollout_exists = rollout_exists.or(self.rollout_exists);
        self.jobs.extend(jobs);
        self.gate_rights.extend(gate_rights);
        self.failures.extend(failures);
        self.done.pods = done.pods.or(self.done.pods.take());
        self.done.services |= done.services;
        self.done.revisions |= done.revisions;
        self.done.rollout = done.rollout.or(self.done.rollout.take());
        self.done.owners.extend(done.owners);
        self.done.permissions.extend(done.permissions);
        self.done.jobs |= done.jobs;
        self.done.gate_rights.extend(done.gate_rights);
    }

    /// The workload of this kind and name.
    #[must_use]
    pub fn workload(&self, kind: WorkloadKind, name: &str) -> Option<&Workload> {
        self.workloads.iter().find(|workload| workload.kind == kind && workload.meta.name == name)
    }

    /// The ReplicaSet that runs the current template of a Deployment. The Deployment controls it by uid, and both have
    /// the same revision number. After an undo, this is not the newest ReplicaSet.
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

    /// Whether an owner exists and is not being deleted. Like the garbage collector, this compares kind, name and uid
    /// in the same namespace. `None` where the answer is unknown.
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

    /// All Pods of a workload, whatever their revision.
    #[must_use]
    pub fn pods_of(&self, workload: &Workload) -> Vec<&Pod> {
        let owners = self.owners_of_pods(workload);
        let owned = |pod: &&Pod| pod.meta.controller.as_ref().is_some_and(|owner| owners.contains(&owner.uid.as_str()));
        self.pods.iter().filter(owned).collect()
    }

    /// The controller uids of a workload's Pods: its own uid, and those of its ReplicaSets.
    #[must_use]
    pub fn owners_of_pods<'a>(&'a self, workload: &'a Workload) -> Vec<&'a str> {
        let mut owners = vec![workload.meta.uid.as_str()];
        if workload.kind == WorkloadKind::Deployment {
            owners.extend(self.replica_sets_of(workload).map(|replica_set| replica_set.meta.uid.as_str()));
        }
        owners
    }
}
