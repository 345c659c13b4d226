//! What the API server is told: the webhooks, and who keeps them in place.

pub mod lease;
pub mod reconciler;
pub mod stored;
pub mod webhooks;
