//! What the API server is told: the webhooks, who keeps them in place, and the manifests that an admin applies.

pub mod keeper;
pub mod lease;
pub mod manifests;
pub mod stored;
pub mod webhooks;
pub mod workload;
