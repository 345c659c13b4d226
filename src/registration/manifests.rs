//! All that the cluster needs, as YAML.

use serde_json::{Value, json};

use crate::cluster::access::{NAME, NEEDED, Permission};

/// The objects to apply for a flipguard that runs outside the cluster, in the order in which they must be applied.
#[must_use]
pub fn objects(namespace: &str) -> Vec<Value> {
    let labels = json!({ "app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": NAME });
    let subject = json!([{ "kind": "ServiceAccount", "name": NAME, "namespace": namespace }]);
    let rbac = "rbac.authorization.k8s.io";
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": namespace, "labels": labels },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": NAME, "namespace": namespace, "labels": labels },
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
            "metadata": { "name": NAME, "labels": labels },
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
        // Without webhooks: flipguard fills them in once it can answer, so installing locks nobody out.
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

/// The objects as one YAML stream.
///
/// # Errors
/// When one cannot be written as YAML.
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
