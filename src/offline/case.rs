//! Cases: a change, a cluster in short form, and the expected verdict. The tests and `flipguard check --case` read
//! them; people do too.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::finding::Finding;
use crate::audit::judge::{Options, judge};
use crate::audit::snapshot::{LedgerState, Snapshot};
use crate::audit::whatif::{self, Answer};
use crate::model::{
    Change, ClusterView, Enforcement, Flip, GateKind, GateRight, Labels, Policy, Proof, Proofs, ReadFailure, Records,
    Selector, Service, Tested, Timestamp, Tombstone, User, Workload, WorkloadKind, Write,
};
use crate::offline::files::Manifests;
use crate::offline::fixture::Fixture;
use crate::policy::{Policies, effective};
use crate::review::message;
use crate::rules::state::explain::{Explanation, explain};
use crate::rules::{self, Outcome, Verdict, gates};

const NAMESPACE: &str = "shop";
/// The time at which each case is judged: 2030-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp(1_893_456_000);

/// One file of `tests/cases/`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// The statement that the case demonstrates, in one sentence.
    pub shows: String,
    /// `metadata.name` of the Service; `app` by default.
    #[serde(default = "app")]
    service: String,
    /// The selector before the change.
    #[serde(default)]
    from: Labels,
    /// The selector after the change.
    #[serde(default)]
    to: Labels,
    /// A change other than that of the Service's selector.
    change: Option<OtherChange>,
    /// Further Services of the namespace, by name: each with its selector, and with annotations if they matter.
    #[serde(default)]
    services: BTreeMap<String, ServiceFixture>,
    /// The name of the user.
    #[serde(default)]
    user: String,
    /// Further fields of the Service before the change, merged into its manifest.
    #[serde(default = "nothing")]
    old: Value,
    /// Further fields of the Service after the change, merged into its manifest.
    #[serde(default = "nothing")]
    new: Value,
    #[serde(default)]
    dry_run: bool,
    /// The field manager of the request.
    manager: Option<String>,
    /// Whether the user has the verb `override`.
    may_override: Option<bool>,
    /// The Services on which the user has the verb, if it is not the same for all.
    #[serde(default)]
    may_override_on: Vec<String>,
    /// Whether an owner of another kind exists, by its uid.
    #[serde(default)]
    owners: BTreeMap<String, bool>,
    /// Whether the Rollout named by Argo Rollouts' annotation exists.
    rollout_exists: Option<bool>,
    #[serde(default)]
    trial: bool,
    /// The flips on record, by the name of the Service.
    #[serde(default)]
    flipped: BTreeMap<String, FlipFixture>,
    #[serde(default)]
    deleted: BTreeMap<String, TombstoneFixture>,
    /// The proofs of gates on record.
    #[serde(default)]
    proofs: Vec<ProofFixture>,
    /// The user's rights on gates: `pass smoke`.
    #[serde(default)]
    may_prove: Vec<String>,
    /// The objects of the namespace, in short form.
    cluster: Vec<Fixture>,
    /// The policies: the `spec` of each, by name.
    #[serde(default)]
    policies: BTreeMap<String, Value>,
    /// The labels of the namespace.
    #[serde(default)]
    namespace_labels: Labels,
    /// Whether the labels of the namespace cannot be read.
    #[serde(default)]
    namespace_unreadable: bool,
    /// `--state` of an audit; `lasting` by default.
    #[serde(default)]
    state: String,
    /// The statuses of policies, by name.
    #[serde(default)]
    policy_status: BTreeMap<String, Value>,
    /// The reads that fail.
    #[serde(default)]
    unreadable: Vec<String>,
    /// The expected verdict; that no rule applies, if nothing is said.
    #[serde(default)]
    expect: Expectation,
    /// The expected findings of an audit: `code name` of each, with ` accepted` where it is.
    pub finds: Option<Vec<String>>,
}

