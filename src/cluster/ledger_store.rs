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

use super::config_maps::{ConfigMaps, MANAGED_BY, is_managed, unread};
use super::history_store::history_name;
use super::ledger_index::{LedgerIndex, lost};
use super::ledger_memory::LedgerMemory;
use crate::ledger::{Ledger, LedgerError};
use crate::model::ReadFailure;

/// The ledgers of a cluster, and what this replica remembers of them.
pub struct LedgerStore {
    pub(super) client: Client,
    pub(super) maps: ConfigMaps,
    index: LedgerIndex,
    /// The longest time from the admission of an attempt to its commit, which is the one assumption on time. It must
    /// exceed the API server's `--request-timeout` (60 s).
    ttl: Duration,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    memory: LedgerMemory,
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

/// What a sweep did with one ledger.
enum Swept {
    /// It was deleted with its namespace.
    Deleted,
    /// It has changes that may have to be added to the history.
    Open,
    /// There was nothing to do.
    Done,
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

    /// Deletes the ledgers of deleted namespaces, and their histories. Tells of each ledger whose changes are not all in the
    /// history.
    ///
    /// # Errors
    /// The first failure, after all namespaces were tried. The next call tries the rest again.
    pub async fn sweep(&self, open: impl Fn(&str), deadline: Instant) -> Result<usize, ReadFailure> {
        let Some(index) = self.index.read(&self.maps, "", deadline).await? else { return Ok(0) };
        let mut deleted = 0;
        let mut failure = None;
        for (namespace, uid) in index.data.iter().flatten() {
            match self.swept(namespace, uid, deadline).await {
                Ok(Swept::Deleted) => deleted += 1,
                Ok(Swept::Open) => open(namespace),
                Ok(Swept::Done) => {}
                Err(unread) => failure = failure.or(Some(unread)),
            }
        }
        failure.map_or(Ok(deleted), Err)
    }

