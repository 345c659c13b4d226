//! Part 6: resident memory while flips in the largest namespace are judged, several at the same time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use controlplane::{ControlPlane, Guard};
use flipguard::install::workload::MEMORY_LIMIT_MIB;
use futures_util::future::join_all;
use http::Method;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cluster::{Cluster, deployment, send};
use crate::process::{most_resident, resident};
use crate::report::{Report, heading};
use crate::webhook::end;

/// Deployments, and the ReplicaSets of each: the threshold of Kubernetes, and the default `revisionHistoryLimit`.
const DEPLOYMENTS: usize = 2000;
const OF_EACH: usize = 11;
/// The numbers of flips at the same time.
const AT_ONCE: [usize; 3] = [1, 4, 8];
/// The rounds of each.
const ROUNDS: usize = 5;
/// The tries of a client. kubectl has ten.
const TRIES: usize = 10;
/// The pause of a client before it tries again.
const PAUSE: Duration = Duration::from_secs(1);

const NAMESPACE: &str = "largest";

/// Measures the resident memory, and how many flips pass at the first try.
///
/// # Errors
/// When an object is rejected.
pub async fn measure(
    control_plane: &ControlPlane,
    cluster: &Cluster,
    flipguard: &Path,
    report: &mut Report,
) -> Result<()> {
    heading(&format!("6. the largest namespace: {} ReplicaSets, resident memory in MiB", DEPLOYMENTS * OF_EACH));
    cluster.shop(NAMESPACE, 2).await?;
    fill(cluster).await?;
    let guard = Guard::start(control_plane, flipguard, &[])?;
    let process = guard.process().id();
    println!("  idle {:.1}", resident(process)?);
    for at_once in AT_ONCE {
        let (mut times, mut again, mut failed) = (Vec::new(), 0, 0);
        for _ in 0..ROUNDS {
            for flip in join_all((0..at_once).map(|_| flip(cluster))).await {
                let (took, tries) = flip?;
                times.push(took.as_secs_f64());
                again += tries;
                failed += usize::from(tries == TRIES);
            }
        }
        times.sort_by(f64::total_cmp);
        let (last, middle) = (times.last().context("no flip")?, times.get(times.len() / 2).context("no flip")?);
        println!(
            "  {at_once} at the same time: p50 {middle:.2} s, longest {last:.2} s, told to try again {again} times, \
             {failed} gave up; resident {:.0}, at most so far {:.0}",
            resident(process)?,
            most_resident(process)?
        );
    }
    let most = most_resident(process)?;
    end(&guard)?;
    report.bar("memory/largest namespace, 8 flips at the same time, MiB", most, f64::from(MEMORY_LIMIT_MIB));
    Ok(())
}

/// Creates paused Deployments without Pods, each with its ReplicaSets.
async fn fill(cluster: &Cluster) -> Result<()> {
    let path = |resource: &str| format!("/apis/apps/v1/namespaces/{NAMESPACE}/{resource}");
    let named = |number: usize| {
        let mut object = deployment(&format!("web-{number}"), None, 0);
        let settings: Vec<Value> = (0..40)
            .map(|index| json!({ "name": format!("SETTING_{index}"), "value": "a value of the usual length" }))
            .collect();
        if let Some(container) = object.pointer_mut("/spec/template/spec/containers/0") {
            *container = json!({ "name": "web", "image": "registry.example/web:1", "env": settings });
        }
        object
    };
    let paused = |number: usize| {
        let mut object = named(number);
        if let Some(spec) = object.pointer_mut("/spec").and_then(Value::as_object_mut) {
            spec.insert("paused".to_owned(), true.into());
            // The controller must not delete any of them.
            spec.insert("revisionHistoryLimit".to_owned(), 100.into());
        }
        object
    };
    cluster.create(&path("deployments"), (0..DEPLOYMENTS).map(paused)).await?;
    let list: Value = serde_json::from_str(&send(&cluster.bare, Method::GET, &path("deployments"), None).await?)?;
    let items = list.get("items").and_then(Value::as_array).context("no items")?;
    let text = |object: &Value, at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let deployments: Vec<(String, String)> =
        items.iter().map(|item| (text(item, "/metadata/name"), text(item, "/metadata/uid"))).collect();
    let of_web =
        deployments.iter().filter_map(|(name, uid)| Some((name.strip_prefix("web-")?.parse().ok()?, name, uid)));
    for (done, (number, name, uid)) in of_web.enumerate() {
        if done.is_multiple_of(500) {
            eprintln!("bench: {} ReplicaSets ...", done * OF_EACH);
        }
        let replica_sets =
            (0..OF_EACH).map(|revision| {
                let mut object = named(number);
                if let Some(object) = object.as_object_mut() {
                    object.insert("kind".to_owned(), json!("ReplicaSet"));
                    object.insert("metadata".to_owned(), json!({
                    "name": format!("{name}-{revision}"),
                    // As the controller labels them.
                    "labels": { "app": name, "pod-template-hash": revision.to_string() },
                    "annotations": { "deployment.kubernetes.io/revision": revision.to_string() },
                    "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid,
                        "controller": true }],
                }));
                }
                if let Some(image) = object.pointer_mut("/spec/template/spec/containers/0/image") {
                    *image = json!(format!("registry.example/web:{revision}"));
                }
                object
            });
        cluster.create(&path("replicasets"), replica_sets).await?;
    }
    Ok(())
}

/// A flip as a dry run, which is read and judged as any other and changes nothing. Returns its time, and how often it was
/// told to try again. A dry run that cannot be judged passes, with a warning.
async fn flip(cluster: &Cluster) -> Result<(Duration, usize)> {
    let change = json!({ "spec": { "selector": { "color": "green" } } }).to_string();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/services/app?dryRun=All");
    let started = Instant::now();
    for tries in 0..TRIES {
        let request = http::Request::patch(&path).header("content-type", "application/merge-patch+json");
        let answer = cluster.guarded.send(request.body(Body::from(change.clone().into_bytes()))?).await?;
        let warnings = answer.headers().get_all("warning").iter().filter_map(|value| value.to_str().ok());
        let is_judged = !warnings.into_iter().any(|warning| warning.contains("cluster-unreadable"));
        if answer.status().is_success() && is_judged {
            return Ok((started.elapsed(), tries));
        }
        sleep(PAUSE).await;
    }
    Ok((started.elapsed(), TRIES))
}
