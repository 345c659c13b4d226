//! The custom resource `BlueGreenPolicy`, and its CRD.
//!
//! The description of a field is what `kubectl explain` says. Fields are only added, never renamed: what is stored must be
//! readable by every later version.

#![expect(clippy::duplicated_attributes, reason = "the columns of the CRD have types in common")]
#![expect(unreachable_pub, reason = "the derive of a schema has a copy of each type inside a function")]

use std::collections::BTreeMap;

use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::{LabelKey, Length, RuleCode, Word};
use crate::model;

/// The name of the CRD.
pub const CRD: &str = "bluegreenpolicies.flipguard.dev";

/// Settings for the blue-green changes of some namespaces. Among the policies that select a namespace, the strictest of
/// what is said counts for each setting; what nobody says is the default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "flipguard.dev",
    version = "v1alpha1",
    kind = "BlueGreenPolicy",
    plural = "bluegreenpolicies",
    shortname = "bgpolicy",
    category = "flipguard",
    status = "BlueGreenPolicyStatus",
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(name = "Namespaces", type_ = "integer", json_path = ".status.namespaces"),
    printcolumn(name = "Services", type_ = "integer", json_path = ".status.services"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type=='Accepted')].status"),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Programmed')].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Accepted')].reason"
    ),
    printcolumn(name = "Softens", type_ = "string", priority = 1, json_path = ".status.softens"),
    printcolumn(name = "Overlaps", type_ = "string", priority = 1, json_path = ".status.overlaps")
)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenPolicySpec {
    /// The namespaces that the policy is for. `{}` is every namespace.
    pub namespace_selector: NamespaceSelector,
    /// Whether a denial denies, or only warns. The default is the flag --enforcement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// Whether a dry run is denied for a reason that resolves by waiting. The default is Warn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<Enforcement>,
    /// What marks a colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colours: Option<Colours>,
    /// The actions of rules, where they are to differ from the table in docs/rules.md.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["rule"]))]
    pub rules: Vec<RuleAction>,
    /// What a flip has to meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<FlipSettings>,
    /// What a change of the live colour has to leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveSettings>,
    /// The way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackSettings>,
    /// Overrides by annotation.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub overrides: Option<OverrideSettings>,
    /// The labels that are added to Deployments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelSettings>,
    /// Changes that may pass although a rule denies them. Each counts as a whole; two never add up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub exemptions: Vec<Exemption>,
}

/// A selector of namespaces by their labels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that a namespace must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on the labels of a namespace. All of them must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<Requirement>,
}

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0")
        .message("In and NotIn need values; Exists and DoesNotExist have none")
)]
pub struct Requirement {
    /// The key of the label.
    pub key: LabelKey,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: Operator,
    /// The values of In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is absent.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// Whether a denial denies, or only warns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Enforcement {
    /// Denials deny.
    Deny,
    /// Denials become warnings, and are counted.
    Warn,
}

impl From<Enforcement> for model::Enforcement {
    fn from(said: Enforcement) -> Self {
        match said {
            Enforcement::Deny => Self::Deny,
            Enforcement::Warn => Self::Warn,
        }
    }
}

/// What marks a colour.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Colours {
    /// Label keys that mark a colour; the default is color, colour, slot and version. A key without a slash also counts as
    /// the last part of a longer key. A key with a slash counts as a whole. `version` may be a colour or a plain version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub keys: Vec<LabelKey>,
    /// Values that are a colour under any key, alone or next to a dash; the default is blue and green.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "set"))]
    pub names: Vec<Word>,
    /// Words in the name of a Service that shows a colour without traffic, such as stage. Of two policies, the words that
    /// both say count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "set"))]
    pub preview_words: Option<Vec<Word>>,
}

/// The action of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!(self.rule in ['override-not-permitted', 'opt-out-not-permitted', 'gate-not-permitted', 'concurrent-change']) || self.action == 'Deny'")
        .message("this rule can be nothing but Deny")
)]
pub struct RuleAction {
    /// The code of the rule.
    pub rule: RuleCode,
    /// What the rule does.
    pub action: Action,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// It denies.
    Deny,
    /// It warns.
    Warn,
    /// It is only logged.
    Audit,
    /// It does nothing.
    Off,
}

