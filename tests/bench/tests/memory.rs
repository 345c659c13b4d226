//! The peak of heap memory while flips in the largest namespace are judged, which must fit into the memory limit of the
//! manifests. Allocated bytes are counted, so the figure is the same on every machine.
//!
//! This test has a binary of its own, because the counter replaces the global allocator.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flipguard::cluster::events::Events;
use flipguard::cluster::ledger_store::LedgerStore;
use flipguard::cluster::policies::PolicyStore;
use flipguard::guard::{Concurrency, Guard};
use flipguard::install::workload::MEMORY_LIMIT_MIB;
use flipguard::model::{Change, Policy};
use flipguard::review::{change_of, wire};
use flipguard::rules::Outcome;
use flipguard::server::{Judgement, Validate};
use futures_util::future::join_all;
use http_body_util::Full;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What one namespace may hold: the thresholds of Kubernetes for Deployments and Pods, and ten old ReplicaSets for each
/// Deployment.
const DEPLOYMENTS: usize = 2000;
const REPLICA_SETS: usize = 22_000;
const PODS: usize = 3000;
/// The flips at the same time. All of them are the first ones there, so that the size of the namespace is not known yet.
const AT_ONCE: usize = 4;
/// The objects in a page, as flipguard asks for.
const PAGE: usize = 500;
/// The part of the memory limit that the process needs beside what is counted here: its code, the stacks of its threads,
/// and what the allocator does not give back.
const BESIDE_MIB: f64 = 56.0;
const MIB: f64 = 1024.0 * 1024.0;

#[test]
fn flips_in_the_largest_namespace_fit_into_the_memory_limit() -> Result<()> {
    let pages = Arc::new(pages());
    let peak = peak_of(AT_ONCE, &pages)?;
    println!("{AT_ONCE} flips at the same time: {peak:.0} MiB of heap at the peak");
    ensure!(peak + BESIDE_MIB < f64::from(MEMORY_LIMIT_MIB), "{peak:.0} MiB do not fit into {MEMORY_LIMIT_MIB} MiB");
    Ok(())
}

/// The peak while this many flips are judged at the same time. Each one of them has to pass.
fn peak_of(flips: usize, pages: &Arc<BTreeMap<String, Vec<Bytes>>>) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut judged = Vec::new();
    let counted = allocation_counter::measure(|| judged = runtime.block_on(judge(flips, pages.clone())));
    ensure!(judged.len() == flips, "{} of {flips} are judged", judged.len());
    for Judgement { verdict, .. } in judged {
        let denied: Vec<String> = verdict.denying().map(|finding| finding.message.clone()).collect();
        ensure!(verdict.judged && denied.is_empty(), "{denied:?}");
    }
    #[expect(clippy::cast_precision_loss, reason = "a few hundred millions")]
    let bytes = counted.bytes_max as f64;
    Ok(bytes / MIB)
}

async fn judge(flips: usize, pages: Arc<BTreeMap<String, Vec<Bytes>>>) -> Vec<Judgement> {
    let client = client(pages);
    let ledgers = Arc::new(LedgerStore::new(client.clone(), "own", Duration::from_secs(90)));
    let (events, _) = Events::new(client.clone());
    let policies = Arc::new(PolicyStore::new(client.clone(), Policy::default(), Duration::from_secs(2)));
    let guard = Guard::new(client, policies, ledgers, Concurrency::Fresh, events, None);
    let Ok(change) = flip() else { return Vec::new() };
    join_all((0..flips).map(|_| judge_until_it_is(&guard, &change))).await
}

/// Judges a flip as a client has it judged, which tries again after a second. However slow the machine is, each flip gets
/// its turn.
async fn judge_until_it_is(guard: &Guard, change: &Change) -> Judgement {
    loop {
        let judgement = guard.judge(change, Instant::now() + Duration::from_secs(3600)).await;
        if judgement.verdict.outcome() != Outcome::CannotJudge {
            return judgement;
        }
    }
}

/// An API server that has these pages of these paths.
fn client(pages: Arc<BTreeMap<String, Vec<Bytes>>>) -> Client {
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let token =
            request.uri().query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("continue=")));
        let page = token.and_then(|token| token.parse().ok()).unwrap_or(0_usize);
        let page = pages.get(request.uri().path()).and_then(|pages| pages.get(page)).cloned();
        // As over a network, others get their turn while the answer is on its way.
        async move {
            tokio::task::yield_now().await;
            let body = page.unwrap_or_else(|| Bytes::from_static(br#"{"items":[]}"#));
            Ok::<_, Infallible>(http::Response::new(Full::new(body)))
        }
    });
    Client::new(service, "default")
}

