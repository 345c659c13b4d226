//! Fixtures: a cluster in short form, with one line for a workload, its ReplicaSet and its Pods.
//!
//! The files in `tests/cases/` consist of fixtures. Each one expands to the manifests that `kubectl get -o yaml` would
//! print, so a case is decoded like the objects of a real cluster.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{Labels, WorkloadKind};

/// A workload, a Pod, or a complete manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub enum Fixture {
    /// A complete manifest; recognised by its `kind`.
    Manifest(Value),
    /// A workload with its Pods.
    Workload(Box<WorkloadSketch>),
    /// A Pod that no workload owns.
    Pod(PodSketch),
}

impl TryFrom<Value> for Fixture {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        if value.get("kind").is_some() {
            Ok(Self::Manifest(value))
        } else if value.get("pod").is_some() {
            serde_json::from_value(value).map(Self::Pod)
        } else {
            serde_json::from_value(value).map(Self::Workload)
        }
    }
}

/// A workload with its Pods. The defaults are those of a fully ready workload.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is one word of the fixture language, and they combine freely")]
pub struct WorkloadSketch {
    deployment: Option<String>,
    stateful_set: Option<String>,
    daemon_set: Option<String>,
    replica_set: Option<String>,
    /// The labels of the Pod template.
    labels: Labels,
    /// The spec of the Pod template: `containers` and further fields. The Pods have the same spec.
    #[serde(default = "probed")]
    spec: Value,
    /// The names of a StatefulSet's `volumeClaimTemplates`.
    #[serde(default)]
    claims: Vec<String>,
    /// The number of desired Pods; 1 by default.
    #[serde(default = "one")]
    replicas: u32,
    /// The number of current Pods that are ready; all by default. The others have `not_ready_reason`.
    ready: Option<u32>,
    /// The reason why the other Pods are not ready, such as `ImagePullBackOff`.
    not_ready_reason: Option<String>,
    /// Status counters that differ from the counts of the Pods.
    status: Option<StatusSketch>,
    /// The number of ready Pods of the previous template.
    #[serde(default)]
    old_pods: u32,
    /// The number of current Pods that really serve, where the status is behind.
    really_ready: Option<u32>,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    deleting: bool,
    #[serde(default)]
    deadline_exceeded: bool,
    /// Whether the controller has not processed the latest generation yet.
    #[serde(default)]
    unobserved: bool,
    /// Whether the Pods have no IP address.
    #[serde(default)]
    without_ip: bool,
    /// Whether the ReplicaSet of the current revision does not exist yet.
    #[serde(default)]
    without_current_replica_set: bool,
    /// The creation time of the template.
    #[serde(default = "long_ago")]
    template_since: String,
    /// The time of a restart of a Deployment. Its former ReplicaSet then has the same template.
    restarted: Option<String>,
    /// The time at which a Deployment's rollout was complete; `never` if it is not. Without it, there is no such condition.
    rolled_out: Option<String>,
    /// Since when the Pods are ready: one time for each, and the last one for all others. Without it, they do not say.
    #[serde(default)]
    ready_since: Vec<String>,
    /// When the containers were started.
    started: Option<String>,
    /// The image ID of the container of each Pod.
    image_id: Option<String>,
    /// Whether the Deployment that owned a ReplicaSet is deleted.
    #[serde(default)]
    owner_is_gone: bool,
    /// Whether another object controls a ReplicaSet.
    #[serde(default)]
    controlled: bool,
}

/// The counters of `status`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StatusSketch {
    replicas: Option<u32>,
    updated: Option<u32>,
    ready: Option<u32>,
    available: Option<u32>,
}

/// A Pod that no workload owns.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSketch {
    pod: String,
    labels: Labels,
    #[serde(default = "yes")]
    ready: bool,
    not_ready_reason: Option<String>,
    #[serde(default)]
    deleting: bool,
    phase: Option<String>,
    /// The spec of the Pod.
    #[serde(default)]
    spec: Value,
    /// The uid of the controller, such as an object of an operator.
    controlled_by: Option<String>,
}

/// One container with a readiness probe, which causes no warning.
fn probed() -> Value {
    json!({ "containers": [{ "name": "web", "image": "web", "readinessProbe": {} }] })
}

/// The largest number of Pods in a fixture. Cases must stay readable.
const MOST_PODS: u32 = 1000;

fn one() -> u32 {
    1
}

fn long_ago() -> String {
    "2026-01-01T00:00:00Z".to_owned()
}

