//! flipguard as a workload of the cluster that it guards.

use serde_json::{Value, json};

use super::{NAME, SERVICE_PORT};
use crate::model::Enforcement;

/// The container port for reviews. Private GKE clusters let the API server reach only 443 and this one.
pub const REVIEW_PORT: u16 = 10_250;
/// The container port for probes and metrics.
pub const STATUS_PORT: u16 = 8080;
/// The limit of memory, in MiB. A test holds the judgements in the largest namespace below it.
pub const MEMORY_LIMIT_MIB: u16 = 256;
/// `terminationGracePeriodSeconds`: 10 s of draining, 30 s for the last review, and 5 s to spare.
const GRACE: u32 = 45;
/// `expirationSeconds` of the mounted token. The kubelet replaces it after four fifths of that, and flipguard reads it
/// again every minute.
const TOKEN_LIFE: u32 = 3600;
/// `tolerationSeconds`: how long a replica stays bound to a node that is gone. The default is 300.
const NODE_GONE: u32 = 30;
/// The folder in which a client of the API server looks for its token.
const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The ports at which an API server may listen, for the NetworkPolicy.
const API_SERVER_PORTS: [u16; 2] = [443, 6443];

/// The settings of the workload.
#[derive(Debug, Clone)]
pub struct InCluster {
    /// `image`; `None` for `flipguard` with the tag of this version.
    pub image: Option<String>,
    /// `--enforcement`: deny, or only warn.
    pub enforcement: Enforcement,
    /// `--exempt-namespaces`: namespaces that are not guarded.
    pub exempt_namespaces: Vec<String>,
    /// Whether to add a NetworkPolicy.
    pub network_policy: bool,
}

/// The given image, or `flipguard` with the tag of this version.
pub(super) fn image(given: Option<&str>) -> String {
    given.map_or_else(|| format!("{NAME}:{}", env!("CARGO_PKG_VERSION")), str::to_owned)
}

/// The labels that select flipguard's Pods.
fn selector() -> Value {
    json!({ "app.kubernetes.io/name": NAME })
}

/// The objects that run flipguard, in the order in which to apply them.
#[must_use]
pub fn objects(in_cluster: &InCluster, namespace: &str, adds_labels: bool, labels: &Value) -> Vec<Value> {
    let metadata = json!({ "name": NAME, "namespace": namespace, "labels": labels });
    let mut objects = vec![
        json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": { "name": NAME, "labels": labels },
            "description": "flipguard: while it is down, changes of coloured workloads wait.",
            // Above what applications usually have, and far below the highest value that a class may have.
            "value": 1_000_000,
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "selector": selector(),
                "ports": [{ "name": "reviews", "port": SERVICE_PORT, "targetPort": "reviews", "protocol": "TCP" }],
            },
        }),
        json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            "spec": {
                "maxUnavailable": 1,
                "selector": { "matchLabels": selector() },
                // A Pod that is not ready must not block the drain of its node.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": selector() },
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
                "template": { "metadata": { "labels": labels }, "spec": pod(in_cluster, adds_labels) },
            },
        }),
    ];
    if in_cluster.network_policy {
        objects.push(network_policy(&metadata));
    }
    objects
}

/// Reviews and probes from anywhere, since the API server's address is not known; out, only what the API server needs.
fn network_policy(metadata: &Value) -> Value {
    let tcp = |port: u16| json!({ "port": port, "protocol": "TCP" });
    let (own, api_server) = ([REVIEW_PORT, STATUS_PORT].map(tcp), API_SERVER_PORTS.map(tcp));
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": { "matchLabels": selector() },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{ "ports": own }],
            "egress": [
                { "ports": api_server },
                // Only where the API server has a name and no address.
                { "ports": [{ "port": 53, "protocol": "UDP" }, tcp(53)] },
            ],
        },
    })
}

/// A constraint that spreads the replicas over the nodes or zones.
fn spread(key: &str, otherwise: &str) -> Value {
    json!({
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": otherwise,
        "labelSelector": { "matchLabels": selector() },
        "matchLabelKeys": ["pod-template-hash"],
        // A node that takes no Pods does not count: on the only node that does, both replicas may run.
        "nodeTaintsPolicy": "Honor",
    })
}

/// The token for an hour, with all that a client finds beside it. A token of `automountServiceAccountToken` is accepted
/// for a year (API server, `--service-account-extend-token-expiration`).
pub(super) fn token() -> Value {
    json!({
        "name": "token",
        "projected": {
            "defaultMode": 0o444,
            "sources": [
                { "serviceAccountToken": { "path": "token", "expirationSeconds": TOKEN_LIFE } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                {
                    "downwardAPI": {
                        "items": [{
                            "path": "namespace",
                            "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
                        }],
                    },
                },
            ],
        },
    })
}

/// The mount of the token.
pub(super) fn token_mount() -> Value {
    json!({ "name": "token", "mountPath": TOKEN_FOLDER, "readOnly": true })
}

/// The `securityContext` of a Pod under Pod Security `restricted`. No user id: the image has 65532, and OpenShift assigns
/// its own.
pub(super) fn unprivileged() -> Value {
    json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } })
}

/// The `securityContext` of a container under Pod Security `restricted`.
pub(super) fn confined() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    })
}

/// A probe of the status port.
pub(super) fn probe(path: &str, seconds: u32, failures: u32) -> Value {
    let get = json!({ "path": path, "port": "status" });
    json!({ "httpGet": get, "periodSeconds": seconds, "timeoutSeconds": 3, "failureThreshold": failures })
}

fn arguments(in_cluster: &InCluster, adds_labels: bool) -> Vec<String> {
    let enforcement = match in_cluster.enforcement {
        Enforcement::Deny => "deny",
        Enforcement::Warn => "warn",
    };
    let mut arguments = vec!["serve".to_owned(), format!("--enforcement={enforcement}")];
    if !in_cluster.exempt_namespaces.is_empty() {
        arguments.push(format!("--exempt-namespaces={}", in_cluster.exempt_namespaces.join(",")));
    }
    if !adds_labels {
        arguments.push("--labels=false".to_owned());
    }
    arguments
}

fn pod(in_cluster: &InCluster, adds_labels: bool) -> Value {
    let gone = |key: &str| {
        let key = format!("node.kubernetes.io/{key}");
        json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_GONE })
    };
    json!({
        "serviceAccountName": NAME,
        "automountServiceAccountToken": false,
        "priorityClassName": NAME,
        "terminationGracePeriodSeconds": GRACE,
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "tolerations": [gone("not-ready"), gone("unreachable")],
        "topologySpreadConstraints": [
            spread("kubernetes.io/hostname", "DoNotSchedule"),
            spread("topology.kubernetes.io/zone", "ScheduleAnyway"),
        ],
        "securityContext": unprivileged(),
        "containers": [{
            "name": NAME,
            "image": image(in_cluster.image.as_deref()),
            "args": arguments(in_cluster, adds_labels),
            "ports": [
                { "name": "reviews", "containerPort": REVIEW_PORT, "protocol": "TCP" },
                { "name": "status", "containerPort": STATUS_PORT, "protocol": "TCP" },
            ],
            // A minute to start.
            "startupProbe": probe("/livez", 1, 60),
            "readinessProbe": probe("/readyz", 5, 3),
            "livenessProbe": probe("/livez", 10, 3),
            "resources": {
                "requests": { "cpu": "50m", "memory": "32Mi" },
                "limits": { "memory": format!("{MEMORY_LIMIT_MIB}Mi") },
            },
            "securityContext": confined(),
            "volumeMounts": [token_mount()],
        }],
        "volumes": [token()],
    })
}
