//! What an installation is: names, permissions, and the manifests that an admin applies.

pub mod manifests;
mod permissions;
pub mod workload;

pub use permissions::{NEEDED, Permission};

/// The name of flipguard's Secret, ServiceAccount, roles, Service and registration.
pub const NAME: &str = "flipguard";

/// The port of flipguard's Service.
pub const SERVICE_PORT: u16 = 443;