impl From<Action> for model::Action {
    fn from(said: Action) -> Self {
        match said {
            Action::Deny => Self::Deny,
            Action::Warn => Self::Warn,
            Action::Audit => Self::Audit,
            Action::Off => Self::Off,
        }
    }
}

/// What a flip has to meet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlipSettings {
    /// The percentage of the target's Pods that must be ready, rounded up; the default is 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub min_ready_percent: Option<i32>,
    /// What counts as ready. Available is Ready for minReadySeconds, and the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_basis: Option<ReadinessBasis>,
    /// The ready Pods that a target should have, as a percentage of the current colour's; the default is 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub parity_percent: Option<i32>,
    /// How long as many Pods as are wanted have to be ready without a restart, 24h at most; the default is 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("it may be at most 24h"))]
    pub soak: Option<Length>,
    /// What has to be proved of a target before a flip to it. A rollback is not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub gates: Vec<Gate>,
}

/// A test or an approval that has to be proved before a flip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.images) || self.kind == 'Job'").message("only a gate of kind Job has images")
)]
pub struct Gate {
    /// The name. Jobs, annotations and rights name it.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Job: a Job that completes. Attestation: somebody with the verb pass says so. Approval: somebody with the verb approve
    /// says so, and somebody else flips.
    pub kind: GateKind,
    /// The images that a Job may run; the default is any. `*` stands for anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 512)))]
    pub images: Vec<String>,
    /// How old a proof may be, from 1m to 720h; the default is 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('720h')").message("it must be from 1m to 720h"))]
    pub max_age: Option<Length>,
}

/// Who or what proves a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GateKind {
    /// A Job that completes.
    Job,
    /// Somebody with the verb pass.
    Attestation,
    /// Somebody with the verb approve. Somebody else flips.
    Approval,
}

impl From<GateKind> for model::GateKind {
    fn from(said: GateKind) -> Self {
        match said {
            GateKind::Job => Self::Job,
            GateKind::Attestation => Self::Attestation,
            GateKind::Approval => Self::Approval,
        }
    }
}

/// What counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReadinessBasis {
    /// A Pod that has been Ready for minReadySeconds.
    Available,
    /// A Pod that is Ready.
    Ready,
}

impl From<ReadinessBasis> for model::ReadinessBasis {
    fn from(said: ReadinessBasis) -> Self {
        match said {
            ReadinessBasis::Available => Self::Available,
            ReadinessBasis::Ready => Self::Ready,
        }
    }
}

/// What a change of the live colour has to leave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiveSettings {
    /// The number of ready Pods that a change has to leave; the default is 1. Where it is set, no live colour may be scaled
    /// to 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub floor: Option<i32>,
    /// The percentage above which one cut of the live colour is told of; the default is 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub shrink_percent: Option<i32>,
}

/// The way back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackSettings {
    /// How long the colour before is kept after a flip, 24h at most; the default is 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("it may be at most 24h"))]
    pub hold: Option<Length>,
    /// How long after a rollback the version that it left is denied, 24h at most; the default is 0s, which only warns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("it may be at most 24h"))]
    pub quarantine: Option<Length>,
    /// The percentage of a colour's Pods that must be ready for a rollback to it, rounded up; the default is 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub min_ready_percent: Option<i32>,
}

/// Overrides by annotation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
pub struct OverrideSettings {
    /// How far ahead an override may end, from 1m to 1h; the default is 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('1h')").message("it must be from 1m to 1h"))]
    pub max: Option<Length>,
}

/// The labels that are added to Deployments. Of two policies, the one whose name comes first counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSettings {
    /// Whether labels are added; the default is Add. The flag --labels=false outranks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<LabelMode>,
    /// Whether the Pod template gets labels where it changes; the default is OnChange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplateLabels>,
    /// The key of a colour on a Deployment that has none yet; the default is color.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour_key: Option<LabelKey>,
    /// The key of a version; the default is version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_key: Option<LabelKey>,
}

