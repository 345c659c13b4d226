//! The writes that flipguard judges. A new kind of object needs one more variant, and its arms in the methods below.

use super::{ClusterView, GateJob, Kind, Meta, Service, Template, Workload, WorkloadKind};

/// A write, with the states of its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A Service is changed.
    ServiceUpdate {
        /// The stored Service.
        old: Box<Service>,
        /// The Service after the change.
        new: Box<Service>,
    },
    /// A Service is created.
    ServiceCreate {
        /// The Service to be stored.
        new: Box<Service>,
    },
    /// A Service is deleted.
    ServiceDelete {
        /// The stored Service.
        old: Box<Service>,
    },
    /// A workload is created.
    WorkloadCreate {
        /// The workload to be stored.
        new: Box<Workload>,
    },
    /// A workload is changed.
    WorkloadUpdate {
        /// The stored workload.
        old: Box<Workload>,
        /// The workload after the change.
        new: Box<Workload>,
    },
    /// A workload is deleted, under any propagation policy.
    WorkloadDelete {
        /// The stored workload.
        old: Box<Workload>,
    },
    /// A workload is scaled by its subresource `scale`, which carries neither its labels nor its status.
    Scale {
        /// The kind of the workload.
        kind: WorkloadKind,
        /// `metadata.namespace` of the workload.
        namespace: String,
        /// `metadata.name` of the workload.
        name: String,
        /// `metadata.uid` of the workload.
        uid: String,
        /// `metadata.resourceVersion`: a Scale has the version of its workload.
        resource_version: String,
        /// `spec.replicas` before the write.
        from: u32,
        /// `spec.replicas` after the write.
        to: u32,
    },
    /// A Job with the label of a gate is created.
    JobCreate {
        /// The Job to be stored.
        new: Box<GateJob>,
    },
    /// A Job that has the label of a gate, before or after, is changed.
    JobUpdate {
        /// The stored Job.
        old: Box<GateJob>,
        /// The Job after the change.
        new: Box<GateJob>,
    },
    /// A Job with the label of a gate is deleted.
    JobDelete {
        /// The stored Job.
        old: Box<GateJob>,
    },
    /// A write that no rule applies to.
    Other,
}

/// The object of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The kind: Service, one of the four workload kinds, or Job.
    pub kind: Kind,
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `metadata.name`.
    pub name: &'a str,
}

impl Write {
    /// The object of the write; `None` where no rule can apply.
    #[must_use]
    pub fn subject(&self) -> Option<Subject<'_>> {
        if let Self::Scale { kind, namespace, name, .. } = self {
            return Some(Subject { kind: Kind::Workload(*kind), namespace, name });
        }
        let meta = self.new_meta().or_else(|| self.old_meta())?;
        Some(Subject { kind: self.kind()?, namespace: &meta.namespace, name: &meta.name })
    }

    /// The kind of the object; `None` where no rule can apply.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::ServiceUpdate { .. } | Self::ServiceCreate { .. } | Self::ServiceDelete { .. } => Some(Kind::Service),
            Self::WorkloadCreate { new: workload }
            | Self::WorkloadUpdate { new: workload, .. }
            | Self::WorkloadDelete { old: workload } => Some(Kind::Workload(workload.kind)),
            Self::Scale { kind, .. } => Some(Kind::Workload(*kind)),
            Self::JobCreate { .. } | Self::JobUpdate { .. } | Self::JobDelete { .. } => Some(Kind::Job),
            Self::Other => None,
        }
    }

    /// The metadata before the write. `None` on CREATE, and for a Scale, which carries no metadata.
    #[must_use]
    pub fn old_meta(&self) -> Option<&Meta> {
        match self {
            Self::ServiceUpdate { old, .. } | Self::ServiceDelete { old } => Some(&old.meta),
            Self::WorkloadUpdate { old, .. } | Self::WorkloadDelete { old } => Some(&old.meta),
            Self::JobUpdate { old, .. } | Self::JobDelete { old } => Some(&old.meta),
            Self::ServiceCreate { .. }
            | Self::WorkloadCreate { .. }
            | Self::JobCreate { .. }
            | Self::Scale { .. }
            | Self::Other => None,
        }
    }

    /// The metadata after the write. `None` on DELETE, and for a Scale, which carries no metadata.
    #[must_use]
    pub fn new_meta(&self) -> Option<&Meta> {
        match self {
            Self::ServiceUpdate { new, .. } | Self::ServiceCreate { new } => Some(&new.meta),
            Self::WorkloadUpdate { new, .. } | Self::WorkloadCreate { new } => Some(&new.meta),
            Self::JobUpdate { new, .. } | Self::JobCreate { new } => Some(&new.meta),
            Self::ServiceDelete { .. }
            | Self::WorkloadDelete { .. }
            | Self::JobDelete { .. }
            | Self::Scale { .. }
            | Self::Other => None,
        }
    }

    /// The metadata that rules judge: the new one; the old one on DELETE; the stored one for a Scale.
    #[must_use]
    pub fn meta<'a>(&'a self, view: &'a ClusterView) -> Option<&'a Meta> {
        self.new_meta().or_else(|| self.old_meta()).or_else(|| self.stored(view).map(|workload| &workload.meta))
    }

    /// The Pod template before the write; on CREATE, the new one.
    #[must_use]
    pub fn template<'a>(&'a self, view: &'a ClusterView) -> Option<&'a Template> {
        match self {
            Self::WorkloadCreate { new: workload }
            | Self::WorkloadUpdate { old: workload, .. }
            | Self::WorkloadDelete { old: workload } => Some(&workload.template),
            Self::Scale { .. } => self.stored(view).map(|workload| &*workload.template),
            Self::ServiceUpdate { .. }
            | Self::ServiceCreate { .. }
            | Self::ServiceDelete { .. }
            | Self::JobCreate { .. }
            | Self::JobUpdate { .. }
            | Self::JobDelete { .. }
            | Self::Other => None,
        }
    }

    /// The stored workload of a Scale, from the view.
    #[must_use]
    pub fn stored<'a>(&self, view: &'a ClusterView) -> Option<&'a Workload> {
        match self {
            Self::Scale { kind, name, .. } => view.workload(*kind, name),
            _ => None,
        }
    }
}
