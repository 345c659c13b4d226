//! The index of the ledgers: one ConfigMap that names the ledger of each namespace by its uid.
//!
//! It is created before flipguard registers its webhooks for the first time. So an index that is missing later was lost,
//! and with it the knowledge which ledgers there were.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use tokio::time::{Instant, sleep, timeout_at};

use super::config_maps::{ConfigMaps, unread};
use crate::model::ReadFailure;

/// The name of the ConfigMap.
pub(super) const INDEX: &str = "flipguard-ledgers";

/// The index, and what this replica remembers of it.
pub(super) struct LedgerIndex {
    /// As for the ledgers.
    ttl: Duration,
    memory: Mutex<Memory>,
    /// The changes that are still to be written, in the order of their arrival.
    waiting: Mutex<Vec<Waiting>>,
    /// The one that writes. It writes the changes of all that wait.
    writer: tokio::sync::Mutex<()>,
    /// The number of the last change.
    last: AtomicU64,
}

#[derive(Debug, Default)]
struct Memory {
    /// Whether there was an index before.
    existed: bool,
    /// When this replica first saw that it was lost.
    lost: Option<Instant>,
}

/// A change of one namespace's entry.
#[derive(Debug, Clone)]
struct Waiting {
    number: u64,
    namespace: String,
    entry: Entry,
}

#[derive(Debug, Clone)]
enum Entry {
    /// Sets the ledger's uid.
    Put(String),
    /// Removes the entry where it still has this uid.
    Remove(String),
}

/// A change in the queue. It leaves the queue with the one that waits for it.
struct Ticket<'a> {
    index: &'a LedgerIndex,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.index.queue().retain(|waiting| waiting.number != self.number);
    }
}

impl LedgerIndex {
    pub(super) fn new(ttl: Duration) -> Self {
        let (memory, waiting) = (Mutex::default(), Mutex::default());
        Self { ttl, memory, waiting, writer: tokio::sync::Mutex::default(), last: AtomicU64::new(0) }
    }

