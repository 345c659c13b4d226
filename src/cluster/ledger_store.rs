//! Where the ledgers are kept: one ConfigMap for each namespace with traffic Services, and an index, in flipguard's own
//! namespace.
//!
//! The index names each namespace's ledger and its uid, before the ledger is first used. So a ledger that is not named is
//! new, and one that is named and missing was lost: then nothing dangerous is judged until no write that it may have held
//! can commit any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::core::Request;
use kube::core::params::GetParams;
use kube::{Client, Error};
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use super::connect::{causes, one_line};
use super::request::{Answer, Anything, RequestError, ask};
use crate::ledger::{Found, Ledger, Object, Seen};
use crate::model::{Meta, Selector, Service, Unread, WorkloadKind};

/// The ConfigMap that names all ledgers.
const INDEX: &str = "flipguard-ledgers";
/// Whose ConfigMaps these are.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "flipguard");

/// The ledgers of a cluster, as one replica knows them.
pub struct LedgerStore {
    client: Client,
    own_namespace: String,
    /// No attempt commits later than this after its admission: the one assumption on time. It must exceed the API
    /// server's `--request-timeout` (60 s).
    ttl: Duration,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    memory: Mutex<HashMap<String, Memory>>,
}

/// What this replica has seen of one namespace's ledger. Losing it costs time, never safety.
#[derive(Debug, Default)]
struct Memory {
    /// The uid that the index names.
    named: Option<String>,
    /// Since when each attempt's intent has been there.
    watched: HashMap<String, Instant>,
    /// Since when the ledger has been gone.
    lost: Option<Instant>,
}

/// A ledger as it was read.
#[derive(Debug)]
pub struct StoredLedger {
    /// What it says.
    pub ledger: Ledger,
    /// The attempts that were watched until they could not commit any more.
    pub expired: BTreeSet<String>,
    uid: String,
    version: String,
}

impl LedgerStore {
    /// The ledgers in flipguard's own namespace.
    #[must_use]
    pub fn new(client: Client, own_namespace: &str, ttl: Duration) -> Self {
        Self { client, own_namespace: own_namespace.to_owned(), ttl, turns: Mutex::default(), memory: Mutex::default() }
    }

