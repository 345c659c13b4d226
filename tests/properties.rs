//! Properties of every change and every cluster, checked on generated ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use flipguard::labels::label;
use flipguard::model::{
    Change, ClusterView, Containers, Counts, Enforcement, Labels, Meta, Owner, Pod, Policy, Selector, Service,
    Template, Timestamp, User, Workload, WorkloadKind, WorkloadManifest, Write, annotation,
};
use flipguard::review::{Request, answer, change_of};
use flipguard::rules::verdict::Bound;
use flipguard::rules::{Effect, Outcome, decide, needs};
use json_skip::Raw;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp(0);
const COLOURS: [&str; 3] = ["blue", "green", "red"];

fn labels_of(colour: &str) -> Labels {
    [("app".to_owned(), "shop".to_owned()), ("color".to_owned(), colour.to_owned())].into()
}

fn service(colour: &str) -> Service {
    let meta = Meta { name: "app".to_owned(), namespace: "shop".to_owned(), ..Meta::default() };
    Service { meta, selector: Selector::new(labels_of(colour)), ..Service::default() }
}

fn owner_of_kind(kind: &str, uid: String) -> Owner {
    Owner { api_version: "apps/v1".to_owned(), kind: kind.to_owned(), uid, ..Owner::default() }
}

fn containers() -> Containers {
    let spec = r#"{"containers":[{"name":"web","image":"app:1","readinessProbe":{}}]}"#;
    serde_json::from_str(spec).unwrap_or_default()
}

fn pod(name: String, colour: &str, replica_set: Option<String>) -> impl Strategy<Value = Pod> {
    owned_pod(name, colour, replica_set.map(|uid| (WorkloadKind::ReplicaSet, uid)))
}

fn owned_pod(name: String, colour: &str, owner: Option<(WorkloadKind, String)>) -> impl Strategy<Value = Pod> {
    let labels = labels_of(colour);
    (prop::bool::weighted(0.8), prop::bool::weighted(0.95), prop::bool::weighted(0.05), prop::bool::weighted(0.05))
        .prop_map(move |(ready, has_ip, terminal, deleting)| Pod {
            ready_since: None,
            image_ids: Vec::new(),
            node: String::new(),
            meta: Meta {
                name: name.clone(),
                namespace: "shop".to_owned(),
                labels: labels.clone(),
                deleting,
                controller: owner.clone().map(|(kind, uid)| owner_of_kind(kind.name(), uid)),
                ..Meta::default()
            },
            ready,
            has_ip,
            terminal,
            containers: containers(),
            not_ready_reason: (!ready).then(|| "CrashLoopBackOff".to_owned()),
        })
}

fn counts(desired: u32) -> impl Strategy<Value = Counts> {
    // Mostly the desired number; otherwise hardly any generated workload would be ready.
    let near = move || prop_oneof![8 => Just(desired), 1 => 0..=desired + 1];
    (near(), near(), near(), near()).prop_map(|(replicas, updated, ready, available)| Counts {
        replicas,
        updated,
        ready,
        available,
    })
}

