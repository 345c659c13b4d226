//! Writes that are never judged, checked by the reviews that flipguard received.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Test;
use super::shop::{BLUE, GREEN, Pods, Shop, service, workload};

pub(crate) const TESTS: &[Test] = &[
    ("never_judged::controllers_and_the_garbage_collector", controllers_and_the_garbage_collector),
    ("never_judged::the_namespace_of_the_system", the_namespace_of_the_system),
];

/// The decisions on writes of Kubernetes' own components.
fn by_the_system(shop: &Shop) -> Result<Vec<Value>> {
    let user = |line: &Value| line.get("user").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(shop.decisions()?.into_iter().filter(|line| user(line).starts_with("system:")).collect())
}

/// Rollouts, scaling, old ReplicaSets, and garbage collection.
fn controllers_and_the_garbage_collector(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    shop.kubectl(&["patch", "deployment", "app-green", "-p", r#"{"spec":{"revisionHistoryLimit":0}}"#])?.succeeds()?;
    for image in ["web=web:2", "web=web:3"] {
        shop.kubectl(&["set", "image", "deployment/app-green", image])?.passes_silently()?;
        shop.rolled_out("deployment/app-green")?;
    }
    shop.until("the old ReplicaSets are gone", || {
        Ok(shop.kubectl(&["get", "rs", "-l", "name=app-green", "--no-headers"])?.out.lines().count() == 1)
    })?;
    // Also of the live colour.
    shop.kubectl(&["rollout", "restart", "deployment/app-blue"])?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    for kind in ["StatefulSet", "DaemonSet"] {
        let name = kind.to_ascii_lowercase();
        shop.apply(&workload(kind, &name, &[("app", "more"), ("color", "blue")], 2, Pods::Ready, "web:1"))?
            .succeeds()?;
        shop.rolled_out(&format!("{name}/{name}"))?;
        shop.kubectl(&["rollout", "restart", &format!("{name}/{name}")])?.succeeds()?;
        shop.rolled_out(&format!("{name}/{name}"))?;
        shop.kubectl(&["delete", &name, &name])?.succeeds()?;
    }
    shop.kubectl(&["delete", "service", "app"])?.succeeds()?;
    shop.kubectl(&["delete", "deployment", "app-green", "--cascade=background"])?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-blue", "--cascade=foreground"])?.passes_silently()?;
    shop.until("all objects are garbage-collected", || {
        let left = shop.kubectl(&["get", "deploy,rs,pods,controllerrevisions", "--no-headers"])?;
        Ok(left.ok && left.out.is_empty())
    })?;
    let asked = by_the_system(shop)?;
    ensure!(asked.is_empty(), "flipguard was asked: {asked:?}");
    ensure!(!shop.decisions()?.is_empty(), "no decision was logged");
    Ok(())
}

/// Every kind of object in `kube-system`: a cluster must start without flipguard.
fn the_namespace_of_the_system(shop: &Shop) -> Result<()> {
    let system = |args: &[&str]| shop.plain_kubectl(&[&["-n", "kube-system"], args].concat());
    for manifest in
        [workload("Deployment", "never-judged", BLUE, 1, Pods::Ready, "web:1"), service("never-judged", BLUE)]
    {
        shop.apply_with(&manifest, &["--namespace=kube-system"])?.passes_silently()?;
    }
    system(&["rollout", "status", "deployment/never-judged", "--timeout=60s"])?.succeeds()?;
    shop.apply_with(&service("never-judged", GREEN), &["--namespace=kube-system"])?.passes_silently()?;
    shop.apply_with(&service("never-judged", BLUE), &["--namespace=kube-system"])?.passes_silently()?;
    system(&["set", "image", "deployment/never-judged", "web=web:2"])?.passes_silently()?;
    system(&["scale", "deployment/never-judged", "--replicas=0"])?.passes_silently()?;
    system(&["delete", "deployment/never-judged", "service/never-judged"])?.passes_silently()?;
    let log = shop.guard.log()?;
    let asked: Vec<&str> = log.lines().filter(|line| line.contains("\"namespace\":\"kube-system\"")).collect();
    ensure!(asked.is_empty(), "flipguard was asked: {asked:?}");
    Ok(())
}
