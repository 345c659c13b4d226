//! The installation: names, permissions, and the manifests that an admin applies.

pub mod manifests;
pub mod namespaces;
mod permissions;
pub mod workload;

pub use permissions::{NEEDED, Permission};

/// `metadata.name` of the Secret, ServiceAccount, roles, Service and webhook configurations.
pub const NAME: &str = "flipguard";

/// The port of the Service.
pub const SERVICE_PORT: u16 = 443;