/// The flip of the first app from blue to green.
fn flip() -> Result<Change> {
    let service = |color: &str| {
        json!({ "metadata": { "name": "app", "namespace": "shop", "uid": "s" },
            "spec": { "selector": { "app": "web-0", "color": color }, "ports": [{ "port": 80 }] } })
    };
    let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r", "operation": "UPDATE", "name": "app", "namespace": "shop", "dryRun": false,
        "kind": { "group": "", "version": "v1", "kind": "Service" },
        "resource": { "group": "", "version": "v1", "resource": "services" },
        "userInfo": { "username": "alice" }, "object": service("green"), "oldObject": service("blue"),
    }})
    .to_string();
    let mut request = wire::Request::parse(review.as_bytes()).context("no review")?;
    change_of(&mut request).context("no change")
}

fn pages() -> BTreeMap<String, Vec<Bytes>> {
    let apps = |resource: &str| format!("/apis/apps/v1/namespaces/shop/{resource}");
    BTreeMap::from([
        (apps("deployments"), list(DEPLOYMENTS, deployment)),
        (apps("replicasets"), list(REPLICA_SETS, replica_set)),
        ("/api/v1/namespaces/shop/pods".to_owned(), list(PODS, pod)),
    ])
}

fn list(count: usize, object: fn(usize) -> Value) -> Vec<Bytes> {
    let pages = count.div_ceil(PAGE);
    let page = |number: usize| {
        let items: Vec<Value> = (number * PAGE..count.min((number + 1) * PAGE)).map(object).collect();
        let next = if number + 1 < pages { (number + 1).to_string() } else { String::new() };
        let remaining = count.saturating_sub((number + 1) * PAGE);
        let metadata = json!({ "continue": next, "remainingItemCount": remaining });
        Bytes::from(json!({ "metadata": metadata, "items": items }).to_string())
    };
    (0..pages).map(page).collect()
}

/// Two Deployments make an app: one is blue, the other is green.
fn labels(deployment: usize) -> Value {
    let color = if deployment.is_multiple_of(2) { "blue" } else { "green" };
    json!({ "app": format!("web-{}", deployment / 2), "color": color, "team": "the-team-of-the-shop" })
}

fn deployment(number: usize) -> Value {
    let status = json!({ "observedGeneration": 7, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
        "availableReplicas": 1 });
    let metadata =
        metadata(&format!("web-{number}"), number, &json!({ "deployment.kubernetes.io/revision": "11" }), None);
    json!({ "metadata": metadata, "spec": { "replicas": 1, "selector": { "matchLabels": labels(number) },
        "template": template(&labels(number), number, 15) }, "status": status })
}

fn replica_set(number: usize) -> Value {
    let (of, revision) = (number / 11, number % 11 + 1);
    let mut labels = labels(of);
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("pod-template-hash".to_owned(), json!(format!("{number:010}")));
    }
    let replicas = usize::from(revision == 11);
    let annotations = json!({ "deployment.kubernetes.io/revision": revision.to_string(),
        "deployment.kubernetes.io/desired-replicas": "1", "deployment.kubernetes.io/max-replicas": "2" });
    let metadata =
        metadata(&format!("web-{of}-{number:010}"), 100_000 + number, &annotations, Some(("Deployment", of)));
    json!({ "metadata": metadata, "spec": { "replicas": replicas, "selector": { "matchLabels": labels },
        "template": template(&labels, number, 5) },
        "status": { "observedGeneration": 1, "replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas } })
}

fn pod(number: usize) -> Value {
    let (of, owner) = (number % DEPLOYMENTS, number % DEPLOYMENTS * 11 + 10);
    let mut metadata = metadata(
        &format!("web-{of}-{owner:010}-{number:05}"),
        200_000 + number,
        &json!({}),
        Some(("ReplicaSet", 100_000 + owner)),
    );
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("labels".to_owned(), labels(of));
    }
    let status =
        json!({ "phase": "Running", "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] });
    json!({ "metadata": metadata, "spec": template(&json!({}), number, 5).get("spec"), "status": status })
}

/// The metadata of an object, whose uid is a number. So is that of its controller.
fn metadata(name: &str, own: usize, annotations: &Value, controller: Option<(&str, usize)>) -> Value {
    let uid = |number: usize| format!("00000000-0000-0000-0000-{number:012}");
    let owners: Vec<Value> = controller
        .into_iter()
        .map(|(kind, owner)| {
            json!({ "apiVersion": "apps/v1", "kind": kind, "name": format!("web-{owner}"), "uid": uid(owner),
                "controller": true, "blockOwnerDeletion": true })
        })
        .collect();
    json!({ "name": name, "namespace": "shop", "uid": uid(own), "resourceVersion": "123456789", "generation": 7,
        "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": annotations, "labels": { "app": name },
        "ownerReferences": owners })
}

/// A template with this number of settings. Fifteen make about 1 KB.
fn template(labels: &Value, number: usize, settings: usize) -> Value {
    let env: Vec<Value> = (0..settings)
        .map(|index| json!({ "name": format!("SETTING_{index}"), "value": format!("a value of revision {number}") }))
        .collect();
    let probe = json!({ "httpGet": { "path": "/ready", "port": "http" }, "periodSeconds": 5 });
    json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "web",
        "image": format!("registry.example/web:{number}"), "ports": [{ "name": "http", "containerPort": 8080 }],
        "readinessProbe": probe, "env": env }] } })
}
