//! The listeners: reviews over TLS, probes and metrics over plain HTTP. They get a judge, and know no cluster.

pub mod credentials;
mod deadline;
pub mod listen;
pub mod readiness;
pub mod review;
mod status;

use std::future::Future;

use tokio::time::Instant;

pub use credentials::Credentials;
pub use listen::{Listeners, ServeError};
pub use readiness::Readiness;

use crate::labels::Put;
use crate::model::Change;
use crate::rules::Verdict;

/// A verdict, and the number of requests that it took.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Reads from the API server.
    pub reads: u32,
    /// Writes of the ledger.
    pub writes: u32,
}

impl From<Verdict> for Judgement {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, reads: 0, writes: 0 }
    }
}

/// Judges changes.
pub trait Judge: Send + Sync + 'static {
    /// Judges one change. All reads end by the deadline.
    fn judge(&self, change: &Change, deadline: Instant) -> impl Future<Output = Judgement> + Send;

    /// The labels to add to a written object, and the warnings about them.
    fn label(&self, change: &Change, deadline: Instant) -> impl Future<Output = (Verdict, Vec<Put>)> + Send;
}
