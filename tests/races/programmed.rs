//! A policy that changes again and again, under a stream of changes and three replicas. After `Programmed`, no replica
//! judges a change by an older generation, also while the API server restarts.
//!
//! The API server keeps one connection, and so asks one replica. The test sends the reviews of the API server to every
//! replica besides.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use controlplane::{ControlPlane, Replicas};
use futures_util::future::join_all;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Client, Config, Error};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout};

use crate::lane::Clients;

/// The number of changes of the policy.
const GENERATIONS: i64 = 12;
/// After these, the API server is restarted.
const RESTARTS: [i64; 2] = [4, 8];
/// The time limit for a condition, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);
const NAMESPACE: &str = "programmed";

/// Runs the generations, and looks into the logs of all replicas afterwards.
pub(crate) fn generations(
    runtime: &Runtime,
    clients: &Clients,
    control_plane: &mut ControlPlane,
    replicas: &Replicas,
) -> Result<()> {
    let mut shop = Shop::new(clients);
    runtime.block_on(shop.open())?;
    for replica in 0..replicas.count() {
        let listen = replicas.with(replica, |guard| Ok(guard.listen()))?;
        let mut config = Config::new(format!("https://{listen}").parse()?);
        config.accept_invalid_certs = true;
        shop.replicas.push(runtime.block_on(async { Client::try_from(config) })?);
    }
    let shop = shop;
    let over = AtomicBool::new(false);
    let mut programmed = Vec::new();
    let changes = std::thread::scope(|scope| {
        let stream = scope.spawn(|| runtime.block_on(shop.changes(&over)));
        let run = (|| {
            for number in 1..=GENERATIONS {
                // The replica that keeps the statuses looks every three seconds. Each change comes at another moment.
                std::thread::sleep(Duration::from_millis(u64::try_from(number)? * 700 % 2900));
                // At odd numbers the floor is met, at even ones it is not.
                let floor = if number % 2 == 0 { 3 } else { 1 };
                let generation = runtime.block_on(shop.programmed(floor))?;
                programmed.push((generation, now()));
                runtime.block_on(shop.judges_by(floor))?;
                if RESTARTS.contains(&number) {
                    control_plane.restart_api_server()?;
                }
            }
            Ok::<_, anyhow::Error>(())
        })();
        over.store(true, Ordering::Relaxed);
        let changes = stream.join().map_err(|_| anyhow::anyhow!("the stream of changes panicked"))?;
        run.map(|()| changes)
    })?;
    let mut judged = 0;
    for replica in 0..replicas.count() {
        let log = replicas.with(replica, controlplane::Guard::log)?;
        judged += by_no_older(&log, &programmed).with_context(|| format!("replica {replica}"))?;
    }
    ensure!(judged > 100, "only {judged} changes were judged by the policy, of {changes}");
    println!("races: {GENERATIONS} generations of a policy; none of {judged} changes was judged by an older one");
    runtime.block_on(shop.close())
}