    /// Deletes the ledger of a namespace that is gone: first the ledger, then its entry in the index. So the entry stays
    /// until the ledger is gone, however often the deletion fails.
    async fn swept(&self, namespace: &str, uid: &str, deadline: Instant) -> Result<Swept, ReadFailure> {
        let name = ledger_name(namespace);
        // Read before the namespace is: a new namespace of this name writes to the ledger only after that, and its
        // write makes the deletion fail.
        let map = self.maps.read(namespace, &name, deadline).await?;
        if self.namespace_meta(namespace, deadline).await?.is_some() {
            let mut keys = map.iter().flat_map(|map| map.data.iter().flatten()).map(|(key, _)| key);
            let is_open = keys.any(|key| key.starts_with("settled.") || key.starts_with("intent."));
            return Ok(if is_open { Swept::Open } else { Swept::Done });
        }
        if let Some(history) = self.maps.read(namespace, &history_name(namespace), deadline).await?.filter(is_managed) {
            self.maps.delete(namespace, history, deadline).await?;
        }
        // On a conflict, another replica has written to the ledger: its namespace exists again.
        if let Some(map) = map.filter(is_managed)
            && !self.maps.delete(namespace, map, deadline).await?
        {
            return Ok(Swept::Done);
        }
        self.index.remove(&self.maps, namespace, uid, deadline).await?;
        self.memory.forget(namespace);
        Ok(Swept::Deleted)
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

fn ledger_name(namespace: &str) -> String {
    format!("ledger-{namespace}")
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::cluster::fake::FakeApi;
    use crate::cluster::ledger_memory::REMEMBERED_FOR;

    const MAPS: &str = "/api/v1/namespaces/own/configmaps";
    const INDEX: &str = "/api/v1/namespaces/own/configmaps/flipguard-ledgers";
    const LEDGER: &str = "/api/v1/namespaces/own/configmaps/ledger-shop";
    const NAMESPACE: &str = "/api/v1/namespaces/shop";
    const TTL: Duration = Duration::from_secs(90);

    fn store(api: &FakeApi) -> LedgerStore {
        LedgerStore::new(api.client(), "own", TTL)
    }

    /// A store of a replica that has started, after another one if `has_guarded`.
    async fn started(api: &FakeApi, has_guarded: bool) -> LedgerStore {
        let store = store(api);
        store.begin(has_guarded, soon()).await.unwrap();
        store
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn indexed(api: &FakeApi) -> Option<String> {
        Some(api.get(INDEX)?["data"]["shop"].as_str()?.to_owned())
    }

    fn namespace_since(api: &FakeApi, created: &str) {
        api.put(NAMESPACE, json!({ "metadata": { "name": "shop", "creationTimestamp": created } }));
    }

    async fn read(store: &LedgerStore) -> Result<bool, String> {
        let read = store.read("shop", soon()).await;
        read.map(|ledger| ledger.is_some()).map_err(|failure| failure.remedy.unwrap_or(failure.why))
    }

    fn retry_in(seconds: u64) -> Result<bool, String> {
        Err(format!("Retry in {seconds} s"))
    }

    /// The ledger and the index, and whatever else is in flipguard's namespace: `kubectl delete configmap --all`.
    #[tokio::test(start_paused = true)]
    async fn a_ledger_that_is_lost_with_its_index_is_waited_for() {
        let api = FakeApi::default();
        namespace_since(&api, "2020-01-01T00:00:00Z");
        let knows = started(&api, false).await;
        knows.create("shop", soon()).await.unwrap();
        assert_eq!(read(&knows).await, Ok(true));
        // This one has seen the index, and not the ledger.
        let beside = started(&api, true).await;
        api.delete_all(MAPS);
        // This one comes later. The registration tells that there was an index.
        let later = started(&api, true).await;
        for store in [&knows, &beside, &later] {
            assert_eq!(read(store).await, retry_in(91));
            assert!(store.create("shop", soon()).await.is_err());
        }
        api.delete_all(MAPS);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(read(&beside).await, retry_in(31));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(read(&beside).await, Ok(false), "the index begins anew");
        assert!(api.get(INDEX).is_some());
        assert_eq!(read(&later).await, Ok(false));
        // This one knows that there was a ledger.
        assert!(read(&knows).await.is_err_and(|why| why.contains("begins anew just now")));
        assert_eq!(read(&knows).await, Ok(true));
        assert_eq!(read(&later).await, Ok(true));
    }

    /// Writes another ledger over the stored one, with a record of this head.
    async fn write(store: &LedgerStore, over: &StoredLedger, head: &str) -> bool {
        let mut ledger = over.ledger.clone();
        head.clone_into(&mut ledger.head);
        store.write("shop", &ledger, over, soon()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ledger_is_remembered_where_only_this_replica_writes_it() {
        let api = FakeApi::default();
        let (own, other) = (started(&api, false).await, started(&api, true).await);
        own.create("shop", soon()).await.unwrap();
        let stored = async |store: &LedgerStore| store.read("shop", soon()).await.unwrap().unwrap();
        for head in ["1", "2", "3"] {
            assert!(own.remembered("shop").is_none(), "before {head}: not seen twice in succession");
            assert!(write(&own, &stored(&own).await, head).await);
        }
        let remembered = own.remembered("shop").unwrap();
        assert_eq!(remembered.ledger.head, "3");
        let reads = api.asked(&Method::GET, LEDGER);
        assert!(write(&own, &remembered, "4").await && own.remembered("shop").unwrap().ledger.head == "4");
        assert_eq!(api.asked(&Method::GET, LEDGER), reads, "nothing was read");
        // Another replica writes: the remembered ledger is not the stored one, and is not trusted for a while.
        assert!(write(&other, &stored(&other).await, "5").await);
        assert!(!write(&own, &own.remembered("shop").unwrap(), "6").await);
        assert!(own.remembered("shop").is_none() && stored(&own).await.ledger.head == "5");
        for head in ["6", "7", "8"] {
            assert!(own.remembered("shop").is_none(), "before {head}");
            assert!(write(&own, &stored(&own).await, head).await);
        }
        assert!(own.remembered("shop").is_some());
        // It is forgotten after a while.
        tokio::time::advance(REMEMBERED_FOR).await;
        assert!(own.remembered("shop").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_start_waits_for_nothing() {
        let api = FakeApi::default();
        let (first, second) = (started(&api, false).await, started(&api, false).await);
        assert_eq!(read(&first).await, Ok(false));
        first.create("shop", soon()).await.unwrap();
        assert_eq!((read(&first).await, read(&second).await), (Ok(true), Ok(true)));
        assert_eq!(read(&started(&api, true).await).await, Ok(true), "after an upgrade");
    }

    /// A known ledger that is in the index no more was lost, unless its namespace was deleted and created again.
    #[tokio::test(start_paused = true)]
    async fn a_known_ledger_without_its_entry_is_waited_for() {
        let api = FakeApi::default();
        let knows = started(&api, false).await;
        knows.create("shop", soon()).await.unwrap();
        assert_eq!(read(&knows).await, Ok(true));
        // The namespace is deleted, and another replica deletes the ledger.
        assert_eq!(started(&api, true).await.sweep(|_| {}, soon()).await, Ok(1));
        namespace_since(&api, "2999-01-01T00:00:00Z");
        assert_eq!(read(&knows).await, Ok(false), "another namespace of this name");
        knows.create("shop", soon()).await.unwrap();
        assert_eq!(read(&knows).await, Ok(true));
        namespace_since(&api, "2020-01-01T00:00:00Z");
        api.delete_all(LEDGER);
        api.put(INDEX, json!({ "metadata": { "name": "flipguard-ledgers" }, "data": {} }));
        assert_eq!(read(&knows).await, retry_in(91));
        assert_eq!(read(&started(&api, true).await).await, Ok(false), "nothing tells a new replica of it");
    }

    /// An install that is followed by the first flips of a whole fleet.
    #[tokio::test(start_paused = true)]
    async fn many_first_ledgers_at_once_share_the_writes_of_the_index() {
        let api = FakeApi::default();
        api.delay(Duration::from_millis(25));
        let stores = [started(&api, false).await, started(&api, false).await, started(&api, false).await];
        let deadline = Instant::now() + Duration::from_millis(4750);
        let namespaces: Vec<String> = (0..200).map(|number| format!("shop-{number}")).collect();
        let created = namespaces.iter().zip(stores.iter().cycle()).map(|(namespace, store)| async move {
            assert!(store.read(namespace, deadline).await.unwrap().is_none());
            store.create(namespace, deadline).await.unwrap();
            assert!(store.read(namespace, deadline).await.unwrap().is_some());
        });
        join_all(created).await;
        let writes = api.asked(&Method::PUT, INDEX);
        assert!(writes < 20, "{writes} writes of the index");
    }

    /// A change of the index that was not written in time is not written later, over a newer one.
    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_index_that_failed_is_forgotten() {
        let api = FakeApi::default();
        let store = started(&api, false).await;
        store.create("shop", soon()).await.unwrap();
        let now = indexed(&api);
        api.fail(Method::PUT, INDEX, 503);
        let put = |uid: &str| {
            let uid = uid.to_owned();
            async { store.index.put(&store.maps, "shop", uid, soon()).await }
        };
        assert!(put("another").await.is_err());
        store.create("stage", soon()).await.unwrap();
        assert_eq!(indexed(&api), now);
    }

    #[tokio::test]
    async fn a_ledger_of_another_release_is_kept() {
        let api = FakeApi::default();
        let store = started(&api, false).await;
        store.create("shop", soon()).await.unwrap();
        let set = |key: &str, text: &str| {
            let mut map = api.get(LEDGER).unwrap();
            map["data"][key] = json!(text);
            api.put(LEDGER, map);
        };
        set("lane.shop", "tomorrow");
        let stored = store.read("shop", soon()).await.unwrap().unwrap();
        assert_eq!(store.write("shop", &stored.ledger, &stored, soon()).await, Ok(true));
        assert_eq!(api.get(LEDGER).unwrap()["data"]["lane.shop"], "tomorrow");
        // A format that does not exist yet.
        set("format", "3");
        let failure = store.read("shop", soon()).await.unwrap_err();
        assert_eq!(
            failure.why,
            "ConfigMap own/ledger-shop: a newer flipguard has written it, in format 3; this one knows format 2"
        );
        let remedy = failure.remedy.unwrap();
        assert!(remedy.starts_with("Finish the upgrade of flipguard") && !remedy.contains("delete"), "{remedy}");
    }

    /// A deletion that fails is tried again by the next round, and by any replica.
    #[tokio::test]
    async fn the_ledger_of_a_deleted_namespace_is_deleted_however_often_that_fails() {
        for (method, path) in [(Method::DELETE, LEDGER), (Method::GET, LEDGER), (Method::GET, NAMESPACE)] {
            let api = FakeApi::default();
            store(&api).create("shop", soon()).await.unwrap();
            assert!(indexed(&api).is_some());
            api.fail(method.clone(), path, 503);
            let _ = store(&api).sweep(|_| {}, soon()).await;
            assert!(api.get(LEDGER).is_some());
            assert_eq!(store(&api).sweep(|_| {}, soon()).await, Ok(1), "{method} {path} failed once");
            assert_eq!((api.get(LEDGER), indexed(&api)), (None, None), "{method} {path} failed once");
        }
        // The process may also end between the two writes.
        let api = FakeApi::default();
        store(&api).create("shop", soon()).await.unwrap();
        api.fail(Method::PUT, INDEX, 503);
        assert!(store(&api).sweep(|_| {}, soon()).await.is_err());
        assert!(store(&api).sweep(|_| {}, soon()).await.is_ok());
        assert_eq!((api.get(LEDGER), indexed(&api)), (None, None));
    }

    #[tokio::test]
    async fn a_ledger_that_is_in_use_stays() {
        let api = FakeApi::default();
        let store = store(&api);
        store.create("shop", soon()).await.unwrap();
        // The namespace exists.
        api.put(NAMESPACE, json!({ "metadata": { "name": "shop" } }));
        assert_eq!(store.sweep(|_| {}, soon()).await, Ok(0));
        assert!(api.get(LEDGER).is_some() && indexed(&api).is_some());
    }

    /// A page of a proxy does not say that a namespace or a ledger is gone.
    #[tokio::test]
    async fn a_page_of_another_server_deletes_nothing() {
        let api = FakeApi::default();
        let store = store(&api);
        store.create("shop", soon()).await.unwrap();
        assert_eq!(read(&store).await, Ok(true));
        api.answer_with(Method::GET, NAMESPACE, 404, "404 page not found");
        assert!(store.sweep(|_| {}, soon()).await.is_err());
        api.answer_with(Method::GET, LEDGER, 404, "404 page not found");
        assert!(read(&store).await.is_err());
        assert_eq!(read(&store).await, Ok(true));
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
