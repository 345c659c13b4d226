//! The store of the ledgers: one ConfigMap for each namespace with traffic Services, and an index, in flipguard's own
//! namespace.
//!
//! The index names each ledger by its uid, before the ledger is first used. A ledger that is in the index and missing was
//! lost. So was one that this replica knows, where the index has no entry either, and so were all where the index is
//! missing. Dangerous changes are then denied until no write that the ledger may have held can be committed any more.
//! Any other ledger that is not in the index is new.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use super::config_maps::{ConfigMaps, is_managed, unread};
use super::ledger_index::{LedgerIndex, lost};
use super::ledger_memory::LedgerMemory;
use crate::install::MANAGED_BY;
use crate::ledger::{Ledger, LedgerError};
use crate::model::ReadFailure;

/// The ledgers of a cluster, and what this replica remembers of them.
pub struct LedgerStore {
    pub(super) client: Client,
    pub(super) maps: ConfigMaps,
    pub(super) index: LedgerIndex,
    /// The longest time from the admission of an attempt to its commit, which is the one assumption on time. It must
    /// exceed the API server's `--request-timeout` (60 s).
    ttl: Duration,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    pub(super) memory: LedgerMemory,
}

/// A ledger as it is stored.
#[derive(Debug, Clone)]
pub struct StoredLedger {
    /// The content.
    pub ledger: Ledger,
    /// The ids of attempts that are too old to be committed.
    pub expired: BTreeSet<String>,
    pub(super) uid: String,
    pub(super) version: String,
}

impl LedgerStore {
    /// A store in flipguard's own namespace.
    #[must_use]
    pub fn new(client: Client, own_namespace: &str, ttl: Duration) -> Self {
        let (maps, index) = (ConfigMaps::new(client.clone(), own_namespace), LedgerIndex::new(ttl));
        Self { client, maps, index, ttl, turns: Mutex::default(), memory: LedgerMemory::new(ttl) }
    }

