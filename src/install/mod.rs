//! The installation: names, permissions, and the manifests that an admin applies.

pub mod auditor;
pub mod image;
pub mod manifests;
pub mod namespaces;
pub mod permissions;
pub mod policy;
pub mod workload;

pub use permissions::{Granted, Permission, Place, needed};

/// `metadata.name` of the Secret, ServiceAccount, roles, Service and webhook configurations.
pub const NAME: &str = "flipguard";

/// The command that prints the manifests of an installation. `url` is the address of a flipguard outside the cluster,
/// without which the output would be that of one inside.
#[must_use]
pub fn manifests_command(namespace: &str, url: Option<&str>) -> String {
    let url = url.map(|url| format!(" --external-url {url}")).unwrap_or_default();
    format!("flipguard manifests --namespace {namespace}{url}")
}

/// The Lease of the replica that keeps the registration and the statuses of policies.
pub const KEEPER_LEASE: &str = "flipguard-keeper";
/// The port of the Service.
pub const SERVICE_PORT: u16 = 443;

/// The name of the webhook that adds labels to Deployments.
pub const LABEL_WEBHOOK: &str = "label.flipguard.dev";
/// The name of the webhook that writes down what a Job tests.
pub const GATE_WEBHOOK: &str = "mark-gate-jobs.flipguard.dev";
/// The name of the webhook that shows whether the API server reaches flipguard. It matches only in flipguard's own
/// namespace.
pub const PROBE_WEBHOOK: &str = "probe.flipguard.dev";
/// The label of flipguard's own ConfigMaps.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "flipguard");
/// The first letters of the names of ledgers. The rest is the name of a namespace.
pub const LEDGER_PREFIX: &str = "ledger-";
/// The first letters of the names of histories. The rest is the name of a namespace.
pub const HISTORY_PREFIX: &str = "history-";
/// The first letters of the names of Leases, and of the index of the ledgers.
pub const LEASE_PREFIX: &str = "flipguard-";
