//! The manifests of an installation, as YAML.

use serde_json::{Value, json};

use super::workload::{self, InCluster};
use super::{NAME, NEEDED, Permission};

/// The objects of an installation, in the order in which to apply them. Without `in_cluster`, flipguard runs outside
/// the cluster, and has no workload there.
#[must_use]
pub fn objects(namespace: &str, in_cluster: Option<&InCluster>) -> Vec<Value> {
    let labels = json!({ "app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": NAME });
    let mut objects = registration(namespace, &labels);
    if let Some(in_cluster) = in_cluster {
        // Before the webhook configurations, which stay last: the Service that they name exists then.
        let at = objects.len().saturating_sub(2);
        objects.splice(at..at, workload::objects(in_cluster, namespace, &labels));
    }
    objects
}

/// The objects that flipguard needs inside and outside a cluster.
fn registration(namespace: &str, labels: &Value) -> Vec<Value> {
    let subject = json!([{ "kind": "ServiceAccount", "name": NAME, "namespace": namespace }]);
    let rbac = "rbac.authorization.k8s.io";
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": namespace, "labels": restricted(labels) },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": NAME, "namespace": namespace, "labels": labels },
            // The Pods of flipguard mount the token by their own field.
            "automountServiceAccountToken": false,
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"),
            "kind": "ClusterRole",
            "metadata": { "name": NAME, "labels": labels },
            "rules": rules(true),
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"),
            "kind": "ClusterRoleBinding",
            // By namespace: a second installation must not take the rights of the first.
            "metadata": { "name": format!("{NAME}:{namespace}"), "labels": labels },
            "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": NAME },
            "subjects": subject,
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"),
            "kind": "Role",
            "metadata": { "name": NAME, "namespace": namespace, "labels": labels },
            "rules": rules(false),
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"),
            "kind": "RoleBinding",
            "metadata": { "name": NAME, "namespace": namespace, "labels": labels },
            "roleRef": { "apiGroup": rbac, "kind": "Role", "name": NAME },
            "subjects": subject,
        }),
        // Without webhooks: flipguard fills them in once the API server reaches it, so an installation blocks nobody.
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": NAME, "labels": labels },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": NAME, "labels": labels },
        }),
    ]
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

/// Whether an object is the ServiceAccount or belongs to RBAC.
#[must_use]
pub fn is_about_rights(object: &Value) -> bool {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    text("kind") == "ServiceAccount" || text("apiVersion").starts_with("rbac.")
}

/// The objects as one YAML stream.
///
/// # Errors
/// When an object cannot be written as YAML.
pub fn yaml(objects: &[Value]) -> Result<String, serde_saphyr::ser::Error> {
    let documents = objects.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(documents.join("---\n"))
}

fn rules(everywhere: bool) -> Vec<Value> {
    NEEDED
        .iter()
        .filter(|permission| permission.everywhere == everywhere)
        .map(|Permission { group, resource, verbs, name, .. }| {
            let mut rule = json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
            if let (Some(name), Some(rule)) = (name, rule.as_object_mut()) {
                rule.insert("resourceNames".to_owned(), json!([name]));
            }
            rule
        })
        .collect()
}