    /// Begins to use the ledgers, before flipguard registers its webhooks. `has_guarded` says that they were registered
    /// before, so that there must be an index.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn begin(&self, has_guarded: bool, deadline: Instant) -> Result<(), ReadFailure> {
        self.index.begin(&self.maps, has_guarded, deadline).await
    }

    /// Waits for this request's turn with a namespace's ledger. Requests of one replica take turns in the order of
    /// their arrival, so that they do not conflict with each other.
    ///
    /// # Errors
    /// When the turn does not come by the deadline.
    pub async fn acquire_turn(&self, namespace: &str, deadline: Instant) -> Result<OwnedMutexGuard<()>, ReadFailure> {
        let started = Instant::now();
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(namespace.to_owned()).or_default().clone()
        };
        let waited = timeout_at(deadline, turn.lock_owned()).await;
        waited.map_err(|_| {
            let seconds = started.elapsed().as_secs_f64();
            unread(namespace, format!("too many changes at once, no turn within {seconds:.1} s"))
        })
    }

    /// Reads a namespace's ledger; `None` where there is none yet.
    ///
    /// # Errors
    /// When the ledger cannot be read, is not flipguard's, or was lost less than a ttl ago.
    pub async fn read(&self, namespace: &str, deadline: Instant) -> Result<Option<StoredLedger>, ReadFailure> {
        let map = self.maps.read(namespace, &ledger_name(namespace), deadline).await?;
        let uid = map.as_ref().and_then(|map| map.metadata.uid.clone()).unwrap_or_default();
        // Namespaces without a ledger are not remembered: the memory grows with ledgers, not with the cluster.
        let known = self.memory.named(namespace);
        if map.is_none() || known.as_ref() != Some(&uid) {
            if known.is_some() {
                // If it turns out to be lost, its time begins now, also where the index is lost as well.
                self.memory.lost_since(namespace);
            }
            match self.named(namespace, deadline).await? {
                Some(named) if map.is_some() && named == uid => {}
                Some(_) => return Err(self.recover_lost(namespace, map.as_ref(), deadline).await),
                None if known.is_some() && !self.is_new(namespace, deadline).await? => {
                    return Err(self.recover_lost(namespace, map.as_ref(), deadline).await);
                }
                None => {
                    self.memory.forget(namespace);
                    return Ok(None);
                }
            }
        }
        let Some(map) = map else { return Ok(None) };
        let ledger = self.parse(namespace, &map)?;
        let version = map.metadata.resource_version.unwrap_or_default();
        Ok(Some(self.memory.saw(namespace, ledger, uid, version)))
    }

    /// The ledger that this replica wrote last, where it is probably still stored. Whether it is, a write over it shows.
    pub fn remembered(&self, namespace: &str) -> Option<StoredLedger> {
        self.memory.remembered(namespace)
    }

    /// Looks at a namespace's ledger, and judges nothing by it: the index is not asked. `None` where there is none.
    ///
    /// # Errors
    /// When the ledger cannot be read, or is not flipguard's.
    pub async fn look(&self, namespace: &str, deadline: Instant) -> Result<Option<Ledger>, ReadFailure> {
        let map = self.maps.read(namespace, &ledger_name(namespace), deadline).await?;
        map.map(|map| self.parse(namespace, &map)).transpose()
    }

    /// The namespaces that have a ledger, by name.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn namespaces(&self, deadline: Instant) -> Result<Vec<String>, ReadFailure> {
        let index = self.index.read(&self.maps, "", deadline).await?;
        Ok(index.into_iter().flat_map(|index| index.data.into_iter().flatten()).map(|(name, _)| name).collect())
    }

    /// Creates a namespace's ledger: first the ledger, then its entry in the index. It is used only after both.
    ///
    /// # Errors
    /// When one of the two cannot be written.
    pub async fn create(&self, namespace: &str, deadline: Instant) -> Result<(), ReadFailure> {
        let name = ledger_name(namespace);
        let uid = if let Some(map) = self.maps.read(namespace, &name, deadline).await? {
            map.metadata.uid
        } else {
            let new = self.maps.new_map(&name, Ledger::default().render());
            match self.maps.create(namespace, &new, deadline).await? {
                Some(map) => map.metadata.uid,
                None => return Ok(()), // Another replica was faster; the next read shows it.
            }
        };
        self.index.put(&self.maps, namespace, uid.unwrap_or_default(), deadline).await
    }

    /// Writes a ledger over the one that was read; `false` on a conflict with another write.
    ///
    /// # Errors
    /// When the API server does not answer in time, or denies the write.
    pub async fn write(
        &self,
        namespace: &str,
        ledger: &Ledger,
        over: &StoredLedger,
        deadline: Instant,
    ) -> Result<bool, ReadFailure> {
        Ok(self.put(namespace, ledger, over, deadline).await?.is_some())
    }

    /// The same, with the version of the written ledger; `None` on a conflict.
    pub(super) async fn put(
        &self,
        namespace: &str,
        ledger: &Ledger,
        over: &StoredLedger,
        deadline: Instant,
    ) -> Result<Option<String>, ReadFailure> {
        let name = ledger_name(namespace);
        let mut map = self.maps.new_map(&name, ledger.render());
        // The uid makes the write fail where the ledger was deleted and created again in between.
        map.metadata.uid = Some(over.uid.clone());
        map.metadata.resource_version = Some(over.version.clone());
        let written = self.maps.replace(namespace, &map, deadline).await?;
        let version = written.map(|map| map.metadata.resource_version.unwrap_or_default());
        self.memory.wrote(namespace, ledger, &over.uid, version.as_deref());
        Ok(version)
    }

    /// The uid of a namespace's ledger in the index.
    async fn named(&self, namespace: &str, deadline: Instant) -> Result<Option<String>, ReadFailure> {
        let index = self.index.read(&self.maps, namespace, deadline).await?;
        Ok(index.and_then(|index| index.data?.remove(namespace)))
    }

    /// Whether a namespace is younger than the last look at its ledger. That ledger was of another namespace of this
    /// name, and has been deleted with it.
    async fn is_new(&self, namespace: &str, deadline: Instant) -> Result<bool, ReadFailure> {
        let seen = self.memory.seen(namespace);
        let created = self.namespace_meta(namespace, deadline).await?.and_then(|meta| meta.created);
        Ok(created.zip(seen).is_none_or(|(created, seen)| created > seen))
    }

    /// Handles a ledger that was lost: the index has it, or this replica knows it, and it is missing or has another uid.
    /// The pending changes that it held may still be committed until their ttl is over. Then the ledger begins anew. This
    /// request fails in any case.
    async fn recover_lost(&self, namespace: &str, map: Option<&ConfigMap>, deadline: Instant) -> ReadFailure {
        let since = self.memory.lost_since(namespace);
        let rest = self.ttl.saturating_sub(since.elapsed());
        if !rest.is_zero() {
            return lost(namespace, &ledger_name(namespace), rest);
        }
        tracing::warn!(namespace, "the ledger was lost, and begins anew");
        let begun = self.begin_anew(namespace, map, deadline).await;
        begun.err().unwrap_or_else(|| unread(namespace, "it was lost, and begins anew just now".to_owned()))
    }

    async fn begin_anew(&self, namespace: &str, map: Option<&ConfigMap>, deadline: Instant) -> Result<(), ReadFailure> {
        let uid = if let Some(map) = map {
            map.metadata.uid.clone()
        } else {
            let new = self.maps.new_map(&ledger_name(namespace), Ledger::default().render());
            match self.maps.create(namespace, &new, deadline).await? {
                Some(created) => created.metadata.uid,
                None => return Ok(()), // Another replica has begun it anew, and updates the index.
            }
        };
        self.index.put(&self.maps, namespace, uid.unwrap_or_default(), deadline).await
    }

    fn parse(&self, namespace: &str, map: &ConfigMap) -> Result<Ledger, ReadFailure> {
        let (name, own) = (ledger_name(namespace), &self.maps.own_namespace);
        let unusable = |why: &str, remedy: String| ReadFailure {
            remedy: Some(remedy),
            ..unread(namespace, format!("ConfigMap {own}/{name}: {why}"))
        };
        let delete = || format!("Ask a cluster admin to delete it: kubectl -n {own} delete configmap {name}");
        if !is_managed(map) {
            let why = format!("it has no label {}={}, so it is not flipguard's", MANAGED_BY.0, MANAGED_BY.1);
            return Err(unusable(&why, delete()));
        }
        let nothing = BTreeMap::new();
        Ledger::parse(map.data.as_ref().unwrap_or(&nothing)).map_err(|error| {
            let remedy = match &error {
                // It holds pending changes and records, which a deletion would lose.
                LedgerError::Newer(_) => {
                    "Finish the upgrade of flipguard, so that the newer version alone runs".to_owned()
                }
                LedgerError::Unusable(_) => delete(),
            };
            unusable(&error.to_string(), remedy)
        })
    }
}

pub(super) fn ledger_name(namespace: &str) -> String {
    format!("ledger-{namespace}")
}