/// A change of another object, or another change of a Service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OtherChange {
    /// `deployment/app-blue`: a scale by the subresource, to the number in `to`.
    scale: Option<String>,
    to: Option<u32>,
    /// `deployment/app-blue` or `service/app`: a deletion.
    delete: Option<String>,
    /// `deployment/app-blue`: an update, with the patch in `with` merged into its manifest.
    update: Option<String>,
    #[serde(default = "nothing")]
    with: Value,
    /// A workload to create.
    create: Option<Fixture>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceFixture {
    selector: Labels,
    #[serde(default)]
    annotations: Labels,
}

/// The last flip of a Service, to its current selector.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FlipFixture {
    from: Labels,
    to: Labels,
    /// The age of the flip, in seconds.
    seconds_ago: i64,
    /// How long ago the flips before it were that went back and forth, the oldest first.
    #[serde(default)]
    earlier_seconds_ago: Vec<i64>,
    /// The field manager that flipped.
    #[serde(default)]
    manager: String,
}

/// A deleted Service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TombstoneFixture {
    selector: Labels,
    /// The age of the deletion, in seconds.
    seconds_ago: i64,
}

/// The proof of a gate.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProofFixture {
    gate: String,
    /// `deployment/app-green`.
    target: String,
    kind: GateKind,
    /// What was tested: what the target is now, or else something of it.
    #[serde(default)]
    tested: TestedFixture,
    #[serde(default)]
    failed: bool,
    #[serde(default)]
    user: String,
    /// The age of the proof, in seconds.
    seconds_ago: i64,
}

/// What was tested, in view of what the target is now.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TestedFixture {
    /// The same.
    #[default]
    Current,
    /// Another template.
    AnotherTemplate,
    /// The same template with other images.
    OtherImages,
    /// The same template before any Pod ran.
    NoImages,
}

/// The expected verdict.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expectation {
    outcome: ExpectedOutcome,
    /// The expected summary of the change; empty for an update that is no flip.
    summary: Option<String>,
    /// `reason=effect` of each finding, in order.
    #[serde(default)]
    findings: Vec<String>,
    /// Texts that the denial or the warnings must contain.
    #[serde(default)]
    says: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ExpectedOutcome {
    Allowed,
    #[default]
    NotJudged,
    Denied,
    TryAgain,
    CannotJudge,
}

/// A patch in which `TESTED` stands for the hashes of what a workload is now.
fn with_hashes(patch: &Value, workload: &Workload, view: &ClusterView) -> anyhow::Result<Value> {
    let text = serde_json::to_string(patch)?.replace("TESTED", &gates::tested(workload, view).to_string());
    Ok(serde_json::from_str(&text)?)
}

/// A merge patch that changes nothing.
fn nothing() -> Value {
    json!({})
}

