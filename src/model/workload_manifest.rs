//! The JSON of workloads, of all four kinds.

use std::sync::Arc;

use json_skip::Raw;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::workload::{Counts, Rollout, Share, Strategy, Template, Workload, WorkloadKind};
use super::{Labels, Meta, TemplateSpec, Timestamp, annotation};

/// The JSON of a workload whose kind is not decoded: items of a list carry none.
#[derive(Debug, Deserialize)]
pub struct WorkloadManifest {
    metadata: Meta,
    spec: Option<WorkloadSpec>,
    status: Option<WorkloadStatus>,
}

/// The undecoded `spec` of a workload of any kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSpec {
    replicas: Option<u32>,
    paused: Option<bool>,
    selector: Option<LabelSelector>,
    strategy: Option<StrategyManifest>,
    update_strategy: Option<StrategyManifest>,
    ordinals: Option<Ordinals>,
    template: Option<ParsedTemplate>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelSelector {
    match_labels: Option<Labels>,
    match_expressions: Option<Vec<Requirement>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Requirement {
    key: String,
}

impl LabelSelector {
    fn has_expressions(&self) -> bool {
        self.match_expressions.as_ref().is_some_and(|requirements| !requirements.is_empty())
    }

    fn keys(self) -> Vec<String> {
        let labels = self.match_labels.into_iter().flatten().map(|(key, _)| key);
        labels.chain(self.match_expressions.into_iter().flatten().map(|requirement| requirement.key)).collect()
    }
}

#[derive(Debug, Clone, Default)]
struct ParsedTemplate(Arc<Template>);

#[derive(Deserialize)]
struct TemplateManifest<'a> {
    #[serde(borrow)]
    metadata: Option<TemplateMeta<'a>>,
    #[serde(borrow)]
    spec: Option<Raw<'a>>,
}

#[derive(Default, Deserialize)]
struct TemplateMeta<'a> {
    labels: Option<Labels>,
    #[serde(borrow)]
    annotations: Option<Raw<'a>>,
}

impl<'de> Deserialize<'de> for ParsedTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let TemplateManifest { metadata, spec } = TemplateManifest::deserialize(deserializer)?;
        let TemplateMeta { labels, annotations } = metadata.unwrap_or_default();
        // Only this annotation is decoded; the text of all annotations is kept for comparison.
        let default_container = annotations.as_deref().and_then(|annotations| {
            json_skip::from_str::<Labels>(annotations).ok()?.remove(annotation::DEFAULT_CONTAINER)
        });
        let containers = spec.as_deref().map(json_skip::from_str).transpose().map_err(D::Error::custom)?;
        Ok(Self(Arc::new(Template {
            labels: labels.unwrap_or_default(),
            annotations: annotations.map(Raw::into).unwrap_or_default(),
            default_container,
            containers: containers.unwrap_or_default(),
            spec: spec.map(TemplateSpec::from).unwrap_or_default(),
        })))
    }
}

/// `spec.strategy` of a Deployment, `spec.updateStrategy` of a StatefulSet or DaemonSet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StrategyManifest {
    #[serde(rename = "type")]
    kind: Option<String>,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RollingUpdate {
    max_unavailable: Option<ShareManifest>,
    max_surge: Option<ShareManifest>,
    partition: Option<u32>,
}

/// An `IntOrString`, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum ShareManifest {
    /// A number.
    Pods(u32),
    /// A percentage, with its sign.
    Percent(String),
}

impl ShareManifest {
    /// The share; `None` where the text is no percentage.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        match self {
            Self::Pods(pods) => Some(Share::Pods(*pods)),
            Self::Percent(text) => text.strip_suffix('%')?.parse().ok().map(Share::Percent),
        }
    }
}

impl StrategyManifest {
    fn partition(&self) -> u32 {
        self.rolling_update.as_ref().and_then(|update| update.partition).unwrap_or_default()
    }

