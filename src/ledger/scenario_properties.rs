//! Properties of [`scenarios`](super::scenarios) and [`relevant`](super::relevant), over generated namespaces with several
//! apps: leaving out the intents on other apps changes no verdict, and a view is the same afterwards.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::relevant::relevant;
use super::{IntendedChange, Intent, scenarios};
use crate::model::{
    Change, ClusterView, Meta, Pod, Policy, Selector, Service, Timestamp, Tombstone, User, Workload, WorkloadKind,
    WorkloadManifest, Write, annotation,
};
use crate::rules::Outcome;

/// The colours of each app; the third one has no workload.
const COLOURS: [&str; 3] = ["blue", "green", "red"];
const APPS: [&str; 3] = ["shop", "cart", "mesh"];

/// A write of the namespace: of which app, which colour, and what.
#[derive(Debug, Clone, Copy)]
enum Act {
    Flip {
        app: usize,
        to: usize,
    },
    DeleteService {
        app: usize,
    },
    CreateService {
        app: usize,
        to: usize,
    },
    Scale {
        app: usize,
        colour: usize,
        to: u32,
    },
    Delete {
        app: usize,
        colour: usize,
    },
    Redeploy {
        app: usize,
        colour: usize,
    },
    /// Moves a workload behind another app.
    Relabel {
        app: usize,
        colour: usize,
        to: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let (app, colour) = (0..APPS.len(), 0..2_usize);
    prop_oneof![
        3 => (app.clone(), 0..3_usize).prop_map(|(app, to)| Act::Flip { app, to }),
        1 => app.clone().prop_map(|app| Act::DeleteService { app }),
        1 => (app.clone(), 0..3_usize).prop_map(|(app, to)| Act::CreateService { app, to }),
        4 => (app.clone(), colour.clone(), 0..2_u32).prop_map(|(app, colour, to)| Act::Scale { app, colour, to }),
        2 => (app.clone(), colour.clone()).prop_map(|(app, colour)| Act::Delete { app, colour }),
        2 => (app.clone(), colour.clone()).prop_map(|(app, colour)| Act::Redeploy { app, colour }),
        1 => (app.clone(), colour, app).prop_map(|(app, colour, to)| Act::Relabel { app, colour, to }),
    ]
}

/// The third app marks its workloads by a version, and its Service by nothing: it does not use blue-green.
fn labels(app: usize, colour: usize) -> Value {
    if app == 2 {
        return json!({ "app": APPS[app], "part": COLOURS[colour].len(), "version": "v1" }).as_object().map_or_else(
            || json!({}),
            |labels| {
                json!(
                    labels
                        .iter()
                        .map(|(key, value)| (key.clone(), json!(value.to_string())))
                        .collect::<serde_json::Map<_, _>>()
                )
            },
        );
    }
    json!({ "app": APPS[app], "color": COLOURS[colour] })
}

fn service(app: usize, to: usize, uid: &str, version: &str) -> Service {
    let selector = if app == 2 { json!({ "app": APPS[app] }) } else { labels(app, to) };
    serde_json::from_value(json!({
        "metadata": { "name": APPS[app], "namespace": "n", "uid": uid, "resourceVersion": version },
        "spec": { "selector": selector, "ports": [{ "port": 80 }] },
    }))
    .unwrap()
}

fn workload(app: usize, colour: usize, kind: WorkloadKind, replicas: u32, labels: &Value, image: &str) -> Workload {
    let name = format!("{}-{}", APPS[app], COLOURS[colour]);
    let manifest: WorkloadManifest = serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "generation": 1,
            "annotations": { annotation::REVISION: "1" } },
        "spec": { "replicas": replicas, "template": { "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "web", "image": image, "readinessProbe": {} }] } } },
        "status": { "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas, "updateRevision": "1" },
    }))
    .unwrap();
    manifest.into_workload(kind)
}

/// The state of one app: the colour of its Service, and the Pods of its two workloads.
type AppState = (usize, [u32; 2], [bool; 2]);

fn kind(app: usize, colour: usize) -> WorkloadKind {
    if (app + colour).is_multiple_of(2) { WorkloadKind::StatefulSet } else { WorkloadKind::Deployment }
}

