//! Objects beside the workloads, that only the audit reads. Each is reduced to a few fields, straight from Kubernetes' JSON.

use std::collections::BTreeMap;

use serde::Deserialize;

pub use super::routes::{HttpRoute, Ingress, OpenShiftRoute};
use crate::model::{Labels, ShareManifest, Timestamp};

/// All of them in a namespace. `None` where a kind could not be read.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// PodDisruptionBudgets.
    pub budgets: Option<Vec<Budget>>,
    /// HorizontalPodAutoscalers.
    pub autoscalers: Option<Vec<Autoscaler>>,
    /// PersistentVolumeClaims.
    pub claims: Option<Vec<Claim>>,
    /// Jobs.
    pub jobs: Option<Vec<Job>>,
    /// Ingresses.
    pub ingresses: Option<Vec<Ingress>>,
    /// HTTPRoutes of the Gateway API; empty where that kind is not served.
    pub http_routes: Option<Vec<HttpRoute>>,
    /// Routes of OpenShift; empty where that kind is not served.
    pub routes: Option<Vec<OpenShiftRoute>>,
    /// Rollouts of Argo; empty where that kind is not served.
    pub rollouts: Option<Vec<Named>>,
    /// EndpointSlices.
    pub slices: Option<Vec<Slice>>,
    /// StatefulSets, with their claims.
    pub stateful_sets: Option<Vec<StatefulSet>>,
    /// More of the Services.
    pub reaches: Option<Vec<Reach>>,
    /// The kinds that could not be read, each with the reason.
    pub skipped: Vec<String>,
}

/// `metadata`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Head {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.annotations`.
    pub annotations: Option<BTreeMap<String, String>>,
    /// `metadata.labels`.
    pub labels: Option<Labels>,
}

/// A PodDisruptionBudget.
#[derive(Debug, Clone, Deserialize)]
pub struct Budget {
    /// `metadata`.
    pub metadata: Head,
    /// `spec`.
    #[serde(default)]
    pub spec: BudgetSpec,
    /// `status`.
    #[serde(default)]
    pub status: BudgetStatus,
}

/// `spec` of a PodDisruptionBudget.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetSpec {
    /// `spec.selector`.
    pub selector: LabelSelector,
    min_available: Option<ShareManifest>,
    max_unavailable: Option<ShareManifest>,
}

impl BudgetSpec {
    /// How many of these Pods may be evicted while all are healthy. Both percentages are rounded up (Kubernetes,
    /// `pkg/controller/disruption/disruption.go`, `getExpectedPodCount`).
    #[must_use]
    pub fn allows_of(&self, pods: u32) -> u32 {
        let rounded = |share: &Option<ShareManifest>| share.as_ref()?.share().map(|share| share.rounded_up(pods));
        match (rounded(&self.max_unavailable), rounded(&self.min_available)) {
            (Some(most), _) => most.min(pods),
            (None, Some(least)) => pods.saturating_sub(least),
            (None, None) => 0,
        }
    }
}

/// `status` of a PodDisruptionBudget.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    /// How many Pods may be evicted now.
    pub disruptions_allowed: u32,
    /// How many of its Pods are healthy.
    pub current_healthy: u32,
    /// How many there should be.
    pub expected_pods: u32,
}

/// A `LabelSelector`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    match_labels: Option<Labels>,
    match_expressions: Option<Vec<Requirement>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

impl LabelSelector {
    /// Whether labels match. An empty selector matches all (`policy/v1`).
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let by_label = self.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
        let holds = |one: &Requirement| {
            let value = labels.get(&one.key);
            let is_listed = value.is_some_and(|value| one.values.contains(value));
            match one.operator.as_str() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        };
        by_label && self.match_expressions.iter().flatten().all(holds)
    }
}

/// A HorizontalPodAutoscaler.
#[derive(Debug, Clone, Deserialize)]
pub struct Autoscaler {
    /// `metadata`.
    pub metadata: Head,
    /// `spec`.
    pub spec: AutoscalerSpec,
}

/// `spec` of a HorizontalPodAutoscaler.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerSpec {
    /// `spec.scaleTargetRef`.
    pub scale_target_ref: ScaleTarget,
}

/// The workload that an autoscaler scales.
#[derive(Debug, Clone, Deserialize)]
pub struct ScaleTarget {
    /// `kind`.
    pub kind: String,
    /// `name`.
    pub name: String,
}

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, Deserialize)]
pub struct Claim {
    /// `metadata`.
    pub metadata: Head,
    /// `spec`.
    #[serde(default)]
    pub spec: ClaimSpec,
}

