//! The filter in the API server: every write that a rule could deny must pass the filter.
//!
//! Pairs of objects are generated, and each is written as a dry run. The reviews that flipguard received are compared
//! with the predicate of the rules. The real API server evaluates the CEL.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use flipguard::model::{Change, ColourScheme, Service, User, WorkloadKind, WorkloadManifest, Write, annotation};
use flipguard::rules::filter;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::Test;
use super::admission::{client, on_runtime, send};
use super::shop::Shop;

pub(crate) const TESTS: &[Test] = &[
    ("filter::of_services_is_exact", of_services_is_exact),
    ("filter::of_deployments_is_exact", of_deployments_is_exact),
    ("filter::of_stateful_sets_is_exact", |shop| of_kind_is_exact(shop, WorkloadKind::StatefulSet)),
    ("filter::of_daemon_sets_is_exact", |shop| of_kind_is_exact(shop, WorkloadKind::DaemonSet)),
    ("filter::of_scales_is_exact", of_scales_is_exact),
    ("filter::of_creations_and_deletions_is_exact", of_creations_and_deletions_is_exact),
];

const PAIRS: usize = 150;

fn labels() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "app",
        "color",
        "slot",
        "version",
        "track",
        "Color",
        "harness.io/slot",
        "app.kubernetes.io/version",
    ]);
    let value = prop::sample::select(vec![
        "shop",
        "blue",
        "Green",
        "shop-green",
        "green-shop",
        "evergreen",
        "v1",
        "shop-v2",
        "shop-x2",
    ]);
    prop::collection::btree_map(key, value, 1..4).prop_map(|labels| json!(labels))
}

fn annotations() -> impl Strategy<Value = Value> {
    let key = prop::sample::select([filter::SERVICE_ANNOTATIONS.as_slice(), &["note"]].concat());
    let value = prop::sample::select(vec!["", "false", "traffic", "preview", "x", "5m", "2"]);
    prop::collection::btree_map(key, value, 0..3).prop_map(|mut annotations| {
        // A setting that cannot be read is denied, and the object would not be stored.
        let valid = [(annotation::HOLD, "5m"), (annotation::QUARANTINE, "5m"), (annotation::MIN_REPLICAS, "2")];
        for (key, valid) in valid {
            annotations.entry(key).and_modify(|value| *value = valid);
        }
        json!(annotations)
    })
}

fn service() -> impl Strategy<Value = Value> {
    let target = prop_oneof![Just(json!("http")), Just(json!(8080))];
    let kind = prop::sample::select(vec!["ClusterIP", "ClusterIP", "LoadBalancer"]);
    let (internal, external) = (any::<bool>(), any::<bool>());
    (labels(), annotations(), target, any::<bool>(), kind, internal, external).prop_map(
        |(selector, annotations, target, publish, kind, internal, external)| {
            let policy = |local: bool| if local { "Local" } else { "Cluster" };
            let mut service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "annotations": annotations },
                "spec": { "selector": selector, "publishNotReadyAddresses": publish, "type": kind,
                    "internalTrafficPolicy": policy(internal),
                    "ports": [{ "port": 80, "protocol": "TCP", "targetPort": target }] },
            });
            if let Some(spec) =
                service.pointer_mut("/spec").and_then(Value::as_object_mut).filter(|_| kind == "LoadBalancer")
            {
                spec.insert("externalTrafficPolicy".to_owned(), json!(policy(external)));
            }
            service
        },
    )
}

/// Annotations of a workload, some of them of gates. No policy has such a gate, so that any value is stored.
fn workload_annotations() -> impl Strategy<Value = Value> {
    let gates =
        prop::sample::select(vec!["flipguard.dev/gate.smoke", "flipguard.dev/gate.release", "flipguard.dev/gates"]);
    let gates = prop::collection::btree_map(gates, prop::sample::select(vec!["", "x", "y"]), 0..3);
    (annotations(), gates).prop_map(|(mut annotations, gates)| {
        if let Some(all) = annotations.as_object_mut() {
            all.extend(gates.into_iter().map(|(key, value)| (key.to_owned(), json!(value))));
        }
        annotations
    })
}

