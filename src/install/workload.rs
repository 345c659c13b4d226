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

/// The settings of the workload.
#[derive(Debug, Clone)]
pub struct InCluster {
    /// `image`; `None` for `flipguard` with the tag of this version.
    pub image: Option<String>,
    /// `--enforcement`: deny, or only warn.
    pub enforcement: Enforcement,
    /// `--exempt-namespaces`: namespaces that are not guarded.
    pub exempt_namespaces: Vec<String>,
}

impl InCluster {
    fn arguments(&self) -> Vec<String> {
        let enforcement = match self.enforcement {
            Enforcement::Deny => "deny",
            Enforcement::Warn => "warn",
        };
        let mut arguments = vec!["serve".to_owned(), format!("--enforcement={enforcement}")];
        if !self.exempt_namespaces.is_empty() {
            arguments.push(format!("--exempt-namespaces={}", self.exempt_namespaces.join(",")));
        }
        arguments
    }

    fn image(&self) -> String {
        self.image.clone().unwrap_or_else(|| format!("{NAME}:{}", env!("CARGO_PKG_VERSION")))
    }
}

/// The labels that select flipguard's Pods.
fn selector() -> Value {
    json!({ "app.kubernetes.io/name": NAME })
}

/// The objects that run flipguard, in the order in which to apply them.
#[must_use]
pub fn objects(in_cluster: &InCluster, namespace: &str, labels: &Value) -> Vec<Value> {
    let metadata = json!({ "name": NAME, "namespace": namespace, "labels": labels });
    vec![
        json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": { "name": NAME, "labels": labels },
            "description": "flipguard: while it is down, changes of coloured workloads wait.",
            "value": 1_000_000_000,
        }),
        json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": { "name": NAME, "labels": labels },
            // A flood of other requests must not delay a verdict.
            "spec": {
                "priorityLevelConfiguration": { "name": "workload-high" },
                "matchingPrecedence": 1000,
                "distinguisherMethod": { "type": "ByUser" },
                "rules": [{
                    "subjects": [{
                        "kind": "ServiceAccount",
                        "serviceAccount": { "name": NAME, "namespace": namespace },
                    }],
                    "resourceRules": [{
                        "verbs": ["*"],
                        "apiGroups": ["*"],
                        "resources": ["*"],
                        "clusterScope": true,
                        "namespaces": ["*"],
                    }],
                }],
            },
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
                "template": { "metadata": { "labels": labels }, "spec": pod(in_cluster) },
            },
        }),
    ]
}

fn pod(in_cluster: &InCluster) -> Value {
    let spread = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            // Two replicas on one node are better than one replica.
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": selector() },
            "matchLabelKeys": ["pod-template-hash"],
        })
    };
    let probe = |path: &str, seconds: u32| {
        let get = json!({ "path": path, "port": "status" });
        json!({ "httpGet": get, "periodSeconds": seconds, "timeoutSeconds": 3 })
    };
    json!({
        "serviceAccountName": NAME,
        "automountServiceAccountToken": true,
        "priorityClassName": NAME,
        "terminationGracePeriodSeconds": GRACE,
        "topologySpreadConstraints": [spread("kubernetes.io/hostname"), spread("topology.kubernetes.io/zone")],
        // No user id: the image has 65532, and OpenShift assigns its own.
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{
            "name": NAME,
            "image": in_cluster.image(),
            "args": in_cluster.arguments(),
            "ports": [
                { "name": "reviews", "containerPort": REVIEW_PORT, "protocol": "TCP" },
                { "name": "status", "containerPort": STATUS_PORT, "protocol": "TCP" },
            ],
            "readinessProbe": probe("/readyz", 5),
            "livenessProbe": probe("/livez", 10),
            "resources": { "requests": { "cpu": "50m", "memory": "32Mi" }, "limits": { "memory": format!("{MEMORY_LIMIT_MIB}Mi") } },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
        }],
    })
}
