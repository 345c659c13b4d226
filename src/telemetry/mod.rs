//! Log lines and metrics.

pub mod log;
mod mask;
pub mod metrics;

pub use mask::mask;
pub use metrics::Metrics;
