//! Whether flipguard guards the cluster.

/// Whether flipguard guards a cluster at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Guarding {
    /// It is registered and runs.
    #[default]
    Yes,
    /// It was never registered, or not any more.
    Never,
    /// It is registered and does not guard, for this reason.
    No(String),
    /// That cannot be read, for this reason.
    Unknown(String),
}

impl Guarding {
    /// Whether it guards; `None` where that is not known.
    #[must_use]
    pub fn is_known(&self) -> Option<bool> {
        match self {
            Self::Yes => Some(true),
            Self::Never | Self::No(_) => Some(false),
            Self::Unknown(_) => None,
        }
    }

    /// Why it does not guard, or why that is not known.
    #[must_use]
    pub fn why_not(&self) -> Option<&str> {
        match self {
            Self::Yes => None,
            Self::Never => Some("flipguard is not registered in this cluster"),
            Self::No(why) | Self::Unknown(why) => Some(why),
        }
    }
}
