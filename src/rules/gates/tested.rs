//! What was tested, as hashes: of a Pod template, and of the images that its Pods run.
//!
//! The label `pod-template-hash` has 32 bits and is made for names. Who may edit the template can search for another one
//! with the same label.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::model::{ClusterView, Template, Tested, Workload, sha256};
use crate::rules::state::readiness::current_pods;

/// What a test of this workload tests now.
#[must_use]
pub fn tested(workload: &Workload, view: &ClusterView) -> Tested {
    Tested { template: of_template(&workload.template), images: of_images(workload, view) }
}

/// The hash of a Pod template: its labels, annotations and spec, with their keys in order. A test sees nothing of a restart.
#[must_use]
pub fn of_template(template: &Template) -> String {
    let annotations = Some(template.lasting_annotations()).filter(|all| !all.is_empty());
    let whole = json!({ "annotations": annotations, "labels": template.labels, "spec": parse(&template.spec) });
    sha256(&in_order(whole).to_string())
}

/// Whether a template names each image by its digest, so that the template alone says what runs.
pub(super) fn is_pinned(template: &Template) -> bool {
    let spec = parse(&template.spec);
    let containers = ["initContainers", "containers"].into_iter().filter_map(|kind| spec.get(kind)?.as_array());
    let mut images = containers.flatten().map(|one| one.get("image").and_then(Value::as_str).unwrap_or_default());
    images.all(|image| image.contains("@sha256:"))
}

/// The hash of the images that run: of those in the Pods of the current template. `None` while none runs.
fn of_images(workload: &Workload, view: &ClusterView) -> Option<String> {
    let pods = current_pods(workload, view).ok()?;
    let living = pods.into_iter().filter(|pod| !pod.terminal && !pod.meta.deleting);
    let ids: BTreeSet<&str> = living.flat_map(|pod| &pod.image_ids).map(String::as_str).collect();
    (!ids.is_empty()).then(|| sha256(&ids.into_iter().collect::<Vec<_>>().join("\n")))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// The same value with the keys of all maps in order, whatever order a map of this program keeps.
fn in_order(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<(String, Value)> = map.into_iter().map(|(key, value)| (key, in_order(value))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Map::from_iter(pairs))
        }
        Value::Array(items) => Value::Array(items.into_iter().map(in_order).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{WorkloadKind, WorkloadManifest};

    fn of(template: &str) -> Workload {
        let text = format!(r#"{{"metadata":{{}},"spec":{{"template":{template}}}}}"#);
        serde_json::from_str::<WorkloadManifest>(&text).unwrap().into_workload(WorkloadKind::Deployment)
    }

    #[test]
    fn a_restart_is_no_change_and_everything_else_is_one() {
        let hash = |template: &str| of_template(&of(template).template);
        let plain = hash(r#"{"metadata":{"labels":{"a":"1"}},"spec":{"containers":[{"name":"web","image":"web:1"}]}}"#);
        for same in [
            r#"{"spec":{"containers":[{"image":"web:1","name":"web"}]},"metadata":{"annotations":{},"labels":{"a":"1"}}}"#,
            r#"{"metadata":{"labels":{"a":"1"},"annotations":{"kubectl.kubernetes.io/restartedAt":"x"}},
                "spec":{"containers":[{"name":"web","image":"web:1"}]}}"#,
        ] {
            assert_eq!(hash(same), plain, "{same}");
        }
        for other in [
            r#"{"metadata":{"labels":{"a":"2"}},"spec":{"containers":[{"name":"web","image":"web:1"}]}}"#,
            r#"{"metadata":{"labels":{"a":"1"},"annotations":{"b":"c"}},"spec":{"containers":[{"name":"web","image":"web:1"}]}}"#,
            r#"{"metadata":{"labels":{"a":"1"}},"spec":{"containers":[{"name":"web","image":"web:2"}]}}"#,
        ] {
            assert_ne!(hash(other), plain, "{other}");
        }
    }

    #[test]
    fn each_image_must_have_a_digest() {
        let pinned = |containers: &str| is_pinned(&of(&format!(r#"{{"spec":{{{containers}}}}}"#)).template);
        assert!(pinned(r#""containers":[{"image":"web@sha256:01"}],"initContainers":[{"image":"i:1@sha256:02"}]"#));
        assert!(!pinned(r#""containers":[{"image":"web@sha256:01"}],"initContainers":[{"image":"i:1"}]"#));
        assert!(!pinned(r#""containers":[{"name":"web"}]"#));
    }
}