fn view(apps: &[AppState]) -> ClusterView {
    let mut view = ClusterView::default();
    for (app, (to, replicas, has_label)) in apps.iter().enumerate() {
        view.services.push(service(app, *to, APPS[app], "1"));
        for colour in 0..2 {
            let labels = labels(app, colour);
            let workload = workload(app, colour, kind(app, colour), replicas[colour], &labels, "web:1");
            let (name, kind) = (workload.meta.name.clone(), workload.kind);
            let mut owner = json!([{ "apiVersion": "apps/v1", "kind": kind.name(), "name": name, "uid": name, "controller": true }]);
            if kind == WorkloadKind::Deployment {
                let uid = format!("{name}-rs");
                let part: WorkloadManifest = serde_json::from_value(json!({
                    "metadata": { "name": uid, "namespace": "n", "uid": uid, "resourceVersion": "1", "ownerReferences": owner,
                        "annotations": { annotation::REVISION: "1" } },
                    "spec": { "replicas": replicas[colour], "template": { "metadata": { "labels": labels } } },
                }))
                .unwrap();
                view.workloads.push(part.into_workload(WorkloadKind::ReplicaSet));
                owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true }]);
            }
            view.workloads.push(workload);
            for index in 0..replicas[colour] {
                // Some Pods have lost a label at run time, or were put behind another Service.
                let mut labels = labels.clone();
                labels["controller-revision-hash"] = json!("1");
                if !has_label[colour] {
                    labels["app"] = json!(APPS[(app + 1) % 3]);
                }
                let pod: Pod = serde_json::from_value(json!({
                    "metadata": { "name": format!("{name}-{index}"), "namespace": "n", "uid": format!("{name}-{index}"),
                        "labels": labels, "ownerReferences": owner },
                    "status": { "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] },
                }))
                .unwrap();
                view.pods.push(pod);
            }
        }
    }
    view
}

/// The write in flipguard's own types; `None` where its object is not there.
fn write(act: Act, view: &ClusterView, number: usize) -> Option<Write> {
    let stored =
        |app: usize| view.services.iter().find(|service| service.meta.name == APPS[app]).cloned().map(Box::new);
    let named = |app: usize, colour: usize| {
        let name = format!("{}-{}", APPS[app], COLOURS[colour]);
        view.workloads.iter().find(|workload| workload.meta.name == name).cloned().map(Box::new)
    };
    Some(match act {
        Act::Flip { app, to } => {
            Write::ServiceUpdate { old: stored(app)?, new: Box::new(service(app, to, APPS[app], "1")) }
        }
        Act::DeleteService { app } => Write::ServiceDelete { old: stored(app)? },
        Act::CreateService { app, to } => {
            Write::ServiceCreate { new: Box::new(service(app, to, &format!("new-{number}"), "")) }
        }
        Act::Scale { app, colour, to } => {
            let Workload { kind, meta, desired, .. } = *named(app, colour)?;
            let Meta { namespace, name, uid, resource_version, .. } = meta;
            Write::Scale { kind, namespace, name, uid, resource_version, from: desired, to }
        }
        Act::Delete { app, colour } => Write::WorkloadDelete { old: named(app, colour)? },
        Act::Redeploy { app, colour } => {
            let old = named(app, colour)?;
            let new = workload(app, colour, old.kind, old.desired, &labels(app, colour), "web:2");
            Write::WorkloadUpdate { old, new: Box::new(new) }
        }
        Act::Relabel { app, colour, to } => {
            let old = named(app, colour)?;
            let new = workload(app, colour, old.kind, old.desired, &labels(to, colour), "web:1");
            Write::WorkloadUpdate { old, new: Box::new(new) }
        }
    })
}

fn change(write: Write) -> Change {
    Change { write, dry_run: false, user: User::default(), manager: String::new() }
}

