//! Writers that never stop. They send flips that must be allowed, and flips and scales that must be denied.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use controlplane::ControlPlane;
use flipguard::cluster::connect::connect;
use kube::Client;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams};
use serde_json::{Value, json};

/// The number of writers. Each one writes to its own namespace, one request after the other, so this many requests are
/// in flight at most.
pub(crate) const WRITERS: usize = 4;

/// The results of the requests since the last call of [`lap`](Writers::lap).
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) allowed: usize,
    pub(crate) refused: usize,
    /// The API server got no verdict. The client is told so, and may retry.
    pub(crate) lost: Vec<String>,
    /// The request was told to wait, because its verdict depends on a pending change.
    pub(crate) waits: Vec<String>,
    /// The API server itself did not answer, or could not reach etcd.
    pub(crate) away: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

pub(crate) struct Writers {
    ended: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Writers {
    /// Makes blue and green ready in each namespace, with blue serving, and starts the writers.
    pub(crate) fn start(control_plane: &ControlPlane) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        for number in 0..WRITERS {
            apply(control_plane, &shop(&namespace(number)))?;
        }
        for number in 0..WRITERS {
            for colour in ["blue", "green"] {
                let deployment = format!("deployment/app-{colour}");
                let mut rollout = control_plane.kubectl();
                rollout.args(["-n", &namespace(number), "rollout", "status", &deployment, "--timeout=90s"]);
                ensure!(rollout.output()?.status.success(), "{deployment} does not become ready");
            }
        }
        let threads = (0..WRITERS).map(|number| {
            let (ended, tally) = (ended.clone(), tally.clone());
            let kubeconfig = control_plane.kubeconfig().to_owned();
            spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(write(&kubeconfig, &namespace(number), &ended, &tally))
            })
        });
        let threads = threads.collect();
        Ok(Self { ended, tally, threads })
    }

    /// The results since the last call.
    pub(crate) fn lap(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until no request is lost for two seconds. Requests lost meanwhile are dropped; a wrong verdict is an
    /// error.
    pub(crate) fn until_calm(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = self.lap();
            ensure!(seen.wrong.is_empty(), "a wrong verdict: {:?}", seen.wrong.first());
            if seen.allowed > 0
                && seen.refused > 0
                && seen.lost.is_empty()
                && seen.waits.is_empty()
                && seen.away.is_empty()
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "requests are still lost: {seen:?}");
            sleep(Duration::from_secs(2));
        }
    }

    pub(crate) fn end(self) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        self.threads.into_iter().try_for_each(|thread| thread.join().ok().context("a writer panicked")?)
    }
}

fn namespace(number: usize) -> String {
    format!("soak-{number}")
}

async fn write(kubeconfig: &Path, namespace: &str, ended: &AtomicBool, tally: &Mutex<Tally>) -> Result<()> {
    let client = connect(Some(kubeconfig)).await?;
    let services = format!("/api/v1/namespaces/{namespace}/services");
    let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let flip = |colour: &str| (services.clone(), "app", json!({ "spec": { "selector": { "color": colour } } }));
    let scale = |name| (deployments.clone(), name, json!({ "spec": { "replicas": 0 } }));
    while !ended.load(Ordering::Relaxed) {
        for (serving, live) in [("green", "app-green"), ("blue", "app-blue")] {
            let passed = patch(&client, flip(serving)).await;
            let serves = passed.is_ok();
            note(tally, "a flip to what is ready", None, passed);
            note(tally, "a flip to what does not exist", Some("target-missing"), patch(&client, flip("red")).await);
            // The serving colour is known only if the flip was answered.
            if serves {
                note(tally, "scaling away what serves", Some("live-scaled-down"), patch(&client, scale(live)).await);
            } else {
                // Clients pause in the same way if told to wait or if no server answers.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    Ok(())
}

async fn patch(client: &Client, (path, name, object): (String, &str, Value)) -> kube::Result<Value> {
    let request = Request::new(path).patch(name, &PatchParams::default(), &Patch::Merge(object));
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

fn note(tally: &Mutex<Tally>, what: &str, refusal: Option<&str>, answer: kube::Result<Value>) {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    let status = match (answer, refusal) {
        (Ok(_), None) => return tally.allowed += 1,
        (Ok(_), Some(_)) => return tally.wrong.push(format!("{what} passed")),
        (Err(kube::Error::Api(status)), _) => status,
        (Err(error), _) => return tally.away.push(format!("{what}: {error}")),
    };
    let message: String = status.message.chars().take(400).collect();
    let said = format!("{what}: {} {message}", status.code);
    match (refusal, status.code) {
        (Some(reason), 403) if message.contains(reason) => tally.refused += 1,
        (_, 403) => tally.wrong.push(said),
        (_, 500) if message.contains("failed calling webhook") => tally.lost.push(said),
        (_, 429) if message.contains("concurrent-change") => tally.waits.push(said),
        // A request that could not be judged. Clients retry by themselves.
        (_, 503) if message.contains("flipguard") => tally.lost.push(said),
        _ => tally.away.push(said),
    }
}

fn shop(namespace: &str) -> String {
    let deployment = |colour: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: app-{colour}, namespace: {namespace}}}, \
             spec: {{replicas: 2, selector: {{matchLabels: {{name: app-{colour}}}}}, template: {{metadata: {{labels: \
             {{name: app-{colour}, app: shop, color: {colour}}}}}, spec: {{containers: [{{name: web, image: 'web:1', \
             readinessProbe: {{httpGet: {{port: 8080}}}}}}]}}}}}}}}\n"
        )
    };
    format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}\n---\n{}---\n{}---\n\
         {{apiVersion: v1, kind: Service, metadata: {{name: app, namespace: {namespace}}}, \
         spec: {{selector: {{app: shop, color: blue}}, ports: [{{port: 80, targetPort: 8080}}]}}}}\n",
        deployment("blue"),
        deployment("green"),
    )
}

fn apply(control_plane: &ControlPlane, yaml: &str) -> Result<()> {
    let mut apply = control_plane.kubectl();
    apply.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut apply = apply.spawn().context("cannot start kubectl")?;
    if let Some(mut stdin) = apply.stdin.take() {
        stdin.write_all(yaml.as_bytes())?;
    }
    let output = apply.wait_with_output()?;
    ensure!(output.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