    /// Waits for this replica's turn with a namespace's ledger: in the order of arrival, so that its requests do not
    /// fight each other over it.
    ///
    /// # Errors
    /// When the turn does not come in time.
    pub async fn acquire_turn(&self, namespace: &str, deadline: Instant) -> Result<OwnedMutexGuard<()>, Unread> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(namespace.to_owned()).or_default().clone()
        };
        let waited = timeout_at(deadline, turn.lock_owned()).await;
        waited.map_err(|_| unread(namespace, "too many changes at once, no turn in time".to_owned()))
    }

    /// Reads a namespace's ledger; `None` where there is none yet.
    ///
    /// # Errors
    /// When it cannot be read, is not flipguard's, or was lost a moment ago.
    pub async fn read(&self, namespace: &str, deadline: Instant) -> Result<Option<StoredLedger>, Unread> {
        let map = self.read_config_map(namespace, &ledger_name(namespace), deadline).await?;
        let uid = map.as_ref().and_then(|map| map.metadata.uid.clone()).unwrap_or_default();
        // Namespaces without a ledger are not remembered: what is kept grows with ledgers, not with the cluster.
        let known = {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.get(namespace).and_then(|memory| memory.named.clone())
        };
        if map.is_none() || known.as_ref() != Some(&uid) {
            let index = self.read_config_map(namespace, INDEX, deadline).await?;
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

    /// Makes a namespace's ledger: first the ledger, then its name in the index; only then is it used.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn create(&self, namespace: &str, deadline: Instant) -> Result<(), Unread> {
        let name = ledger_name(namespace);
        let uid = if let Some(map) = self.read_config_map(namespace, &name, deadline).await? {
            map.metadata.uid
        } else {
            let new = self.new_config_map(&name, Ledger::default().render());
            match self.write_by(namespace, deadline, self.config_maps().create(&PostParams::default(), &new)).await? {
                Some(map) => map.metadata.uid,
                None => return Ok(()), // Another replica was faster; the next read shows it.
            }
        };
        self.update_index(namespace, uid.unwrap_or_default(), None, deadline).await
    }

    /// Writes a ledger in place of the one that was read. `false` where somebody else was faster.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write(
        &self,
        namespace: &str,
        ledger: &Ledger,
        over: &StoredLedger,
        deadline: Instant,
    ) -> Result<bool, Unread> {
        let name = ledger_name(namespace);
        let mut map = self.new_config_map(&name, ledger.render());
        // With a uid, one that was deleted meanwhile and made again is not taken for the same.
        map.metadata.uid = Some(over.uid.clone());
        map.metadata.resource_version = Some(over.version.clone());
        let written =
            self.write_by(namespace, deadline, self.config_maps().replace(&name, &PostParams::default(), &map)).await?;
        Ok(written.is_some())
    }

    /// Looks at objects of a namespace.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn read_objects(
        &self,
        namespace: &str,
        objects: BTreeSet<Object>,
        deadline: Instant,
    ) -> Result<BTreeMap<Object, Found>, Unread> {
        let reads = objects.into_iter().map(|object| async move {
            let found = self.read_object(namespace, &object, deadline).await?;
            Ok((object, found))
        });
        join_all(reads).await.into_iter().collect()
    }

    /// Forgets the ledgers of namespaces that are gone.
    ///
    /// # Errors
    /// When something cannot be read or written; the next time will do.
    pub async fn delete_orphans(&self, deadline: Instant) -> Result<usize, Unread> {
        let Some(index) = self.read_config_map("", INDEX, deadline).await? else { return Ok(0) };
        let mut deleted = 0;
        for (namespace, uid) in index.data.iter().flatten() {
            let path = Request::new("/api/v1/namespaces").get(namespace, &GetParams::default());
            let request = path.map_err(|error| unread(namespace, causes(&error)))?;
            if let Ok(Answer::NotFound) = ask::<Anything>(&self.client, request, deadline).await {
                // Who still knows it may write to it until it is gone: then it stays. What is not named any more is adopted
                // by whoever comes, with all that it holds.
                let map = self.read_config_map(namespace, &ledger_name(namespace), deadline).await?;
                self.update_index(namespace, String::new(), Some(uid), deadline).await?;
                let resource_version = map.and_then(|map| map.metadata.resource_version);
                let only_this = Preconditions { uid: Some(uid.clone()), resource_version };
                let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
                let gone = timeout_at(deadline, self.config_maps().delete(&ledger_name(namespace), &params)).await;
                drop(gone);
                self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    async fn read_object(&self, namespace: &str, object: &Object, deadline: Instant) -> Result<Found, Unread> {
        #[derive(Deserialize)]
        struct Bare {
            metadata: Meta,
        }
        let unread =
            |error: RequestError| Unread::online(format!("{object} in namespace {namespace}"), error.to_string());
        let path = match object.workload {
            None => format!("/api/v1/namespaces/{namespace}/services"),
            Some(kind) => format!("/apis/apps/v1/namespaces/{namespace}/{}", WorkloadKind::resource(kind)),
        };
        let request = Request::new(path).get(&object.name, &GetParams::default());
        let request = request.map_err(|error| unread(error.into()))?;
        let found = if object.workload.is_none() {
            let service = ask::<Service>(&self.client, request, deadline).await.and_then(Answer::found);
            service.map(|found| found.map(|service| (service.routed().clone(), service.meta)))
        } else {
            let workload = ask::<Bare>(&self.client, request, deadline).await.and_then(Answer::found);
            workload.map(|found| found.map(|bare| (Selector::nothing(), bare.metadata)))
        };
        Ok(match found.map_err(unread)? {
            Some((selector, Meta { uid, version, deleting, .. })) => {
                Found::There(Seen { uid, version, deleting, selector })
            }
            None => Found::Missing,
        })
    }

    /// A ledger that the index names is gone, or is another one. Whatever it held may still commit, for as long as any
    /// attempt can. After that it begins anew.
    async fn recover_lost(&self, namespace: &str, map: Option<&ConfigMap>, deadline: Instant) -> Result<(), Unread> {
        let since = self.with_memory(namespace, |memory| *memory.lost.get_or_insert_with(Instant::now));
        let rest = self.ttl.saturating_sub(since.elapsed());
        if !rest.is_zero() {
            let why = format!(
                "ConfigMap {} was deleted; until no change that it held can be carried out any more, {} s, nothing \
                 dangerous is judged",
                ledger_name(namespace),
                rest.as_secs() + 1
            );
            return Err(Unread { next_step: "try again then".to_owned(), ..unread(namespace, why) });
        }
        tracing::warn!(namespace, "the ledger was lost, and begins anew");
        let uid = if let Some(uid) = map.and_then(|map| map.metadata.uid.clone()) {
            uid
        } else {
            let new = self.new_config_map(&ledger_name(namespace), Ledger::default().render());
            let made =
                self.write_by(namespace, deadline, self.config_maps().create(&PostParams::default(), &new)).await?;
            made.and_then(|map| map.metadata.uid).unwrap_or_default()
        };
        self.update_index(namespace, uid, None, deadline).await?;
        Err(unread(namespace, "it was lost, and begins anew just now".to_owned()))
    }

    /// Names a ledger in the index; an empty uid takes its name out, if it is still the one of `only`.
    async fn update_index(
        &self,
        namespace: &str,
        uid: String,
        only: Option<&String>,
        deadline: Instant,
    ) -> Result<(), Unread> {
        loop {
            let index = self.read_config_map(namespace, INDEX, deadline).await?;
            let exists = index.is_some();
            let mut index = index.unwrap_or_else(|| self.new_config_map(INDEX, BTreeMap::new()));
            let data = index.data.get_or_insert_default();
            if only.is_some_and(|only| data.get(namespace) != Some(only)) {
                return Ok(());
            }
            if uid.is_empty() {
                data.remove(namespace);
            } else {
                data.insert(namespace.to_owned(), uid.clone());
            }
            let params = PostParams::default();
            let written = if exists {
                self.write_by(namespace, deadline, self.config_maps().replace(INDEX, &params, &index)).await?
            } else {
                self.write_by(namespace, deadline, self.config_maps().create(&params, &index)).await?
            };
            if written.is_some() {
                return Ok(());
            }
        }
    }

    async fn read_config_map(
        &self,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<ConfigMap>, Unread> {
        let read = timeout_at(deadline, self.config_maps().get_opt(name)).await;
        read.map_err(|_| unread(namespace, "no answer in time".to_owned()))?
            .map_err(|error| unread(namespace, one_line(&error)))
    }

    /// `None` on a conflict: somebody else was faster.
    async fn write_by<T>(
        &self,
        namespace: &str,
        deadline: Instant,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>, Unread> {
        match timeout_at(deadline, write).await {
            Ok(Ok(written)) => Ok(Some(written)),
            // Gone meanwhile is a conflict too: the next read says what that means.
            Ok(Err(Error::Api(status))) if matches!(status.code, 404 | 409) => Ok(None),
            Ok(Err(error)) => Err(unread(namespace, one_line(&error))),
            Err(_) => Err(unread(namespace, "no answer in time".to_owned())),
        }
    }

    fn parse(&self, namespace: &str, map: &ConfigMap) -> Result<Ledger, Unread> {
        let name = ledger_name(namespace);
        let labelled = map.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0));
        let foreign = |why: &str| Unread {
            what: format!("the ledger of namespace {namespace}"),
            why: format!("ConfigMap {}/{name}: {why}", self.own_namespace),
            next_step: format!(
                "a cluster admin puts it away: kubectl -n {} delete configmap {name}",
                self.own_namespace
            ),
        };
        if labelled.map(String::as_str) != Some(MANAGED_BY.1) {
            return Err(foreign(&format!(
                "it has no label {}={}, so it is not flipguard's",
                MANAGED_BY.0, MANAGED_BY.1
            )));
        }
        let nothing = BTreeMap::new();
        Ledger::parse(map.data.as_ref().unwrap_or(&nothing)).map_err(|why| foreign(&why))
    }

    fn new_config_map(&self, name: &str, data: BTreeMap<String, String>) -> ConfigMap {
        let mut map = ConfigMap { data: Some(data), ..ConfigMap::default() };
        map.metadata.name = Some(name.to_owned());
        map.metadata.namespace = Some(self.own_namespace.clone());
        map.metadata.labels = Some(BTreeMap::from([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())]));
        map
    }

    fn with_memory<T>(&self, namespace: &str, what: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        what(memory.entry(namespace.to_owned()).or_default())
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.own_namespace)
    }
}

fn unread(namespace: &str, why: String) -> Unread {
    Unread::online(format!("the ledger of namespace {namespace}"), why)
}

fn ledger_name(namespace: &str) -> String {
    format!("ledger-{namespace}")
}

/// Watches the attempts that are there, forgets those that are not, and gives those that were watched long enough.
fn expired_attempts(watched: &mut HashMap<String, Instant>, ledger: &Ledger, ttl: Duration) -> BTreeSet<String> {
    let ids: BTreeSet<&String> = ledger.intents.iter().flat_map(|intent| &intent.ids).collect();
    watched.retain(|id, _| ids.contains(id));
    for id in ids {
        watched.entry(id.clone()).or_insert_with(Instant::now);
    }
    watched.iter().filter(|(_, since)| since.elapsed() >= ttl).map(|(id, _)| id.clone()).collect()
}