/// The inputs in which intents were left out, and in which leaving out one more would have changed the verdict.
static LEFT_OUT: AtomicUsize = AtomicUsize::new(0);
static ONE_TOO_MANY: AtomicUsize = AtomicUsize::new(0);
static WAITED: AtomicUsize = AtomicUsize::new(0);

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]

    fn intents_on_other_apps_change_no_verdict(
        apps in prop::collection::vec((0..2_usize, [0..3_u32, 0..3_u32], [prop::bool::weighted(0.9), prop::bool::weighted(0.9)]), 3),
        acts in prop::collection::vec(act(), 1..7), own in act(), deleted in prop::option::weighted(0.2, 0..2_usize),
    ) {
        let mut view = view(&apps);
        if let Some(app) = deleted {
            let selector = Selector::new(serde_json::from_value(labels(app, 0)).unwrap());
            view.services.retain(|service| service.meta.name != APPS[app]);
            view.records.tombstones.push(Tombstone { service: APPS[app].to_owned(), selector, at: Timestamp(0), still_there: false });
        }
        let Some(own) = write(own, &view, 99) else { return Ok(()) };
        let own = change(own);
        let mut pending: Vec<Intent> = Vec::new();
        for (number, act) in acts.into_iter().enumerate() {
            let intent = write(act, &view, number).and_then(|write| Intent::of(&change(write), number.to_string()));
            pending.extend(intent.filter(|intent| !pending.iter().any(|other| other.excludes(intent))));
        }
        let policy = Policy::default();
        let before = view.clone();
        let all: Vec<&Intent> = pending.iter().collect();
        let verdict = scenarios::decide_among(&own, &mut view, &all, &policy, Timestamp(0));
        prop_assert_eq!(&view, &before, "the view is the same afterwards");
        let few = relevant(&own, &view, &pending, &policy.colours);
        prop_assert_eq!(&scenarios::decide_among(&own, &mut view, &few, &policy, Timestamp(0)), &verdict);
        LEFT_OUT.fetch_add(usize::from(few.len() < all.len()), Ordering::Relaxed);
        WAITED.fetch_add(usize::from(verdict.outcome() == Outcome::TryAgain), Ordering::Relaxed);
        for left_out in 0..few.len() {
            let fewer: Vec<&Intent> = few.iter().enumerate().filter(|(index, _)| *index != left_out).map(|(_, intent)| *intent).collect();
            let other = scenarios::decide_among(&own, &mut view, &fewer, &policy, Timestamp(0));
            ONE_TOO_MANY.fetch_add(usize::from(other.outcome() != verdict.outcome()), Ordering::Relaxed);
        }
    }
}

#[test]
fn leaving_out_other_apps_is_safe() {
    intents_on_other_apps_change_no_verdict();
    let counts = [&LEFT_OUT, &ONE_TOO_MANY, &WAITED].map(|count| count.swap(0, Ordering::Relaxed));
    assert!(counts[0] > 1_000 && counts[1] > 100 && counts[2] > 100, "the inputs say little: {counts:?}");
}

/// Nine pending changes of other apps, denied by another webhook, do not hold up a flip.
#[test]
fn nine_intents_on_other_objects_do_not_matter() {
    let apps: Vec<AppState> = vec![(0, [2, 2], [true, true]); 3];
    let mut view = view(&apps);
    let unrelated = |number: usize| Intent {
        ids: vec![number.to_string()],
        object: super::ObjectRef {
            kind: crate::model::Kind::Workload(WorkloadKind::Deployment),
            name: format!("other{number}"),
        },
        uid: format!("other{number}"),
        base: "1".to_owned(),
        effect: IntendedChange::Gone { selector: None },
        user: String::new(),
        manager: String::new(),
        at: Timestamp(0),
        is_crowded: false,
    };
    let pending: Vec<Intent> = (0..9).map(unrelated).collect();
    let flip = change(write(Act::Flip { app: 0, to: 1 }, &view, 0).unwrap());
    let verdict = scenarios::decide(&flip, &mut view, &pending, &Policy::default(), Timestamp(0));
    assert_eq!(verdict.outcome(), Outcome::Allowed);
    let all: Vec<&Intent> = pending.iter().collect();
    let verdict = scenarios::decide_among(&flip, &mut view, &all, &Policy::default(), Timestamp(0));
    assert_eq!(verdict.outcome(), Outcome::TryAgain, "more than eight are too many");
}
