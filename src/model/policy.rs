//! The settings of an administrator.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ColourScheme;

/// The settings that rules depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The labels by which colours are marked.
    pub colours: ColourScheme,
    /// Whether a denial denies the request or only warns.
    pub enforcement: Enforcement,
    /// The time for which the previous colour is kept after a flip; 120 s by default.
    pub hold: Duration,
    /// The percentage of a colour's Pods that must be ready for a rollback to it; 50 by default.
    pub rollback_percent: u32,
    /// Whether labels are added to Deployments; true by default.
    pub labels: bool,
    /// The actions that differ from the table of rules, by reason code; none by default.
    pub actions: BTreeMap<String, Action>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            colours: ColourScheme::default(),
            enforcement: Enforcement::default(),
            hold: Duration::from_secs(120),
            rollback_percent: 50,
            labels: true,
            actions: BTreeMap::new(),
        }
    }
}

/// Whether a denial denies the request or only warns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// Denied changes are denied.
    #[default]
    Deny,
    /// Every denial becomes a warning, for a trial period.
    Warn,
}

/// The action of a rule's finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The finding is only logged; the user sees nothing.
    Audit,
    /// The user is warned, and the change is allowed.
    Warn,
    /// The change is denied.
    Deny,
}
