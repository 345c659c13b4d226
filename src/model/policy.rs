//! What an admin may set.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ColourScheme;

/// How strict to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How colours are marked.
    pub colours: ColourScheme,
    /// Whether denials deny.
    pub enforcement: Enforcement,
    /// How long the previous colour is kept after a flip.
    pub hold: Duration,
    /// The percentage of a colour's Pods that must be ready for a rollback to it.
    pub rollback_percent: u32,
    /// The actions that differ from the table of rules, by reason code.
    pub actions: BTreeMap<String, Action>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            colours: ColourScheme::default(),
            enforcement: Enforcement::default(),
            hold: Duration::from_secs(120),
            rollback_percent: 50,
            actions: BTreeMap::new(),
        }
    }
}

/// Whether denials deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// A denied change is denied.
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
    /// The change is denied.
    Deny,
}