/// Looks at each decision in a log, and returns their number.
fn by_no_older(log: &str, programmed: &[(i64, Duration)]) -> Result<usize> {
    let mut judged = 0;
    for line in log.lines().filter(|line| line.contains("\"decision\"") && line.contains(NAMESPACE)) {
        let line: Value = serde_json::from_str(line)?;
        let text = |field: &str| line.get(field).and_then(Value::as_str).unwrap_or_default();
        let Some(generation) = text("policies").strip_prefix("programmed@") else { continue };
        let generation: i64 = generation.parse()?;
        let answered = text("timestamp").parse::<Timestamp>()?.as_millisecond();
        let millis = line.get("millis").and_then(Value::as_u64).unwrap_or(0);
        let arrived = Duration::from_millis(u64::try_from(answered)?.saturating_sub(millis));
        let oldest = programmed.iter().filter(|(_, at)| *at < arrived).map(|(generation, _)| *generation).max();
        ensure!(oldest.is_none_or(|oldest| generation >= oldest), "judged by {generation}, not {oldest:?}: {line}");
        judged += 1;
    }
    Ok(judged)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

struct Shop {
    namespaces: Api<Namespace>,
    services: Api<Service>,
    deployments: Api<Deployment>,
    /// The same by way of the second API server, which sees a policy later or earlier.
    others: Api<Deployment>,
    policies: Api<DynamicObject>,
    registrations: Api<ValidatingWebhookConfiguration>,
    /// Each replica, without the API server in between.
    replicas: Vec<Client>,
}

impl Shop {
    fn new(clients: &Clients) -> Self {
        let Clients { first: client, second } = clients;
        let policy = ApiResource::from_gvk(&GroupVersionKind::gvk("flipguard.dev", "v1alpha1", "BlueGreenPolicy"));
        let policy = ApiResource { plural: "bluegreenpolicies".to_owned(), ..policy };
        Self {
            namespaces: Api::all(client.clone()),
            services: Api::namespaced(client.clone(), NAMESPACE),
            deployments: Api::namespaced(client.clone(), NAMESPACE),
            others: Api::namespaced(second.clone(), NAMESPACE),
            policies: Api::all_with(client.clone(), &policy),
            registrations: Api::all(client.clone()),
            replicas: Vec::new(),
        }
    }

    async fn open(&self) -> Result<()> {
        self.namespaces.create(&PostParams::default(), &object(json!({ "metadata": { "name": NAMESPACE } }))?).await?;
        for colour in ["blue", "green"] {
            let labels = json!({ "app": "shop", "color": colour });
            let deployment = object(json!({
                "metadata": { "name": format!("app-{colour}") },
                "spec": {
                    "replicas": 3,
                    "selector": { "matchLabels": labels },
                    "template": {
                        "metadata": { "labels": labels },
                        "spec": { "containers": [{ "name": "app", "image": "shop:1.0" }] },
                    },
                },
            }))?;
            self.deployments.create(&PostParams::default(), &deployment).await?;
        }
        for colour in ["blue", "green"] {
            let name = format!("app-{colour}");
            until(&format!("{name} is ready"), async || {
                let status = self.deployments.get(&name).await?.status.unwrap_or_default();
                Ok(status.available_replicas == Some(3))
            })
            .await?;
        }
        let service = object(json!({
            "metadata": { "name": "app" },
            "spec": { "selector": { "app": "shop", "color": "blue" }, "ports": [{ "port": 80 }] },
        }))?;
        self.services.create(&PostParams::default(), &service).await.map(drop).map_err(Into::into)
    }

    async fn close(&self) -> Result<()> {
        self.policies.delete("programmed", &kube::api::DeleteParams::default()).await.map(drop).map_err(Into::into)
    }

    /// Sets the floor, and waits until the policy is programmed. Returns its generation.
    async fn programmed(&self, floor: u32) -> Result<i64> {
        let own = json!({ "matchLabels": { "kubernetes.io/metadata.name": NAMESPACE } });
        let policy = json!({
            "apiVersion": "flipguard.dev/v1alpha1",
            "kind": "BlueGreenPolicy",
            "metadata": { "name": "programmed" },
            "spec": { "namespaceSelector": own, "live": { "floor": floor } },
        });
        let apply = PatchParams::apply("races").force();
        let applied = self.policies.patch("programmed", &apply, &Patch::Apply(&policy)).await?;
        let generation = applied.metadata.generation.context("the policy has no generation")?;
        until(&format!("generation {generation} is programmed"), async || {
            let policy = self.policies.get("programmed").await?;
            let conditions = policy.data.pointer("/status/conditions").and_then(Value::as_array).cloned();
            Ok(conditions.unwrap_or_default().iter().any(|condition| {
                let is = |field: &str, value: Value| condition.get(field) == Some(&value);
                is("type", json!("Programmed"))
                    && is("status", json!("True"))
                    && is("observedGeneration", json!(generation))
            }))
        })
        .await?;
        Ok(generation)
    }

    /// The live colour may be scaled to 2 exactly where the floor is met, by the API server and by each replica.
    async fn judges_by(&self, floor: u32) -> Result<()> {
        match self.scale().await {
            Ok(()) if floor <= 2 => {}
            Ok(()) => bail!("a scale to 2 passed, against a programmed floor of {floor}"),
            Err(Error::Api(status)) if status.message.contains("it needs 3") && floor > 2 => {}
            Err(error) => bail!("a scale to 2 with floor {floor}: {error}"),
        }
        let review = self.review().await?;
        for (number, replica) in self.replicas.iter().enumerate() {
            let is_allowed = review.answer_of(replica).await.with_context(|| format!("replica {number}"))?;
            ensure!(is_allowed == (floor <= 2), "replica {number} does not judge by a programmed floor of {floor}");
        }
        Ok(())
    }

    /// The review of a scale to 2, as the API server sends it.
    async fn review(&self) -> Result<Review> {
        let stored = self.registrations.get("flipguard").await?;
        let webhooks = stored.webhooks.unwrap_or_default();
        let url =
            webhooks.iter().find_map(|webhook| webhook.client_config.url.clone()).context("no URL is registered")?;
        let path = url.splitn(4, '/').nth(3).context("the registered URL has no path")?;
        let old = self.deployments.get_scale("app-blue").await?;
        let mut new = old.clone();
        new.spec.get_or_insert_default().replicas = Some(2);
        let scale = json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" });
        let deployments = json!({ "group": "apps", "version": "v1", "resource": "deployments" });
        let body = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "programmed",
                "kind": scale,
                "resource": deployments,
                "subResource": "scale",
                "name": "app-blue",
                "namespace": NAMESPACE,
                "operation": "UPDATE",
                "userInfo": { "username": "races" },
                "object": new,
                "oldObject": old,
                "dryRun": true,
            },
        });
        Ok(Review { path: format!("/{path}"), body: body.to_string() })
    }

    async fn scale(&self) -> kube::Result<()> {
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        let two = json!({ "spec": { "replicas": 2 } });
        self.others.patch("app-blue", &dry_run, &Patch::Merge(&two)).await.map(drop)
    }

    /// A stream of changes to each replica, and one by way of the API server, which may be away meanwhile. The streams
    /// keep no step with each other, so the replicas list the policies at different moments. Returns the number of
    /// changes.
    async fn changes(&self, over: &AtomicBool) -> usize {
        let to_each = self.replicas.iter().map(|replica| self.stream(Some(replica), over));
        let (direct, by_way) = tokio::join!(join_all(to_each), self.stream(None, over));
        direct.into_iter().sum::<usize>() + by_way
    }

    async fn stream(&self, replica: Option<&Client>, over: &AtomicBool) -> usize {
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(fastrand::u64(20..600))).await;
            let Some(replica) = replica else {
                let _ = timeout(PATIENCE, self.scale()).await;
                continue;
            };
            let Ok(review) = self.review().await else { continue };
            let _ = timeout(PATIENCE, review.answer_of(replica)).await;
            sent += 1;
        }
        sent
    }
}

/// A review, and the path that it is sent to.
struct Review {
    path: String,
    body: String,
}

impl Review {
    /// Whether a replica allows the change.
    async fn answer_of(&self, replica: &Client) -> Result<bool> {
        let request = http::Request::post(&self.path)
            .header("content-type", "application/json")
            .body(self.body.clone().into_bytes())?;
        let answer: Value = replica.request(request).await?;
        answer.pointer("/response/allowed").and_then(Value::as_bool).with_context(|| format!("no answer: {answer}"))
    }
}

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

/// Waits for a condition. An API server that restarts is asked again.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> kube::Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let last = is_so().await;
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{what}: {last:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