    /// Creates the index where there was none before. Where one must have been, as the webhooks were registered, it was
    /// lost, and the time begins for which no ledger is used.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) async fn begin(
        &self,
        maps: &ConfigMaps,
        has_guarded: bool,
        deadline: Instant,
    ) -> Result<(), ReadFailure> {
        let found = maps.read("", INDEX, deadline).await?;
        let existed = {
            let mut memory = self.memory();
            memory.existed |= has_guarded || found.is_some();
            memory.lost = if found.is_some() { None } else { memory.lost.or_else(|| Some(Instant::now())) };
            memory.existed
        };
        if !existed {
            // On a conflict, another replica has created it.
            maps.create("", &maps.new_map(INDEX, BTreeMap::new()), deadline).await?;
            *self.memory() = Memory { existed: true, lost: None };
        }
        Ok(())
    }

    /// The index; `None` before the first ledger. After a loss, the index begins anew once no change that a ledger held can
    /// still be committed.
    ///
    /// # Errors
    /// When the index cannot be read, or was lost less than a ttl ago.
    pub(super) async fn read(
        &self,
        maps: &ConfigMaps,
        namespace: &str,
        deadline: Instant,
    ) -> Result<Option<ConfigMap>, ReadFailure> {
        if let Some(index) = maps.read(namespace, INDEX, deadline).await? {
            *self.memory() = Memory { existed: true, lost: None };
            return Ok(Some(index));
        }
        let since = {
            let mut memory = self.memory();
            if !memory.existed {
                return Ok(None);
            }
            *memory.lost.get_or_insert_with(Instant::now)
        };
        let rest = self.ttl.saturating_sub(since.elapsed());
        if !rest.is_zero() {
            return Err(lost(namespace, INDEX, rest));
        }
        tracing::warn!("the index of the ledgers was lost, and begins anew");
        let anew = maps.create(namespace, &maps.new_map(INDEX, BTreeMap::new()), deadline).await?;
        self.memory().lost = None;
        // On a conflict, another replica has begun it anew.
        if anew.is_some() { Ok(anew) } else { maps.read(namespace, INDEX, deadline).await }
    }

    /// Sets the uid of a namespace's ledger.
    ///
    /// # Errors
    /// When the index cannot be read or written.
    pub(super) async fn put(
        &self,
        maps: &ConfigMaps,
        namespace: &str,
        uid: String,
        deadline: Instant,
    ) -> Result<(), ReadFailure> {
        self.change(maps, namespace, Entry::Put(uid), deadline).await
    }

    /// Removes the entry of a namespace's ledger, where it still has this uid.
    ///
    /// # Errors
    /// When the index cannot be read or written.
    pub(super) async fn remove(
        &self,
        maps: &ConfigMaps,
        namespace: &str,
        uid: &str,
        deadline: Instant,
    ) -> Result<(), ReadFailure> {
        self.change(maps, namespace, Entry::Remove(uid.to_owned()), deadline).await
    }

    /// Queues a change, and waits until it is written. One write takes all changes that wait, so that many first changes
    /// at once do not conflict with each other.
    async fn change(
        &self,
        maps: &ConfigMaps,
        namespace: &str,
        entry: Entry,
        deadline: Instant,
    ) -> Result<(), ReadFailure> {
        let started = Instant::now();
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        self.queue().push(Waiting { number, namespace: namespace.to_owned(), entry });
        let ticket = Ticket { index: self, number };
        let Ok(_turn) = timeout_at(deadline, self.writer.lock()).await else {
            let seconds = started.elapsed().as_secs_f64();
            return Err(unread(namespace, format!("ConfigMap {INDEX} was not written within {seconds:.1} s")));
        };
        while ticket.is_waiting() {
            let all = self.queue().clone();
            if self.write(maps, namespace, &all, deadline).await? {
                self.queue().retain(|waiting| all.iter().all(|written| written.number != waiting.number));
            } else {
                sleep(pause()).await;
            }
        }
        Ok(())
    }

    /// Writes changes; `false` where another replica wrote first.
    async fn write(
        &self,
        maps: &ConfigMaps,
        namespace: &str,
        changes: &[Waiting],
        deadline: Instant,
    ) -> Result<bool, ReadFailure> {
        let stored = self.read(maps, namespace, deadline).await?;
        let exists = stored.is_some();
        let mut index = stored.unwrap_or_else(|| maps.new_map(INDEX, BTreeMap::new()));
        let before = index.data.clone();
        let data = index.data.get_or_insert_default();
        for Waiting { namespace, entry, .. } in changes {
            match entry {
                Entry::Put(uid) => drop(data.insert(namespace.clone(), uid.clone())),
                Entry::Remove(uid) if data.get(namespace) == Some(uid) => drop(data.remove(namespace)),
                Entry::Remove(_) => {}
            }
        }
        let written = match (exists, index.data == before) {
            (true, true) => return Ok(true),
            (true, false) => maps.replace(namespace, &index, deadline).await?,
            (false, _) => maps.create(namespace, &index, deadline).await?,
        };
        Ok(written.is_some())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    fn is_waiting(&self) -> bool {
        self.index.queue().iter().any(|waiting| waiting.number == self.number)
    }
}

/// A ConfigMap that was lost: the changes that it held may still be committed for the rest of a ttl.
pub(super) fn lost(namespace: &str, name: &str, rest: Duration) -> ReadFailure {
    let seconds = rest.as_secs() + 1;
    let why = format!(
        "ConfigMap {name} was deleted; for {seconds} s, changes that it held may still be committed, so dangerous changes \
         are denied"
    );
    ReadFailure { remedy: Some(format!("Retry in {seconds} s")), ..unread(namespace, why) }
}

/// The random pause after a conflict, so that two replicas do not collide again.
fn pause() -> Duration {
    Duration::from_micros(fastrand::u64(500..10_000))
}
