//! Facts about a namespace, independent of any change: roles of Services, colours, serving Pods and readiness.
//!
//! - [`roles`]: which Services carry traffic
//! - [`backends`]: the workloads and Pods that one selector matches
//! - `blue_green`: whether an app uses blue-green at all
//! - `traffic`: a traffic Service, with the facts that rules need about it
//! - [`readiness`]: the definition of "fully ready"
//! - `remaining`: the ready Pods that are sure to remain after a change
//! - [`version`]: the version that an image names

pub mod backends;
pub(crate) mod blue_green;
pub mod readiness;
pub(crate) mod remaining;
pub mod roles;
pub(crate) mod traffic;
pub mod version;
