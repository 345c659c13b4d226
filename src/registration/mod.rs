//! The webhook configurations: their content, and the reconciler that keeps them in place.

pub mod configuration;
pub mod lease;
pub mod reconciler;
pub mod self_check;
pub mod stored;
pub mod webhooks;
