//! The listeners: reviews over TLS, probes and metrics in the clear. Given a judge, it knows no cluster.

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

/// A verdict, and what it took.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// How many reads it asked of the API server.
    pub reads: u32,
    /// How many writes of the ledger.
    pub writes: u32,
}

impl From<Verdict> for Judgement {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, reads: 0, writes: 0 }
    }
}

/// Something that judges changes.
pub trait Judge: Send + Sync + 'static {
    /// Judges one change; whatever it reads, it has read by the deadline.
    fn judge(&self, change: &Change, deadline: Instant) -> impl Future<Output = Judgement> + Send;

    /// What to put into an object that is written, and what to warn of.
    fn label(&self, change: &Change, deadline: Instant) -> impl Future<Output = (Verdict, Vec<Put>)> + Send;
}
