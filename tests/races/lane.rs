//! A lane: one namespace in which two requests race, round after round.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::time::sleep;

/// The time limit for a condition, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// The number of attempts of client-go (`client-go/rest/request.go`).
const TRIES: usize = 10;

/// The two requests of a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Race {
    /// A flip to green, and green scaled to zero.
    FlipAndScale,
    /// A flip to green, and green deleted.
    FlipAndDelete,
    /// A flip to green, and a new template of green that never becomes ready.
    FlipAndRedeploy,
    /// Both workloads behind one Service scaled to zero.
    ScaleBoth,
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Passed,
    /// Denied, or failed with 403, 404 or a conflict.
    Refused,
    /// Asked to retry until the client had no attempts left.
    GivenUp,
    /// No replica answered: it was killed or frozen.
    Lost,
}

/// The outcome of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) answers: (Answer, Answer),
    /// Whether the Service routes to no running Pod.
    pub(crate) broken: bool,
    pub(crate) took: Duration,
}

/// The API servers that the two requests of a race are sent to. Usually, they are the same.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) first: Client,
    pub(crate) second: Client,
}

/// A namespace with two workloads and a Service.
pub(crate) struct Lane {
    race: Race,
    services: Api<Service>,
    deployments: Api<Deployment>,
    /// The same Deployments, by way of the second API server.
    others: Api<Deployment>,
    round: usize,
}

impl Race {
    pub(crate) const ALL: [Self; 4] = [Self::FlipAndScale, Self::FlipAndDelete, Self::FlipAndRedeploy, Self::ScaleBoth];

    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::FlipAndScale => "flip-and-scale",
            Self::FlipAndDelete => "flip-and-delete",
            Self::FlipAndRedeploy => "flip-and-redeploy",
            Self::ScaleBoth => "scale-both",
        }
    }

    /// The two workloads, each with its colour.
    fn workloads(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::ScaleBoth => [("app-blue", "blue"), ("app-blue-too", "blue")],
            _ => [("app-blue", "blue"), ("app-green", "green")],
        }
    }
}