fn deployment() -> impl Strategy<Value = Value> {
    let strategy = prop_oneof![Just(json!({ "type": "Recreate" })), Just(json!({ "type": "RollingUpdate" }))];
    let image = prop::sample::select(vec!["app:1", "app:2"]);
    let owners = prop_oneof![2 => Just(json!([])), 1 => Just(json!([
        // An owner of an unknown kind, which the garbage collector ignores.
        { "apiVersion": "example.com/v1", "kind": "Shop", "name": "shop", "uid": "5d6c1b1e-0000-4000-8000-000000000000" }
    ]))];
    (labels(), workload_annotations(), owners, strategy, image, 0..3, any::<bool>()).prop_map(
        |(mut labels, annotations, owners, strategy, image, replicas, paused)| {
            if let Some(labels) = labels.as_object_mut() {
                labels.insert("own".to_owned(), json!("yes"));
            }
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "annotations": annotations, "ownerReferences": owners },
                "spec": { "replicas": replicas, "paused": paused, "strategy": strategy,
                    "selector": { "matchLabels": { "own": "yes" } },
                    "template": { "metadata": { "labels": labels },
                        "spec": { "containers": [{ "name": "web", "image": image }] } } },
            })
        },
    )
}

/// Two objects of a kind. Often only a part differs, since most real changes are small.
fn pair(of: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = (Value, Value)> {
    let parts = prop::collection::vec(any::<bool>(), 8);
    (of.clone(), of, parts).prop_map(|(old, other, parts)| {
        let mut new = old.clone();
        let mut parts = parts.into_iter().cycle();
        for place in ["/metadata", "/spec"] {
            let (Some(into), Some(from)) = (
                new.pointer_mut(place).and_then(Value::as_object_mut),
                other.pointer(place).and_then(Value::as_object),
            ) else {
                continue;
            };
            for (key, value) in from {
                if parts.next() == Some(true) {
                    into.insert(key.clone(), value.clone());
                }
            }
        }
        // Only a load balancer has this field.
        let spec = new.pointer_mut("/spec").and_then(Value::as_object_mut);
        if let Some(spec) = spec.filter(|spec| spec.get("type").is_some_and(|kind| kind == "ClusterIP")) {
            spec.remove("externalTrafficPolicy");
        }
        (old, new)
    })
}

fn of_services_is_exact(shop: &Shop) -> Result<()> {
    let write = |old: Value, new: Value| {
        let parse = |value| serde_json::from_value::<Service>(value).map(Box::new);
        Ok(Write::ServiceUpdate { old: parse(old)?, new: parse(new)? })
    };
    is_exact(shop, &format!("/api/v1/namespaces/{}/services", shop.namespace), pair(service().boxed()), write)
}

fn of_deployments_is_exact(shop: &Shop) -> Result<()> {
    let write = |old: Value, new: Value| {
        let parse = |value| {
            let manifest = serde_json::from_value::<WorkloadManifest>(value)?;
            Ok::<_, serde_json::Error>(Box::new(manifest.into_workload(WorkloadKind::Deployment)))
        };
        Ok(Write::WorkloadUpdate { old: parse(old)?, new: parse(new)? })
    };
    is_exact(
        shop,
        &format!("/apis/apps/v1/namespaces/{}/deployments", shop.namespace),
        pair(deployment().boxed()),
        write,
    )
}

/// StatefulSets and DaemonSets have another field for their strategy, and StatefulSets have ordinals.
fn of_kind_is_exact(shop: &Shop, kind: WorkloadKind) -> Result<()> {
    let generated = (deployment(), any::<bool>(), 0..2_u32).prop_map(move |(deployment, on_delete, start)| {
        let mut workload = of_kind(kind, &deployment, "generated").unwrap_or_default();
        let rolling = if kind == WorkloadKind::StatefulSet { json!({ "partition": start }) } else { json!({}) };
        let strategy = if on_delete {
            json!({ "type": "OnDelete" })
        } else {
            json!({ "type": "RollingUpdate", "rollingUpdate": rolling })
        };
        if let Some(spec) = workload.pointer_mut("/spec").and_then(Value::as_object_mut) {
            spec.insert("updateStrategy".to_owned(), strategy);
            if kind == WorkloadKind::StatefulSet {
                spec.insert("ordinals".to_owned(), json!({ "start": start }));
            }
        }
        workload
    });
    let write = move |old: Value, new: Value| {
        let parse = |value| {
            let manifest = serde_json::from_value::<WorkloadManifest>(value)?;
            Ok::<_, serde_json::Error>(Box::new(manifest.into_workload(kind)))
        };
        Ok(Write::WorkloadUpdate { old: parse(old)?, new: parse(new)? })
    };
    let path = format!("/apis/apps/v1/namespaces/{}/{}", shop.namespace, kind.resource());
    is_exact(shop, &path, pair(generated.boxed()), write)
}

fn is_exact(
    shop: &Shop,
    path: &str,
    pairs: impl Strategy<Value = (Value, Value)>,
    write: impl Fn(Value, Value) -> Result<Write>,
) -> Result<()> {
    let written = write_pairs(shop, path, pairs, write)?;
    compare(shop, "UPDATE", &written.matter, PAIRS)
}

/// The generated updates, by the names of their objects.
#[derive(Default)]
struct Written {
    /// Those that are relevant to a rule.
    matter: BTreeSet<String>,
    /// Those that must not pass without an answer.
    must_wait: BTreeSet<String>,
    /// Those that failed because nobody answered.
    waited: BTreeSet<String>,
}

/// Without flipguard, exactly the writes fail that could be dangerous to blue-green.
pub(crate) fn writes_that_wait_are_exact(shop: &Shop) -> Result<()> {
    let services = |old: Value, new: Value| {
        let parse = |value| serde_json::from_value::<Service>(value).map(Box::new);
        Ok(Write::ServiceUpdate { old: parse(old)?, new: parse(new)? })
    };
    let deployments = |old: Value, new: Value| {
        let parse = |value| {
            let manifest = serde_json::from_value::<WorkloadManifest>(value)?;
            Ok::<_, serde_json::Error>(Box::new(manifest.into_workload(WorkloadKind::Deployment)))
        };
        Ok(Write::WorkloadUpdate { old: parse(old)?, new: parse(new)? })
    };
    let path = format!("/api/v1/namespaces/{}/services", shop.namespace);
    let of_services = write_pairs(shop, &path, pair(service().boxed()), services)?;
    let path = workloads_path(shop, WorkloadKind::Deployment);
    let of_deployments = write_pairs(shop, &path, pair(deployment().boxed()), deployments)?;
    for Written { matter, must_wait, waited } in [of_services, of_deployments] {
        let missed: Vec<&String> = must_wait.difference(&waited).collect();
        ensure!(missed.is_empty(), "passed without an answer: {missed:?}");
        // The filter is a little wider than the rules. Such a write may wait, too.
        let needless: Vec<&String> = matter.intersection(&waited).filter(|name| !must_wait.contains(*name)).collect();
        ensure!(needless.is_empty(), "waited without need: {needless:?}");
        ensure!(must_wait.len() > PAIRS / 10, "only {} writes had to wait", must_wait.len());
    }
    Ok(())
}

fn write_pairs(
    shop: &Shop,
    path: &str,
    pairs: impl Strategy<Value = (Value, Value)>,
    write: impl Fn(Value, Value) -> Result<Write>,
) -> Result<Written> {
    let mut runner = TestRunner::deterministic();
    let colours = ColourScheme::default();
    let mut written = Written::default();
    on_runtime(async {
        let client = client(shop).await?;
        for index in 0..PAIRS {
            let (mut old, mut new) = pairs.new_tree(&mut runner).map_err(anyhow::Error::msg)?.current();
            // The name has no colour, so that selector and annotations decide.
            let name = format!("pair-{index}");
            // Some annotations of a new object need permission, and these random values are malformed.
            let _ = take_permitted(&mut old);
            put(&mut old, "/metadata", "name", json!(name))?;
            let old = send(&client, "POST", path, &old).await.context("the old object was rejected")?;
            // A dry run of the creation shows the fields that the API server adds.
            put(&mut new, "/metadata", "name", json!(format!("{name}-new")))?;
            let permitted = take_permitted(&mut new);
            let made = send(&client, "POST", &format!("{path}?dryRun=All"), &new).await;
            let mut new = made.context("the new object was rejected")?;
            for (key, value) in permitted {
                let metadata = new.pointer_mut("/metadata").and_then(Value::as_object_mut).context("no metadata")?;
                let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
                annotations.as_object_mut().context("no annotations")?.insert(key.to_owned(), value);
            }
            // Controllers write meanwhile. A conflict would end the write before the webhook is called.
            for key in ["resourceVersion", "uid", "creationTimestamp", "managedFields", "generation"] {
                new.pointer_mut("/metadata").and_then(Value::as_object_mut).and_then(|metadata| metadata.remove(key));
            }
            for key in ["clusterIP", "clusterIPs"] {
                let stored = old.pointer(&format!("/spec/{key}")).cloned();
                if let Some(stored) = stored {
                    put(&mut new, "/spec", key, stored)?;
                }
            }
            // The API server keeps the stored number.
            new.pointer_mut("/spec").and_then(Value::as_object_mut).and_then(|spec| spec.remove("healthCheckNodePort"));
            put(&mut new, "/metadata", "name", json!(name))?;
            let write = write(old, new.clone())?;
            let change = Change { write, dry_run: true, user: User::default(), manager: String::new() };
            if filter::is_relevant(&change.write, &colours) {
                written.matter.insert(name.clone());
                if !filter::may_pass_unanswered(&change, &colours) {
                    written.must_wait.insert(name.clone());
                }
            }
            // Only the call matters, not its verdict.
            let sent = send(&client, "PUT", &format!("{path}/{name}?dryRun=All"), &new).await;
            if sent.is_err_and(|error| error.to_string().contains("failed calling webhook")) {
                written.waited.insert(name);
            }
        }
        Ok(())
    })?;
    Ok(written)
}

/// Takes the annotations out that need permission.
fn take_permitted(object: &mut Value) -> Vec<(&'static str, Value)> {
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let Some(annotations) = annotations else { return Vec::new() };
    let keys = [annotation::OVERRIDE, annotation::MIN_REPLICAS];
    keys.into_iter().filter_map(|key| Some((key, annotations.remove(key)?))).collect()
}

/// Compares the names in the reviews with the relevant names, out of this many writes.
fn compare(shop: &Shop, operation: &str, matters: &BTreeSet<String>, writes: usize) -> Result<()> {
    let asked: BTreeSet<String> = shop
        .decisions()?
        .iter()
        .filter(|line| line.get("operation").and_then(Value::as_str) == Some(operation))
        .filter(|line| line.get("endpoint").and_then(Value::as_str) == Some("validate"))
        .filter_map(|line| line.get("name").and_then(Value::as_str).map(str::to_owned))
        .collect();
    let missed: Vec<&String> = matters.difference(&asked).collect();
    ensure!(missed.is_empty(), "the filter drops writes that are relevant to a rule: {missed:?}");
    ensure!(matters.len() > writes / 5 && asked.len() < writes, "{} of {writes} writes are relevant", matters.len());
    let needless = asked.difference(matters).count();
    eprintln!("{operation}: {} of {writes} writes matter, {needless} more were asked about", matters.len());
    Ok(())
}

/// A workload of any kind, converted from a Deployment.
fn of_kind(kind: WorkloadKind, deployment: &Value, name: &str) -> Result<Value> {
    let mut workload = deployment.clone();
    put(&mut workload, "", "kind", json!(kind.name()))?;
    put(&mut workload, "/metadata", "name", json!(name))?;
    let spec = workload.pointer_mut("/spec").and_then(Value::as_object_mut).context("no spec")?;
    if kind != WorkloadKind::Deployment {
        spec.remove("paused");
        spec.remove("strategy");
    }
    match kind {
        WorkloadKind::StatefulSet => drop(spec.insert("serviceName".to_owned(), json!("none"))),
        WorkloadKind::DaemonSet => drop(spec.remove("replicas")),
        WorkloadKind::Deployment | WorkloadKind::ReplicaSet => {}
    }
    Ok(workload)
}

/// An object without an override, which would need permission.
fn without_override(mut object: Value) -> Value {
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(annotation::OVERRIDE);
    }
    object
}

