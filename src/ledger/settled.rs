//! Settled changes: flips, creations and deletions of Services that have committed and are not in the history yet.

use serde::{Deserialize, Serialize};

use super::Intent;
use crate::model::{Selector, Timestamp};

/// The largest number of settled changes of one Service that wait for the history. Of more, the oldest are only counted.
pub(super) const MAX_SETTLED: usize = 64;

/// A change of a Service that has committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// The ids of its attempts. One of them has committed.
    pub ids: Vec<String>,
    /// `metadata.name` of the Service.
    pub service: String,
    /// `metadata.uid` of the Service.
    pub uid: String,
    /// `metadata.resourceVersion` that it started from; empty for a creation. At most one change of a Service commits from
    /// one version.
    pub base: String,
    /// What it did.
    pub act: SettledAct,
    /// The selector before.
    pub from: Selector,
    /// The selector after.
    pub to: Selector,
    /// The time of the request.
    pub at: Timestamp,
    /// Who asked for it.
    pub user: String,
    /// The field manager that asked for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
    /// How many changes of the Service were dropped before it, since nobody took them in time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u32,
}

/// What a settled change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettledAct {
    /// The Service was created.
    Created,
    /// The Service was deleted.
    Deleted,
    /// The Service routes to another colour.
    Flip,
    /// The annotations of the Service say that it is no longer to be guarded as traffic.
    OptedOut,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Settled {
    pub(super) fn of(intent: &Intent, act: SettledAct, from: Selector, to: Selector) -> Self {
        let Intent { ids, object, uid, base, user, manager, at, .. } = intent.clone();
        Self { ids, service: object.name, uid, base, act, from, to, at, user, manager, missed: 0 }
    }

    /// Whether both are the same change, seen twice.
    #[must_use]
    pub fn is(&self, uid: &str, base: &str) -> bool {
        self.uid == uid && self.base == base
    }
}

/// Adds a settled change, once. Of too many of one Service, the oldest is dropped and counted.
pub(super) fn add(all: &mut Vec<Settled>, new: Settled) {
    if all.iter().any(|one| one.is(&new.uid, &new.base) && one.act == new.act) {
        return;
    }
    let of_service = all.iter().filter(|one| one.service == new.service).count();
    if of_service >= MAX_SETTLED {
        let service = new.service.clone();
        drop_oldest(all, |one| one.service == service);
    }
    all.push(new);
}

/// Drops the oldest of these changes. The next one of its Service counts it. Returns whether there was one.
pub(super) fn drop_oldest(all: &mut Vec<Settled>, which: impl Fn(&Settled) -> bool) -> bool {
    let oldest = all.iter().enumerate().filter(|(_, one)| which(one)).min_by_key(|(at, one)| (one.at, *at));
    let Some((position, _)) = oldest else { return false };
    let dropped = all.remove(position);
    let next = all.iter_mut().filter(|one| one.service == dropped.service).min_by_key(|one| one.at);
    if let Some(next) = next {
        next.missed = next.missed.saturating_add(dropped.missed).saturating_add(1);
    }
    true
}
