//! What is remembered of a Service's past: its last flip, and that it was deleted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Selector, Timestamp};

/// What is remembered of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Records {
    /// The last flip of each Service.
    pub flips: Vec<Flip>,
    /// Services that were deleted not long ago.
    pub tombstones: Vec<Tombstone>,
}

/// The last flip of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flip {
    /// The Service.
    pub service: String,
    /// Its uid: a Service of the same name that is made later has another past.
    pub uid: String,
    /// What it selected before.
    pub from: Selector,
    /// What it selected from then on.
    pub to: Selector,
    /// When it was asked for.
    pub at: Timestamp,
    /// The time of the flip that this one takes back by its selectors. Whether it was a rollback also depends on the
    /// templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<Timestamp>,
    /// Who asked for it.
    pub user: String,
    /// The field manager that asked for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
}

/// A Service that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tombstone {
    /// The Service.
    pub service: String,
    /// What it selected.
    pub selector: Selector,
    /// When its deletion was asked for.
    pub at: Timestamp,
    /// Whether it is still there: what takes its place can be made only once it is gone.
    #[serde(skip)]
    pub still_there: bool,
}

impl Tombstone {
    /// For how long a Service that is made again is held against the one that was deleted.
    pub const COUNTS: Duration = Duration::from_secs(600);

    /// Whether it still counts.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> bool {
        now.since(self.at) < Self::COUNTS
    }
}

impl Records {
    /// The last flip of a Service, while it is still the same object and selects what it was flipped to.
    #[must_use]
    pub fn last_flip(&self, service: &super::Service) -> Option<&Flip> {
        self.flips.iter().find(|flip| {
            flip.service == service.meta.name && flip.uid == service.meta.uid && flip.to == *service.routed()
        })
    }

    /// The tombstone of a name.
    #[must_use]
    pub fn tombstone(&self, service: &str, now: Timestamp) -> Option<&Tombstone> {
        self.tombstones.iter().find(|tombstone| tombstone.service == service && tombstone.counts(now))
    }
}