/// A Deployment with a current and an old ReplicaSet, and Pods of both.
fn deployment(index: usize) -> impl Strategy<Value = (Vec<Workload>, Vec<Pod>)> {
    (prop::sample::select(&COLOURS[..]), 0..4_u32, 0..2_usize, prop::bool::weighted(0.9)).prop_flat_map(
        move |(colour, desired, old_pods, has_current)| {
            let uid = format!("uid-{index}");
            let own = |name: String, uid: String, revision: &str| Meta {
                name,
                uid,
                namespace: "shop".to_owned(),
                generation: 2,
                annotations: [(annotation::REVISION.to_owned(), revision.to_owned())].into(),
                ..Meta::default()
            };
            let template =
                Arc::new(Template { labels: labels_of(colour), containers: containers(), ..Template::default() });
            let meta = own(format!("app-{index}"), uid.clone(), "2");
            let (current, old) = (format!("{uid}-current"), format!("{uid}-old"));
            let replica_set = {
                let (template, uid) = (template.clone(), uid.clone());
                move |own_uid: String, revision: &str| {
                    let controller = Some(owner_of_kind("Deployment", uid.clone()));
                    let meta = Meta { controller, ..own(own_uid.clone(), own_uid, revision) };
                    workload(WorkloadKind::ReplicaSet, meta, template.clone())
                }
            };
            let mut replica_sets = vec![replica_set(old.clone(), "1")];
            if has_current {
                replica_sets.push(replica_set(current.clone(), "2"));
            }
            let now: Vec<_> = (0..desired)
                .map(|pod_index| pod(format!("app-{index}-new-{pod_index}"), colour, Some(current.clone())).boxed())
                .collect();
            let before: Vec<_> = (0..old_pods)
                .map(|pod_index| pod(format!("app-{index}-old-{pod_index}"), colour, Some(old.clone())).boxed())
                .collect();
            let rare = || prop::bool::weighted(0.05);
            (counts(desired), strategies(), rare(), rare(), rare(), rare(), now, before).prop_map(
                move |(counts, strategy, paused, deleting, unobserved, deadline_exceeded, now, before)| {
                    let meta = Meta { deleting, ..meta.clone() };
                    let deployment = Workload {
                        desired,
                        paused,
                        strategy,
                        observed_generation: if unobserved { 1 } else { 2 },
                        counts,
                        deadline_exceeded,
                        ..workload(WorkloadKind::Deployment, meta, template.clone())
                    };
                    let workloads = [vec![deployment], replica_sets.clone()].concat();
                    (workloads, [now, before].concat())
                },
            )
        },
    )
}

/// A workload of generation 2 that wants no Pods.
fn workload(kind: WorkloadKind, meta: Meta, template: Arc<Template>) -> Workload {
    Workload {
        kind,
        meta,
        desired: 0,
        paused: false,
        template,
        strategy: flipguard::model::Strategy::OnDelete,
        partition: 0,
        first_ordinal: 0,
        selector_keys: Vec::new(),
        selects_by_expressions: false,
        observed_generation: 2,
        counts: Counts::default(),
        deadline_exceeded: false,
        rollout: flipguard::model::Rollout::Unknown,
        update_revision: None,
    }
}

fn strategies() -> impl Strategy<Value = flipguard::model::Strategy> {
    use flipguard::model::{Share, Strategy as Rollout};
    let rolling = |unavailable, surge| Rollout::Rolling { max_unavailable: unavailable, max_surge: surge };
    prop::sample::select(vec![
        Rollout::OnDelete,
        Rollout::Recreate,
        rolling(Share::Percent(25), Share::Percent(25)),
        rolling(Share::Pods(0), Share::Pods(1)),
        rolling(Share::Percent(100), Share::Pods(0)),
    ])
}

/// A workload that owns its Pods itself: a StatefulSet, a DaemonSet, or a ReplicaSet that stands alone. Some of the Pods
/// are of an old revision.
fn direct_owner(index: usize) -> impl Strategy<Value = (Vec<Workload>, Vec<Pod>)> {
    let kinds =
        prop::sample::select(vec![WorkloadKind::StatefulSet, WorkloadKind::DaemonSet, WorkloadKind::ReplicaSet]);
    (kinds, strategies(), prop::sample::select(&COLOURS[..]), 0..4_u32).prop_flat_map(
        move |(kind, strategy, colour, desired)| {
            let uid = format!("uid-{index}");
            let pods: Vec<_> = (0..desired)
                .map(|number| {
                    let owner = Some((kind, uid.clone()));
                    let old = prop::bool::weighted(0.1);
                    (owned_pod(format!("app-{index}-{number}"), colour, owner), old).prop_map(|(mut pod, old)| {
                        let hash = if old { "old" } else { "new" };
                        pod.meta.labels.insert("controller-revision-hash".to_owned(), hash.to_owned());
                        pod
                    })
                })
                .collect();
            let rare = || prop::bool::weighted(0.05);
            (counts(desired), rare(), rare(), pods).prop_map(move |(counts, deleting, unobserved, pods)| {
                let meta = Meta {
                    name: format!("app-{index}"),
                    uid: format!("uid-{index}"),
                    namespace: "shop".to_owned(),
                    generation: 2,
                    deleting,
                    ..Meta::default()
                };
                let template = Template { labels: labels_of(colour), containers: containers(), ..Template::default() };
                let owner = Workload {
                    desired,
                    strategy,
                    observed_generation: if unobserved { 1 } else { 2 },
                    counts,
                    update_revision: (kind == WorkloadKind::StatefulSet).then(|| "new".to_owned()),
                    ..workload(kind, meta, Arc::new(template))
                };
                (vec![owner], pods)
            })
        },
    )
}

