//! The policies that limit what flipguard's ServiceAccount may write.
//!
//! RBAC limits a grant to an object by its name, and not to a content. Whoever may patch a webhook configuration could
//! send every object of the cluster anywhere. So the API server also checks the content of each write by this account.
//! The expressions use only functions of Kubernetes 1.30.

use serde_json::{Value, json};

use super::{
    GATE_WEBHOOK, HISTORY_PREFIX, LABEL_WEBHOOK, LEASE_PREFIX, LEDGER_PREFIX, MANAGED_BY, NAME, PROBE_WEBHOOK,
    SERVICE_PORT,
};
use crate::model::GATE_LABEL;

/// The name of the policy for the webhook configurations, and of its binding. A second installation in another namespace
/// must not replace that of the first.
#[must_use]
pub fn registration_name(namespace: &str) -> String {
    format!("{NAME}.{namespace}")
}

/// The name of the policy for flipguard's own namespace, and of its binding.
fn own_namespace_name(namespace: &str) -> String {
    format!("{NAME}-namespace.{namespace}")
}

/// The name of the policy for changes of ConfigMaps in flipguard's own namespace, and of its binding.
fn config_maps_name(namespace: &str) -> String {
    format!("{NAME}-config-maps.{namespace}")
}

/// The resources that the webhooks may match, in the groups "", `apps` and `batch`.
pub const GUARDED: [&str; 15] = [
    "services",
    "services/status",
    "deployments",
    "deployments/status",
    "deployments/scale",
    "statefulsets",
    "statefulsets/status",
    "statefulsets/scale",
    "daemonsets",
    "daemonsets/status",
    "replicasets",
    "replicasets/status",
    "replicasets/scale",
    "jobs",
    "jobs/status",
];

/// The policies, each with its name. `url` is the address outside the cluster; without it, flipguard's own Service.
#[must_use]
pub fn all(namespace: &str, url: Option<&str>) -> [(String, Value); 3] {
    [
        (registration_name(namespace), registration(namespace, url)),
        (own_namespace_name(namespace), own_namespace(namespace)),
        (config_maps_name(namespace), config_maps(namespace)),
    ]
}

/// The policies with their bindings, as manifests.
pub(super) fn objects(namespace: &str, url: Option<&str>, labels: &Value) -> Vec<Value> {
    let manifests = all(namespace, url).into_iter().flat_map(|(name, spec)| {
        let metadata = json!({ "name": name, "labels": labels });
        let api = "admissionregistration.k8s.io/v1";
        [
            json!({
                "apiVersion": api,
                "kind": "ValidatingAdmissionPolicy",
                "metadata": metadata,
                "spec": spec,
            }),
            json!({
                "apiVersion": api,
                "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": metadata,
                "spec": binding(&name),
            }),
        ]
    });
    manifests.collect()
}

/// The binding of a policy. A denied write is also marked in the audit log.
#[must_use]
pub fn binding(name: &str) -> Value {
    json!({ "policyName": name, "validationActions": ["Deny", "Audit"] })
}

/// The content of the webhook configurations, for each webhook that a write adds or changes. Every field with a default is
/// set, so that the stored policy can be compared with this one.
#[must_use]
pub fn registration(namespace: &str, url: Option<&str>) -> Value {
    let configurations = ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"];
    let writes = rule("admissionregistration.k8s.io", &configurations, &["CREATE", "UPDATE"]);
    let guarded = GUARDED.map(|resource| format!("'{resource}'")).join(", ");
    let system = "kube-system";
    json!({
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "resourceRules": [writes],
        },
        "matchConditions": [by_flipguard(namespace)],
        "variables": [
            // While flipguard moves to another address, it writes what is registered again, as it is.
            variable("before", "oldObject == null || !has(oldObject.webhooks) ? [] : oldObject.webhooks"),
            variable(
                "webhooks",
                "(has(object.webhooks) ? object.webhooks : []).filter(w, !(w in variables.before))",
            ),
            variable("probes", format!("variables.webhooks.filter(w, w.name == '{PROBE_WEBHOOK}')")),
            variable("guards", format!("variables.webhooks.filter(w, w.name != '{PROBE_WEBHOOK}')")),
        ],
        "validations": [
            validation(
                "flipguard registers only webhooks whose names end with .flipguard.dev",
                "variables.webhooks.all(w, w.name.endsWith('.flipguard.dev'))",
            ),
            validation(
                "flipguard registers only its own address",
                format!("variables.webhooks.all(w,\n  {})", address(namespace, url)),
            ),
            validation(
                "flipguard registers only for Services, workloads and Jobs",
                format!(
                    "variables.guards.all(w, !has(w.rules) || w.rules.all(r,\n  \
                     r.apiGroups.all(g, g in ['', 'apps', 'batch']) &&\n  r.resources.all(x, x in [{guarded}])))"
                ),
            ),
            validation(
                "flipguard leaves out the namespace kube-system",
                format!("variables.guards.all(w, {})", selects("NotIn", &format!("'{system}' in e.values"))),
            ),
            validation(
                "flipguard registers its probe only for its own namespace",
                format!(
                    "variables.probes.all(w, {} && (!has(w.rules) || w.rules.all(r,\n  \
                     r.apiGroups.all(g, g == 'coordination.k8s.io') &&\n  r.resources.all(x, x == 'leases'))))",
                    selects("In", &format!("e.values == ['{namespace}']"))
                ),
            ),
            validation(
                "flipguard registers only for Jobs that are a test for a gate",
                format!(
                    "variables.guards.all(w, !has(w.rules) || w.rules.all(r, !r.apiGroups.exists(g, g == 'batch')) ||\n  \
                     (has(w.objectSelector) && has(w.objectSelector.matchExpressions) &&\n  \
                     w.objectSelector.matchExpressions.exists(e, e.key == '{GATE_LABEL}' && e.operator == 'Exists')))"
                ),
            ),
            validation(
                "flipguard changes only Deployments and Jobs, and never waits for that",
                format!(
                    "request.resource.resource != 'mutatingwebhookconfigurations' || variables.webhooks.all(w,\n  \
                     w.failurePolicy == 'Ignore' && (!has(w.rules) || w.rules.all(r, r.resources.all(x,\n    \
                     w.name == '{LABEL_WEBHOOK}' && x == 'deployments' ||\n    \
                     w.name == '{GATE_WEBHOOK}' && x == 'jobs'))))"
                ),
            ),
        ],
    })
}

