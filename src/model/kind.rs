//! The kinds of object that the rules judge.

use std::fmt;

use super::WorkloadKind;

/// A Service, a workload, or a Job that is a test for a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// One of the four kinds that run Pods.
    Workload(WorkloadKind),
    /// `batch/v1` Job with the label of a gate.
    Job,
}

impl Kind {
    /// The kind as manifests spell it: `Deployment`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Workload(kind) => kind.name(),
            Self::Job => "Job",
        }
    }

    /// The resource name as `kubectl` takes it before a slash: `deployment`.
    #[must_use]
    pub fn singular(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Workload(kind) => kind.singular(),
            Self::Job => "job",
        }
    }

    /// The API group and version, such as `apps/v1`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Service => "v1",
            Self::Workload(_) => "apps/v1",
            Self::Job => "batch/v1",
        }
    }

    /// The Service or workload kind with this resource name, such as `deployment`.
    #[must_use]
    pub fn of_singular(singular: &str) -> Option<Self> {
        let workloads = WorkloadKind::ALL.into_iter().map(Self::Workload);
        workloads.chain([Self::Service]).find(|kind| kind.singular() == singular)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
