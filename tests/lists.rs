//! Lists that arrive as protobuf give the same objects as lists that arrive as JSON. Kubernetes' own code writes both, of
//! random objects.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flipguard::cluster::list::{Answered, DecodeError, Form};
use flipguard::model::{GateJob, Pod, Revision, Selector, Service, Template, Workload, WorkloadKind, WorkloadManifest};
use serde::de::DeserializeOwned;

/// Objects of each kind.
const EACH: &str = "150";

/// What the generator prints.
fn generator(arguments: &[&str]) -> String {
    let output = Command::new("go")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/crates/protobuf-json/generate"))
        .args(["run", "."])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_tables_are_those_of_the_generator() {
    let written = include_str!("../crates/protobuf-json/src/tables.rs");
    let plain = |text: &str| text.replace(|letter: char| letter.is_whitespace() || letter == ',', "");
    assert_eq!(plain(written), plain(&generator(&[])), "make tables");
}

/// The lists of random objects: their kind, their protobuf and their JSON.
fn pairs(seed: u64) -> Vec<(String, Answered, Answered)> {
    let text = generator(&["pairs", EACH, &seed.to_string()]);
    let pair = |line: &str| {
        let (protobuf, json) = line.split_once(' ').unwrap();
        let kind: serde_json::Value = serde_json::from_str(json).unwrap();
        let kind = kind["kind"].as_str().unwrap().to_owned();
        let protobuf = Answered { form: Form::Protobuf, body: BASE64_STANDARD.decode(protobuf).unwrap() };
        (kind, protobuf, Answered { form: Form::Json, body: json.as_bytes().to_vec() })
    };
    text.lines().map(pair).collect()
}

/// The objects in a list, as rules see them.
fn objects<T: DeserializeOwned, K>(answered: &Answered, kept: impl Fn(T) -> K) -> Result<Vec<K>, DecodeError> {
    let mut objects = Vec::new();
    answered.page::<T>()?.each(|item| objects.push(kept(item)))?;
    Ok(objects)
}

fn compare<T: DeserializeOwned, K: PartialEq + std::fmt::Debug>(
    (kind, protobuf, json): &(String, Answered, Answered),
    kept: impl Fn(T) -> K,
) {
    let from_protobuf = objects(protobuf, &kept).unwrap_or_else(|error| panic!("{kind} as protobuf: {error}"));
    let from_json = objects(json, &kept).unwrap_or_else(|error| panic!("{kind} as JSON: {error}"));
    assert!(!from_json.is_empty() && from_protobuf.len() == from_json.len());
    let different = from_protobuf.iter().zip(&from_json).find(|(one, other)| one != other);
    if let Some((one, other)) = different.map(|(one, other)| (format!("{one:?}"), format!("{other:?}"))) {
        let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
        let from = |text: &str| text.chars().skip(same.saturating_sub(100)).take(200).collect::<String>();
        panic!("{kind}: protobuf gives\n  {}\nand JSON gives\n  {}", from(&one), from(&other));
    }
}

#[test]
fn protobuf_and_json_give_the_same_objects() {
    let seed = fastrand::u64(0..1 << 40);
    let pairs = pairs(seed);
    let mut of_each = std::collections::BTreeMap::<&str, usize>::new();
    eprintln!("the seed is {seed}");
    for pair in &pairs {
        *of_each.entry(pair.0.as_str()).or_default() += 1;
        let workload = |kind: WorkloadKind| move |manifest: WorkloadManifest| manifest.into_workload(kind);
        match pair.0.as_str() {
            "DeploymentList" => compare(pair, workload(WorkloadKind::Deployment)),
            "StatefulSetList" => compare(pair, workload(WorkloadKind::StatefulSet)),
            "DaemonSetList" => compare(pair, workload(WorkloadKind::DaemonSet)),
            "ReplicaSetList" => compare(pair, workload(WorkloadKind::ReplicaSet)),
            // Its data are JSON in both forms, with the escapes of whoever wrote it. Rules compare the values.
            "ControllerRevisionList" => compare(pair, |revision: Revision| {
                let spec: serde_json::Value = serde_json::from_str(&revision.template_spec).unwrap();
                (revision.meta, spec)
            }),
            "JobList" => compare(pair, |job: GateJob| job),
            "ServiceList" => compare(pair, |service: Service| service),
            "PodList" => compare(pair, |pod: Pod| pod),
            other => panic!("{other}"),
        }
    }
    assert!(of_each.len() == 8 && of_each.values().all(|count| count.to_string() == EACH), "{of_each:?}");
}

/// A list that is asked for the templates of some labels lacks the `spec` of the others, and nothing else.
#[test]
fn only_the_spec_of_other_templates_is_left_out() {
    let seed = fastrand::u64(0..1 << 40);
    eprintln!("the seed is {seed}");
    let (mut kept, mut left_out) = (0, 0);
    for (kind, protobuf, _) in pairs(seed) {
        let kind = match kind.as_str() {
            "DeploymentList" => WorkloadKind::Deployment,
            "StatefulSetList" => WorkloadKind::StatefulSet,
            "DaemonSetList" => WorkloadKind::DaemonSet,
            "ReplicaSetList" => WorkloadKind::ReplicaSet,
            _ => continue,
        };
        let workload = |manifest: WorkloadManifest| manifest.into_workload(kind);
        let whole: Vec<Workload> = objects(&protobuf, workload).unwrap();
        let own = whole[0].template.labels.clone();
        for labels in [own, [("app".to_owned(), "nobody's".to_owned())].into()] {
            let labels = Selector::new(labels);
            let mut part = Vec::new();
            let page = protobuf.page().unwrap().with_templates_of(&labels);
            page.each(|manifest| part.push(workload(manifest))).unwrap();
            let wanted = whole.iter().cloned().map(|mut one| {
                if labels.pairs().any(|(key, value)| one.template.labels.get(key).is_none_or(|own| own != value)) {
                    let template = one.template.as_ref().clone();
                    let Template { labels, annotations, default_container, .. } = template;
                    one.template = Template { labels, annotations, default_container, ..Template::default() }.into();
                    left_out += 1;
                } else {
                    kept += 1;
                }
                one
            });
            assert_eq!(part, wanted.collect::<Vec<_>>());
        }
    }
    assert!(kept > 100 && left_out > 100, "{kept} are kept, and {left_out} are left out");
}

/// Damaged bodies: nothing panics, and what is understood is JSON.
#[test]
fn a_damaged_body_is_an_error_or_json() {
    let seed = fastrand::u64(0..1 << 40);
    eprintln!("the seed is {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // The data of a revision are JSON that the API server has checked, and are taken over as they are.
    for (kind, protobuf, _) in pairs(seed).iter().filter(|(kind, ..)| kind != "ControllerRevisionList") {
        for _ in 0..15 {
            let mut body = protobuf.body.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..body.len());
                body[at] = random.u8(..);
            }
            body.truncate(random.usize(body.len() / 2..=body.len()));
            let answered = Answered { form: Form::Protobuf, body };
            drop(objects(&answered, |manifest: WorkloadManifest| manifest.into_workload(WorkloadKind::Deployment)));
            drop(objects(&answered, |pod: Pod| pod));
            let Ok(list) = protobuf_json::List::read(&answered.body) else { continue };
            let is_json = |item: &str| {
                assert!(serde_json::from_str::<serde_json::Value>(item).is_ok(), "{kind}: {item}");
                Ok::<_, protobuf_json::Error>(())
            };
            drop(list.each(is_json));
            drop(list.with_templates_of(vec![("app", "shop")]).each(is_json));
        }
    }
}
