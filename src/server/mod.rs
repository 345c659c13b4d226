//! The listeners: reviews over TLS, probes and metrics over plain HTTP. They get a judge, and know no cluster.

pub mod credentials;
mod deadline;
mod limit;
pub mod listen;
pub mod plain;
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

/// A verdict and its cost.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The reads that the API server was asked for.
    pub reads: u32,
    /// The writes of the ledger.
    pub writes: u32,
}

impl From<Verdict> for Judgement {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, reads: 0, writes: 0 }
    }
}

/// Judges changes.
pub trait Validate: Send + Sync + 'static {
    /// Judges one change. All its reads end by the deadline.
    fn judge(&self, change: &Change, deadline: Instant) -> impl Future<Output = Judgement> + Send;
}

/// Adds to the objects that are written.
pub trait Mutate: Send + Sync + 'static {
    /// The values to put into an object that is written, and the warnings.
    fn label(&self, change: &Change, deadline: Instant) -> impl Future<Output = (Verdict, Vec<Put>)> + Send;
}

/// Both webhooks.
pub trait Judge: Validate + Mutate {}

impl<T: Validate + Mutate> Judge for T {}