fn cluster() -> impl Strategy<Value = ClusterView> {
    let bare = prop::sample::select(&COLOURS[..]).prop_flat_map(|colour| pod("bare".to_owned(), colour, None));
    (prop::collection::vec(any::<prop::sample::Index>(), 0..4), prop::option::weighted(0.2, bare))
        .prop_flat_map(|(indices, bare)| {
            let workloads = |index| prop_oneof![2 => deployment(index), 1 => direct_owner(index)];
            let deployments: Vec<_> = (0..indices.len()).map(|index| workloads(index).boxed()).collect();
            (deployments, Just(bare))
        })
        .prop_map(|(deployments, bare)| {
            let mut view = ClusterView::default();
            for (workloads, pods) in deployments {
                view.workloads.extend(workloads);
                view.pods.extend(pods);
            }
            view.pods.extend(bare);
            view
        })
}

fn flip_to_green(dry_run: bool) -> Change {
    Change {
        write: Write::ServiceUpdate { old: Box::new(service("blue")), new: Box::new(service("green")) },
        dry_run,
        user: User::default(),
        manager: String::new(),
    }
}

/// A second implementation of the readiness rule, as simple as possible and independent of the first.
mod naive {
    use super::*;

    fn colour(labels: &Labels) -> Option<&str> {
        labels.get("color").map(String::as_str)
    }

    pub(crate) fn serving(view: &ClusterView, desired: &str) -> usize {
        view.pods.iter().filter(|pod| colour(&pod.meta.labels) == Some(desired) && serves(pod)).count()
    }

    /// The number of serving Pods whose ReplicaSet exists.
    pub(crate) fn ready_with_owner(view: &ClusterView, desired: &str) -> usize {
        let all = view.pods.iter().filter(|pod| colour(&pod.meta.labels) == Some(desired) && serves(pod));
        all.filter(|pod| !is_leaving(view, pod)).count()
    }

    fn is_leaving(view: &ClusterView, pod: &Pod) -> bool {
        let is_there = |uid: &str| view.workloads.iter().any(|workload| workload.meta.uid == uid);
        pod.meta.controller.as_ref().is_some_and(|owner| !is_there(&owner.uid))
    }

    fn serves(pod: &Pod) -> bool {
        pod.ready && pod.has_ip && !pod.meta.deleting && !pod.terminal
    }

    fn wholes<'a>(view: &'a ClusterView, desired: &'a str) -> impl Iterator<Item = &'a Workload> {
        view.workloads.iter().filter(move |workload| {
            let is_part = workload.kind == WorkloadKind::ReplicaSet && workload.meta.controller.is_some();
            !is_part && colour(&workload.template.labels) == Some(desired)
        })
    }

    fn owned(view: &ClusterView, workload: &Workload, revision: Option<&str>) -> Vec<String> {
        let sets = view.workloads.iter().filter(|set| {
            let is_its = set.meta.controller.as_ref().is_some_and(|owner| owner.uid == workload.meta.uid);
            is_its && revision.is_none_or(|revision| set.revision() == Some(revision))
        });
        let own = (workload.kind != WorkloadKind::Deployment).then(|| workload.meta.uid.clone());
        sets.map(|set| set.meta.uid.clone()).chain(own).collect()
    }

