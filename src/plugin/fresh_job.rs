//! A new Job for a gate, made from a Job, a CronJob or a manifest.

use serde_json::{Map, Value, json};

use crate::model::{GATE_LABEL, annotation};

/// What the API server and the Job controller write into the labels of a Job and of its Pods (`batch/v1`).
const OWN_LABELS: [&str; 4] =
    ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];

/// Labels and annotations by which a tool finds what it has made. It would delete a Job that it did not make.
const OF_TOOLS: [&str; 7] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/",
    "helm.sh/",
    "meta.helm.sh/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
];

/// Annotations that are about another Job.
const OF_THE_OLD: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "batch.kubernetes.io/job-tracking",
    "batch.kubernetes.io/cronjob-scheduled-timestamp",
    annotation::TESTED,
    annotation::TARGET,
];

/// The longest part of a gate's name in that of its Job: the name of a Pod has the Job's and 5 characters more.
const LONGEST: usize = 50;

/// A Job that tests a workload for a gate, from the `spec` of another Job, or of the Jobs of a CronJob. The API server
/// completes its name. `tested` is what it tests, where nobody else writes that down.
///
/// # Errors
/// When the source is neither a Job nor a CronJob, or has no Pod template.
pub fn fresh_job(source: &Value, gate: &str, target: &str, tested: Option<&str>) -> Result<Value, String> {
    let kind = source.get("kind").and_then(Value::as_str).unwrap_or_default();
    let (meta, spec) = match kind {
        "Job" => (source.get("metadata"), source.get("spec")),
        "CronJob" => (source.pointer("/spec/jobTemplate/metadata"), source.pointer("/spec/jobTemplate/spec")),
        "" => return Err("it has no kind; it must be a Job or a CronJob".to_owned()),
        other => return Err(format!("it is a {other}; it must be a Job or a CronJob")),
    };
    let mut spec = spec.cloned().unwrap_or_default();
    let Some(fields) = spec.as_object_mut().filter(|fields| fields.contains_key("template")) else {
        return Err(format!("the {kind} has no Pod template (spec.template)"));
    };
    // The API server chooses the selector. A Job that is suspended would never end.
    for field in ["selector", "manualSelector", "suspend"] {
        fields.remove(field);
    }
    if let Some(template) = fields.get_mut("template").and_then(|template| template.get_mut("metadata")) {
        if let Some(labels) = template.get_mut("labels").and_then(Value::as_object_mut) {
            labels.retain(|key, _| !OWN_LABELS.contains(&key.as_str()));
        }
        if let Some(template) = template.as_object_mut() {
            template.remove("creationTimestamp");
        }
    }
    let of =
        |field: &str| meta.and_then(|meta| meta.get(field)).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut labels = kept(of("labels"), &OWN_LABELS);
    let mut annotations = kept(of("annotations"), &OF_THE_OLD);
    labels.insert(GATE_LABEL.to_owned(), json!(gate));
    annotations.insert(annotation::TARGET.to_owned(), json!(target));
    if let Some(tested) = tested {
        annotations.insert(annotation::TESTED.to_owned(), json!(tested));
    }
    let start: String = gate.chars().take(LONGEST).collect();
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "generateName": format!("{start}-"), "labels": labels, "annotations": annotations },
        "spec": spec,
    }))
}

fn kept(all: Map<String, Value>, without: &[&str]) -> Map<String, Value> {
    let is_of_a_tool =
        |key: &str| OF_TOOLS.iter().any(|own| key == *own || (own.ends_with('/') && key.starts_with(own)));
    all.into_iter().filter(|(key, _)| !without.contains(&key.as_str()) && !is_of_a_tool(key)).collect()
}

/// How a Job ended: whether it completed, and the message of the condition; `None` while it runs.
#[must_use]
pub fn end(job: &Value) -> Option<(bool, String)> {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find_map(|condition| {
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        let passed = match text("type") {
            "Complete" => true,
            "Failed" => false,
            _ => return None,
        };
        let why = [text("reason"), text("message")].into_iter().filter(|part| !part.is_empty());
        (text("status") == "True").then(|| (passed, why.collect::<Vec<_>>().join(": ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_old_job_is_left() {
        let old = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": "smoke-1", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 1,
                "creationTimestamp": "2030-01-01T00:00:00Z", "managedFields": [], "finalizers": ["x"],
                "ownerReferences": [{ "kind": "CronJob" }],
                "labels": { "team": "web", "flipguard.dev/gate": "old", "controller-uid": "u", "job-name": "smoke-1",
                    "app.kubernetes.io/instance": "shop" },
                "annotations": { "a": "b", "flipguard.dev/target": "deployment/app-blue", "flipguard.dev/tested": "x y",
                    "argocd.argoproj.io/hook": "PreSync", "kubectl.kubernetes.io/last-applied-configuration": "{}" },
            },
            "spec": {
                "selector": { "matchLabels": {} }, "suspend": true, "backoffLimit": 2, "completions": 1,
                "template": {
                    "metadata": { "creationTimestamp": null, "labels": { "team": "web",
                        "batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "smoke-1" } },
                    "spec": { "restartPolicy": "Never", "containers": [] },
                },
            },
            "status": { "conditions": [] },
        });
        let expected = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "generateName": "smoke-",
                "labels": { "team": "web", "flipguard.dev/gate": "smoke" },
                "annotations": { "a": "b", "flipguard.dev/target": "deployment/app-green" },
            },
            "spec": {
                "backoffLimit": 2, "completions": 1,
                "template": {
                    "metadata": { "labels": { "team": "web" } },
                    "spec": { "restartPolicy": "Never", "containers": [] },
                },
            },
        });
        assert_eq!(fresh_job(&old, "smoke", "deployment/app-green", None), Ok(expected));
    }

    #[test]
    fn of_a_cron_job_the_template_counts() {
        let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "template": { "spec": {} } } });
        let cron =
            json!({ "kind": "CronJob", "metadata": { "labels": { "c": "d" } }, "spec": { "jobTemplate": template } });
        let job = fresh_job(&cron, &"g".repeat(60), "deployment/app", Some("1 -")).unwrap();
        assert_eq!(job["metadata"]["labels"]["a"], "b");
        assert_eq!(job["metadata"]["labels"]["c"], Value::Null);
        assert_eq!(job["metadata"]["annotations"]["flipguard.dev/tested"], "1 -");
        assert_eq!(job["metadata"]["generateName"], format!("{}-", "g".repeat(50)));
    }

    #[test]
    fn other_sources_are_refused() {
        let words = |source: Value| fresh_job(&source, "g", "deployment/app", None).unwrap_err();
        assert_eq!(words(json!({ "kind": "Pod" })), "it is a Pod; it must be a Job or a CronJob");
        assert_eq!(words(json!({})), "it has no kind; it must be a Job or a CronJob");
        assert_eq!(words(json!({ "kind": "Job", "spec": {} })), "the Job has no Pod template (spec.template)");
        assert!(words(json!({ "kind": "CronJob" })).contains("no Pod template"));
    }

    #[test]
    fn a_job_ends_by_its_conditions() {
        let job = |kind: &str, status: &str| {
            json!({ "status": { "conditions": [
                { "type": "SuccessCriteriaMet", "status": "True" },
                { "type": kind, "status": status, "reason": "R", "message": "m" },
            ] } })
        };
        assert_eq!(end(&job("Complete", "True")), Some((true, "R: m".to_owned())));
        assert_eq!(end(&job("Failed", "True")), Some((false, "R: m".to_owned())));
        assert_eq!(end(&job("Complete", "False")), None);
        assert_eq!(end(&json!({})), None);
    }
}