fn app() -> String {
    "app".to_owned()
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a case.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        serde_saphyr::from_str(&text).with_context(|| format!("`{}` is no case", file.display()))
    }

    /// The verdict of the rules on this case.
    ///
    /// # Errors
    /// When the cluster of the case cannot be built.
    pub fn verdict(&self) -> anyhow::Result<Verdict> {
        Ok(rules::decide(&self.change()?, &self.view()?, &self.settings(), NOW))
    }

    /// How the Services of the case are understood.
    ///
    /// # Errors
    /// When the cluster of the case cannot be built.
    pub fn explain(&self) -> anyhow::Result<Vec<Explanation>> {
        Ok(explain(&self.view()?, &self.settings(), NOW))
    }

    /// The cluster of the case at rest, with the settings that count.
    ///
    /// # Errors
    /// When the cluster of the case cannot be built.
    pub fn at_rest(&self) -> anyhow::Result<(Snapshot, Policy)> {
        let view = self.view()?;
        let snapshot = Snapshot { namespace: NAMESPACE.to_owned(), view, ledger: LedgerState::Read, at: NOW };
        Ok((snapshot, self.settings()))
    }

    /// What an audit finds in the cluster of the case.
    ///
    /// # Errors
    /// When the cluster of the case cannot be built.
    pub fn audit(&self) -> anyhow::Result<Vec<Finding>> {
        let (snapshot, policy) = self.at_rest()?;
        let options = Options { ephemeral_state: self.state == "all" };
        let mut all = judge(&snapshot, &self.manifests()?.extras(NAMESPACE)?, &policy, options);
        all.extend(crate::audit::policies::findings(&self.stored_policies(), NOW));
        Ok(all)
    }

    /// The answer to the flip of the case as an imagined change, where it is one to another colour of the Service. Nobody
    /// asks for it, and it is no dry run.
    ///
    /// # Errors
    /// When the cluster of the case cannot be built.
    pub fn whatif(&self) -> anyhow::Result<Option<(Answer, Answer)>> {
        let (change, view, policy) = (self.change()?, self.view()?, self.settings());
        let Write::ServiceUpdate { old, new } = &change.write else { return Ok(None) };
        let imagined = whatif::flips(old, &view, &policy.colours);
        let is_it = |question: &&whatif::Question| {
            let anyone = Change { user: User::default(), manager: String::new(), dry_run: false, ..change.clone() };
            question.change == anyone
        };
        let found = imagined.iter().find(is_it).filter(|_| old.meta == new.meta);
        let of_case = || Answer::of(&rules::decide(&change, &view, &policy, NOW));
        let is_plain = self.user.is_empty() && !self.dry_run && self.manager.is_none();
        Ok(found.filter(|_| is_plain).map(|question| (whatif::answer(question, &view, &policy, NOW), of_case())))
    }

    fn stored_policies(&self) -> Policies {
        let object = |(name, spec): (&String, &Value)| {
            let status = self.policy_status.get(name).cloned().unwrap_or_default();
            (json!({ "metadata": { "name": name }, "spec": spec, "status": status }), 1)
        };
        Policies::of(self.policies.iter().map(object).collect())
    }

    /// The settings that count: what the policies of the case say, or else the defaults.
    fn settings(&self) -> Policy {
        let enforcement = if self.trial { Enforcement::Warn } else { Enforcement::Deny };
        let flags = Policy { enforcement, ..Policy::default() };
        let policies = self.stored_policies();
        let labels = Some(&self.namespace_labels).filter(|_| !self.namespace_unreadable);
        effective(&flags, &policies, NAMESPACE, labels)
    }

    /// Whether a verdict is the expected one, and where not, how it differs.
    ///
    /// # Errors
    /// When the verdict differs; the message names the difference.
    pub fn compare(&self, verdict: &Verdict) -> Result<(), String> {
        let Expectation { outcome, summary, findings, says } = &self.expect;
        let real = match verdict.outcome() {
            Outcome::Allowed if !verdict.judged => ExpectedOutcome::NotJudged,
            Outcome::Allowed => ExpectedOutcome::Allowed,
            Outcome::Denied => ExpectedOutcome::Denied,
            Outcome::TryAgain => ExpectedOutcome::TryAgain,
            Outcome::CannotJudge => ExpectedOutcome::CannotJudge,
        };
        let text = format!("{}\n{}", message::denial(verdict), message::warnings(verdict).join("\n"));
        if real != *outcome {
            return Err(format!("it is {real:?}, not {outcome:?}:\n{text}"));
        }
        if let Some(summary) = summary
            && *summary != verdict.summary
        {
            return Err(format!("its summary is `{}`, not `{summary}`", verdict.summary));
        }
        let found: Vec<String> =
            verdict.findings.iter().map(|(finding, effect)| format!("{}={}", finding.reason, effect.name())).collect();
        if found != *findings {
            return Err(format!("it finds {found:?}, not {findings:?}:\n{text}"));
        }
        match says.iter().find(|words| !text.contains(words.as_str())) {
            Some(words) => Err(format!("it does not say `{words}`:\n{text}")),
            None => Ok(()),
        }
    }

    fn change(&self) -> anyhow::Result<Change> {
        let write = match &self.change {
            None => Write::ServiceUpdate {
                old: self.service(&self.from, &self.old)?,
                new: self.service(&self.to, &self.new)?,
            },
            Some(change) => self.other(change)?,
        };
        let user = User { name: self.user.clone(), ..User::default() };
        Ok(Change { write, dry_run: self.dry_run, user, manager: self.manager.clone().unwrap_or_default() })
    }

    fn service(&self, selector: &Labels, more: &Value) -> anyhow::Result<Box<Service>> {
        let mut manifest = json!({
            "kind": "Service",
            "metadata": { "name": self.service, "namespace": NAMESPACE, "uid": "uid-service" },
            "spec": { "selector": selector },
        });
        json_patch::merge(&mut manifest, more);
        let manifests = Manifests::of("case", vec![manifest])?;
        let found = manifests.service(NAMESPACE, &self.service)?.context("the Service is gone")?;
        Ok(Box::new(found))
    }

    fn other(&self, change: &OtherChange) -> anyhow::Result<Write> {
        let manifests = self.manifests()?;
        let stored = |object: &str| -> anyhow::Result<Box<Workload>> {
            let (kind, name) = named(object)?;
            let found = manifests.workload(kind, NAMESPACE, name)?;
            Ok(Box::new(found.with_context(|| format!("there is no {object} in the cluster of the case"))?))
        };
        if let (Some(object), Some(to)) = (&change.scale, change.to) {
            let old = stored(object)?;
            return Ok(Write::Scale {
                kind: old.kind,
                namespace: NAMESPACE.to_owned(),
                name: old.meta.name.clone(),
                uid: old.meta.uid.clone(),
                resource_version: old.meta.resource_version.clone(),
                from: old.desired,
                to,
            });
        }
        if let Some(service) = change.delete.as_deref().and_then(|object| object.strip_prefix("service/")) {
            let old = manifests.service(NAMESPACE, service)?.context("there is no such Service in the case")?;
            return Ok(Write::ServiceDelete { old: Box::new(old) });
        }
        if let Some(object) = &change.delete {
            return Ok(Write::WorkloadDelete { old: stored(object)? });
        }
        if let Some(object) = &change.update {
            let (kind, name) = named(object)?;
            let found = manifests.stored(kind, NAMESPACE, name).context("there is no such workload in the case")?;
            let mut manifest = found.object.clone();
            let old = stored(object)?;
            json_patch::merge(&mut manifest, &with_hashes(&change.with, &old, &manifests.view(NAMESPACE)?)?);
            let new = Manifests::of("change", vec![manifest])?.workload(kind, NAMESPACE, name)?;
            return Ok(Write::WorkloadUpdate { old, new: Box::new(new.context("it lost its name")?) });
        }
        let fixture = change.create.as_ref().context("say `scale`, `delete`, `update` or `create`")?;
        if let Fixture::Manifest(manifest) = fixture
            && manifest.get("kind").and_then(Value::as_str) == Some("Service")
        {
            let created = Manifests::of("change", vec![manifest.clone()])?.view(NAMESPACE)?;
            let new = created.services.into_iter().next().context("it is no Service")?;
            return Ok(Write::ServiceCreate { new: Box::new(new) });
        }
        if let Fixture::Manifest(manifest) = fixture
            && manifest.get("kind").and_then(Value::as_str) == Some("Job")
        {
            let (manifests, mut job) = (self.manifests()?.view(NAMESPACE)?, manifest.clone());
            if let Some(target) = job.pointer("/metadata/annotations/flipguard.dev~1target").and_then(Value::as_str)
                && let Ok((kind, name)) = named(target)
                && let Some(workload) = manifests.workload(kind, name)
            {
                job = with_hashes(&job, workload, &manifests)?;
            }
            return Ok(Write::JobCreate { new: Box::new(serde_json::from_value(job)?) });
        }
        let created = Manifests::of("change", fixture.expand().map_err(anyhow::Error::msg)?)?;
        let new = created.view(NAMESPACE)?.workloads.into_iter().next().context("`create` takes a workload")?;
        Ok(Write::WorkloadCreate { new: Box::new(new) })
    }

    fn manifests(&self) -> anyhow::Result<Manifests> {
        let mut objects = Vec::new();
        for (name, ServiceFixture { selector, annotations }) in &self.services {
            objects.push(json!({
                "kind": "Service",
                "metadata": { "name": name, "namespace": NAMESPACE, "uid": "uid-service", "annotations": annotations },
                "spec": { "selector": selector },
            }));
        }
        for fixture in &self.cluster {
            objects.extend(fixture.expand().map_err(anyhow::Error::msg)?);
        }
        Ok(Manifests::of("cluster", objects)?)
    }

    fn view(&self) -> anyhow::Result<ClusterView> {
        let mut view = self.manifests()?.view(NAMESPACE)?;
        if let Some(may) = self.may_override {
            let services = view.services.iter().map(|service| service.meta.name.clone());
            view.may_override = services.chain([self.service.clone()]).map(|name| (name, may)).collect();
        }
        view.may_override.extend(self.may_override_on.iter().map(|name| (name.clone(), true)));
        view.owners.extend(self.owners.iter().map(|(uid, exists)| (uid.clone(), Some(*exists))));
        view.rollout_exists = self.rollout_exists;
        let rights = self.may_prove.iter().filter_map(|right| right.split_once(' '));
        let rights = rights.map(|(verb, gate)| (verb == GateKind::Approval.verb(), gate.to_owned()));
        view.gate_rights = rights
            .map(|(approves, gate)| {
                let kind = if approves { GateKind::Approval } else { GateKind::Job };
                (GateRight { verb: kind.verb(), gate }, true)
            })
            .collect();
        view.records = self.records(&view);
        view.failures = self
            .unreadable
            .iter()
            .map(|what| ReadFailure::online(format!("{what} in namespace {NAMESPACE}"), "timed out".to_owned()))
            .collect();
        Ok(view)
    }
}

