//! Properties of [`filter`](super::filter): no rule denies a write that the filter drops. The rules run here without
//! the filter.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Effect, Verdict, filter, flips, gates, live};
use crate::model::{
    Change, ClusterView, ColourScheme, Gate, GateKind, Meta, Pod, Policy, Service, Timestamp, User, Workload,
    WorkloadKind, WorkloadManifest, Write, annotation,
};

/// Labels or a selector, mostly of this colour, so that generated objects match each other.
fn labels(colour: &'static str) -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => Just(json!({ "app": "shop", "color": colour })),
        1 => Just(json!({ "app": "shop", "color": "red" })),
        1 => Just(json!({ "app": "shop", "version": "1.0" })),
        1 => Just(json!({ "app": "shop-blue" })),
        1 => Just(json!({ "app": "shop" })),
        1 => Just(json!({ "team": "shop", "color": "blue" })),
    ]
}

fn kinds() -> impl Strategy<Value = WorkloadKind> {
    prop::sample::select(WorkloadKind::ALL.to_vec())
}

/// The manifest of a workload without `kind`.
fn workload(name: &'static str, colour: &'static str) -> impl Strategy<Value = Value> {
    let strategy = prop::sample::select(vec!["Recreate", "RollingUpdate", "OnDelete"]);
    let image = prop::sample::select(vec!["web:1", "web:2"]);
    let owners = prop::sample::select(vec![
        json!([]),
        json!([{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "gone", "uid": "gone", "controller": true }]),
    ]);
    let notes = prop::sample::select(vec![
        json!({}),
        json!({ annotation::OVERRIDE: "1970-01-01T00:30:00Z on fire" }),
        json!({ annotation::ROLLBACK: "1" }),
        json!({ "flipguard.dev/gate.release": "approved" }),
    ]);
    let start = prop::sample::select(vec![0, 0, 5]);
    (labels(colour), 0..4_u32, strategy, image, owners, notes, any::<bool>(), any::<bool>(), start).prop_map(
        move |(labels, replicas, strategy, image, owners, notes, paused, settled, start)| {
            json!({
                "metadata": { "name": name, "namespace": "shop", "uid": name, "generation": 2,
                    "ownerReferences": owners, "annotations": notes },
                "spec": { "replicas": replicas, "paused": paused, "strategy": { "type": strategy },
                    "ordinals": { "start": start },
                    "template": { "metadata": { "labels": labels },
                        "spec": { "containers": [{ "name": "web", "image": image }] } } },
                "status": { "observedGeneration": if settled { 2 } else { 1 }, "replicas": replicas,
                    "updatedReplicas": replicas, "readyReplicas": replicas, "desiredNumberScheduled": replicas,
                    "currentNumberScheduled": replicas, "updatedNumberScheduled": replicas },
            })
        },
    )
}

fn parse(kind: WorkloadKind, manifest: &Value) -> Workload {
    serde_json::from_value::<WorkloadManifest>(manifest.clone()).unwrap().into_workload(kind)
}

/// A manifest with some of its parts taken from another one. Most generated changes are small.
fn changed(old: &Value, other: &Value, parts: &[bool]) -> Value {
    let places = [
        "/metadata/ownerReferences",
        "/metadata/annotations",
        "/spec/replicas",
        "/spec/paused",
        "/spec/strategy",
        "/spec/ordinals",
    ];
    let mut new = old.clone();
    for (place, _) in places.into_iter().chain(["/spec/template"]).zip(parts).filter(|(_, part)| **part) {
        if let (Some(into), Some(from)) = (new.pointer_mut(place), other.pointer(place)) {
            into.clone_from(from);
        }
    }
    new
}

fn a_service() -> impl Strategy<Value = Value> {
    let notes = prop_oneof![
        6 => Just(json!({})),
        1 => Just(json!({ annotation::GUARD: "false" })),
        1 => Just(json!({ annotation::ROLE: "traffic" })),
        1 => Just(json!({ annotation::ROLE: "preview" })),
        1 => Just(json!({ annotation::OVERRIDE: "1970-01-01T00:30:00Z on fire" })),
    ];
    let kind = prop_oneof![6 => Just("ClusterIP"), 1 => Just("ExternalName")];
    (labels("blue"), notes, kind, any::<bool>()).prop_map(|(selector, notes, kind, publish)| {
        json!({ "metadata": { "name": "app", "namespace": "shop", "annotations": notes },
            "spec": { "selector": selector, "type": kind, "publishNotReadyAddresses": publish } })
    })
}

