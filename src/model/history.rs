//! The history of Services: their last flips and recent deletions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Proofs, Selector, Timestamp};

/// The flips, deletions and proofs on record for a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Records {
    /// The last flip of each Service.
    pub flips: Vec<Flip>,
    /// Recently deleted Services.
    pub tombstones: Vec<Tombstone>,
    /// The proofs of gates.
    pub proofs: Vec<Proofs>,
}

/// The last flip of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flip {
    /// `metadata.name` of the Service.
    pub service: String,
    /// `metadata.uid` of the Service. A later Service of the same name has another uid, and so no flip on record.
    pub uid: String,
    /// The selector before the flip.
    pub from: Selector,
    /// The selector after the flip.
    pub to: Selector,
    /// The time of the request.
    pub at: Timestamp,
    /// When the flips before it were requested that went back and forth between the same two selectors, the oldest first.
    /// Together with the age of the templates, they tell a rollback from a flip forward.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Timestamp>,
    /// Who asked for it.
    pub user: String,
    /// The field manager that asked for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
}

/// A Service that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tombstone {
    /// `metadata.name` of the Service.
    pub service: String,
    /// The last selector of the Service.
    pub selector: Selector,
    /// The time of the DELETE request.
    pub at: Timestamp,
    /// Whether the Service still exists. A Service of the same name can be created only after it is gone.
    #[serde(skip)]
    pub still_there: bool,
}

impl Tombstone {
    /// The time after a deletion for which a Service of the same name is compared with the deleted one.
    pub const COUNTS: Duration = Duration::from_secs(600);

    /// Whether the deletion is recent enough to count.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> bool {
        now.since(self.at) < Self::COUNTS
    }
}

impl Records {
    /// The last flip of a Service. It counts only while the object is the same and its selector is that of the flip.
    #[must_use]
    pub fn last_flip(&self, service: &super::Service) -> Option<&Flip> {
        self.flips.iter().find(|flip| {
            flip.service == service.meta.name && flip.uid == service.meta.uid && flip.to == *service.routed()
        })
    }

    /// The tombstone of the Service with this name, if it still counts.
    #[must_use]
    pub fn tombstone(&self, service: &str, now: Timestamp) -> Option<&Tombstone> {
        self.tombstones.iter().find(|tombstone| tombstone.service == service && tombstone.counts(now))
    }
}
