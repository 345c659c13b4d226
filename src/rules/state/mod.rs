//! What is true of a namespace, without any change: its traffic Services, what stands behind them, and whether it is ready.

pub mod backends;
pub(crate) mod blue_green;
pub mod readiness;
pub(crate) mod remaining;
pub(crate) mod traffic;
pub mod version;
