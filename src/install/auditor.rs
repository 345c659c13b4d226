//! The continuous audit as a Deployment of its own. It has its own ServiceAccount, which may read, and write reports.

use serde_json::{Value, json};

use super::workload::{STATUS_PORT, confined, image, probe, token, token_mount, unprivileged};
use super::{KEEPER_LEASE, NAME};

/// The name of its objects, and of its Pods' label `app.kubernetes.io/name`.
pub const AUDITOR: &str = "flipguard-auditor";
const RBAC: &str = "rbac.authorization.k8s.io";
/// What it lists in all namespaces, by API group.
const LISTED: [(&str, &[&str]); 11] = [
    ("", &["persistentvolumeclaims", "pods", "services"]),
    ("apps", &["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("argoproj.io", &["rollouts"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["jobs"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("flipguard.dev", &["bluegreenpolicies"]),
    ("gateway.networking.k8s.io", &["httproutes"]),
    ("networking.k8s.io", &["ingresses"]),
    ("policy", &["poddisruptionbudgets"]),
    ("route.openshift.io", &["routes"]),
];

fn labels() -> Value {
    json!({ "app.kubernetes.io/name": AUDITOR, "app.kubernetes.io/part-of": NAME })
}

/// The objects: ServiceAccount, rights and Deployment.
#[must_use]
pub fn objects(namespace: &str, given_image: Option<&str>) -> Vec<Value> {
    let mut objects = rights(namespace);
    objects.push(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": AUDITOR, "namespace": namespace, "labels": labels() },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app.kubernetes.io/name": AUDITOR } },
            "strategy": { "type": "Recreate" },
            "template": { "metadata": { "labels": labels() }, "spec": pod(namespace, given_image) },
        },
    }));
    objects
}

/// The ServiceAccount and its rights. The right to write reports is there even where that is not asked for: it touches
/// nothing but reports.
#[must_use]
pub fn rights(namespace: &str) -> Vec<Value> {
    let own = json!({ "name": AUDITOR, "namespace": namespace, "labels": labels() });
    let everywhere = json!({ "name": AUDITOR, "labels": labels() });
    let bound = json!({ "name": format!("{AUDITOR}:{namespace}"), "labels": labels() });
    let subjects = json!([{ "kind": "ServiceAccount", "name": AUDITOR, "namespace": namespace }]);
    let mut rules: Vec<Value> = LISTED
        .iter()
        .map(|(group, resources)| json!({ "apiGroups": [group], "resources": resources, "verbs": ["list"] }))
        .collect();
    rules.push(json!({ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }));
    rules.push(json!({
        "apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingwebhookconfigurations"],
        "resourceNames": [NAME], "verbs": ["get"],
    }));
    rules.push(json!({ "nonResourceURLs": ["/version"], "verbs": ["get"] }));
    rules.push(json!({
        "apiGroups": ["openreports.io"], "resources": ["reports"], "verbs": ["list", "create", "patch", "delete"],
    }));
    rules.push(json!({
        "apiGroups": ["wgpolicyk8s.io"], "resources": ["policyreports"], "verbs": ["list", "create", "patch", "delete"],
    }));
    vec![
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": own, "automountServiceAccountToken": false }),
        json!({ "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": everywhere, "rules": rules }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": bound,
            "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": AUDITOR },
            "subjects": subjects,
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "Role",
            "metadata": own,
            "rules": [
                // The ledgers, whose names are those of namespaces.
                { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] },
                { "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": [NAME], "verbs": ["get"] },
                {
                    "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                    "resourceNames": [KEEPER_LEASE], "verbs": ["get"],
                },
            ],
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "RoleBinding",
            "metadata": own,
            "roleRef": { "apiGroup": RBAC, "kind": "Role", "name": AUDITOR },
            "subjects": subjects,
        }),
    ]
}

/// It loses nothing when it ends, so it has no priority and no probe but one: whether it still answers.
fn pod(namespace: &str, given_image: Option<&str>) -> Value {
    json!({
        "serviceAccountName": AUDITOR,
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 5,
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "securityContext": unprivileged(),
        "containers": [{
            "name": "auditor",
            "image": image(given_image),
            "args": ["audit", "--every=5m", format!("--flipguard-namespace={namespace}")],
            "ports": [{ "name": "status", "containerPort": STATUS_PORT, "protocol": "TCP" }],
            "livenessProbe": probe("/livez", 10, 3),
            "resources": { "requests": { "cpu": "50m", "memory": "32Mi" }, "limits": { "memory": "128Mi" } },
            "securityContext": confined(),
            "volumeMounts": [token_mount()],
        }],
        "volumes": [token()],
    })
}
