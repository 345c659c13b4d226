//! The manifests of an installation, as YAML.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::permissions::NEEDED;
use super::workload::{self, InCluster};
use super::{Granted, NAME, Permission, Place, auditor, policy};
use crate::policy::resource;

/// An installation of flipguard.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// flipguard's own namespace.
    pub namespace: &'a str,
    /// Where flipguard runs.
    pub runs: Runs<'a>,
    /// `--labels`: whether labels are added to Deployments.
    pub labels: bool,
}

/// Where flipguard runs.
#[derive(Debug, Clone, Copy)]
pub enum Runs<'a> {
    /// In the cluster that it guards.
    Inside(&'a InCluster),
    /// Outside, at this URL.
    At(&'a str),
}

/// A part of the manifests, as a template of the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The ServiceAccount, and its rights.
    Rights,
    /// The rights and the registration for labels.
    Labels,
    /// The API server's treatment of flipguard's own requests.
    Requests,
    /// The CRD of policies.
    Policies,
    /// The continuous audit.
    Auditor,
    /// The ServiceAccount and the rights of the continuous audit.
    AuditorRights,
}

/// The name of the ClusterRole for labels.
pub const LABELS: &str = "flipguard-labels";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The name of the ClusterRoleBinding for labels.
#[must_use]
pub fn labels_binding(namespace: &str) -> String {
    binding_of(LABELS, namespace)
}

/// By namespace: a second installation must not take the rights of the first.
fn binding_of(role: &str, namespace: &str) -> String {
    format!("{role}:{namespace}")
}

/// The objects of an installation, in the order in which to apply them.
#[must_use]
pub fn objects(installation: &Installation<'_>) -> Vec<Value> {
    let Installation { namespace, runs, labels } = *installation;
    let common = json!({ "app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": NAME });
    let mut objects = vec![json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": namespace, "labels": restricted(&common) },
    })];
    objects.extend(policies(&common));
    objects.extend(rights(namespace, &common));
    objects.extend(requests(installation, &common));
    if let Runs::Inside(in_cluster) = runs {
        objects.extend(workload::objects(in_cluster, namespace, labels, &common));
    }
    // The webhook configurations are last: the Service that they name exists then.
    if labels {
        objects.extend(with_labels(namespace, &common));
    }
    objects.push(empty_configuration("ValidatingWebhookConfiguration", &common));
    objects
}

/// One part of the objects.
#[must_use]
pub fn part(part: Part, installation: &Installation<'_>) -> Vec<Value> {
    let common = json!({ "app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": NAME });
    match part {
        Part::Rights => rights(installation.namespace, &common),
        Part::Labels => with_labels(installation.namespace, &common),
        Part::Requests => requests(installation, &common),
        Part::Policies => policies(&common),
        Part::Auditor => auditor::objects(installation.namespace, None),
        Part::AuditorRights => auditor::rights(installation.namespace),
    }
}

fn rights(namespace: &str, labels: &Value) -> Vec<Value> {
    let own = json!({ "name": NAME, "namespace": namespace, "labels": labels });
    let mut objects = vec![json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": own,
        // The Pods of flipguard mount a token of their own, for an hour.
        "automountServiceAccountToken": false,
    })];
    objects.extend(cluster_role(NAME, Place::Everywhere, namespace, labels));
    objects.extend([
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "Role",
            "metadata": own,
            "rules": rules(Place::OwnNamespace),
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "RoleBinding",
            "metadata": own,
            "roleRef": { "apiGroup": RBAC, "kind": "Role", "name": NAME },
            "subjects": [subject(namespace)],
        }),
    ]);
    objects
}

/// The CRD of policies. No policy is shipped: without one, flags and defaults hold.
fn policies(labels: &Value) -> Vec<Value> {
    resource::crd(labels).into_iter().collect()
}

fn with_labels(namespace: &str, labels: &Value) -> Vec<Value> {
    let mut objects: Vec<Value> = cluster_role(LABELS, Place::WithLabels, namespace, labels).into();
    objects.push(empty_configuration("MutatingWebhookConfiguration", labels));
    objects
}

/// A FlowSchema, so that a flood of other requests does not delay a verdict, and the policies.
fn requests(installation: &Installation<'_>, labels: &Value) -> Vec<Value> {
    let Installation { namespace, runs, .. } = *installation;
    let url = match runs {
        Runs::Inside(_) => None,
        Runs::At(url) => Some(url),
    };
    let mut objects = vec![json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": { "name": NAME, "labels": labels },
        "spec": {
            "priorityLevelConfiguration": { "name": "workload-high" },
            "matchingPrecedence": 1000,
            "distinguisherMethod": { "type": "ByUser" },
            "rules": [{
                "subjects": [{ "kind": "ServiceAccount", "serviceAccount": { "name": NAME, "namespace": namespace } }],
                "resourceRules": [own_requests()],
                "nonResourceRules": [{ "verbs": ["get"], "nonResourceURLs": ["/version"] }],
            }],
        },
    })];
    objects.extend(policy::objects(namespace, url, labels));
    objects
}

/// The requests of flipguard, as a rule of a FlowSchema.
fn own_requests() -> Value {
    // The permissions themselves are checked when flipguard starts.
    let mut resources = BTreeSet::from(["selfsubjectaccessreviews"]);
    let mut groups = BTreeSet::new();
    let mut verbs: BTreeSet<&str> = BTreeSet::new();
    for permission in NEEDED {
        if let Granted::Resource { group, resource, .. } = permission.on {
            groups.insert(group);
            resources.insert(resource);
            verbs.extend(permission.verbs);
        }
    }
    json!({
        "verbs": verbs,
        "apiGroups": groups,
        "resources": resources,
        "clusterScope": true,
        "namespaces": ["*"],
    })
}

fn cluster_role(name: &str, place: Place, namespace: &str, labels: &Value) -> [Value; 2] {
    [
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": { "name": name, "labels": labels },
            "rules": rules(place),
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": { "name": binding_of(name, namespace), "labels": labels },
            "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": name },
            "subjects": [subject(namespace)],
        }),
    ]
}

/// Without webhooks: flipguard fills them in once the API server reaches it, so an installation blocks nobody.
fn empty_configuration(kind: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": NAME, "labels": labels },
    })
}

fn subject(namespace: &str) -> Value {
    json!({ "kind": "ServiceAccount", "name": NAME, "namespace": namespace })
}

/// Adds Pod Security `restricted`, with which flipguard complies.
fn restricted(labels: &Value) -> Value {
    let mut labels = labels.clone();
    if let Some(labels) = labels.as_object_mut() {
        for mode in ["enforce", "audit", "warn"] {
            labels.insert(format!("pod-security.kubernetes.io/{mode}"), json!("restricted"));
        }
    }
    labels
}

/// The objects as one YAML stream.
///
/// # Errors
/// When an object cannot be written as YAML.
pub fn yaml(objects: &[Value]) -> Result<String, serde_saphyr::ser::Error> {
    let documents = objects.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(documents.join("---\n"))
}

fn rules(place: Place) -> Vec<Value> {
    NEEDED
        .iter()
        .filter(|permission| permission.place == place)
        .map(|Permission { on, verbs, .. }| match on {
            Granted::Url(path) => json!({ "nonResourceURLs": [path], "verbs": verbs }),
            Granted::Resource { group, resource, name: None } => {
                json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs })
            }
            Granted::Resource { group, resource, name: Some(name) } => {
                json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs, "resourceNames": [name] })
            }
        })
        .collect()
}