fn workloads_path(shop: &Shop, kind: WorkloadKind) -> String {
    format!("/apis/apps/v1/namespaces/{}/{}", shop.namespace, kind.resource())
}

/// A Scale carries no labels, so none of these workloads has a label that marks a colour.
fn of_scales_is_exact(shop: &Shop) -> Result<()> {
    let mut matters = BTreeSet::new();
    let mut writes = 0;
    on_runtime(async {
        let client = client(shop).await?;
        for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::ReplicaSet] {
            let path = workloads_path(shop, kind);
            for (from, to) in (0..3_u32).flat_map(|from| (0..3_u32).map(move |to| (from, to))) {
                let name = format!("{}-{from}-{to}", kind.singular());
                let labels = json!({ "own": name });
                let workload = json!({
                    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {},
                    "spec": { "replicas": from, "selector": { "matchLabels": labels }, "template": {
                        "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "web", "image": "web" }] },
                    } },
                });
                send(&client, "POST", &path, &of_kind(kind, &workload, &name)?).await?;
                let scale = json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "spec": { "replicas": to },
                    "metadata": { "name": name, "namespace": shop.namespace } });
                drop(send(&client, "PUT", &format!("{path}/{name}/scale?dryRun=All"), &scale).await);
                writes += 1;
                let (namespace, uid, resource_version) = (shop.namespace.clone(), String::new(), String::new());
                let write = Write::Scale { kind, namespace, name: name.clone(), uid, resource_version, from, to };
                if filter::is_relevant(&write, &ColourScheme::default()) {
                    matters.insert(name);
                }
            }
        }
        Ok(())
    })?;
    compare(shop, "UPDATE", &matters, writes)
}

