//! What was read of a namespace.

use crate::model::{ClusterView, ReadFailure, Timestamp};

/// A namespace at one time.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The namespace.
    pub namespace: String,
    /// Its objects, and the records of its ledger.
    pub view: ClusterView,
    /// Whether the ledger was read. Without it, holds and rollbacks are not known.
    pub ledger: LedgerState,
    /// The API server's time of the reads.
    pub at: Timestamp,
}

/// Whether the ledger was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerState {
    /// It was read, or there is none.
    Read,
    /// It could not be read.
    Unread(ReadFailure),
}

impl Snapshot {
    /// What could not be read and would be needed to judge a change.
    #[must_use]
    pub fn failures(&self) -> &[ReadFailure] {
        &self.view.failures
    }

    /// Why the ledger could not be read.
    #[must_use]
    pub fn without_ledger(&self) -> Option<&ReadFailure> {
        match &self.ledger {
            LedgerState::Read => None,
            LedgerState::Unread(failure) => Some(failure),
        }
    }
}
