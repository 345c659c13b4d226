//! Policies: what an administrator says by `BlueGreenPolicy` objects, and the settings that count for a namespace.
//!
//! - `resource`: the custom resource, as Rust types; its CRD is generated from them
//! - `value`: the values in it: rule codes, lengths of time, label keys
//! - `selector`: which namespaces a policy selects
//! - `read`: policies as they are stored, read one by one
//! - `merge`: among the policies that select a namespace, the strictest of what is said; `stricter`: of two settings
//! - `effective`: the settings of one namespace, and what is unknown about them
//! - `census`: the namespaces and Services of a cluster, as the status of a policy counts them
//! - `schema`: what the API server would refuse in a policy
//! - `explain`: each setting, its value, and who says it
//!
//! Nothing here does I/O. The rules get the result as `model::Policy`, and know no custom resource.

pub mod census;
pub mod effective;
pub mod explain;
#[cfg(test)]
mod laws;
pub mod merge;
pub mod read;
pub mod resource;
pub mod schema;
pub mod selector;
mod stricter;
pub mod value;

pub use effective::effective;
pub use read::{Policies, Stored};
pub use resource::{BlueGreenPolicy, BlueGreenPolicySpec};
