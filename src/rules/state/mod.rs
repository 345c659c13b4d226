//! Facts about a namespace, independent of any change: roles of Services, colours, serving Pods and readiness.
//!
//! - [`app`]: the app of a selector, and its colours
//! - [`roles`]: which Services carry traffic
//! - [`backends`]: the workloads and Pods that one selector matches
//! - `blue_green`: whether an app uses blue-green at all
//! - `traffic`: a traffic Service, with all that is asked about it
//! - [`readiness`]: what "fully ready" means
//! - `remaining`: the ready Pods that a change is sure to leave
//! - `past`: what the records tell; [`explain`](mod@explain): how a namespace is understood
//! - [`version`]: the version that an image names

pub mod app;
pub mod backends;
pub(crate) mod blue_green;
pub mod explain;
pub(crate) mod past;
pub mod readiness;
pub(crate) mod remaining;
pub mod roles;
pub(crate) mod traffic;
pub mod version;
