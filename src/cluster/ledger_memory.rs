//! What this replica has observed of each namespace's ledger. Losing it costs time, never safety.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::clock;
use super::ledger_store::StoredLedger;
use crate::ledger::Ledger;
use crate::model::Timestamp;

/// A remembered ledger is taken for the stored one if that was right so often in succession. Where replicas share the
/// changes of a namespace, it never is.
const TRUSTED: u8 = 2;
/// How long a ledger is remembered.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// The most ledgers that are remembered at the same time.
const MOST_REMEMBERED: usize = 64;
/// The most intents of a ledger that is remembered: with so few, there is room for another one.
const FEW_INTENTS: usize = 8;

/// The observations of all namespaces with a ledger.
pub(super) struct LedgerMemory {
    /// The longest time from the admission of an attempt to its commit.
    ttl: Duration,
    of: Mutex<HashMap<String, Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The ledger's uid in the index.
    named: Option<String>,
    /// The API server's time when the ledger was last read.
    seen: Option<Timestamp>,
    /// When this replica first saw each attempt.
    watched: HashMap<String, Instant>,
    /// When this replica first saw that the ledger was lost.
    lost: Option<Instant>,
    /// The ledger that this replica wrote last, as far as it knows, and when.
    own: Option<(StoredLedger, Instant)>,
    /// How often in succession a read has shown that ledger.
    trust: u8,
}

impl LedgerMemory {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, of: Mutex::default() }
    }

    /// The uid of a ledger in the index.
    pub(super) fn named(&self, namespace: &str) -> Option<String> {
        self.all().get(namespace).and_then(|memory| memory.named.clone())
    }

    /// The API server's time when a ledger was last read.
    pub(super) fn seen(&self, namespace: &str) -> Option<Timestamp> {
        self.all().get(namespace).and_then(|memory| memory.seen)
    }

    /// When this replica first saw that a ledger was lost: now, unless it was before.
    pub(super) fn lost_since(&self, namespace: &str) -> Instant {
        *self.all().entry(namespace.to_owned()).or_default().lost.get_or_insert_with(Instant::now)
    }

    /// Forgets a namespace.
    pub(super) fn forget(&self, namespace: &str) {
        self.all().remove(namespace);
    }

    /// Notes a ledger that was read.
    pub(super) fn saw(&self, namespace: &str, ledger: Ledger, uid: String, version: String) -> StoredLedger {
        let mut all = self.all();
        let memory = all.entry(namespace.to_owned()).or_default();
        memory.lost = None;
        memory.named = Some(uid.clone());
        memory.seen = Some(clock::now());
        let is_own = memory.own.as_ref().is_some_and(|(own, _)| own.version == version);
        memory.trust = if is_own { memory.trust.saturating_add(1) } else { 0 };
        let expired = memory.expired(&ledger, self.ttl);
        StoredLedger { ledger, expired, uid, version }
    }

    /// Notes a ledger that this replica has written, with its version; `None` where another replica was faster.
    pub(super) fn wrote(&self, namespace: &str, ledger: &Ledger, uid: &str, version: Option<&str>) {
        let mut all = self.all();
        all.values_mut().filter(|memory| memory.is_old()).for_each(|memory| memory.own = None);
        let is_full = all.values().filter(|memory| memory.own.is_some()).count() >= MOST_REMEMBERED;
        let Some(memory) = all.get_mut(namespace) else { return };
        let has_room = (!is_full || memory.own.is_some()) && ledger.intents.len() <= FEW_INTENTS;
        if version.is_none() {
            memory.trust = 0;
        }
        memory.own = version.filter(|_| has_room).map(|version| {
            let (uid, version) = (uid.to_owned(), version.to_owned());
            (StoredLedger { ledger: ledger.clone(), expired: BTreeSet::new(), uid, version }, Instant::now())
        });
    }

    /// The ledger that this replica wrote last, where it is probably still stored.
    pub(super) fn remembered(&self, namespace: &str) -> Option<StoredLedger> {
        let mut all = self.all();
        let memory = all.get_mut(namespace).filter(|memory| memory.trust >= TRUSTED && memory.lost.is_none())?;
        let own = memory.own.clone().filter(|_| !memory.is_old())?.0;
        let expired = memory.expired(&own.ledger, self.ttl);
        Some(StoredLedger { expired, ..own })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Whether the ledger that is remembered was written too long ago.
    fn is_old(&self) -> bool {
        self.own.as_ref().is_some_and(|(_, at)| at.elapsed() >= REMEMBERED_FOR)
    }

    /// Notes the attempts of a ledger, forgets all others, and returns the ids of those that are older than the ttl.
    fn expired(&mut self, ledger: &Ledger, ttl: Duration) -> BTreeSet<String> {
        let ids: BTreeSet<&String> = ledger.intents.iter().flat_map(|intent| &intent.ids).collect();
        self.watched.retain(|id, _| ids.contains(id));
        for id in ids {
            self.watched.entry(id.clone()).or_insert_with(Instant::now);
        }
        self.watched.iter().filter(|(_, since)| since.elapsed() >= ttl).map(|(id, _)| id.clone()).collect()
    }
}
