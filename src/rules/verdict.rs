//! The verdict on a change: the findings of the rules, and the effect of each.

use std::time::Duration;

use super::Reason;
use super::gates::NewProof;
use super::moved::Moved;
use super::wording::{RETRY_OR_DOCTOR, Remedy};
use crate::model::{
    Action, Change, ClusterView, Enforcement, Exemption, Override, Policy, Timestamp, Tool, Write, setting,
};

/// The verdict on one change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether any rule applies to the change.
    pub judged: bool,
    /// The object: `service shop/app`.
    pub subject: String,
    /// The object on which an override would count, as kubectl takes it: `service/app`.
    pub override_on: String,
    /// `metadata.namespace` of the object.
    pub namespace: String,
    /// The change in a few words: `flip version 1.0 -> 2.0`; empty where none fit.
    pub summary: String,
    /// The change in one word: `flip`, `rollback`, `create`, `delete`, `scale` or `change`; empty before it is judged.
    pub act: &'static str,
    /// What a change of a Service moves.
    pub moved: Option<Moved>,
    /// The gates of a flip, each with its proof, in words.
    pub gates: Vec<String>,
    /// The id of the intent that the change has in the ledger.
    pub intent: Option<String>,
    /// The last entry of the namespace's history, as its number and the first digits of its hash.
    pub history: Option<String>,
    /// The deployment tool that sends the request; it selects the hint in the message.
    pub tool: Option<Tool>,
    /// The override that applies now.
    pub active_override: Option<Override>,
    /// How far ahead an override may end.
    pub max_override: Duration,
    /// The exemptions that count for the user now.
    pub(crate) exemptions: Vec<Exemption>,
    /// The policies that select the namespace, each as `NAME@GENERATION`.
    pub policies: Vec<String>,
    /// The findings, each with its effect.
    pub findings: Vec<(Finding, Effect)>,
    /// The proofs of gates that the change makes. They are kept once the change is allowed.
    pub proofs: Vec<NewProof>,
}

/// The result of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule, which gives the code and the default action.
    pub reason: Reason,
    /// The cause, with its numbers, in one line without a final period.
    pub message: String,
    /// The next steps for the user, the safest first.
    pub remedies: Vec<Remedy>,
    /// Further facts, one line each; shown below the message.
    pub details: Vec<String>,
    /// The reason why the change is allowed despite the finding.
    pub allowed_because: Option<String>,
    /// The limit on the action in this case, if there is one.
    pub bound: Option<Bound>,
    /// The traffic Service that the finding is about, where that is not the changed object.
    pub service: Option<String>,
    /// The policy without which the change would not be denied.
    pub policy: Option<String>,
    /// The exemption that lifts the rule here, as `POLICY/NAME`.
    pub exemption: Option<String>,
}

/// A limit on the action that the policy sets for a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The finding warns at most.
    AtMostWarn,
    /// The finding denies, whatever the policy sets.
    AtLeastDeny,
}

impl Finding {
    pub(crate) fn new(reason: Reason, message: String, remedy: Remedy) -> Self {
        let (details, allowed_because, bound) = (Vec::new(), None, None);
        let (service, policy, exemption) = (None, None, None);
        let remedies = vec![remedy];
        Self { reason, message, remedies, details, allowed_because, bound, service, policy, exemption }
    }

    /// The finding about a change that conflicts with a pending one.
    #[must_use]
    pub(crate) fn of_concurrency(message: String) -> Self {
        Self::new(Reason::ConcurrentChange, message, Remedy::words("Retry in a second; kubectl does so by itself"))
    }

    /// The finding about a policy that cannot be read.
    pub(crate) fn about_policies(note: &str) -> Self {
        let remedy = Remedy::words("Run kubectl get bgpolicy -o wide");
        Self::new(Reason::PolicyUnreadable, note.to_owned(), remedy)
    }

    /// The finding about failed reads. An unknown state never counts as "not applicable".
    pub(crate) fn unreadable(view: &ClusterView) -> Option<Self> {
        let first = view.failures.first()?;
        let details = view.failures.iter().skip(1).map(|failure| format!("{}: {}", failure.what, failure.why));
        let message = format!("cannot read {}: {}", first.what, first.why);
        let remedy = Remedy::words(first.remedy.as_deref().unwrap_or(RETRY_OR_DOCTOR));
        Some(Self::new(Reason::ClusterUnreadable, message, remedy).with_details(details.collect()))
    }

