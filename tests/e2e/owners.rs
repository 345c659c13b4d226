//! Owners: the garbage collector deletes an object once none of its owners exists.

use anyhow::Result;
use serde_json::{Value, json};

use super::Test;
use super::shop::{Attempt, Pods, Shop, workload};

pub(crate) const TESTS: &[Test] = &[
    ("owners::that_do_not_exist_are_denied", that_do_not_exist_are_denied),
    ("owners::that_exist_are_allowed", that_exist_are_allowed),
    ("owners::of_replica_sets_may_change", of_replica_sets_may_change),
];

/// A patch that sets one owner.
fn owned_by(api_version: &str, kind: &str, name: &str, uid: &str) -> String {
    let owner = json!({ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid });
    json!({ "metadata": { "ownerReferences": [owner] } }).to_string()
}

fn patch(shop: &Shop, object: &str, patch: &str) -> Result<Attempt> {
    shop.kubectl(&["patch", object, "--type=merge", "-p", patch])
}

/// The garbage collector deletes an object if none of its owners exists. It compares owners by uid.
fn that_do_not_exist_are_denied(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let gone = owned_by("apps/v1", "Deployment", "gone", "5d6c1b1e-0000-4000-8000-000000000000");
    let stale = owned_by("apps/v1", "Deployment", "app-blue", "5d6c1b1e-0000-4000-8000-000000000000");
    let words = &["does not exist; garbage collection would leave"];
    patch(shop, "deployment/app-blue", &gone)?.is_refused("live-deleted", words)?;
    patch(shop, "deployment/app-blue", &owned_by("v1", "Service", "app", "stale"))?
        .is_refused("live-deleted", words)?;
    shop.kubectl(&["patch", "deployment/app-blue", "--subresource=status", "--type=merge", "-p", &gone])?
        .is_refused("live-deleted", words)?;
    // A restore from a backup writes such owners.
    let blue = shop.replica_set_of("app-blue")?;
    patch(shop, &blue, &stale)?.is_refused("live-deleted", words)?;
    // The idle colour may be deleted, and the collector deletes it.
    patch(shop, "deployment/app-green", &gone)?.passes_silently()?;
    shop.until("the idle colour is collected", || Ok(!shop.kubectl(&["get", "deployment", "app-green"])?.ok))?;
    shop.kubectl(&["get", "deployment", "app-blue"])?.succeeds()
}

/// An operator takes over a live workload, and its own object is deleted.
fn that_exist_are_allowed(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    shop.kubectl(&["create", "configmap", "release"])?.succeeds()?;
    let uid =
        |object: &str| -> Result<String> { Ok(shop.kubectl(&["get", object, "-o=jsonpath={.metadata.uid}"])?.out) };
    let release = owned_by("v1", "ConfigMap", "release", &uid("configmap/release")?);
    let green = owned_by("apps/v1", "Deployment", "app-green", &uid("deployment/app-green")?);
    patch(shop, "deployment/app-blue", &green)?.passes_silently()?;
    patch(shop, "deployment/app-blue", r#"{"metadata":{"ownerReferences":null}}"#)?.passes_silently()?;
    // flipguard may not read ConfigMaps here ...
    let may_not = "live-deleted: flipguard may not read owner ConfigMap release";
    patch(shop, "deployment/app-blue", &release)?.passes_with_warning(&[may_not])?;
    // ... until a Role permits it.
    shop.kubectl(&["create", "role", "look", "--verb=get", "--resource=configmaps"])?.succeeds()?;
    let account = "--serviceaccount=flipguard-system:flipguard";
    shop.kubectl(&["create", "rolebinding", "look", "--role=look", account])?.succeeds()?;
    patch(shop, "deployment/app-blue", r#"{"metadata":{"ownerReferences":null}}"#)?.passes_silently()?;
    let stale = owned_by("v1", "ConfigMap", "release", "5d6c1b1e-0000-4000-8000-000000000000");
    shop.until("flipguard may read ConfigMaps", || {
        Ok(shop
            .kubectl(&["patch", "deployment/app-blue", "--type=merge", "--dry-run=server", "-p", &stale])?
            .err
            .contains("denied the request"))
    })?;
    patch(shop, "deployment/app-blue", &stale)?
        .is_refused("live-deleted", &["owner ConfigMap release does not exist"])?;
    patch(shop, "deployment/app-blue", &release)?.passes_silently()?;
    // The operator's object is deleted. The collector's own DELETE is judged too.
    shop.kubectl(&["delete", "configmap", "release"])?.succeeds()?;
    shop.until("the garbage collector is denied", || {
        let collector = "system:serviceaccount:kube-system:generic-garbage-collector";
        Ok(shop.decisions()?.iter().any(|line| {
            let says = |key: &str, value: &str| line.get(key).and_then(Value::as_str) == Some(value);
            says("user", collector) && says("operation", "DELETE") && says("outcome", "denied")
        }))
    })?;
    shop.kubectl(&["get", "deployment", "app-blue"])?.succeeds()
}

fn of_replica_sets_may_change(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    // The Deployment adopts the ReplicaSet again.
    let blue = shop.replica_set_of("app-blue")?;
    patch(shop, &blue, r#"{"metadata":{"ownerReferences":null}}"#)?.passes_silently()?;
    shop.wait_for(&blue, "{.metadata.ownerReferences[0].name}", "app-blue")?;
    // A standalone ReplicaSet can be live by itself. A Deployment with zero replicas would scale it down.
    shop.apply(&workload("ReplicaSet", "alone", &[("app", "api"), ("color", "blue")], 2, Pods::Ready, "web:1"))?
        .succeeds()?;
    shop.wait_for("replicaset/alone", "{.status.availableReplicas}", "2")?;
    shop.route("api", &[("app", "api"), ("color", "blue")])?.passes_silently()?;
    shop.apply(&workload("Deployment", "nothing", &[("app", "api"), ("color", "blue")], 0, Pods::Ready, "web:1"))?
        .succeeds()?;
    let uid = shop.kubectl(&["get", "deployment", "nothing", "-o=jsonpath={.metadata.uid}"])?.out;
    let owner =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "nothing", "uid": uid, "controller": true });
    let adopted = json!({ "metadata": { "ownerReferences": [owner] } }).to_string();
    patch(shop, "replicaset/alone", &adopted)?
        .is_refused("live-scaled-down", &["Deployment nothing would adopt and scale it"])?;
    // Nor may a Deployment be created that adopts the ReplicaSet by its selector.
    let adopting = |replicas: u32| {
        workload("Deployment", "alone", &[("app", "api"), ("color", "blue")], replicas, Pods::Ready, "web:1")
    };
    shop.kubectl(&["label", "replicaset", "alone", "name=alone"])?.succeeds()?;
    shop.apply(&adopting(0))?.is_refused("live-scaled-down", &["it would adopt and scale ReplicaSet alone"])?;
    shop.apply(&adopting(2))?.passes_silently()?;
    shop.wait_for("replicaset/alone", "{.metadata.ownerReferences[0].name}", "alone")?;
    shop.rolled_out("deployment/alone")
}
