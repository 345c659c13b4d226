//! The webhook configurations: their content, and the reconciler that keeps them in place.

pub mod compare;
pub mod configuration;
pub mod endpoint;
pub mod guarding;
pub mod lease;
pub mod plan;
mod policies;
mod policy_status;
pub mod probe;
mod programmed;
mod reach;
pub mod reconciler;
mod repairs;
pub mod selector;
pub mod self_check;
mod state;
pub mod stored;
pub mod webhooks;
