//! Tests of the ledgers' store, with its index, memory and sweep, over an API server in memory.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use super::fake::FakeApi;
use super::ledger_memory::REMEMBERED_FOR;
use super::ledger_store::{LedgerStore, StoredLedger};

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