/// The names in flipguard's own namespace: RBAC cannot limit `create` to a name. A policy of its own limits the changes
/// of ConfigMaps.
#[must_use]
pub fn own_namespace(namespace: &str) -> Value {
    let writes = ["CREATE", "UPDATE", "DELETE"];
    let about = |resource: &str, holds: &str| format!("request.resource.resource != '{resource}' ||\n  {holds}");
    json!({
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "objectSelector": {},
            "resourceRules": [
                rule("", &["secrets"], &writes),
                rule("", &["configmaps"], &["CREATE"]),
                rule("coordination.k8s.io", &["leases"], &writes),
            ],
        },
        "matchConditions": [by_flipguard(namespace)],
        "variables": [
            variable("name", "request.operation == 'DELETE' ? request.name : object.metadata.name"),
        ],
        "validations": [
            validation(
                "flipguard writes only the Secret flipguard, and never a token of a ServiceAccount",
                about(
                    "secrets",
                    &format!(
                        "variables.name == '{NAME}' && (!has(object.metadata.annotations) ||\n    \
                         !('kubernetes.io/service-account.name' in object.metadata.annotations))"
                    ),
                ),
            ),
            validation(
                "flipguard creates only ConfigMaps of its own",
                about(
                    "configmaps",
                    &format!(
                        "variables.name.startsWith('{LEDGER_PREFIX}') || variables.name.startsWith('{HISTORY_PREFIX}') || \
                         variables.name.startsWith('{LEASE_PREFIX}')"
                    ),
                ),
            ),
            validation(
                "flipguard writes only Leases of its own",
                about("leases", &format!("variables.name.startsWith('{LEASE_PREFIX}')")),
            ),
        ],
    })
}

/// Changes of ConfigMaps in flipguard's own namespace. The selector leaves out those with flipguard's label. The API server
/// compares labels at once, but it converts the old and the new object for each expression, and a ledger is written for
/// each flip.
fn config_maps(namespace: &str) -> Value {
    let (label, own) = MANAGED_BY;
    json!({
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            // It matches if the new or the old object does (API reference, `MatchResources.objectSelector`). So a write
            // that adds the label is denied too.
            "objectSelector": { "matchExpressions": [{ "key": label, "operator": "NotIn", "values": [own] }] },
            "resourceRules": [rule("", &["configmaps"], &["UPDATE", "DELETE"])],
        },
        "matchConditions": [by_flipguard(namespace)],
        "validations": [
            validation(format!("flipguard changes only ConfigMaps with the label {label}={own}"), "false"),
        ],
    })
}

/// A webhook's address is flipguard's, as an expression.
fn address(namespace: &str, url: Option<&str>) -> String {
    match url {
        None => format!(
            "has(w.clientConfig.service) && !has(w.clientConfig.url) &&\n  \
             w.clientConfig.service.name == '{NAME}' && w.clientConfig.service.namespace == '{namespace}' &&\n  \
             w.clientConfig.service.port == {SERVICE_PORT}"
        ),
        Some(url) => format!(
            "has(w.clientConfig.url) && !has(w.clientConfig.service) &&\n  w.clientConfig.url.startsWith('{url}/')"
        ),
    }
}

/// A webhook's namespaceSelector has an entry for names of namespaces, as an expression.
fn selects(operator: &str, values: &str) -> String {
    format!(
        "has(w.namespaceSelector) &&\n  has(w.namespaceSelector.matchExpressions) &&\n  \
         w.namespaceSelector.matchExpressions.exists(e,\n    \
         e.key == 'kubernetes.io/metadata.name' && e.operator == '{operator}' && has(e.values) && {values})"
    )
}

fn by_flipguard(namespace: &str) -> Value {
    let expression = format!("request.userInfo.username == 'system:serviceaccount:{namespace}:{NAME}'");
    json!({ "name": "by-flipguard", "expression": expression })
}

fn rule(group: &str, resources: &[&str], operations: &[&str]) -> Value {
    json!({
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": operations,
        "resources": resources,
        "scope": "*",
    })
}

fn variable(name: &str, expression: impl Into<String>) -> Value {
    json!({ "name": name, "expression": expression.into() })
}

fn validation(message: impl Into<String>, expression: impl Into<String>) -> Value {
    json!({ "message": message.into(), "expression": expression.into(), "reason": "Forbidden" })
}
