//! Each flip that the API server has committed is in the history, once, whatever happened to the replicas.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flipguard::history::{Act, History};
use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::lane::Race;

/// The time limit until all flips are in the history. Another replica waits 30 s for the one that has the facts.
const PATIENCE: Duration = Duration::from_secs(150);

/// Watches the Services, and notes each flip: its namespace, and the version that it started from.
pub(crate) struct Witness {
    flips: Flips,
    watch: JoinHandle<Result<()>>,
}

type Flips = Arc<Mutex<BTreeSet<(String, String)>>>;

impl Witness {
    pub(crate) fn start(runtime: &Runtime, client: &Client) -> Self {
        let flips = Flips::default();
        let watch = runtime.spawn(watch(Api::all(client.clone()), flips.clone()));
        Self { flips, watch }
    }

    /// Waits until the histories have all flips, and nothing else.
    pub(crate) fn agrees(self, runtime: &Runtime, client: &Client) -> Result<()> {
        runtime.block_on(async {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "flipguard-system");
            let deadline = Instant::now() + PATIENCE;
            loop {
                let seen = self.flips.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let (recorded, with_facts) = recorded(&maps).await?;
                let twice: Vec<_> = recorded.iter().filter(|(_, times)| **times > 1).collect();
                ensure!(twice.is_empty(), "flips are in the history more than once: {twice:?}");
                let recorded: BTreeSet<(String, String)> = recorded.into_keys().collect();
                if recorded == seen {
                    ensure!(!seen.is_empty(), "no flip was seen");
                    println!("races: {} flips, each in the history once; {with_facts} with their facts", seen.len());
                    self.watch.abort();
                    return Ok(());
                }
                if Instant::now() > deadline {
                    let missing: Vec<_> = seen.difference(&recorded).collect();
                    let invented: Vec<_> = recorded.difference(&seen).collect();
                    ensure!(!self.watch.is_finished(), "the watch has ended");
                    bail!("the history misses {missing:?}, and has flips that never were: {invented:?}");
                }
                sleep(Duration::from_millis(500)).await;
            }
        })
    }
}

/// How often each flip is in a history, and how many have facts. Each chain has to be intact.
async fn recorded(maps: &Api<ConfigMap>) -> Result<(BTreeMap<(String, String), usize>, usize)> {
    let (mut all, mut with_facts) = (BTreeMap::new(), 0);
    for race in Race::ALL {
        let namespace = race.namespace();
        let Some(map) = maps.get_opt(&format!("history-{namespace}")).await? else { continue };
        let history = History::parse(&map.data.unwrap_or_default()).context(namespace)?;
        ensure!(history.problems().is_empty(), "{namespace}: {:?}", history.problems());
        for entry in history.entries().filter(|entry| matches!(entry.act, Act::Flip | Act::Rollback)) {
            *all.entry((namespace.to_owned(), entry.base.clone())).or_insert(0) += 1;
            with_facts += usize::from(entry.facts.is_some());
        }
    }
    Ok((all, with_facts))
}

async fn watch(services: Api<Service>, flips: Flips) -> Result<()> {
    let mut known: HashMap<String, (Option<String>, String)> = HashMap::new();
    let mut version = "0".to_owned();
    loop {
        let mut events = Box::pin(services.watch(&WatchParams::default().timeout(240), &version).await?);
        while let Some(event) = events.try_next().await? {
            let service = match event {
                WatchEvent::Added(service) | WatchEvent::Modified(service) => service,
                WatchEvent::Deleted(service) => {
                    known.remove(&service.namespace().unwrap_or_default());
                    version = service.resource_version().unwrap_or_default();
                    continue;
                }
                WatchEvent::Bookmark(mark) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => bail!("the watch failed: {status:?}"),
            };
            version = service.resource_version().unwrap_or_default();
            let namespace = service.namespace().unwrap_or_default();
            if service.name_any() != "app" || !Race::ALL.iter().any(|race| race.namespace() == namespace) {
                continue;
            }
            let colour = service.spec.and_then(|spec| spec.selector).and_then(|mut pairs| pairs.remove("color"));
            let now = (colour, version.clone());
            if let Some((before, base)) = known.insert(namespace.clone(), now.clone())
                && before != now.0
            {
                flips.lock().unwrap_or_else(PoisonError::into_inner).insert((namespace, base));
            }
        }
    }
}
