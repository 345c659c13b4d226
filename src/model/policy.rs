//! What an admin may set.

use super::ColourScheme;

/// How strict to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// How colours are marked.
    pub colours: ColourScheme,
    /// Whether denials deny.
    pub enforcement: Enforcement,
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
