//! The table of rules: one row for each reason code.

use std::fmt;

use crate::model::Action;

/// Why something was found; shown to users by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The target matches nothing.
    TargetMissing,
    /// The target is not fully ready.
    TargetNotReady,
    /// What the verdict depends on could not be read.
    ClusterUnreadable,
}

/// Whether waiting helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// The same change may pass later, with nothing else done.
    NotYet,
    /// The change itself must be another one.
    Never,
}

impl Reason {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::TargetMissing, Self::TargetNotReady, Self::ClusterUnreadable];

    /// The stable code that messages, metrics and policies use.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::TargetMissing => "target-missing",
            Self::TargetNotReady => "target-not-ready",
            Self::ClusterUnreadable => "cluster-unreadable",
        }
    }

    /// What it does unless a policy says otherwise.
    #[must_use]
    pub fn default_action(self) -> Action {
        match self {
            Self::TargetMissing | Self::TargetNotReady | Self::ClusterUnreadable => Action::Deny,
        }
    }

    /// Whether waiting helps.
    #[must_use]
    pub fn patience(self) -> Patience {
        match self {
            Self::TargetMissing | Self::TargetNotReady | Self::ClusterUnreadable => Patience::NotYet,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