fn yes() -> bool {
    true
}

impl Fixture {
    /// The manifests of the fixture. The error names a missing or superfluous field.
    ///
    /// # Errors
    /// When a workload has no kind, or several kinds.
    pub fn expand(&self) -> Result<Vec<Value>, String> {
        match self {
            Self::Manifest(manifest) => Ok(vec![manifest.clone()]),
            Self::Workload(workload) => workload.expand(),
            Self::Pod(pod) => Ok(vec![pod.expand()]),
        }
    }
}

impl WorkloadSketch {
    fn kind_and_name(&self) -> Result<(WorkloadKind, &str), String> {
        let named = [
            (WorkloadKind::Deployment, &self.deployment),
            (WorkloadKind::StatefulSet, &self.stateful_set),
            (WorkloadKind::DaemonSet, &self.daemon_set),
            (WorkloadKind::ReplicaSet, &self.replica_set),
        ];
        let mut given = named.iter().filter_map(|(kind, name)| Some((*kind, name.as_deref()?)));
        match (given.next(), given.next()) {
            (Some(one), None) => Ok(one),
            _ => Err("give exactly one of `deployment`, `statefulSet`, `daemonSet`, `replicaSet`".to_owned()),
        }
    }

    fn expand(&self) -> Result<Vec<Value>, String> {
        let (kind, name) = self.kind_and_name()?;
        let most = [Some(self.replicas), Some(self.old_pods), self.ready].into_iter().flatten().max();
        if most.is_some_and(|most| most > MOST_PODS) {
            return Err(format!("{name}: a case has at most {MOST_PODS} pods of a kind"));
        }
        let uid = format!("uid-{name}");
        let ready = self.ready.unwrap_or(self.replicas);
        let status = self.status.unwrap_or_default();
        let replicas = status.replicas.unwrap_or(self.replicas + self.old_pods);
        let updated = status.updated.unwrap_or(self.replicas);
        let ready_counter = status.ready.unwrap_or(ready + self.old_pods);
        let available = status.available.unwrap_or(ready_counter);
        let mut metadata = json!({
            "name": name, "uid": uid, "generation": 2,
            "annotations": { "deployment.kubernetes.io/revision": "2" }, "creationTimestamp": self.template_since,
        });
        if self.deleting {
            put(&mut metadata, "deletionTimestamp", json!("2026-01-01T00:00:00Z"));
        }
        if self.owner_is_gone {
            put(&mut metadata, "ownerReferences", owner("Deployment", "uid-of-what-was-deleted"));
        }
        if self.controlled {
            put(&mut metadata, "ownerReferences", owner("Rollout", "uid-of-something-else"));
        }
        let mut counters = if kind == WorkloadKind::DaemonSet {
            json!({
                "desiredNumberScheduled": self.replicas, "currentNumberScheduled": replicas,
                "updatedNumberScheduled": updated, "numberReady": ready_counter, "numberAvailable": available,
            })
        } else {
            json!({
                "replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready_counter,
                "availableReplicas": available, "updateRevision": format!("{name}-2"),
            })
        };
        put(&mut counters, "observedGeneration", json!(if self.unobserved { 1 } else { 2 }));
        if self.deadline_exceeded {
            let condition = json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
            put(&mut counters, "conditions", condition);
        }
        if let Some(time) = &self.rolled_out {
            let condition = if time == "never" {
                json!([{ "type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated" }])
            } else {
                json!([{ "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "lastUpdateTime": time }])
            };
            put(&mut counters, "conditions", condition);
        }
        let claims: Vec<Value> = self.claims.iter().map(|name| json!({ "metadata": { "name": name } })).collect();
        let mut objects = vec![json!({
            "kind": kind.name(),
            "metadata": metadata,
            "spec": {
                "replicas": self.replicas, "paused": self.paused,
                "template": self.template(2),
                "volumeClaimTemplates": claims,
            },
            "status": counters,
        })];
        let (current, old) = if kind == WorkloadKind::Deployment {
            if !self.without_current_replica_set {
                objects.push(self.replica_set(name, &uid, 2));
            }
            objects.push(self.replica_set(name, &uid, 1));
            (owner("ReplicaSet", &format!("{uid}-2")), owner("ReplicaSet", &format!("{uid}-1")))
        } else {
            (owner(kind.name(), &uid), owner(kind.name(), &uid))
        };
        let serving = self.really_ready.unwrap_or(ready);
        for index in 0..self.replicas {
            objects.push(self.pod(name, 2, index, index < serving, &current));
        }
        for index in 0..self.old_pods {
            objects.push(self.pod(name, 1, index, true, &old));
        }
        Ok(objects)
    }

    /// The template of a revision, as far as rules compare them. The older one is another template, unless the newer one is
    /// a restart of it.
    fn template(&self, revision: u32) -> Value {
        match (&self.restarted, revision) {
            (None, 1) => json!({ "metadata": { "labels": self.labels } }),
            (Some(time), 2) => json!({
                "metadata": { "labels": self.labels, "annotations": { "kubectl.kubernetes.io/restartedAt": time } },
                "spec": self.spec,
            }),
            _ => json!({ "metadata": { "labels": self.labels }, "spec": self.spec }),
        }
    }

    fn replica_set(&self, name: &str, owner_uid: &str, revision: u32) -> Value {
        let created = self.restarted.as_ref().filter(|_| revision == 2).unwrap_or(&self.template_since);
        json!({
            "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{name}-{revision}"), "uid": format!("{owner_uid}-{revision}"),
                "annotations": { "deployment.kubernetes.io/revision": revision.to_string() },
                "creationTimestamp": created,
                "ownerReferences": owner("Deployment", owner_uid),
            },
            "spec": { "template": self.template(revision) },
        })
    }

    fn pod(&self, name: &str, revision: u32, index: u32, ready: bool, owner: &Value) -> Value {
        let mut labels = self.labels.clone();
        labels.insert("controller-revision-hash".to_owned(), format!("{name}-{revision}"));
        let not_ready_reason = self.not_ready_reason.as_deref().unwrap_or("ImagePullBackOff");
        json!({
            "kind": "Pod",
            "metadata": {
                "name": format!("{name}-{revision}-{index}"), "uid": format!("uid-{name}-{revision}-{index}"),
                "labels": labels, "ownerReferences": owner,
            },
            "spec": self.spec,
            "status": self.timed(pod_status(ready, not_ready_reason, !self.without_ip), index),
        })
    }

    /// The status with the times of the Pod.
    fn timed(&self, mut status: Value, index: u32) -> Value {
        let at = usize::try_from(index).unwrap_or(usize::MAX).min(self.ready_since.len().saturating_sub(1));
        if let (Some(since), Some(condition)) = (self.ready_since.get(at), status.pointer_mut("/conditions/0")) {
            put(condition, "lastTransitionTime", json!(since));
        }
        if let (Some(started), Some(running)) =
            (&self.started, status.pointer_mut("/containerStatuses/0/state/running"))
        {
            put(running, "startedAt", json!(started));
        }
        if let (Some(id), Some(container)) = (&self.image_id, status.pointer_mut("/containerStatuses/0")) {
            put(container, "imageID", json!(id));
        }
        status
    }
}

impl PodSketch {
    fn expand(&self) -> Value {
        let mut metadata = json!({ "name": self.pod, "uid": format!("uid-{}", self.pod), "labels": self.labels });
        if self.deleting {
            put(&mut metadata, "deletionTimestamp", json!("2026-01-01T00:00:00Z"));
        }
        if let Some(uid) = &self.controlled_by {
            put(&mut metadata, "ownerReferences", owner("Custom", uid));
        }
        let mut status = pod_status(self.ready, self.not_ready_reason.as_deref().unwrap_or("ImagePullBackOff"), true);
        if let Some(phase) = &self.phase {
            put(&mut status, "phase", json!(phase));
        }
        json!({ "kind": "Pod", "metadata": metadata, "spec": self.spec, "status": status })
    }
}

fn pod_status(ready: bool, not_ready_reason: &str, has_ip: bool) -> Value {
    let word = if ready { "True" } else { "False" };
    let state = if ready { json!({ "running": {} }) } else { json!({ "waiting": { "reason": not_ready_reason } }) };
    let mut status = json!({
        "phase": if ready { "Running" } else { "Pending" },
        "conditions": [{ "type": "Ready", "status": word }],
        "containerStatuses": [{ "ready": ready, "state": state }],
    });
    if has_ip {
        put(&mut status, "podIP", json!("10.0.0.1"));
    }
    status
}

fn owner(kind: &str, uid: &str) -> Value {
    let is_apps = WorkloadKind::ALL.into_iter().any(|known| known.name() == kind);
    json!([{ "apiVersion": if is_apps { "apps/v1" } else { "example.com/v1" }, "kind": kind, "uid": uid, "controller": true }])
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