/// `spec` of a PersistentVolumeClaim.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// `spec.accessModes`.
    pub access_modes: Vec<String>,
}

/// A Job.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    /// `metadata`.
    pub metadata: Head,
    /// `spec`.
    #[serde(default)]
    pub spec: JobSpec,
    /// `status`.
    #[serde(default)]
    pub status: JobStatus,
}

/// `spec` of a Job.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct JobSpec {
    /// `spec.template`.
    pub template: PodTemplate,
}

/// A Pod template with its `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    /// `spec`.
    pub spec: PodSpec,
}

/// `status` of a Job.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// When it was completed.
    pub completion_time: Option<Timestamp>,
}

/// `spec` of a Pod, with the fields that tell of state and migrations.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// `containers`.
    pub containers: Vec<Program>,
    /// `initContainers`.
    pub init_containers: Option<Vec<Program>>,
    /// `volumes`.
    pub volumes: Option<Vec<Volume>>,
}

/// A container, as a program.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Program {
    /// `name`.
    pub name: String,
    /// `image`.
    pub image: String,
    /// `command`.
    pub command: Option<Vec<String>>,
    /// `args`.
    pub args: Option<Vec<String>>,
    /// `volumeMounts`.
    pub volume_mounts: Option<Vec<Mount>>,
}

/// A mount of a volume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// `name` of the volume.
    pub name: String,
    /// `readOnly`.
    pub read_only: Option<bool>,
}

/// A volume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// `name`.
    pub name: String,
    /// A claim.
    pub persistent_volume_claim: Option<ClaimRef>,
    /// A folder of the Node.
    pub host_path: Option<HostPath>,
    /// A folder that ends with the Pod.
    pub empty_dir: Option<EmptyDir>,
}

/// A folder that ends with the Pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EmptyDir {}

/// The claim of a volume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimRef {
    /// `claimName`.
    pub claim_name: String,
}

/// A folder of the Node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HostPath {
    /// `path`.
    pub path: String,
}

/// An object of which only the name matters.
#[derive(Debug, Clone, Deserialize)]
pub struct Named {
    /// `metadata`.
    pub metadata: Head,
}

/// An EndpointSlice.
#[derive(Debug, Clone, Deserialize)]
pub struct Slice {
    /// `metadata`.
    pub metadata: Head,
    /// `endpoints`.
    #[serde(default)]
    pub endpoints: Option<Vec<Endpoint>>,
}

/// An endpoint, of which only the number matters.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Endpoint {}

/// A StatefulSet, with its claims.
#[derive(Debug, Clone, Deserialize)]
pub struct StatefulSet {
    /// `metadata`.
    pub metadata: Head,
    /// `spec`.
    #[serde(default)]
    pub spec: StatefulSetSpec,
}

/// `spec` of a StatefulSet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetSpec {
    /// `spec.volumeClaimTemplates`.
    pub volume_claim_templates: Option<Vec<ClaimTemplate>>,
}

/// The template of the claims of a StatefulSet's Pods.
#[derive(Debug, Clone, Deserialize)]
pub struct ClaimTemplate {
    /// `metadata`.
    pub metadata: Head,
}

/// A Service, as far as clients find it and stay with a Pod.
#[derive(Debug, Clone, Deserialize)]
pub struct Reach {
    /// `metadata`.
    pub metadata: Head,
    /// `spec`.
    #[serde(default)]
    pub spec: ReachSpec,
}

/// `spec` of a Service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReachSpec {
    /// `spec.sessionAffinity`.
    pub session_affinity: Option<String>,
    /// `spec.clusterIP`; `None` as text where the Service is headless.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
}

impl Extras {
    /// How clients find a Service, where that was read.
    #[must_use]
    pub fn reach(&self, service: &str) -> Option<&Reach> {
        self.reaches.iter().flatten().find(|one| one.metadata.name == service)
    }
}

impl Reach {
    /// Whether clients get the addresses of the Pods from DNS.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ip.as_deref() == Some("None")
    }

    /// Whether external-dns publishes it outside the cluster.
    #[must_use]
    pub fn is_published(&self) -> bool {
        let is_hostname =
            |key: &String| key.starts_with("external-dns.alpha.kubernetes.io/") && key.ends_with("hostname");
        self.metadata.annotations.iter().flatten().any(|(key, _)| is_hostname(key))
    }
}
