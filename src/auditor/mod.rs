//! The continuous audit: the last report as metrics, over HTTP.
//!
//! - `metrics`: a report as metrics, in the text format of OpenMetrics
//! - `server`: `/metrics` and the probes
//!
//! `cli::auditor` looks again and again, and `cluster::reports` writes reports into the cluster.

pub mod metrics;
pub mod server;
