//! The requests that the API server sends to flipguard, and those that it does not send.

use anyhow::{Context, Result, ensure};
use flipguard::certs::rotator;
use flipguard::cluster::clock::ClockDifference;
use serde_json::Value;

use super::Test;
use super::shop::{BLUE, GREEN, Pods, Shop};

pub(crate) const TESTS: &[Test] = &[
    ("admission::ordinary_writes_are_not_sent", ordinary_writes_are_not_sent),
    ("admission::one_line_a_decision", one_line_a_decision),
    ("admission::metrics_and_probes", metrics_and_probes),
    ("admission::two_replicas_share_one_identity", two_replicas_share_one_identity),
    ("admission::an_invalid_secret_is_replaced", an_invalid_secret_is_replaced),
];

fn ordinary_writes_are_not_sent(shop: &Shop) -> Result<()> {
    // The creation of a coloured Deployment is sent twice: for its labels, and to check whether it joins a live colour.
    shop.deploy_ready("app-blue", BLUE, 2)?;
    ensure!(shop.decisions()?.len() == 2, "{:?}", shop.decisions()?);
    // Plain Services, with every kind of write. Another selector is sent once, since the endpoints may be lost.
    shop.route("plain", &[("app", "shop")])?.succeeds()?;
    shop.route("plain", &[("app", "store"), ("tier", "web")])?.succeeds()?;
    // Workloads without a colour, including all writes of their controllers.
    shop.deploy_ready("plain", &[("app", "shop")], 2)?;
    shop.kubectl(&["scale", "deployment/plain", "--replicas=3"])?.succeeds()?;
    shop.rolled_out("deployment/plain")?;
    shop.kubectl(&["delete", "deployment/plain"])?.succeeds()?;
    // A traffic Service: created, applied again, labelled, annotated, and with changes of its ports and status. Only
    // the creation is sent, because the Service could replace a recently deleted one.
    shop.route("app", BLUE)?.succeeds()?;
    ensure!(shop.decisions()?.len() == 4, "{:?}", shop.decisions()?);
    shop.route("app", BLUE)?.succeeds()?;
    shop.kubectl(&["label", "service", "app", "team=shop"])?.succeeds()?;
    shop.kubectl(&["annotate", "service", "app", "note=hello"])?.succeeds()?;
    let ports = r#"{"spec":{"sessionAffinity":"ClientIP"}}"#;
    shop.kubectl(&["patch", "service", "app", "-p", ports])?.succeeds()?;
    let status = r#"{"status":{"conditions":[{"type":"Probed","status":"True","reason":"Probed","message":"",
        "lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
    shop.kubectl(&["patch", "service", "app", "--subresource=status", "-p", status])?.succeeds()?;
    // The coloured Deployment: applied again, labelled, scaled by its subresource, and with its status written.
    shop.deploy_ready("app-blue", BLUE, 2)?;
    shop.kubectl(&["label", "deployment", "app-blue", "team=shop"])?.succeeds()?;
    shop.kubectl(&["annotate", "deployment", "app-blue", "note=hello"])?.succeeds()?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=3"])?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    ensure!(shop.decisions()?.len() == 4, "flipguard was asked: {:?}", shop.decisions()?);
    // One write that is sent, to show that the counter works.
    shop.route("app", GREEN)?.is_refused("target-missing", &[])?;
    ensure!(shop.decisions()?.len() == 5, "{:?}", shop.decisions()?);
    Ok(())
}