    pub(crate) fn with_details(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    /// Adds another next step.
    pub(crate) fn or(mut self, remedy: Option<Remedy>) -> Self {
        self.remedies.extend(remedy);
        self
    }

    /// Names the traffic Service that the finding is about.
    pub(crate) fn about(self, service: &str) -> Self {
        Self { service: Some(service.to_owned()), ..self }
    }

    /// Names the policy without which the change would not be denied.
    pub(crate) fn said_by(mut self, policy: Option<&str>) -> Self {
        self.policy = policy.map(str::to_owned).or(self.policy);
        self
    }

    /// Makes the finding deny, whatever the policy sets.
    pub(super) fn at_least_deny(self) -> Self {
        Self { bound: Some(Bound::AtLeastDeny), ..self }
    }

    /// Makes the finding warn at most.
    pub(crate) fn at_most_warn(self) -> Self {
        Self { bound: Some(Bound::AtMostWarn), ..self }
    }

    /// The action of this finding: that of the policy, or else of the table, within the bound of the case.
    fn action(&self, policy: &Policy) -> Action {
        let of_policy = policy.actions.get(self.reason.code()).copied().filter(|_| !self.reason.is_fixed());
        let action = of_policy.unwrap_or(self.reason.row().action);
        match self.bound {
            None => action,
            Some(Bound::AtMostWarn) => action.min(Action::Warn),
            Some(Bound::AtLeastDeny) => Action::Deny,
        }
    }

    /// The policy that makes a change denied which the defaults would let pass, if there is one.
    fn denied_by<'a>(&self, change: &Change, policy: &'a Policy) -> Option<&'a str> {
        let row = self.reason.row();
        let raised = row.action != Action::Deny && self.bound.is_none();
        let rule = raised.then(|| policy.source(&setting::rule(row.code))).flatten();
        let waits = change.dry_run && row.retryable;
        let dry_run = waits.then(|| policy.source(setting::DRY_RUN)).flatten();
        rule.or(dry_run).or_else(|| policy.source(setting::ENFORCEMENT).filter(|_| policy.enforces_beyond_flag))
    }
}

/// The effect of a finding on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The request is denied.
    Denies,
    /// The request is allowed with a warning.
    Warns,
    /// The request would be denied, but it is a dry run, and the cause resolves by waiting.
    WarnsInDryRun,
    /// The request would be denied, but an override applies.
    WarnsOverridden,
    /// The request would be denied, but an exemption of a policy lifts the rule.
    WarnsExempted,
    /// The request would be denied, but enforcement is `Warn`.
    WarnsInTrial,
    /// The finding is only logged.
    Logs,
}

/// The answer to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The change is allowed.
    Allowed,
    /// The change is denied.
    Denied,
    /// The change conflicts with a pending one. The answer is 429, and clients retry.
    TryAgain,
    /// A read failed. The answer is 503, and clients retry.
    CannotJudge,
}

impl Outcome {
    /// The word in logs and metrics: `denied`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::TryAgain => "try-again",
            Self::CannotJudge => "cannot-judge",
        }
    }
}

impl Effect {
    /// The word in logs and metrics: `would-deny`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Denies => "deny",
            Self::Warns => "warn",
            Self::WarnsInDryRun => "dry-run-warn",
            Self::WarnsOverridden => "overridden",
            Self::WarnsExempted => "exempted",
            Self::WarnsInTrial => "would-deny",
            Self::Logs => "audit",
        }
    }
}

impl Verdict {
    /// The verdict on a change that no rule applies to.
    #[must_use]
    pub fn not_judged() -> Self {
        Self::default()
    }

    /// The verdict where judging broke off. The client of the API server retries.
    #[must_use]
    pub fn cannot_judge() -> Self {
        let message = "flipguard could not finish its work on this change".to_owned();
        let finding = Finding::new(Reason::ClusterUnreadable, message, Remedy::words(RETRY_OR_DOCTOR));
        Self { judged: true, findings: vec![(finding, Effect::Denies)], ..Self::default() }
    }