impl Case {
    fn records(&self, view: &ClusterView) -> Records {
        let ago = |seconds: i64| Timestamp(NOW.0.saturating_sub(seconds));
        let flip = |(service, flip): (&String, &FlipFixture)| Flip {
            service: service.clone(),
            uid: "uid-service".to_owned(),
            from: Selector::new(flip.from.clone()),
            to: Selector::new(flip.to.clone()),
            at: ago(flip.seconds_ago),
            earlier: flip.earlier_seconds_ago.iter().map(|seconds| ago(*seconds)).collect(),
            user: "somebody".to_owned(),
            manager: flip.manager.clone(),
        };
        let tombstone = |(service, tombstone): (&String, &TombstoneFixture)| Tombstone {
            service: service.clone(),
            selector: Selector::new(tombstone.selector.clone()),
            at: ago(tombstone.seconds_ago),
            still_there: false,
        };
        Records {
            flips: self.flipped.iter().map(flip).collect(),
            tombstones: self.deleted.iter().map(tombstone).collect(),
            proofs: self.proofs.iter().map(|fixture| fixture.proofs(view)).collect(),
        }
    }
}

impl ProofFixture {
    fn proofs(&self, view: &ClusterView) -> Proofs {
        let workload = named(&self.target).ok().and_then(|(kind, name)| view.workload(kind, name));
        let now = workload.map(|workload| gates::tested(workload, view));
        let now = now.unwrap_or(Tested { template: String::new(), images: None });
        let tested = match self.tested {
            TestedFixture::Current => now,
            TestedFixture::AnotherTemplate => Tested { template: "0".repeat(64), ..now },
            TestedFixture::OtherImages => Tested { images: Some("0".repeat(64)), ..now },
            TestedFixture::NoImages => Tested { images: None, ..now },
        };
        let at = Timestamp(NOW.0.saturating_sub(self.seconds_ago));
        let (kind, passed, user) = (self.kind, !self.failed, self.user.clone());
        let proof = Proof { kind, tested, passed, at, user, evidence: String::new() };
        Proofs { gate: self.gate.clone(), target: self.target.clone(), proofs: vec![proof] }
    }
}

/// The kind and the name in `deployment/app-blue`.
fn named(object: &str) -> anyhow::Result<(WorkloadKind, &str)> {
    let (kind, name) = object.split_once('/').with_context(|| format!("`{object}` is not like deployment/app-blue"))?;
    let kind = WorkloadKind::of_singular(kind);
    Ok((kind.with_context(|| format!("`{object}` names no kind of workload"))?, name))
}