/// Whether labels are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelMode {
    /// Labels are added.
    Add,
    /// No labels are added.
    Off,
}

/// Whether the Pod template gets labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PodTemplateLabels {
    /// Where the request changes the template anyway.
    OnChange,
    /// Never.
    Never,
}

/// Changes that may pass although a rule denies them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.expires) || self.subjects.all(s, s.kind == 'ServiceAccount')")
        .message("an exemption of people needs an end: expires")
)]
pub struct Exemption {
    /// The name, unique in this policy. Warnings, logs and metrics have it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The codes of the rules that are lifted.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(r, !(r in ['override-not-permitted', 'opt-out-not-permitted', 'gate-not-permitted', 'concurrent-change']))").message("this rule cannot be lifted"))]
    pub rules: Vec<RuleCode>,
    /// Who is exempt.
    #[schemars(length(min = 1, max = 16))]
    pub subjects: Vec<ExemptSubject>,
    /// Names of traffic Services. `*` stands for every name, or for the end of one.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9-]*\*?$")))]
    pub services: Vec<String>,
    /// Why, for those who find it later.
    #[schemars(length(min = 10, max = 256))]
    pub reason: String,
    /// The end, as an RFC 3339 time. Without it, only ServiceAccounts can be exempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires: Option<model::Timestamp>,
}

// Kubernetes 1.30 reserves the word `namespace` in CEL, so the rule has its escaped form.
/// Who is exempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.__namespace__) == (self.kind == 'ServiceAccount')")
        .message("a ServiceAccount has a namespace, and nobody else has one")
)]
pub struct ExemptSubject {
    /// ServiceAccount, User or Group.
    pub kind: SubjectKind,
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The namespace of a ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// The kind of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SubjectKind {
    /// A ServiceAccount.
    ServiceAccount,
    /// A user, by name.
    User,
    /// All users of a group.
    Group,
}

/// What flipguard makes of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenPolicyStatus {
    /// The generation that the conditions are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted: the policy can be read. Programmed: no replica judges by an older one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The number of namespaces that it selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<i32>,
    /// The number of traffic Services in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<i32>,
    /// Other policies that select some of these namespaces; 10 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub overlaps: Vec<String>,
    /// Its exemptions, by name: since when each is known, and when it was used for the last time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub exemptions: BTreeMap<String, ExemptionStatus>,
    /// Settings and rules that it makes softer than the default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 80))]
    pub softens: Vec<String>,
}

/// What is known of an exemption.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExemptionStatus {
    /// Since when it is known, as an RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub since: Option<String>,
    /// When it let a change pass for the last time, as an RFC 3339 time. It is written once a day at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_used: Option<String>,
}

/// One condition of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Accepted or Programmed.
    #[serde(rename = "type")]
    #[schemars(length(max = 63))]
    pub kind: String,
    /// True, False or Unknown.
    #[schemars(length(max = 16))]
    pub status: String,
    /// The reason, in one word.
    #[schemars(length(max = 63))]
    pub reason: String,
    /// The reason, in a sentence.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When the status last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The generation that the condition is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The CRD, as an object to apply. Helm leaves it in the cluster, so that no upgrade takes all policies away.
///
/// # Errors
/// When the types cannot be written as JSON, which a test rules out.
pub fn crd(labels: &Value) -> serde_json::Result<Value> {
    let mut crd = serde_json::to_value(BlueGreenPolicy::crd())?;
    if let Some(metadata) = crd.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("labels".to_owned(), labels.clone());
        metadata.insert("annotations".to_owned(), serde_json::json!({ "helm.sh/resource-policy": "keep" }));
    }
    without_null(&mut crd);
    if let Some(root) = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/description") {
        *root = "Settings for the blue-green changes of some namespaces.".into();
    }
    Ok(crd)
}

/// An optional field is left out, and never `null`: then `has()` in an expression means what it says.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("nullable");
            fields.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}