    /// With the defaults of each kind (API doc, `RollingUpdateDeployment`, `RollingUpdateStatefulSetStrategy`,
    /// `RollingUpdateDaemonSet`).
    fn strategy(&self, kind: WorkloadKind) -> Strategy {
        let (unavailable, surge) = match kind {
            WorkloadKind::Deployment => (Share::Percent(25), Share::Percent(25)),
            WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => (Share::Pods(1), Share::Pods(0)),
            // A ReplicaSet does not replace Pods of its old template.
            WorkloadKind::ReplicaSet => return Strategy::OnDelete,
        };
        let rolling = self.rolling_update.as_ref();
        let given = |share: Option<&ShareManifest>, default| share.and_then(ShareManifest::share).unwrap_or(default);
        match self.kind.as_deref() {
            Some("Recreate") => Strategy::Recreate,
            Some("OnDelete") => Strategy::OnDelete,
            _ => Strategy::Rolling {
                max_unavailable: given(rolling.and_then(|update| update.max_unavailable.as_ref()), unavailable),
                max_surge: given(rolling.and_then(|update| update.max_surge.as_ref()), surge),
            },
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Ordinals {
    start: Option<u32>,
}

/// The undecoded `status` of a workload of any kind.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    observed_generation: Option<i64>,
    replicas: Option<u32>,
    updated_replicas: Option<u32>,
    ready_replicas: Option<u32>,
    available_replicas: Option<u32>,
    update_revision: Option<String>,
    desired_number_scheduled: Option<u32>,
    current_number_scheduled: Option<u32>,
    updated_number_scheduled: Option<u32>,
    number_ready: Option<u32>,
    number_available: Option<u32>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
    last_update_time: Option<Timestamp>,
}

impl Rollout {
    fn of(condition: &Condition) -> Self {
        match (condition.reason.as_deref(), condition.last_update_time) {
            (Some("NewReplicaSetAvailable"), Some(time)) => Self::Complete(time),
            (Some("NewReplicaSetAvailable"), None) => Self::Unknown,
            _ => Self::Incomplete,
        }
    }
}

impl WorkloadManifest {
    /// Builds the workload, as one of this kind.
    #[must_use]
    pub fn into_workload(self, kind: WorkloadKind) -> Workload {
        Workload::new(kind, self.metadata, self.spec.unwrap_or_default(), self.status.unwrap_or_default())
    }
}

impl Workload {
    /// Builds the workload from its `metadata`, `spec` and `status`.
    #[must_use]
    pub fn new(kind: WorkloadKind, meta: Meta, spec: WorkloadSpec, status: WorkloadStatus) -> Self {
        let zero = Option::<u32>::unwrap_or_default;
        let (desired, counts) = if kind == WorkloadKind::DaemonSet {
            let counts = Counts {
                replicas: zero(status.current_number_scheduled),
                updated: zero(status.updated_number_scheduled),
                ready: zero(status.number_ready),
                available: zero(status.number_available),
            };
            (zero(status.desired_number_scheduled), counts)
        } else {
            let replicas = zero(status.replicas);
            let counts = Counts {
                replicas,
                updated: if kind == WorkloadKind::ReplicaSet { replicas } else { zero(status.updated_replicas) },
                ready: zero(status.ready_replicas),
                available: zero(status.available_replicas),
            };
            (spec.replicas.unwrap_or(1), counts)
        };
        let progressing = status.conditions.iter().flatten().find(|condition| condition.kind == "Progressing");
        let reason = progressing.and_then(|condition| condition.reason.as_deref());
        let deadline_exceeded = reason == Some("ProgressDeadlineExceeded");
        let rollout = progressing.map(Rollout::of).unwrap_or_default();
        Self {
            kind,
            meta,
            desired,
            paused: spec.paused == Some(true),
            template: spec.template.unwrap_or_default().0,
            partition: spec.update_strategy.as_ref().map(StrategyManifest::partition).unwrap_or_default(),
            strategy: spec.strategy.or(spec.update_strategy).unwrap_or_default().strategy(kind),
            first_ordinal: spec.ordinals.and_then(|ordinals| ordinals.start).unwrap_or_default(),
            selects_by_expressions: spec.selector.as_ref().is_some_and(LabelSelector::has_expressions),
            selector_keys: spec.selector.map(LabelSelector::keys).unwrap_or_default(),
            observed_generation: status.observed_generation.unwrap_or_default(),
            counts,
            deadline_exceeded,
            rollout,
            update_revision: status.update_revision,
        }
    }
}
