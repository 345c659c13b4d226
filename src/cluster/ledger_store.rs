//! The store of the ledgers: one ConfigMap for each namespace with traffic Services, and an index, in flipguard's own
//! namespace.
//!
//! The index names each ledger by its uid, before the ledger is first used. A ledger that is not in the index is new. A
//! ledger that is in the index and missing was lost. Dangerous changes are then denied until no write that it may have
//! held can be committed any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::core::Request;
use kube::core::params::GetParams;
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use super::config_maps::{ConfigMaps, MANAGED_BY, failed, is_managed, unread};
use super::connect::causes;
use super::request::{Answer, Anything, RequestError, ask};
use crate::ledger::{Found, Ledger, ObjectRef, Seen};
use crate::model::{Kind, Meta, ReadFailure, Selector, Service};

/// The name of the ConfigMap with the uids of all ledgers.
const INDEX: &str = "flipguard-ledgers";

/// The ledgers of a cluster, and what this replica remembers of them.
pub struct LedgerStore {
    client: Client,
    maps: ConfigMaps,
    /// The longest time from the admission of an attempt to its commit, which is the one assumption on time. It must
    /// exceed the API server's `--request-timeout` (60 s).
    ttl: Duration,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    memory: Mutex<HashMap<String, Memory>>,
}

/// What this replica has observed of one namespace's ledger. Losing it costs time, never safety.
#[derive(Debug, Default)]
struct Memory {
    /// The ledger's uid in the index.
    named: Option<String>,
    /// When this replica first saw each attempt.
    watched: HashMap<String, Instant>,
    /// When this replica first saw that the ledger was lost.
    lost: Option<Instant>,
}

/// A ledger as it is stored.
#[derive(Debug)]
pub struct StoredLedger {
    /// The content.
    pub ledger: Ledger,
    /// The ids of attempts that are too old to be committed.
    pub expired: BTreeSet<String>,
    uid: String,
    version: String,
}

impl LedgerStore {
    /// A store in flipguard's own namespace.
    #[must_use]
    pub fn new(client: Client, own_namespace: &str, ttl: Duration) -> Self {
        let maps = ConfigMaps::new(client.clone(), own_namespace);
        Self { client, maps, ttl, turns: Mutex::default(), memory: Mutex::default() }
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
        let known = {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.get(namespace).and_then(|memory| memory.named.clone())
        };
        if map.is_none() || known.as_ref() != Some(&uid) {
            let index = self.maps.read(namespace, INDEX, deadline).await?;
            let named = index.as_ref().and_then(|index| index.data.as_ref()?.get(namespace).cloned());
            match named {
                None => return Ok(None),
                Some(named) if map.is_some() && named == uid => {}
                Some(_) => self.recover_lost(namespace, map.as_ref(), deadline).await?,
            }
        }
        let Some(map) = map else { return Ok(None) };
        let ledger = self.parse(namespace, &map)?;
        let expired = self.with_memory(namespace, |memory| {
            memory.lost = None;
            memory.named = Some(uid.clone());
            expired_attempts(&mut memory.watched, &ledger, self.ttl)
        });
        Ok(Some(StoredLedger { ledger, expired, uid, version: map.metadata.resource_version.unwrap_or_default() }))
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
        self.update_index(namespace, &Entry::Put(uid.unwrap_or_default()), deadline).await
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
        let name = ledger_name(namespace);
        let mut map = self.maps.new_map(&name, ledger.render());
        // The uid makes the write fail where the ledger was deleted and created again in between.
        map.metadata.uid = Some(over.uid.clone());
        map.metadata.resource_version = Some(over.version.clone());
        Ok(self.maps.replace(namespace, &map, deadline).await?.is_some())
    }