/// A cluster with this workload and a second one. All their Pods serve.
fn view(services: Vec<Service>, workloads: Vec<Workload>) -> ClusterView {
    let mut view = ClusterView { workloads, services, ..ClusterView::default() };
    for workload in &view.workloads {
        for index in (0..workload.desired).map(|index| workload.first_ordinal + index) {
            let pod = json!({
                "metadata": { "name": format!("{}-{index}", workload.meta.name), "namespace": "shop",
                    "labels": workload.template.labels,
                    "ownerReferences": [{ "apiVersion": "apps/v1", "kind": workload.kind.name(), "uid": workload.meta.uid, "controller": true }] },
                "status": { "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] },
            });
            view.pods.push(serde_json::from_value::<Pod>(pod).unwrap());
        }
    }
    view
}

/// The verdict of the rules without the filter. Findings about an override on an unguarded object are left out: such an
/// override is checked when the object becomes guarded.
fn unfiltered(change: &Change, view: &ClusterView) -> Verdict {
    let policy = Policy::default();
    let mut verdict = Verdict::about(change).unwrap_or_default();
    let (_, findings) = match &change.write {
        Write::ServiceUpdate { old, new } => flips::judge(old, new, view, change, &policy, Timestamp(0)),
        _ => live::judge(change, view, &policy, Timestamp(0)),
    };
    for finding in findings {
        verdict.add(finding, change, &policy);
    }
    if let Write::WorkloadUpdate { old, new } = &change.write {
        let gates = vec![approval()];
        let policy = Policy { gates, ..policy };
        let (findings, _) = gates::permitted::of_statements(old, new, change, view, &policy, Timestamp(0));
        for finding in findings {
            verdict.add(finding, change, &policy);
        }
    }
    verdict
}

fn approval() -> Gate {
    let (name, policy) = ("release".to_owned(), String::new());
    let max_age = std::time::Duration::from_secs(60);
    Gate { name, kind: GateKind::Approval, images: Vec::new(), max_age, policy }
}

/// The number of generated writes that the filter dropped. The rules judged each of them.
static SWALLOWED: AtomicUsize = AtomicUsize::new(0);

/// No rule denies a write that the filter drops.
fn holds(write: Write, view: &ClusterView) -> Result<(), TestCaseError> {
    let change = Change { write, dry_run: false, user: User::default(), manager: String::new() };
    if !filter::is_relevant(&change.write, &ColourScheme::default()) {
        SWALLOWED.fetch_add(1, Ordering::Relaxed);
        let verdict = unfiltered(&change, view);
        let denies = verdict.findings.iter().any(|(_, effect)| *effect == Effect::Denies);
        prop_assert!(!denies, "{:#?}\n{:#?}", verdict.findings, change.write);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]

    fn workloads(
        kind in kinds(), old in workload("app-blue", "blue"), other in workload("app-blue", "blue"), more in workload("more", "green"),
        parts in prop::collection::vec(prop::bool::weighted(0.2), 7), selector in a_service(),
    ) {
        let new = changed(&old, &other, &parts);
        let (old, new) = (parse(kind, &old), parse(kind, &new));
        let service = serde_json::from_value::<Service>(selector).unwrap();
        let view = view(vec![service], vec![old.clone(), parse(WorkloadKind::StatefulSet, &more)]);
        holds(Write::WorkloadUpdate { old: Box::new(old.clone()), new: Box::new(new.clone()) }, &view)?;
        holds(Write::WorkloadDelete { old: Box::new(old.clone()) }, &view)?;
        holds(Write::WorkloadCreate { new: Box::new(new.clone()) }, &view)?;
        let Workload { meta, desired, .. } = old;
        let Meta { namespace, name, uid, .. } = meta;
        let resource_version = String::new();
        holds(Write::Scale { kind, namespace, name, uid, resource_version, from: desired, to: new.desired }, &view)?;
    }

    fn services(
        old in a_service(), new in a_service(), blue in workload("app-blue", "blue"), green in workload("app-green", "green"),
    ) {
        let (old, new): (Service, Service) = (serde_json::from_value(old).unwrap(), serde_json::from_value(new).unwrap());
        let workloads = vec![parse(WorkloadKind::StatefulSet, &blue), parse(WorkloadKind::ReplicaSet, &green)];
        let view = view(vec![old.clone()], workloads);
        holds(Write::ServiceCreate { new: Box::new(new.clone()) }, &view)?;
        holds(Write::ServiceDelete { old: Box::new(old.clone()) }, &view)?;
        // Updates of a Service that is unguarded before and after are out of scope.
        let is_traffic = |service: &Service| service.own_role(&ColourScheme::default()) == crate::model::Role::Traffic;
        if is_traffic(&old) || is_traffic(&new) {
            holds(Write::ServiceUpdate { old: Box::new(old), new: Box::new(new) }, &view)?;
        }
    }
}

#[test]
fn no_change_slips_past() {
    workloads();
    let of_workloads = SWALLOWED.swap(0, Ordering::Relaxed);
    services();
    let of_services = SWALLOWED.swap(0, Ordering::Relaxed);
    assert!(of_workloads > 5_000 && of_services > 1_000, "only {of_workloads} and {of_services} were swallowed");
}