fn one_line_a_decision(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Failing("ImagePullBackOff"))?;
    shop.route("app", BLUE)?.succeeds()?;
    shop.wait_for_pods("name=app-green", 1, "ImagePullBackOff")?;
    shop.kubectl(&["--as=alice", "--as-group=system:masters", "set", "selector", "service", "app", "color=green"])?
        .is_refused("target-not-ready", &[])?;
    let decisions: Vec<Value> = shop
        .decisions()?
        .into_iter()
        .filter(|line| line.get("kind").and_then(Value::as_str) == Some("Service"))
        .filter(|line| line.get("operation").and_then(Value::as_str) == Some("UPDATE"))
        .collect();
    let [line] = decisions.as_slice() else { anyhow::bail!("{} lines: {decisions:?}", decisions.len()) };
    let says = |key: &str, value: &str| {
        ensure!(line.get(key).and_then(Value::as_str) == Some(value), "{key} should be {value}: {line}");
        Ok(())
    };
    says("kind", "Service")?;
    says("name", "app")?;
    says("operation", "UPDATE")?;
    says("user", "alice")?;
    says("outcome", "denied")?;
    says("reasons", "target-not-ready=deny")?;
    ensure!(line.get("millis").and_then(Value::as_u64).is_some(), "{line}");
    ensure!(!line.to_string().contains("clusterIP"), "an object is in the log: {line}");
    Ok(())
}

fn metrics_and_probes(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.route("app", BLUE)?.succeeds()?;
    shop.route("app", GREEN)?.is_refused("target-missing", &[])?;
    let (status, body) = shop.guard.ask("/readyz")?;
    ensure!(status.contains("200") && body == "ok\n", "{status}: {body}");
    ensure!(shop.guard.ask("/livez")?.0.contains("200"));
    let (_, metrics) = shop.guard.ask("/metrics")?;
    ensure!(metrics.contains("flipguard_registered 1"), "{metrics}");
    let counted = "flipguard_decisions_total{kind=\"Service\",rule=\"target-missing\",action=\"deny\"}";
    ensure!(metrics.contains(counted), "{metrics}");
    ensure!(metrics.contains("flipguard_admission_seconds_bucket{le=\"0.1\",outcome=\"denied\"}"), "{metrics}");
    ensure!(metrics.contains("flipguard_decision_reads_bucket{le=\"8.0\",outcome=\"denied\"}"), "{metrics}");
    ensure!(metrics.contains("flipguard_decision_writes_sum{outcome=\"denied\"}"), "{metrics}");
    Ok(())
}

/// Whichever replica stores its identity first, all serve the same one.
fn two_replicas_share_one_identity(shop: &Shop) -> Result<()> {
    let (names, clock) = (vec!["flipguard.example".to_owned()], ClockDifference::default());
    on_runtime(async {
        let client = client(shop).await?;
        let load = || rotator::load(&client, &shop.namespace, &names, &clock);
        let (a, b, c, d) = tokio::join!(load(), load(), load(), load());
        let (a, b, c, d) = (a?, b?, c?, d?);
        ensure!(a == b && b == c && c == d, "replicas have different identities");
        let more = vec!["flipguard.example".to_owned(), "192.0.2.7".to_owned()];
        let renewed = rotator::load(&client, &shop.namespace, &more, &clock).await?;
        ensure!(renewed.authority == a.authority && renewed.token == a.token && renewed.leaf != a.leaf);
        Ok(())
    })
}

fn an_invalid_secret_is_replaced(shop: &Shop) -> Result<()> {
    shop.kubectl(&["create", "secret", "generic", "flipguard", "--from-literal=ca.crt=cut off"])?.succeeds()?;
    let (names, clock) = (vec!["flipguard.example".to_owned()], ClockDifference::default());
    on_runtime(async {
        let client = client(shop).await?;
        let made = rotator::load(&client, &shop.namespace, &names, &clock).await?;
        ensure!(made == rotator::load(&client, &shop.namespace, &names, &clock).await?, "the identity was not stored");
        Ok(())
    })
}

pub(crate) async fn client(shop: &Shop) -> Result<kube::Client> {
    Ok(flipguard::cluster::connect::connect(Some(shop.control_plane.kubeconfig())).await?)
}

pub(crate) fn on_runtime<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?.block_on(future)
}

/// Sends any object to any path.
pub(crate) async fn send(client: &kube::Client, method: &str, path: &str, object: &Value) -> Result<Value> {
    let content_type = if method == "PATCH" { "application/strategic-merge-patch+json" } else { "application/json" };
    // Leases and similar kinds support merge patches only.
    let content_type = if path.contains("/leases/") { "application/merge-patch+json" } else { content_type };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, content_type)
        .body(object.to_string().into_bytes())?;
    Ok(client.request(request).await?)
}