fn of_creations_and_deletions_is_exact(shop: &Shop) -> Result<()> {
    const OBJECTS: usize = 100;
    let mut runner = TestRunner::deterministic();
    let colours = ColourScheme::default();
    let (mut created, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    let services = format!("/api/v1/namespaces/{}/services", shop.namespace);
    on_runtime(async {
        let client = client(shop).await?;
        for index in 0..OBJECTS {
            let name = format!("object-{index}");
            // Each of the four kinds of workload, and as many Services.
            let kind = WorkloadKind::ALL.get(index / 2 % 4).copied().filter(|_| index % 2 == 0);
            let mut object = match kind {
                Some(kind) => {
                    let some = deployment().new_tree(&mut runner).map_err(anyhow::Error::msg)?.current();
                    of_kind(kind, &some, &name)?
                }
                None => service().new_tree(&mut runner).map_err(anyhow::Error::msg)?.current(),
            };
            put(&mut object, "/metadata", "name", json!(name))?;
            let path = kind.map_or_else(|| services.clone(), |kind| workloads_path(shop, kind));
            let (create, delete) = writes_of(kind, &object)?;
            if filter::is_relevant(&create, &colours) {
                created.insert(name.clone());
            }
            drop(send(&client, "POST", &format!("{path}?dryRun=All"), &object).await);
            // A created object has another name in the reviews, so that the two are not confused.
            let mut stored = without_override(object);
            put(&mut stored, "/metadata", "name", json!(format!("{name}-stored")))?;
            send(&client, "POST", &path, &stored).await.context("the object was rejected")?;
            if filter::is_relevant(&writes_of(kind, &stored)?.0, &colours) {
                created.insert(format!("{name}-stored"));
            }
            if filter::is_relevant(&delete, &colours) {
                deleted.insert(format!("{name}-stored"));
            }
            let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"] });
            drop(send(&client, "DELETE", &format!("{path}/{name}-stored"), &options).await);
        }
        Ok(())
    })?;
    compare(shop, "CREATE", &created, 2 * OBJECTS)?;
    compare(shop, "DELETE", &deleted, OBJECTS)
}

/// The creation and the deletion of an object; without a kind, of a Service.
fn writes_of(kind: Option<WorkloadKind>, object: &Value) -> Result<(Write, Write)> {
    if let Some(kind) = kind {
        let manifest = serde_json::from_value::<WorkloadManifest>(object.clone())?;
        let workload = Box::new(manifest.into_workload(kind));
        return Ok((Write::WorkloadCreate { new: workload.clone() }, Write::WorkloadDelete { old: workload }));
    }
    let service = Box::new(serde_json::from_value::<Service>(object.clone())?);
    Ok((Write::ServiceCreate { new: service.clone() }, Write::ServiceDelete { old: service }))
}

fn put(object: &mut Value, place: &str, key: &str, value: Value) -> Result<()> {
    object.pointer_mut(place).and_then(Value::as_object_mut).context("no such part")?.insert(key.to_owned(), value);
    Ok(())
}