    /// Reads the objects of pending changes, all at once.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn read_objects(
        &self,
        namespace: &str,
        objects: BTreeSet<ObjectRef>,
        deadline: Instant,
    ) -> Result<BTreeMap<ObjectRef, Found>, ReadFailure> {
        let reads = objects.into_iter().map(|object| async move {
            let found = self.read_object(namespace, &object, deadline).await?;
            Ok((object, found))
        });
        join_all(reads).await.into_iter().collect()
    }

    /// Deletes the ledgers of deleted namespaces, and returns their number.
    ///
    /// # Errors
    /// The first failure, after all namespaces were tried. The next call tries the rest again.
    pub async fn delete_orphans(&self, deadline: Instant) -> Result<usize, ReadFailure> {
        let Some(index) = self.maps.read("", INDEX, deadline).await? else { return Ok(0) };
        let mut deleted = 0;
        let mut failure = None;
        for (namespace, uid) in index.data.iter().flatten() {
            match self.delete_orphan(namespace, uid, deadline).await {
                Ok(is) => deleted += usize::from(is),
                Err(unread) => failure = failure.or(Some(unread)),
            }
        }
        failure.map_or(Ok(deleted), Err)
    }

    /// Deletes the ledger of a namespace that is gone: first the ledger, then its entry in the index. So the entry stays
    /// until the ledger is gone, however often the deletion fails.
    async fn delete_orphan(&self, namespace: &str, uid: &str, deadline: Instant) -> Result<bool, ReadFailure> {
        let name = ledger_name(namespace);
        // Read before the namespace is: a new namespace of this name writes to the ledger only after that, and its
        // write makes the deletion fail.
        let map = self.maps.read(namespace, &name, deadline).await?;
        let path = Request::new("/api/v1/namespaces").get(namespace, &GetParams::default());
        let request = path.map_err(|error| unread(namespace, causes(&error)))?;
        let found = ask::<Anything>(&self.client, request, deadline).await;
        if !matches!(found.map_err(|error| failed(namespace, &error))?, Answer::NotFound) {
            return Ok(false);
        }
        // On a conflict, another replica has written to the ledger: its namespace exists again.
        if let Some(map) = map.filter(is_managed)
            && !self.maps.delete(namespace, map, deadline).await?
        {
            return Ok(false);
        }
        self.update_index(namespace, &Entry::Remove(uid), deadline).await?;
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
        Ok(true)
    }

    async fn read_object(&self, namespace: &str, object: &ObjectRef, deadline: Instant) -> Result<Found, ReadFailure> {
        #[derive(Deserialize)]
        struct Bare {
            metadata: Meta,
        }
        let unread =
            |error: RequestError| ReadFailure::online(format!("{object} in namespace {namespace}"), error.to_string());
        let path = match object.kind {
            Kind::Service => format!("/api/v1/namespaces/{namespace}/services"),
            Kind::Workload(kind) => format!("/apis/apps/v1/namespaces/{namespace}/{}", kind.resource()),
        };
        let request = Request::new(path).get(&object.name, &GetParams::default());
        let request = request.map_err(|error| unread(error.into()))?;
        let found = if object.kind == Kind::Service {
            let service = ask::<Service>(&self.client, request, deadline).await.and_then(Answer::found);
            service.map(|found| found.map(|service| (service.routed().clone(), service.meta)))
        } else {
            let workload = ask::<Bare>(&self.client, request, deadline).await.and_then(Answer::found);
            workload.map(|found| found.map(|bare| (Selector::nothing(), bare.metadata)))
        };
        Ok(match found.map_err(unread)? {
            Some((selector, Meta { uid, resource_version: version, deleting, .. })) => {
                Found::There(Seen { uid, version, deleting, selector })
            }
            None => Found::Missing,
        })
    }

    /// Handles a ledger that is in the index, and is missing or has another uid. The pending changes that it held may
    /// still be committed until their ttl is over. Then the ledger begins anew.
    async fn recover_lost(
        &self,
        namespace: &str,
        map: Option<&ConfigMap>,
        deadline: Instant,
    ) -> Result<(), ReadFailure> {
        let since = self.with_memory(namespace, |memory| *memory.lost.get_or_insert_with(Instant::now));
        let rest = self.ttl.saturating_sub(since.elapsed());
        if !rest.is_zero() {
            let seconds = rest.as_secs() + 1;
            let why = format!(
                "ConfigMap {} was deleted; for {seconds} s, changes that it held may still be committed, so dangerous \
                 changes are denied",
                ledger_name(namespace)
            );
            return Err(ReadFailure { remedy: Some(format!("Retry in {seconds} s")), ..unread(namespace, why) });
        }
        tracing::warn!(namespace, "the ledger was lost, and begins anew");
        let anew = || unread(namespace, "it was lost, and begins anew just now".to_owned());
        let uid = if let Some(map) = map {
            map.metadata.uid.clone()
        } else {
            let new = self.maps.new_map(&ledger_name(namespace), Ledger::default().render());
            // On a conflict, another replica has begun it anew and updates the index.
            self.maps.create(namespace, &new, deadline).await?.ok_or_else(anew)?.metadata.uid
        };
        self.update_index(namespace, &Entry::Put(uid.unwrap_or_default()), deadline).await?;
        Err(anew())
    }

    /// Changes a namespace's entry in the index.
    async fn update_index(&self, namespace: &str, entry: &Entry<'_>, deadline: Instant) -> Result<(), ReadFailure> {
        loop {
            let index = self.maps.read(namespace, INDEX, deadline).await?;
            let exists = index.is_some();
            let mut index = index.unwrap_or_else(|| self.maps.new_map(INDEX, BTreeMap::new()));
            let data = index.data.get_or_insert_default();
            match entry {
                Entry::Put(uid) => drop(data.insert(namespace.to_owned(), uid.clone())),
                Entry::Remove(uid) if data.get(namespace).is_some_and(|stored| stored == uid) => {
                    data.remove(namespace);
                }
                Entry::Remove(_) => return Ok(()),
            }
            let written = if exists {
                self.maps.replace(namespace, &index, deadline).await?
            } else {
                self.maps.create(namespace, &index, deadline).await?
            };
            if written.is_some() {
                return Ok(());
            }
        }
    }

    fn parse(&self, namespace: &str, map: &ConfigMap) -> Result<Ledger, ReadFailure> {
        let name = ledger_name(namespace);
        let foreign = |why: &str| ReadFailure {
            what: format!("the ledger of namespace {namespace}"),
            why: format!("ConfigMap {}/{name}: {why}", self.maps.own_namespace),
            remedy: Some(format!(
                "Ask a cluster admin to delete it: kubectl -n {} delete configmap {name}",
                self.maps.own_namespace
            )),
        };
        if !is_managed(map) {
            return Err(foreign(&format!(
                "it has no label {}={}, so it is not flipguard's",
                MANAGED_BY.0, MANAGED_BY.1
            )));
        }
        let nothing = BTreeMap::new();
        Ledger::parse(map.data.as_ref().unwrap_or(&nothing)).map_err(|why| foreign(&why))
    }

    fn with_memory<T>(&self, namespace: &str, what: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        what(memory.entry(namespace.to_owned()).or_default())
    }
}