impl Lane {
    pub(crate) async fn open(clients: &Clients, race: Race) -> Result<Self> {
        let Clients { first: client, second } = clients;
        let namespace = race.namespace();
        let new: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } }))?;
        match Api::all(client.clone()).create(&PostParams::default(), &new).await {
            Ok(_) => {}
            Err(Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
        let services = Api::namespaced(client.clone(), namespace);
        let [deployments, others] = [client, second].map(|client| Api::namespaced(client.clone(), namespace));
        Ok(Self { race, services, deployments, others, round: 0 })
    }

    /// Makes both colours ready with blue serving, then sends two requests at once.
    pub(crate) async fn round(&mut self) -> Result<Round> {
        self.round += 1;
        self.reset().await.with_context(|| format!("{:?} round {}: reset", self.race, self.round))?;
        let started = Instant::now();
        let answers = match self.race {
            Race::FlipAndScale => tokio::join!(self.flip("green"), scale(&self.others, "app-green")),
            Race::FlipAndDelete => tokio::join!(self.flip("green"), self.delete("app-green")),
            Race::FlipAndRedeploy => tokio::join!(self.flip("green"), self.redeploy("app-green")),
            Race::ScaleBoth => {
                tokio::join!(scale(&self.deployments, "app-blue"), scale(&self.others, "app-blue-too"))
            }
        };
        let took = started.elapsed();
        let answers = (answers.0?, answers.1?);
        let broken = self.is_broken().await?;
        Ok(Round { answers, broken, took })
    }

    async fn reset(&self) -> Result<()> {
        for (name, color) in self.race.workloads() {
            let workload = self.workload(name, color);
            self.until(&format!("{name} is as it should be"), || async {
                let applied = self.deployments.patch(name, &apply(), &Patch::Apply(&workload)).await;
                Ok(answer(applied.map(drop))? == Answer::Passed)
            })
            .await?;
        }
        for (name, _) in self.race.workloads() {
            self.until(&format!("{name} is ready"), || self.is_ready(name)).await?;
        }
        self.until("blue serves", || async {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": "app", "labels": self.mark() },
                "spec": { "selector": { "app": "shop", "color": "blue" }, "ports": [{ "port": 80 }] },
            });
            Ok(answer(self.services.patch("app", &apply(), &Patch::Apply(&service)).await.map(drop))? == Answer::Passed)
        })
        .await
    }

    /// A label with the number of the round. It changes the versions of all objects, as in a real cluster.
    fn mark(&self) -> Value {
        json!({ "round": self.round.to_string() })
    }

    fn workload(&self, name: &str, color: &str) -> Value {
        let labels = json!({ "app": "shop", "color": color, "name": name });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "labels": self.mark() },
            "spec": {
                "replicas": 1,
                "strategy": { "type": "Recreate", "rollingUpdate": null },
                "selector": { "matchLabels": { "name": name } },
                "template": {
                    "metadata": { "labels": labels, "annotations": { "kwok.flipguard.dev/pod": "ready" } },
                    "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
                        "name": "web", "image": "web:1", "readinessProbe": { "tcpSocket": { "port": 80 } } }] },
                },
            },
        })
    }

    async fn flip(&self, color: &str) -> Result<Answer> {
        let patch = json!({ "spec": { "selector": { "app": "shop", "color": color } } });
        insisting(|| async { self.services.patch("app", &merge(), &Patch::Merge(&patch)).await.map(drop) }).await
    }

    async fn delete(&self, name: &str) -> Result<Answer> {
        insisting(|| async { self.others.delete(name, &DeleteParams::background()).await.map(drop) }).await
    }

    async fn redeploy(&self, name: &str) -> Result<Answer> {
        let patch = json!({ "spec": { "template": { "metadata": { "annotations": { "kwok.flipguard.dev/pod": "starting" } },
            "spec": { "containers": [{ "name": "web", "image": format!("web:{}", self.round + 1) }] } } } });
        insisting(|| async { self.others.patch(name, &merge(), &Patch::Strategic(&patch)).await.map(drop) }).await
    }

    /// Whether the selected colour runs, once the controllers have processed all changes.
    async fn is_broken(&self) -> Result<bool> {
        let service = self.services.get("app").await?;
        let color = service.spec.and_then(|spec| spec.selector).and_then(|mut it| it.remove("color"));
        let color = color.context("the Service pins no colour")?;
        for (name, _) in self.race.workloads().iter().filter(|(_, own)| **own == color) {
            self.until(&format!("{name} was seen by its controller"), || async {
                let Some(it) = self.deployments.get_opt(name).await? else { return Ok(true) };
                let seen = it.status.as_ref().and_then(|status| status.observed_generation);
                Ok(seen >= it.metadata.generation)
            })
            .await?;
            if self.is_ready(name).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_ready(&self, name: &str) -> Result<bool> {
        let Some(it) = self.deployments.get_opt(name).await? else { return Ok(false) };
        let wanted = it.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let status = it.status.unwrap_or_default();
        let is_seen = status.observed_generation >= it.metadata.generation;
        let ready = status.ready_replicas.unwrap_or(0);
        let updated = status.updated_replicas.unwrap_or(0);
        let available = status.available_replicas.unwrap_or(0);
        let goes = it.metadata.deletion_timestamp.is_some();
        Ok(is_seen && !goes && wanted == 1 && [ready, updated, available].iter().all(|count| *count == wanted))
    }

    async fn until<F: Future<Output = Result<bool>>>(&self, what: &str, holds: impl Fn() -> F) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds().await? {
            if Instant::now() > deadline {
                bail!("timed out waiting until {what}");
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

async fn scale(deployments: &Api<Deployment>, name: &str) -> Result<Answer> {
    let patch = json!({ "spec": { "replicas": 0 } });
    insisting(|| async { deployments.patch_scale(name, &merge(), &Patch::Merge(&patch)).await.map(drop) }).await
}

fn merge() -> PatchParams {
    PatchParams::default()
}

fn apply() -> PatchParams {
    PatchParams::apply("races").force()
}

/// Retries after the time given in the answer, as client-go does.
async fn insisting<F: Future<Output = Result<(), Error>>>(request: impl Fn() -> F) -> Result<Answer> {
    for _ in 0..TRIES {
        match request().await {
            Err(Error::Api(status)) if status.code == 429 || status.code >= 500 => {
                match status.details.as_ref().map(|details| details.retry_after_seconds) {
                    Some(seconds) if seconds > 0 => sleep(Duration::from_secs(u64::from(seconds))).await,
                    _ => return Ok(Answer::Lost),
                }
            }
            other => return answer(other),
        }
    }
    Ok(Answer::GivenUp)
}

fn answer(result: Result<(), Error>) -> Result<Answer> {
    match result {
        Ok(()) => Ok(Answer::Passed),
        Err(Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => Ok(Answer::Refused),
        Err(Error::Api(status)) if status.code == 429 => Ok(Answer::GivenUp),
        Err(Error::Api(status)) if status.code >= 500 => Ok(Answer::Lost),
        Err(error) => Err(error.into()),
    }
}
