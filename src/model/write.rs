//! The writes that flipguard knows. A new kind of object is one more variant, and its arms below.

use super::{ClusterView, Kind, Meta, Service, Template, Workload, WorkloadKind};

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A Service is changed.
    ServiceUpdate {
        /// As it is stored.
        old: Box<Service>,
        /// As it would be.
        new: Box<Service>,
    },
    /// A Service is created.
    ServiceCreate {
        /// As it would be.
        new: Box<Service>,
    },
    /// A Service is deleted.
    ServiceDelete {
        /// As it is stored.
        old: Box<Service>,
    },
    /// A workload is created.
    WorkloadCreate {
        /// As it would be.
        new: Box<Workload>,
    },
    /// A workload is changed.
    WorkloadUpdate {
        /// As it is stored.
        old: Box<Workload>,
        /// As it would be.
        new: Box<Workload>,
    },
    /// A workload is deleted, by whatever propagation policy.
    WorkloadDelete {
        /// As it is stored.
        old: Box<Workload>,
    },
    /// A workload is scaled by its subresource, which says neither labels nor status.
    Scale {
        /// What is scaled.
        kind: WorkloadKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// Its `resourceVersion`: a Scale has that of its workload.
        resource_version: String,
        /// How many Pods it desired.
        from: u32,
        /// `spec.replicas` after.
        to: u32,
    },
    /// Something that no rule speaks on.
    Other,
}

/// The object that a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl Write {
    /// The object that is written; `None` where no rule can apply.
    #[must_use]
    pub fn subject(&self) -> Option<Subject<'_>> {
        if let Self::Scale { kind, namespace, name, .. } = self {
            return Some(Subject { kind: Kind::Workload(*kind), namespace, name });
        }
        let meta = self.new_meta().or_else(|| self.old_meta())?;
        Some(Subject { kind: self.kind()?, namespace: &meta.namespace, name: &meta.name })
    }

    /// The kind of the object.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::ServiceUpdate { .. } | Self::ServiceCreate { .. } | Self::ServiceDelete { .. } => Some(Kind::Service),
            Self::WorkloadCreate { new: workload }
            | Self::WorkloadUpdate { new: workload, .. }
            | Self::WorkloadDelete { old: workload } => Some(Kind::Workload(workload.kind)),
            Self::Scale { kind, .. } => Some(Kind::Workload(*kind)),
            Self::Other => None,
        }
    }

    /// The metadata before the write; `None` on CREATE, and for a Scale, which does not carry it.
    #[must_use]
    pub fn old_meta(&self) -> Option<&Meta> {
        match self {
            Self::ServiceUpdate { old, .. } | Self::ServiceDelete { old } => Some(&old.meta),
            Self::WorkloadUpdate { old, .. } | Self::WorkloadDelete { old } => Some(&old.meta),
            Self::ServiceCreate { .. } | Self::WorkloadCreate { .. } | Self::Scale { .. } | Self::Other => None,
        }
    }

    /// The metadata after the write; `None` on DELETE, and for a Scale, which does not carry it.
    #[must_use]
    pub fn new_meta(&self) -> Option<&Meta> {
        match self {
            Self::ServiceUpdate { new, .. } | Self::ServiceCreate { new } => Some(&new.meta),
            Self::WorkloadUpdate { new, .. } | Self::WorkloadCreate { new } => Some(&new.meta),
            Self::ServiceDelete { .. } | Self::WorkloadDelete { .. } | Self::Scale { .. } | Self::Other => None,
        }
    }

    /// The metadata that counts for this write: the new one, of a deletion the old one, of a Scale the stored one.
    #[must_use]
    pub fn meta<'a>(&'a self, view: &'a ClusterView) -> Option<&'a Meta> {
        self.new_meta().or_else(|| self.old_meta()).or_else(|| self.stored(view).map(|workload| &workload.meta))
    }

    /// The Pod template before the write, of a new workload its first one.
    #[must_use]
    pub fn template<'a>(&'a self, view: &'a ClusterView) -> Option<&'a Template> {
        match self {
            Self::WorkloadCreate { new: workload }
            | Self::WorkloadUpdate { old: workload, .. }
            | Self::WorkloadDelete { old: workload } => Some(&workload.template),
            Self::Scale { .. } => self.stored(view).map(|workload| &*workload.template),
            Self::ServiceUpdate { .. } | Self::ServiceCreate { .. } | Self::ServiceDelete { .. } | Self::Other => None,
        }
    }

    /// The workload that a Scale is about, as it was read.
    #[must_use]
    pub fn stored<'a>(&self, view: &'a ClusterView) -> Option<&'a Workload> {
        match self {
            Self::Scale { kind, name, .. } => view.workload(*kind, name),
            _ => None,
        }
    }
}
