//! What an admin may set.

use std::time::Duration;

use super::ColourScheme;

/// How strict to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How colours are marked.
    pub colours: ColourScheme,
    /// Whether denials deny.
    pub enforcement: Enforcement,
    /// For how long the colour before a flip is held.
    pub hold: Duration,
    /// How many of a hundred Pods must be ready to go back to the colour before.
    pub rollback_percent: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            colours: ColourScheme::default(),
            enforcement: Enforcement::default(),
            hold: Duration::from_secs(120),
            rollback_percent: 50,
        }
    }
}

/// Whether denials deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// A refused change is refused.
    #[default]
    Deny,
    /// Every denial becomes a warning: the trial week.
    Warn,
}

/// What a rule's finding does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing that the user sees; it is logged.
    Audit,
    /// The user is warned, and the change goes on.
    Warn,
    /// The change is refused.
    Deny,
}
