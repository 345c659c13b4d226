//! Workloads: the four kinds that keep Pods running, in one type.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Container, Containers, Labels, Meta, TemplateSpec, Timestamp, annotation};

/// A Deployment, StatefulSet, DaemonSet or ReplicaSet, reduced to the fields that rules read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// One of the four kinds.
    pub kind: WorkloadKind,
    /// `metadata` of the workload.
    pub meta: Meta,
    /// The desired number of Pods: `spec.replicas` (1 if absent); for a DaemonSet, `status.desiredNumberScheduled`.
    pub desired: u32,
    /// `spec.paused` of a Deployment.
    pub paused: bool,
    /// `spec.template`. The old and the new state often share it.
    pub template: Arc<Template>,
    /// `spec.strategy` or `spec.updateStrategy`.
    pub strategy: Strategy,
    /// `updateStrategy.rollingUpdate.partition` of a StatefulSet: Pods with a lower ordinal keep their template.
    pub partition: u32,
    /// The ordinal of a StatefulSet's first Pod.
    pub first_ordinal: u32,
    /// The label keys in `spec.selector`.
    pub selector_keys: Vec<String>,
    /// Whether `spec.selector` has `matchExpressions`, which may match several values of a label.
    pub selects_by_expressions: bool,
    /// `status.observedGeneration`: the latest generation that the controller has processed.
    pub observed_generation: i64,
    /// The Pod counters of `status`.
    pub counts: Counts,
    /// Whether the rollout of a Deployment failed (condition `Progressing`, reason `ProgressDeadlineExceeded`).
    pub deadline_exceeded: bool,
    /// The latest rollout of a Deployment, by the same condition.
    pub rollout: Rollout,
    /// `status.updateRevision` of a StatefulSet; the revision number of a listed ReplicaSet.
    pub update_revision: Option<String>,
}

/// The latest rollout of a Deployment, by the condition `Progressing`. The time of the condition changes only with its
/// reason, so scaling does not change it (Kubernetes, `pkg/controller/deployment/progress.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rollout {
    /// There is no such condition: `progressDeadlineSeconds` is unlimited, or the workload is of another kind.
    #[default]
    Unknown,
    /// The rollout is not complete.
    Incomplete,
    /// The rollout was completed at this time (reason `NewReplicaSetAvailable`).
    Complete(Timestamp),
}

/// A Pod template, reduced to the fields that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    /// `metadata.labels` of the Pods.
    pub labels: Labels,
    /// All annotations of the template as JSON. They are only compared: a rollout restart changes one of them.
    pub annotations: Box<str>,
    /// The name of the main container, from the annotation of `kubectl`.
    pub default_container: Option<String>,
    /// The serving containers of `spec`.
    pub containers: Containers,
    /// The whole `spec`. Rules compare it; only a flip parses it.
    pub spec: TemplateSpec,
}

impl Template {
    /// All annotations but the time of a restart. Annotations that cannot be read are none.
    #[must_use]
    pub fn lasting_annotations(&self) -> Map<String, Value> {
        let mut annotations: Map<String, Value> = serde_json::from_str(&self.annotations).unwrap_or_default();
        annotations.remove(annotation::RESTARTED_AT);
        annotations
    }

    /// Whether this is the template of a ReplicaSet, restarted at most.
    #[must_use]
    pub fn is_restart_of(&self, of_replica_set: &Self) -> bool {
        let mut labels = of_replica_set.labels.clone();
        labels.remove(annotation::TEMPLATE_HASH);
        self.spec == of_replica_set.spec
            && self.labels == labels
            && self.lasting_annotations() == of_replica_set.lasting_annotations()
    }

    /// The main container: the one named by the annotation, else the first.
    #[must_use]
    pub fn main(&self) -> Option<&Container> {
        let named = self.containers.main().find(|one| Some(&one.name) == self.default_container.as_ref());
        named.or_else(|| self.containers.main().next())
    }

    /// The image of the main container.
    #[must_use]
    pub fn main_image(&self) -> Option<&str> {
        self.main().map(|container| container.image.as_str())
    }
}

/// The way in which Pods get a new template (`spec.strategy` of Deployments, `spec.updateStrategy` of the others).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// `RollingUpdate`: a few Pods at a time.
    #[serde(rename_all = "camelCase")]
    Rolling {
        /// `maxUnavailable`: the number of desired Pods that may be missing during a rollout.
        max_unavailable: Share,
        /// `maxSurge`: the number of Pods that may exist beyond the desired number.
        max_surge: Share,
    },
    /// `Recreate`: all old Pods are deleted before the first new one is created.
    Recreate,
    /// `OnDelete`: a Pod gets the new template when a user deletes it.
    OnDelete,
}

