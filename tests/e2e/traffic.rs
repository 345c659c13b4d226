//! A witness of a Service's traffic: which versions its endpoints ran, and whether there was always one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, spawn};

use anyhow::{Context, Result, bail, ensure};
use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use tokio::sync::oneshot;

use super::admission::on_runtime;
use super::shop::Shop;

/// The label of an EndpointSlice with the name of its Service.
const OF_SERVICE: &str = "kubernetes.io/service-name=app";

/// Watches the endpoints of the Service `app`.
pub(crate) struct Traffic {
    seen: Arc<Mutex<Seen>>,
    end: Option<oneshot::Sender<()>>,
    watch: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Seen {
    /// What each Pod runs, as `COLOUR IMAGE`.
    pods: BTreeMap<String, String>,
    /// The ready Pods of each EndpointSlice.
    slices: BTreeMap<String, BTreeSet<String>>,
    /// The Pods that were ready endpoints, in the order of their first time.
    served: Vec<String>,
    /// How often there was no endpoint, after there had been one.
    gaps: usize,
}

impl Traffic {
    /// Begins to watch. The Service has to have an endpoint already, or gets its first one.
    pub(crate) fn watch(shop: &Shop) -> Result<Self> {
        let seen = Arc::<Mutex<Seen>>::default();
        let (end, ended) = oneshot::channel();
        let (namespace, kubeconfig) = (shop.namespace.clone(), shop.control_plane.kubeconfig().to_owned());
        let witness = seen.clone();
        let watch = spawn(move || {
            on_runtime(async {
                tokio::select! {
                    failed = watch(patient(&kubeconfig).await?, &namespace, &witness) => failed,
                    _ = ended => Ok(()),
                }
            })
        });
        let traffic = Self { seen, end: Some(end), watch: Some(watch) };
        shop.until("the witness sees an endpoint", || Ok(!traffic.seen().served.is_empty()))?;
        Ok(traffic)
    }

    /// What served, in the order of its first time, once the endpoints run the last of it. There must have been an
    /// endpoint all the time.
    pub(crate) fn served(mut self, shop: &Shop, expected: &[&str]) -> Result<()> {
        let last = *expected.last().context("nothing is expected")?;
        let serves_alone = shop.until(&format!("{last} serves alone"), || Ok(self.seen().serves_alone(last)));
        if let Some(end) = self.end.take() {
            // A watch that has failed does not listen any more; its error follows.
            let _ = end.send(());
        }
        if let Some(watch) = self.watch.take() {
            watch.join().ok().context("the witness panicked")??;
        }
        serves_alone?;
        let seen = self.seen();
        let mut versions: Vec<&str> = Vec::new();
        for pod in &seen.served {
            let version = seen.pods.get(pod).with_context(|| format!("the witness never saw Pod {pod}"))?;
            if !versions.contains(&version.as_str()) {
                versions.push(version);
            }
        }
        ensure!(versions == expected, "{versions:?} served, not {expected:?}");
        ensure!(seen.gaps == 0, "there was no endpoint {} times", seen.gaps);
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client that waits for the next event for as long as it takes. That of flipguard gives up.
async fn patient(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.read_timeout = None;
    Ok(Client::try_from(config)?)
}

async fn watch(client: Client, namespace: &str, seen: &Mutex<Seen>) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client, namespace);
    // A test is shorter than the longest watch.
    let params = WatchParams::default().timeout(290);
    let mut of_pods = Box::pin(pods.watch(&params, "0").await?);
    let mut of_slices = Box::pin(slices.watch(&params.labels(OF_SERVICE), "0").await?);
    loop {
        tokio::select! {
            event = of_pods.try_next() => match event?.context("the watch of Pods has ended")? {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => lock(seen).pod(&pod),
                WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => bail!("the watch of Pods failed: {status:?}"),
            },
            event = of_slices.try_next() => match event?.context("the watch of EndpointSlices has ended")? {
                WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                    let ready = ready(&slice);
                    lock(seen).slice(slice.name_any(), ready);
                }
                WatchEvent::Deleted(slice) => lock(seen).slice(slice.name_any(), BTreeSet::new()),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => bail!("the watch of EndpointSlices failed: {status:?}"),
            },
        }
    }
}

/// The names of the ready Pods of an EndpointSlice.
fn ready(slice: &EndpointSlice) -> BTreeSet<String> {
    let is_ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let name = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| endpoint.target_ref.as_ref()?.name.clone();
    slice.endpoints.iter().filter(is_ready).filter_map(name).collect()
}

impl Seen {
    fn pod(&mut self, pod: &Pod) {
        let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default();
        let colour = pod.labels().get("color").cloned().unwrap_or_default();
        self.pods.insert(pod.name_any(), format!("{colour} {image}"));
    }

    fn slice(&mut self, name: String, ready: BTreeSet<String>) {
        for pod in &ready {
            if !self.served.contains(pod) {
                self.served.push(pod.clone());
            }
        }
        self.slices.insert(name, ready);
        let is_gap = !self.served.is_empty() && self.slices.values().all(BTreeSet::is_empty);
        self.gaps += usize::from(is_gap);
    }

    fn serves_alone(&self, version: &str) -> bool {
        let mut now = self.slices.values().flatten().peekable();
        now.peek().is_some() && now.all(|pod| self.pods.get(pod).is_some_and(|own| own == version))
    }
}
