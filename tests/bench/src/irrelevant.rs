//! Part 5: writes that are irrelevant to flipguard. Measured are the number of calls to flipguard, and the latency that
//! its registration adds.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use controlplane::{ControlPlane, Guard};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment, send, service};
use crate::figures::{ROUNDS, Spread, order, ratios};
use crate::report::{Report, heading};
use crate::webhook::end;

/// The kinds of irrelevant writes.
const KINDS: [&str; 5] = [
    "status of a coloured Deployment",
    "no-op of a coloured Deployment",
    "lease",
    "uncoloured Deployment",
    "plain Service",
];
/// The number of writes of each kind in a slice. All rounds together send 1100 through the API server with webhooks.
const WRITES: usize = 20;
const NAMESPACE: &str = "irrelevant";

/// Measures the calls and the latency.
///
/// # Errors
/// When a write fails.
pub async fn measure(
    control_plane: &ControlPlane,
    cluster: &Cluster,
    flipguard: &Path,
    report: &mut Report,
) -> Result<()> {
    heading("5. writes that do not concern flipguard");
    let guard = Guard::start(control_plane, flipguard, &[])?;
    cluster.namespace(NAMESPACE).await?;
    let of = |group: &str, plural: &str| format!("/{group}/namespaces/{NAMESPACE}/{plural}");
    let objects = [deployment("web-blue", Some("blue"), 0), deployment("web", None, 0)];
    cluster.create(&of("apis/apps/v1", "deployments"), objects).await?;
    cluster.create(&of("api/v1", "services"), [service("web", None)]).await?;
    let lease = json!({ "metadata": { "name": "web" }, "spec": { "holderIdentity": "a" } });
    cluster.create(&of("apis/coordination.k8s.io/v1", "leases"), [lease]).await?;

    let before = calls(&guard)?;
    let (mut writes, mut number) = (0, 0);
    println!("  {:<36}{:>14}{:>14}{:>22}", "p50 in ms", "unguarded", "guarded", "ratio");
    for kind in KINDS {
        let mut p50 = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for index in order(round, 2) {
                let client = if index == 0 { &cluster.bare } else { &cluster.guarded };
                let mut took = Vec::new();
                for _ in 0..WRITES {
                    number += 1;
                    let started = Instant::now();
                    write(client, kind, number).await.context(kind)?;
                    took.push(started.elapsed().as_secs_f64() * 1e3);
                }
                writes += if index == 0 { 0 } else { WRITES };
                if let Some(p50) = p50.get_mut(index) {
                    p50.push(Spread::of(took).median);
                }
            }
        }
        let [bare, guarded] = p50;
        let ratio = ratios(&guarded, &bare);
        println!(
            "  {kind:<36}{:>14.2}{:>14.2}{:>22}",
            Spread::of(bare).median,
            Spread::of(guarded).median,
            format!("{:.2} [{:.2}-{:.2}]", ratio.median, ratio.low, ratio.high)
        );
    }
    let asked = calls(&guard)? - before;
    end(&guard)?;
    println!("  {writes} such writes through the API server that asks: {asked} calls");
    report.bar(format!("irrelevant/calls for {writes} writes"), asked, 0.0);
    Ok(())
}

async fn write(client: &Client, kind: &str, number: usize) -> Result<()> {
    let deployments = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    let (path, change): (String, Value) = match kind {
        "status of a coloured Deployment" => {
            (format!("{deployments}/web-blue/status"), json!({ "status": { "collisionCount": number } }))
        }
        "no-op of a coloured Deployment" => {
            (format!("{deployments}/web-blue"), deployment("web-blue", Some("blue"), 0))
        }
        "lease" => (
            format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/web"),
            json!({ "spec": { "leaseTransitions": number } }),
        ),
        "uncoloured Deployment" => {
            (format!("{deployments}/web"), json!({ "spec": { "revisionHistoryLimit": number % 50 } }))
        }
        _ => (
            format!("/api/v1/namespaces/{NAMESPACE}/services/web"),
            json!({ "spec": { "sessionAffinity": if number.is_multiple_of(2) { "ClientIP" } else { "None" } } }),
        ),
    };
    send(client, Method::PATCH, &path, Some(&change)).await.map(drop)
}

/// The number of reviews that flipguard has answered.
fn calls(guard: &Guard) -> Result<f64> {
    let (_, metrics) = guard.ask("/metrics")?;
    let counts = metrics.lines().filter(|line| line.starts_with("flipguard_admission_seconds_count"));
    Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