/// A number of Pods, or a percentage of the desired number (`IntOrString`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Share {
    /// A number of Pods, such as `2`.
    Pods(u32),
    /// A percentage, such as `25%`.
    Percent(u32),
}

impl Share {
    /// The number of Pods, rounded down as Kubernetes does for `maxUnavailable`.
    #[must_use]
    pub fn rounded_down(self, desired: u32) -> u32 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => u32::try_from(u64::from(desired) * u64::from(percent) / 100).unwrap_or(u32::MAX),
        }
    }

    /// The number of Pods, rounded up as Kubernetes does for `maxSurge`.
    #[must_use]
    pub fn rounded_up(self, desired: u32) -> u32 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => {
                u32::try_from((u64::from(desired) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX)
            }
        }
    }
}

impl Strategy {
    /// The number of Pods that may be missing, and the number that may exist in addition, during a rollout. If both are
    /// zero, Kubernetes lets one Pod be missing (`deployment/util`, `ResolveFenceposts`).
    #[must_use]
    pub fn limits(self, desired: u32) -> (u32, u32) {
        match self {
            Self::Rolling { max_unavailable, max_surge } => {
                match (max_unavailable.rounded_down(desired), max_surge.rounded_up(desired)) {
                    (0, 0) => (1, 0),
                    limits => limits,
                }
            }
            Self::Recreate => (desired, 0),
            Self::OnDelete => (0, 0),
        }
    }
}

/// The kinds of workload that rules apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `apps/v1` ReplicaSet.
    ReplicaSet,
}

/// The Pod counters of `status`; an absent counter is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Existing Pods of every template. For a DaemonSet, only those on Nodes that should run one.
    pub replicas: u32,
    /// Pods of the current template. ReplicaSets have no such counter; for them it equals `replicas`.
    pub updated: u32,
    /// Pods whose condition `Ready` is true.
    pub ready: u32,
    /// Pods that have been ready for at least `minReadySeconds`.
    pub available: u32,
}

impl WorkloadKind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::ReplicaSet];

    /// The kind that kubectl calls so: `deployment`.
    #[must_use]
    pub fn of_singular(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.singular() == word)
    }

    /// The kind as manifests spell it: `Deployment`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
        }
    }

    /// The resource as URLs and RBAC spell it: `deployments`.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::ReplicaSet => "replicasets",
        }
    }

    /// The resource name as `kubectl` takes it before a slash: `deployment`.
    #[must_use]
    pub fn singular(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::ReplicaSet => "replicaset",
        }
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Writes the kind and the name: `Deployment app-green`.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.meta.name)
    }
}

