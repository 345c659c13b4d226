//! The state of the registration, in words.

use super::reconciler::Config;
use super::stored::{SUSPEND, hand_over};
use crate::model::Enforcement;

/// The state of the registration, or of one of its two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// The configuration is as this version renders it, with these additions of others.
    InPlace(Vec<String>),
    /// A newer version, which is named, has rendered the configuration, and one of its replicas holds the Lease.
    Newer(String),
    /// A newer version, which is named, has rendered the configuration, and none of its replicas runs.
    Abandoned(String),
    /// The API server was not yet seen to reach flipguard, for this reason.
    Unreached(String),
    /// The configuration is not in place, for this reason.
    Waiting(String),
    /// The configuration is not as this version renders it, and another replica holds the Lease.
    Standby(String),
    /// Another installation keeps the configuration, as this says.
    Another(String),
    /// An admin has suspended the configuration, for this reason.
    Suspended(String),
    /// The configuration cannot be read, for this reason.
    Unknown(String),
}

impl State {
    /// The state of both configurations. Nothing is guarded without the validating one, so its trouble comes first.
    pub(super) fn of_both(validating: Self, mutating: Self) -> Self {
        match (validating, mutating) {
            (Self::InPlace(mut additions), Self::InPlace(more)) => {
                additions.extend(more);
                additions.sort();
                additions.dedup();
                Self::InPlace(additions)
            }
            (Self::InPlace(_), mutating) => mutating,
            (validating, _) => validating,
        }
    }

    /// Whether the registration is in place, and somebody keeps it; `None` where that is not known.
    pub(super) fn is_registered(&self) -> Option<bool> {
        match self {
            Self::InPlace(_) | Self::Newer(_) => Some(true),
            Self::Unknown(_) => None,
            _ => Some(false),
        }
    }

    /// Whether the next try is worth a hurry.
    pub(super) fn passes_soon(&self) -> bool {
        matches!(self, Self::Waiting(_) | Self::Unreached(_))
    }

    /// Why flipguard does not guard, in one line; `None` where it does, or where another replica sees to it.
    pub(super) fn why_not(&self) -> Option<String> {
        Some(match self {
            Self::InPlace(_) | Self::Newer(_) | Self::Standby(_) => return None,
            Self::Unreached(why) => format!("not registered: the API server does not reach flipguard: {why}"),
            Self::Waiting(why) => format!("not registered: {why}"),
            Self::Abandoned(by) => format!("nobody keeps the registration, which version {by} has rendered"),
            Self::Another(why) => format!("another flipguard owns the registration: {why}"),
            Self::Suspended(why) => format!("suspended: {why}"),
            Self::Unknown(why) => why.clone(),
        })
    }

    /// Writes one log line.
    pub(super) fn log(&self, config: &Config) {
        let Config { address, own_namespace, .. } = config;
        match self {
            Self::InPlace(additions) => tracing::info!(
                %address,
                failure_policy = if config.enforcement == Enforcement::Deny { "Fail" } else { "Ignore" },
                exempt_namespaces = said(&config.exempt_namespaces),
                additions = said(additions),
                "registered: flipguard guards"
            ),
            Self::Newer(by) => tracing::info!(by, "registered by a newer flipguard, whose replicas keep it"),
            Self::Abandoned(by) => tracing::warn!(
                by,
                "a newer flipguard has rendered the registration, and none of its replicas holds the Lease; this \
                 version takes over in {}",
                humantime::format_duration(config.takeover)
            ),
            Self::Unreached(why) => tracing::warn!(
                why,
                %address,
                "not registered: the API server does not reach flipguard, so nothing is denied or guarded; see docs/\
                 operations.md, `my webhook does not answer`"
            ),
            Self::Waiting(why) => tracing::warn!(why, "not registered: flipguard does not guard yet"),
            Self::Standby(why) => tracing::info!(why, "another replica keeps the registration"),
            Self::Another(why) => tracing::warn!(
                why,
                "another flipguard owns the registration: this one does not guard; to hand it over to this one: {}",
                hand_over(own_namespace)
            ),
            Self::Suspended(why) => tracing::warn!(why, "suspended: flipguard does not guard"),
            Self::Unknown(why) => tracing::warn!(why, "cannot read the registration"),
        }
    }

    /// The state of a configuration that an admin has suspended.
    pub(super) fn suspended(kind: &str, name: &str, why: &str) -> Self {
        Self::Suspended(format!("{SUSPEND} on {kind} {name}: {why}"))
    }
}

fn said(texts: &[String]) -> Option<String> {
    (!texts.is_empty()).then(|| texts.join(", "))
}