    fn is_ready(view: &ClusterView, workload: &Workload) -> bool {
        let Counts { replicas, updated, ready, available } = workload.counts;
        let agrees = match workload.kind {
            // The Pods on Nodes that should run none are not counted.
            WorkloadKind::DaemonSet => {
                updated >= workload.desired && [ready, available].iter().all(|count| *count == workload.desired)
            }
            _ => [replicas, updated, ready, available].iter().all(|count| *count == workload.desired),
        };
        let is_current = |pod: &Pod| {
            workload.kind != WorkloadKind::StatefulSet
                || pod.meta.labels.get("controller-revision-hash").map(String::as_str) == Some("new")
        };
        let current = owned(view, workload, Some("2"));
        let pods = view.pods.iter().filter(|pod| {
            pod.meta.controller.as_ref().is_some_and(|owner| current.contains(&owner.uid))
                && serves(pod)
                && is_current(pod)
        });
        agrees
            && workload.desired > 0
            && !workload.paused
            && !workload.meta.deleting
            && !workload.deadline_exceeded
            && workload.observed_generation >= workload.meta.generation
            && pods.count() >= workload.desired as usize
    }

    /// Pods that no workload of the colour owns.
    fn standing<'a>(view: &'a ClusterView, desired: &'a str) -> Vec<&'a Pod> {
        let owners: Vec<String> = wholes(view, desired).flat_map(|workload| owned(view, workload, None)).collect();
        let of_colour = view
            .pods
            .iter()
            .filter(|pod| colour(&pod.meta.labels) == Some(desired) && !pod.terminal && !pod.meta.deleting);
        of_colour.filter(|pod| pod.meta.controller.as_ref().is_none_or(|owner| !owners.contains(&owner.uid))).collect()
    }

    pub(crate) fn exists(view: &ClusterView, desired: &str) -> bool {
        wholes(view, desired).next().is_some() || !standing(view, desired).is_empty()
    }

    pub(crate) fn fully_ready(view: &ClusterView, desired: &str) -> bool {
        let workloads: Vec<&Workload> = wholes(view, desired).collect();
        let pods: Vec<&Pod> = standing(view, desired).into_iter().filter(|pod| !is_leaving(view, pod)).collect();
        let some_ready =
            workloads.iter().any(|workload| is_ready(view, workload)) || pods.iter().any(|pod| serves(pod));
        let all_workloads = workloads.iter().all(|workload| {
            is_ready(view, workload) || (workload.desired == 0 && !workload.meta.deleting && some_ready)
        });
        let all_pods = pods.iter().all(|pod| serves(pod));
        exists(view, desired) && all_workloads && all_pods && ready_with_owner(view, desired) > 0
    }
}