    /// A verdict without findings; `None` where no rule can apply to the object.
    pub(crate) fn about(change: &Change) -> Option<Self> {
        let subject = change.write.subject()?;
        let kind = subject.kind.singular();
        Some(Self {
            judged: true,
            subject: format!("{kind} {}/{}", subject.namespace, subject.name),
            override_on: format!("{kind}/{}", subject.name),
            namespace: subject.namespace.to_owned(),
            tool: change.tool(),
            ..Self::default()
        })
    }

    /// Adds a finding, and decides its effect from the policy and the request. Nothing else decides the action of a
    /// rule.
    pub(crate) fn add(&mut self, mut finding: Finding, change: &Change, policy: &Policy) {
        let effect = match finding.action(policy) {
            Action::Off => return,
            Action::Audit => Effect::Logs,
            Action::Warn => Effect::Warns,
            Action::Deny if finding.allowed_because.is_some() => Effect::Warns,
            Action::Deny if self.active_override.is_some() && !finding.reason.is_about_rights() => {
                Effect::WarnsOverridden
            }
            Action::Deny if policy.enforcement == Enforcement::Warn => Effect::WarnsInTrial,
            Action::Deny => match self.exempts(&finding, change) {
                Some(Exemption { name, policy: by, reason, .. }) => {
                    finding.allowed_because = Some(format!("exemption {name} of policy {by} lifts it ({reason})"));
                    finding.exemption = Some(format!("{by}/{name}"));
                    Effect::WarnsExempted
                }
                None if waits_in_dry_run(&finding, change, policy) => Effect::WarnsInDryRun,
                None => Effect::Denies,
            },
        };
        if effect == Effect::Denies {
            let by_action = finding.denied_by(change, policy).map(str::to_owned);
            finding.policy = finding.policy.or(by_action);
        }
        self.findings.push((finding, effect));
    }

    /// Takes the policies by which a change is judged, and the exemptions that count for its user.
    pub(crate) fn judged_by(&mut self, change: &Change, policy: &Policy, now: Timestamp) {
        self.policies.clone_from(&policy.versions);
        let counting = policy.exemptions.iter().filter(|exemption| exemption.counts_for(&change.user, now));
        self.exemptions = counting.cloned().collect();
    }

    /// The exemption that lifts a finding, if there is one. The traffic Service is the one that the finding names, or else
    /// the changed Service.
    fn exempts(&self, finding: &Finding, change: &Change) -> Option<&Exemption> {
        let changed = match &change.write {
            Write::ServiceUpdate { new, .. } | Write::ServiceCreate { new } => Some(new.meta.name.as_str()),
            Write::ServiceDelete { old } => Some(old.meta.name.as_str()),
            _ => None,
        };
        let service = finding.service.as_deref().or(changed)?;
        let mut lifting = self.exemptions.iter().filter(|_| !finding.reason.is_fixed());
        lifting.find(|exemption| exemption.lifts(finding.reason.code(), service))
    }

    /// The exemptions that let the change pass, each once, as `POLICY/NAME`.
    #[must_use]
    pub fn exempted(&self) -> Vec<&str> {
        let mut used: Vec<&str> =
            self.findings.iter().filter_map(|(finding, _)| finding.exemption.as_deref()).collect();
        used.sort_unstable();
        used.dedup();
        used
    }

    /// The answer to the request.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.denying().next().is_none() {
            Outcome::Allowed
        } else if self.denying().all(|finding| finding.reason == Reason::ClusterUnreadable) {
            Outcome::CannotJudge
        } else if self.denying().all(|finding| finding.reason == Reason::ConcurrentChange) {
            Outcome::TryAgain
        } else {
            Outcome::Denied
        }
    }

    /// Whether the change is allowed only because of an override.
    #[must_use]
    pub fn is_overridden(&self) -> bool {
        let overridden = self.findings.iter().any(|(_, effect)| *effect == Effect::WarnsOverridden);
        overridden && self.outcome() == Outcome::Allowed
    }

    /// The findings that deny the change.
    pub fn denying(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|(_, effect)| *effect == Effect::Denies).map(|(finding, _)| finding)
    }
}

/// Whether a denial is only a warning, since it is a dry run and the cause resolves by waiting.
fn waits_in_dry_run(finding: &Finding, change: &Change, policy: &Policy) -> bool {
    change.dry_run && finding.reason.row().retryable && policy.dry_run == Enforcement::Warn
}