/// A change of one entry of the index.
enum Entry<'a> {
    /// Sets the ledger's uid.
    Put(String),
    /// Removes the entry where it still has this uid.
    Remove(&'a str),
}

fn ledger_name(namespace: &str) -> String {
    format!("ledger-{namespace}")
}

/// Notes the attempts of a ledger, forgets all others, and returns the ids of those that are older than the ttl.
fn expired_attempts(watched: &mut HashMap<String, Instant>, ledger: &Ledger, ttl: Duration) -> BTreeSet<String> {
    let ids: BTreeSet<&String> = ledger.intents.iter().flat_map(|intent| &intent.ids).collect();
    watched.retain(|id, _| ids.contains(id));
    for id in ids {
        watched.entry(id.clone()).or_insert_with(Instant::now);
    }
    watched.iter().filter(|(_, since)| since.elapsed() >= ttl).map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::cluster::fake::FakeApi;

    const MAPS: &str = "/api/v1/namespaces/own/configmaps";
    const LEDGER: &str = "/api/v1/namespaces/own/configmaps/ledger-shop";
    const NAMESPACE: &str = "/api/v1/namespaces/shop";

    fn store(api: &FakeApi) -> LedgerStore {
        LedgerStore::new(api.client(), "own", Duration::from_secs(90))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn indexed(api: &FakeApi) -> Option<String> {
        let index = api.get(&format!("{MAPS}/{INDEX}"))?;
        Some(index["data"]["shop"].as_str()?.to_owned())
    }

    /// A deletion that fails is tried again by the next round, and by any replica.
    #[tokio::test]
    async fn the_ledger_of_a_deleted_namespace_is_deleted_however_often_that_fails() {
        for (method, path) in [(Method::DELETE, LEDGER), (Method::GET, LEDGER), (Method::GET, NAMESPACE)] {
            let api = FakeApi::default();
            store(&api).create("shop", soon()).await.unwrap();
            assert!(indexed(&api).is_some());
            api.fail(method.clone(), path, 503);
            let _ = store(&api).delete_orphans(soon()).await;
            assert!(api.get(LEDGER).is_some());
            assert_eq!(store(&api).delete_orphans(soon()).await, Ok(1), "{method} {path} failed once");
            assert_eq!((api.get(LEDGER), indexed(&api)), (None, None), "{method} {path} failed once");
        }
        // The process may also end between the two writes.
        let api = FakeApi::default();
        store(&api).create("shop", soon()).await.unwrap();
        api.fail(Method::PUT, &format!("{MAPS}/{INDEX}"), 503);
        assert!(store(&api).delete_orphans(soon()).await.is_err());
        assert!(store(&api).delete_orphans(soon()).await.is_ok());
        assert_eq!((api.get(LEDGER), indexed(&api)), (None, None));
    }

    #[tokio::test]
    async fn a_ledger_that_is_in_use_stays() {
        let api = FakeApi::default();
        let store = store(&api);
        store.create("shop", soon()).await.unwrap();
        // The namespace exists.
        api.put(NAMESPACE, json!({ "metadata": { "name": "shop" } }));
        assert_eq!(store.delete_orphans(soon()).await, Ok(0));
        assert!(api.get(LEDGER).is_some() && indexed(&api).is_some());
    }

    /// Of two replicas that begin a lost ledger anew, the slower one leaves the entry of the faster one alone.
    #[tokio::test]
    async fn a_lost_ledger_is_begun_anew_once() {
        let api = FakeApi::default();
        let store = LedgerStore::new(api.client(), "own", Duration::ZERO);
        store.create("shop", soon()).await.unwrap();
        let before = indexed(&api).unwrap();
        api.fail(Method::GET, LEDGER, 404);
        api.fail(Method::POST, MAPS, 409);
        assert!(store.read("shop", soon()).await.is_err());
        assert_eq!(indexed(&api), Some(before));
        assert!(store.read("shop", soon()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_missing_namespace_of_its_own_is_named() {
        let api = FakeApi::default();
        api.fail(Method::POST, MAPS, 404);
        let unread = store(&api).create("shop", soon()).await.unwrap_err();
        assert!(unread.why.contains("namespace own does not exist"), "{unread:?}");
    }
}