impl Workload {
    /// The revision number that the Deployment controller gave the template.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        let listed = self.update_revision.as_deref().filter(|_| self.kind == WorkloadKind::ReplicaSet);
        listed.or_else(|| self.meta.annotation(annotation::REVISION))
    }

    /// Whether the kind has the subresource `scale`.
    #[must_use]
    pub fn is_scalable(&self) -> bool {
        self.kind != WorkloadKind::DaemonSet
    }

    /// Whether the workload's own selector matches these labels. The values are taken from the template, which always
    /// matches the selector.
    #[must_use]
    pub fn would_select(&self, labels: &Labels) -> bool {
        let matches = |key: &String| labels.get(key).is_some_and(|value| self.template.labels.get(key) == Some(value));
        !self.selector_keys.is_empty() && self.selector_keys.iter().all(matches)
    }

    /// Whether this Deployment adopts a ReplicaSet that has no controller (Kubernetes, `controller_ref_manager.go`).
    #[must_use]
    pub fn would_adopt(&self, replica_set: &Self) -> bool {
        self.kind == WorkloadKind::Deployment
            && replica_set.kind == WorkloadKind::ReplicaSet
            && replica_set.stands_alone()
            && self.would_select(&replica_set.meta.labels)
    }

    /// Whether the controller has processed the latest generation, and no Pod of an older template is left.
    #[must_use]
    pub fn is_rolled_out(&self) -> bool {
        let Counts { replicas, updated, .. } = self.counts;
        self.observed_generation >= self.meta.generation && updated == replicas
    }

    /// Whether the workload is not part of another one. A ReplicaSet with a controller is part of its Deployment.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        self.kind != WorkloadKind::ReplicaSet || self.meta.controller.is_none()
    }

    /// The workload as a part of a namespace. Of a ReplicaSet with a controller, only the parts stay that rules read: who
    /// it is, the labels and annotations of its template, and a digest of the rest. There may be ten of them for each Deployment.
    #[must_use]
    pub fn as_listed(self) -> Self {
        if self.stands_alone() {
            return self;
        }
        let mut meta = self.meta;
        let update_revision = meta.annotations.remove(annotation::REVISION);
        (meta.labels, meta.annotations, meta.owners) = (Labels::new(), Labels::new(), Vec::new());
        let Template { labels, annotations, spec, .. } = &*self.template;
        // The annotations tell a restart from another version.
        let (labels, annotations) = (labels.clone(), annotations.clone());
        let template = Template { labels, annotations, spec: spec.digested(), ..Template::default() };
        Self { meta, template: Arc::new(template), selector_keys: Vec::new(), update_revision, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkloadManifest;

    #[test]
    fn absent_counters_are_zero_and_absent_replicas_are_one() {
        let manifest: WorkloadManifest = serde_json::from_str(r#"{"metadata":{"name":"app"},"spec":{}}"#).unwrap();
        let workload = manifest.into_workload(WorkloadKind::Deployment);
        assert_eq!(workload.desired, 1);
        assert_eq!(workload.counts, Counts::default());
        assert_eq!(workload.to_string(), "Deployment app");
    }

    #[test]
    fn shares_are_rounded_as_kubernetes_does() {
        let quarter = Strategy::Rolling { max_unavailable: Share::Percent(25), max_surge: Share::Percent(25) };
        assert_eq!(quarter.limits(3), (0, 1));
        assert_eq!(quarter.limits(10), (2, 3));
        let none = Strategy::Rolling { max_unavailable: Share::Pods(0), max_surge: Share::Pods(0) };
        assert_eq!(none.limits(3), (1, 0));
        assert_eq!(Strategy::Recreate.limits(3), (3, 0));
    }

    #[test]
    fn a_restart_is_told_from_another_version_by_all_other_annotations() {
        let workload = |kind: WorkloadKind, owners: &str, labels: &str, annotations: &str| {
            let text = format!(
                r#"{{"metadata":{{"ownerReferences":[{owners}]}},"spec":{{"template":{{"metadata":{{
                "labels":{{"a":"b"{labels}}},"annotations":{annotations}}},"spec":{{"containers":[]}}}}}}}}"#
            );
            serde_json::from_str::<WorkloadManifest>(&text).unwrap().into_workload(kind).as_listed()
        };
        let owner = r#"{"apiVersion":"apps/v1","kind":"Deployment","name":"app","uid":"d","controller":true}"#;
        let hash = r#","pod-template-hash":"x""#;
        let before = workload(WorkloadKind::ReplicaSet, owner, hash, r#"{"scrape":"true"}"#);
        let is_restart = |annotations: &str| {
            workload(WorkloadKind::Deployment, "", "", annotations).template.is_restart_of(&before.template)
        };
        assert!(is_restart(r#"{"scrape":"true","kubectl.kubernetes.io/restartedAt":"now"}"#));
        assert!(!is_restart(r#"{"scrape":"false","kubectl.kubernetes.io/restartedAt":"now"}"#));
        assert!(!is_restart(r#"{"kubectl.kubernetes.io/restartedAt":"now"}"#));
    }

    #[test]
    fn of_a_template_of_a_deployment_only_a_digest_is_kept() {
        let replica_set = |owners: &str| {
            let text = format!(
                r#"{{"metadata":{{"name":"app-1","labels":{{"a":"b"}},"ownerReferences":[{owners}],
                "annotations":{{"deployment.kubernetes.io/revision":"7","flipguard.dev/override":"x"}}}},
                "spec":{{"replicas":0,"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},
                "spec":{{"containers":[{{"name":"web","image":"web:1"}}]}}}}}}}}"#
            );
            serde_json::from_str::<WorkloadManifest>(&text).unwrap().into_workload(WorkloadKind::ReplicaSet).as_listed()
        };
        let alone = replica_set("");
        let owned =
            replica_set(r#"{"apiVersion":"apps/v1","kind":"Deployment","name":"app","uid":"d","controller":true}"#);
        assert!(owned.template.spec == alone.template.spec && owned.template.spec.is_empty());
        assert_eq!((owned.revision(), &owned.template.labels), (Some("7"), &alone.template.labels));
        assert!(owned.meta.is_controlled_by("d") && owned.meta.annotations.is_empty());
        assert!(owned.template.containers.all().is_empty() && owned.meta.labels.is_empty());
        assert_eq!((alone.template.containers.all().len(), alone.selector_keys.len()), (1, 1));
    }
}
