//! What flipguard tells of itself: log lines and metrics.

pub mod log;
pub mod metrics;

pub use metrics::Metrics;
