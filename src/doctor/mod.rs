//! What an admin wants to know when something seems wrong: is flipguard called, may it, and is what it serves trusted?
//!
//! Each check looks at one thing and never fails: what could not be looked at is said, too.

mod called;
mod certificate;
mod cluster;
mod registered;

use kube::Client;
use serde::Serialize;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Worth knowing, and in nobody's way.
    Warning,
    /// It could not be looked at.
    Unknown,
    /// It has to be mended.
    Broken,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about.
    pub check: &'static str,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub message: String,
    /// What to do about it; empty where there is nothing to do.
    #[serde(rename = "nextStep")]
    pub next_step: String,
}

/// Whom to run_checks.
#[derive(Debug, Clone)]
pub struct Target {
    /// flipguard's own namespace.
    pub namespace: String,
    /// Where to ask for the dry run of a write that flipguard must see.
    pub probe_namespace: String,
    /// The users that `serve` was told to exempt; `None` to take them from the Deployment.
    pub exempt_users: Option<Vec<String>>,
}

impl Check {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, health: Health::Ok, message: message.into(), next_step: String::new() }
    }

    fn of(check: &'static str, health: Health, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { check, health, message: message.into(), next_step: next_step.into() }
    }

    /// Whoever asks may not look, or nobody answers.
    fn unknown(check: &'static str, what: &str, error: &kube::Error) -> Self {
        let message = format!("cannot {what}: {}", crate::cluster::connect::one_line(error));
        Self::of(check, Health::Unknown, message, "ask as somebody who may, such as a cluster admin")
    }
}

/// Looks at everything.
pub async fn run_checks(client: &Client, target: &Target) -> Vec<Check> {
    let mut checks = vec![cluster::api_server(client).await, cluster::clock(client, &target.namespace).await];
    checks.push(cluster::rights(client, &target.namespace).await);
    let (replicas, args) = cluster::replicas(client, &target.namespace).await;
    checks.extend(replicas);
    let (identity, check) = certificate::stored(client, &target.namespace).await;
    checks.push(check);
    checks.extend(registered::both(client, target, identity.as_ref(), &args).await);
    checks.push(called::through_the_api_server(client, &target.probe_namespace).await);
    checks
}

/// The worst of all.
#[must_use]
pub fn worst(checks: &[Check]) -> Health {
    checks.iter().map(|check| check.health).max().unwrap_or(Health::Unknown)
}