/// The cases are the same in every run, so a failure is caused by the change under test. `PROPTEST_RNG_SEED` and
/// `PROPTEST_CASES` select others.
fn config() -> ProptestConfig {
    let given = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    ProptestConfig {
        cases: given("PROPTEST_CASES").and_then(|cases| u32::try_from(cases).ok()).unwrap_or(4000),
        rng_seed: RngSeed::Fixed(given("PROPTEST_RNG_SEED").unwrap_or(1)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// A flip is allowed if and only if the target is fully ready, or one of the two exceptions applies.
    #[test]
    fn no_allow_unless_ready(view in cluster()) {
        let verdict = decide(&flip_to_green(false), &view, &Policy::default(), NOW);
        let ready = naive::fully_ready(&view, "green");
        let nothing_to_lose = !naive::exists(&view, "blue");
        let better_than_nothing = naive::serving(&view, "blue") == 0 && naive::ready_with_owner(&view, "green") > 0;
        let allowed = verdict.outcome() == Outcome::Allowed;
        prop_assert_eq!(allowed, ready || nothing_to_lose || better_than_nothing, "{:?}\n{:#?}", verdict, view);
    }

    /// Under `enforcement: Warn`, no flip is denied. In a dry run, no flip is denied for a reason that resolves by
    /// waiting.
    #[test]
    fn warnings_never_deny(view in cluster()) {
        let warn = Policy { enforcement: Enforcement::Warn, ..Policy::default() };
        prop_assert_eq!(decide(&flip_to_green(false), &view, &warn, NOW).outcome(), Outcome::Allowed);
        prop_assert_eq!(decide(&flip_to_green(true), &view, &Policy::default(), NOW).outcome(), Outcome::Allowed);
        for (finding, effect) in decide(&flip_to_green(false), &view, &Policy::default(), NOW).findings {
            prop_assert!(finding.bound != Some(Bound::AtMostWarn) || effect != Effect::Denies);
        }
    }

    /// Any JSON in place of a Service is either rejected by the decoder or judged without a panic.
    #[test]
    fn deciding_never_panics(
        old in any_service(), new in any_service(), view in cluster(), dry_run in any::<bool>(),
        may_override in any::<bool>(),
    ) {
        let (Ok(old), Ok(new)) = (serde_json::from_value::<Service>(old), serde_json::from_value::<Service>(new)) else {
            return Ok(());
        };
        let write = Write::ServiceUpdate { old: Box::new(old), new: Box::new(new) };
        let change = Change { write, dry_run, user: User::default(), manager: String::new() };
        let view = ClusterView { may_override: [("app".to_owned(), may_override)].into(), ..view };
        let verdict = decide(&change, &view, &Policy::default(), NOW);
        prop_assert!(!answer::judged("uid", &verdict).is_empty());
    }

    /// Skipping a value gives the same result as `serde_json`: the value behind it and a kept text are equal.
    #[test]
    fn json_is_read_as_serde_json_reads_it(value in any_json(), pretty in any::<bool>(), place in any::<prop::sample::Index>(), put in any::<u8>()) {
        let text = json!({ "before": value, "kept": value, "value": value });
        let text = if pretty { format!("{text:#}") } else { text.to_string() };
        let read: Read<'_> = json_skip::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(&serde_json::from_str::<Value>(&read.kept).unwrap_or_default(), &value);
        prop_assert_eq!(&read.value, &value);

        // The same text with one byte changed: whatever `serde_json` accepts in full, the reader accepts too, and vice
        // versa.
        let mut bytes = text.into_bytes();
        let place = place.index(bytes.len());
        if let Some(byte) = bytes.get_mut(place) {
            *byte = put;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert_eq!(json_skip::from_str::<Value>(&text).ok(), serde_json::from_str::<Value>(&text).ok(), "{}", text);
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert!(json_skip::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
            }
        }
    }

    /// If the decoder skips an update because nothing relevant changes, no rule has a finding and no label is set.
    #[test]
    fn skipped_updates_have_no_findings(
        old in any_deployment(), other in any_deployment(), metadata in any::<bool>(), service in any::<bool>(),
        services in (any_service(), any_service()),
    ) {
        let (old, new) = match (service, metadata) {
            (true, _) => services,
            // Two states that differ only in their metadata.
            (false, true) => (old.clone(), json!({ "metadata": other.get("metadata"), "spec": old.get("spec") })),
            (false, false) => (old, other),
        };
        let (group, resource) = if service { ("", "services") } else { ("apps", "deployments") };
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u", "operation": "UPDATE", "kind": { "version": "v1", "kind": "X" },
            "resource": { "group": group, "version": "v1", "resource": resource },
            "oldObject": old, "object": new,
        } }).to_string();
        let Ok(mut request) = Request::parse(review.as_bytes()) else { return Ok(()) };
        if !matches!(change_of(&mut request).map(|change| change.write), Ok(Write::Other)) {
            return Ok(());
        }
        let write = if service {
            let parse = |value: Value| serde_json::from_value::<Service>(value).map(Box::new);
            let (Ok(old), Ok(new)) = (parse(old), parse(new)) else { return Ok(()) };
            Write::ServiceUpdate { old, new }
        } else {
            let parse = |value: Value| serde_json::from_value::<WorkloadManifest>(value)
                .map(|manifest| Box::new(manifest.into_workload(WorkloadKind::Deployment)));
            let (Ok(old), Ok(new)) = (parse(old), parse(new)) else { return Ok(()) };
            Write::WorkloadUpdate { old, new }
        };
        let change = Change { write, dry_run: false, user: User::default(), manager: String::new() };
        prop_assert!(needs(&change, &ClusterView::default(), &Policy::default(), NOW).is_none());
        let (verdict, puts) = label(&change, &ClusterView::default(), &Policy::default());
        prop_assert!(verdict.findings.is_empty() && puts.is_empty(), "{puts:?}");
    }

    /// Applying the patch twice equals applying it once. Only labels and flipguard's annotation change.
    #[test]
    fn labels_are_idempotent(old in any_deployment(), new in any_deployment(), update in any::<bool>(), services in any_services()) {
        let parse = |value: &Value| serde_json::from_value::<flipguard::model::WorkloadManifest>(value.clone())
            .map(|manifest| Box::new(manifest.into_workload(WorkloadKind::Deployment)));
        let view = ClusterView { services, ..ClusterView::default() };
        let old_parsed = if update { Some(parse(&old).map_err(|e| TestCaseError::fail(e.to_string()))?) } else { None };
        let write = |new: &Value| -> Result<Change, TestCaseError> {
            let new = parse(new).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let write = match old_parsed.clone() {
                Some(old) => Write::WorkloadUpdate { old, new },
                None => Write::WorkloadCreate { new },
            };
            Ok(Change { write, dry_run: false, user: User::default(), manager: String::new() })
        };
        let policy = Policy::default();
        let mut patched = new.clone();
        let (_, puts) = label(&write(&new)?, &view, &policy);
        if let Some(patch) = answer::patch(&puts) {
            json_patch::patch(&mut patched, &patch).map_err(|error| TestCaseError::fail(format!("{error}: {patch}")))?;
        }
        let (_, again) = label(&write(&patched)?, &view, &policy);
        prop_assert!(again.is_empty(), "once: {puts:?}\ntwice: {again:?}\n{patched:#}");

        // Each Service selects the same Pods as before, either by the stored or by the submitted labels.
        let template = |value: &Value| -> Labels {
            serde_json::from_value(value.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default()).unwrap_or_default()
        };
        for service in &view.services {
            let before = service.selector.matches(&template(&new)) || (update && service.selector.matches(&template(&old)));
            let untouched = template(&patched) == template(&new);
            prop_assert!(untouched || service.selector.matches(&template(&patched)) == before);
        }
        // Nothing else changes.
        let strip = |mut object: Value| {
            for path in ["/metadata", "/spec/template/metadata"] {
                if let Some(metadata) = object.pointer_mut(path).and_then(Value::as_object_mut) {
                    metadata.remove("labels");
                    metadata.remove("annotations");
                }
            }
            object
        };
        prop_assert_eq!(strip(patched), strip(new));
    }
}

fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop::sample::select(vec!["app", "color", "slot", "version", "a/b", "x~y"]);
    let value = prop::sample::select(vec!["shop", "blue", "green", "1.0", "2.0", "shop-green", ""]);
    prop::collection::btree_map(key.prop_map(str::to_owned), value.prop_map(str::to_owned), 0..4)
}

#[derive(serde::Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    kept: Raw<'a>,
    value: Value,
}

/// Any JSON, including texts that are hard to skip.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![r#"[a-z"\\{}\[\]é\n]{0,12}"#, r#"[\\"]{0,80}"#, "[x{}]{50,80}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // `serde_json` reads no other floating-point numbers exactly.
        any::<i16>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..5).prop_map(Value::from_iter),
        ]
    })
}

fn any_services() -> impl Strategy<Value = Vec<Service>> {
    prop::collection::vec(
        any_labels().prop_map(|labels| Service { selector: Selector::new(labels), ..Service::default() }),
        0..3,
    )
}

fn any_deployment() -> impl Strategy<Value = Value> {
    let image = prop::sample::select(vec!["app:1.0", "app:2.0", "app", "", ":::@@", "app@sha256:0123456789ab"]);
    let name = prop::sample::select(vec!["app-green", "blue-app", "app"]);
    let marks =
        vec!["", "metadata/version", "metadata/color,template/color", "template/version,metadata/version", ",/,x"];
    let mark = prop::option::of(prop::sample::select(marks));
    (any_labels(), any_labels(), any_labels(), image, name, mark).prop_map(
        |(own, template, selector, image, name, mark)| {
            let mut metadata = serde_json::Map::from_iter([("name".to_owned(), json!(name))]);
            if !own.is_empty() {
                metadata.insert("labels".to_owned(), json!(own));
            }
            if let Some(mark) = mark {
                metadata.insert("annotations".to_owned(), json!({ "flipguard.dev/added-labels": mark }));
            }
            json!({
                "metadata": metadata,
                "spec": { "selector": { "matchLabels": selector }, "template": {
                    "metadata": { "labels": template }, "spec": { "containers": [{ "name": "web", "image": image }] },
                } },
            })
        },
    )
}

