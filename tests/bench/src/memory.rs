//! Part 3: resident memory when idle, with a growing number of Deployments in the cluster, after many reviews, and with
//! many policies.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use controlplane::{ControlPlane, Guard};
use http::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, deployment, send};
use crate::flips::{flip, namespace};
use crate::process::resident;
use crate::recorded;
use crate::report::{Report, heading};
use crate::webhook::{Registered, Webhook, end};

/// The number of reviews.
const REVIEWS: usize = 100_000;
/// The number of Deployments in each namespace.
const IN_EACH: usize = 500;
/// The number of policies; more are set aside.
const POLICIES: usize = 256;
/// The path of all policies.
const PATH: &str = "/apis/flipguard.dev/v1alpha1/bluegreenpolicies";
/// The largest growth with so many policies, in MiB.
const POLICY_GROWTH: f64 = 8.0;
/// The largest difference in MiB that does not count as growth: a few pages of the allocator.
const NO_GROWTH: f64 = 1.0;

/// Measures the resident memory.
///
/// # Errors
/// When an object is rejected.
pub async fn measure(
    control_plane: &ControlPlane,
    cluster: &Cluster,
    flipguard: &Path,
    report: &mut Report,
) -> Result<()> {
    heading("3. resident memory in MiB");
    cluster.shop("shop-10", 10).await.or_else(already_there)?;
    let guard = Guard::start(control_plane, flipguard, &[])?;
    let process = guard.process().id();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = resident(process)?;
    println!("  idle {idle:.1}");
    let mut made = 0;
    let mut sizes = Vec::new();
    for deployments in [0, 1000, 10_000] {
        while made < deployments {
            let namespace = format!("crowd-{made}");
            cluster.namespace(&namespace).await?;
            // The Deployments are paused, so that the controllers ignore them.
            let crowd = (0..IN_EACH).map(|number| {
                let mut deployment = deployment(&format!("web-{number}"), Some("blue"), 0);
                if let Some(spec) = deployment.pointer_mut("/spec").and_then(serde_json::Value::as_object_mut) {
                    spec.insert("paused".to_owned(), true.into());
                }
                deployment
            });
            cluster.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), crowd).await?;
            made += IN_EACH;
            eprintln!("bench: {made} Deployments ...");
        }
        for number in 0..20 {
            flip(&cluster.guarded, &namespace(10), number).await?;
        }
        let size = resident(process)?;
        println!("  {deployments} Deployments in the cluster, after 20 flips: {size:.1}");
        sizes.push(size);
    }
    let review = recorded::reviews(&["deployment-24k-label"])?.pop().context("no review")?;
    let mut webhook = Webhook::of_guard("flipguard", &guard, &Registered::read(control_plane)?)?;
    webhook.target.ask_times(&Bytes::from(review.body), 8, REVIEWS).await?;
    let worked = resident(process)?;
    println!("  after {REVIEWS} reviews of a Deployment of 24 KB, 8 at once: {worked:.1}");
    let with_policies = with_policies(cluster, process).await?;
    end(&guard)?;
    report.bar("memory/idle, MiB", idle, 20.0);
    report.bar("memory/growth with 256 policies, MiB", with_policies - worked, POLICY_GROWTH);
    if let [none, .., most] = sizes.as_slice() {
        report.bar("memory/growth from 0 to 10000 Deployments, MiB", most - none, NO_GROWTH);
    }
    Ok(())
}

/// The resident memory after flips with as many policies as may count. Each policy is about 3 KB as it is stored.
async fn with_policies(cluster: &Cluster, process: u32) -> Result<f64> {
    let policies =
        (0..POLICIES).map(|number| {
            let exemptions: Vec<Value> = (0..8).map(|name| {
            json!({
                "name": format!("exemption-{name}"),
                "rules": ["live-scaled-down", "held-scaled-down"],
                "subjects": [{ "kind": "ServiceAccount", "namespace": "night", "name": format!("scaler-{name}") }],
                "services": ["*"],
                "reason": "scales to zero at night, and wakes in the morning",
            })
        }).collect();
            json!({
                "apiVersion": "flipguard.dev/v1alpha1",
                "kind": "BlueGreenPolicy",
                "metadata": { "name": format!("policy-{number:03}") },
                "spec": {
                    "namespaceSelector": { "matchLabels": { "team": format!("team-{number}") } },
                    "live": { "floor": 2 },
                    "rules": [{ "rule": "environment-differs", "action": "Deny" }],
                    "exemptions": exemptions,
                },
            })
        });
    cluster.create(PATH, policies).await?;
    for number in 0..20 {
        flip(&cluster.guarded, &namespace(10), number).await?;
        // Some flips list the policies anew, others do not.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let size = resident(process)?;
    println!("  {POLICIES} policies in the cluster, after 20 flips: {size:.1}");
    send(&cluster.bare, Method::DELETE, PATH, None).await?;
    Ok(size)
}

/// Ignores a conflict: an earlier part has created the object.
fn already_there(error: anyhow::Error) -> Result<()> {
    if format!("{error:#}").contains("already exists") { Ok(()) } else { Err(error) }
}