fn any_service() -> impl Strategy<Value = Value> {
    let annotations = prop::option::of(prop::collection::btree_map(
        prop::sample::select(vec![annotation::GUARD, annotation::ROLE, annotation::ARGO_ROLLOUTS])
            .prop_map(str::to_owned),
        prop::sample::select(vec!["false", "preview", "traffic", "", "x"]).prop_map(str::to_owned),
        0..3,
    ));
    let target = prop_oneof![Just(json!("http")), Just(json!(80)), Just(Value::Null)];
    let kind = prop::sample::select(vec!["ClusterIP", "ExternalName", ""]);
    (any_labels(), annotations, target, kind, any::<bool>(), "[a-z-]{0,12}").prop_map(
        |(selector, annotations, target, kind, publish, name)| {
            json!({
                "metadata": { "name": name, "namespace": "shop", "annotations": annotations },
                "spec": { "selector": selector, "type": kind, "publishNotReadyAddresses": publish,
                    "ports": [{ "port": 80, "targetPort": target }] },
            })
        },
    )
}

/// One member of an object in a text stands twice, with another value, or has another value.
fn with_a_member(value: &Value, at: &mut usize, put: &Value, twice: bool, text: &mut String) {
    match value {
        Value::Object(members) => {
            text.push('{');
            let mut first = true;
            let mut member = |text: &mut String, key: &str| {
                text.push_str(if first { "" } else { "," });
                first = false;
                text.push_str(&Value::from(key).to_string());
                text.push(':');
            };
            for (key, value) in members {
                let is_it = *at == 0;
                *at = at.wrapping_sub(1);
                member(text, key);
                if is_it {
                    text.push_str(&put.to_string());
                    if twice {
                        member(text, key);
                        text.push_str(&value.to_string());
                    }
                } else {
                    with_a_member(value, at, put, twice, text);
                }
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                with_a_member(item, at, put, twice, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

/// The types that reviews and lists are decoded into, by both readers: equal, or an error of both.
fn decoded_alike<T: serde::de::DeserializeOwned + std::fmt::Debug>(text: &str) -> Result<bool, TestCaseError> {
    let (ours, theirs) = (json_skip::from_str::<T>(text).ok(), serde_json::from_str::<T>(text).ok());
    prop_assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{}", text);
    Ok(ours.is_some())
}

/// Typed decoding agrees with serde_json: of objects as the API server sends them, with one member changed or twice.
#[test]
fn typed_decoding_is_that_of_serde_json() {
    let objects = [
        json!({ "metadata": { "name": "app", "uid": "1", "labels": { "a": "b" }, "annotations": { annotation::ROLE: "traffic", "x": "y" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "2", "controller": true }] },
            "spec": { "selector": { "app": "shop" }, "type": "ClusterIP", "ports": [{ "port": 80, "targetPort": "http", "protocol": "TCP" }] } }),
        json!({ "metadata": { "name": "app", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "replicas": 3, "paused": false, "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 1 } },
                "selector": { "matchLabels": { "a": "b" }, "matchExpressions": [{ "key": "c", "operator": "Exists" }] },
                "template": { "metadata": { "labels": { "a": "b" }, "annotations": { annotation::DEFAULT_CONTAINER: "web" } },
                    "spec": { "containers": [{ "name": "web", "image": "web:1", "ports": [{ "name": "http", "containerPort": 80 }] }] } } },
            "status": { "observedGeneration": 2, "replicas": 3, "conditions": [{ "type": "Progressing", "reason": "x" }] } }),
        json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "web", "image": "w" }] },
            "status": { "phase": "Running", "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }],
                "containerStatuses": [{ "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }] } }),
        json!({ "username": "alice", "uid": "1", "groups": ["a"], "extra": { "k": ["v"] } }),
    ];
    let inputs = (prop::sample::select(objects.to_vec()), 0..40_usize, any_json(), any::<bool>());
    let mut runner = proptest::test_runner::TestRunner::new(config());
    let decoded = std::cell::Cell::new(0_usize);
    let run = runner.run(&inputs, |(object, at, put, twice)| {
        let mut text = String::new();
        with_a_member(&object, &mut { at }, &put, twice, &mut text);
        let mut all =
            vec![decoded_alike::<Service>(&text)?, decoded_alike::<Pod>(&text)?, decoded_alike::<User>(&text)?];
        all.push(decoded_alike::<WorkloadManifest>(&text)?);
        all.push(decoded_alike::<flipguard::model::Revision>(&text)?);
        decoded.set(decoded.get() + usize::from(all.contains(&true)));
        Ok(())
    });
    run.unwrap();
    assert!(decoded.get() > 1000, "only {} texts could be decoded", decoded.get());
}

/// The reviews that were recorded on an API server: the same change by both readers.
#[test]
fn recorded_reviews_are_read_alike() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/reviews");
    let mut read = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let Ok(review) = serde_json::from_str::<Value>(&text) else { continue };
        let Ok(mut request) = Request::parse(text.as_bytes()) else { continue };
        let change = change_of(&mut request).unwrap();
        let object = |name: &str| review.pointer(&format!("/request/{name}")).cloned().unwrap_or_default();
        let service = |name: &str| serde_json::from_value::<Service>(object(name)).map(Box::new).unwrap();
        let workload = |name: &str| {
            let manifest = serde_json::from_value::<WorkloadManifest>(object(name)).unwrap();
            Box::new(manifest.into_workload(WorkloadKind::Deployment))
        };
        match &change.write {
            Write::ServiceUpdate { old, new } => {
                assert_eq!((old, new), (&service("oldObject"), &service("object")));
            }
            Write::WorkloadUpdate { old, new } => {
                let equal = |one: &Workload, other: &Workload| {
                    let spec = |workload: &Workload| serde_json::from_str::<Value>(&workload.template.spec).unwrap();
                    one.meta == other.meta
                        && one.counts == other.counts
                        && one.template.labels == other.template.labels
                        && spec(one) == spec(other)
                };
                assert!(equal(old, &workload("oldObject")) && equal(new, &workload("object")));
            }
            _ => continue,
        }
        read += 1;
    }
    assert!(read >= 3, "only {read} recorded reviews were compared");
}
