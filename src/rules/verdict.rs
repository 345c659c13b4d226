//! What came of a judgement.

use super::{Patience, Reason};
use crate::model::{Action, Change, ClusterView, Enforcement, Override, Policy, Tool};

/// The judgement of one change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether any rule looked at the change.
    pub judged: bool,
    /// What the change is about: `service shop/app`.
    pub subject: String,
    /// What the change does, in the rules' words: `flip version 1.0 -> 2.0`.
    pub act: String,
    /// The tool that asked, for a hint on how it goes on.
    pub tool: Option<Tool>,
    /// The override that lasts.
    pub lifting: Option<Override>,
    /// What the rules found, each with what it does.
    pub findings: Vec<(Finding, Effect)>,
}

/// One rule's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub reason: Reason,
    /// What is wrong, with its numbers, in one line without a final period.
    pub message: String,
    /// What to do next, with the command.
    pub next_step: String,
    /// More, for who wants to know: one line each.
    pub details: Vec<String>,
    /// Why the finding does not stand in the way this time.
    pub way_out: Option<String>,
    /// What it does unless a policy or the way of asking says otherwise.
    pub action: Action,
}

impl Finding {
    pub(crate) fn new(reason: Reason, message: String, next_step: String) -> Self {
        Self { reason, message, next_step, details: Vec::new(), way_out: None, action: reason.row().action }
    }

    /// The finding of a change that has to wait for another one.
    #[must_use]
    pub(crate) fn of_concurrency(message: String) -> Self {
        Self::new(
            Reason::ConcurrentChange,
            message,
            "try again in a second, as most clients do by themselves".to_owned(),
        )
    }

    /// The finding for what could not be read: unknown is never "not applicable".
    pub(crate) fn unreadable(view: &ClusterView) -> Option<Self> {
        let first = view.unread.first()?;
        let details = view.unread.iter().skip(1).map(|unread| format!("{}: {}", unread.what, unread.why)).collect();
        let message = format!("could not read {}: {}", first.what, first.why);
        Some(Self::new(Reason::ClusterUnreadable, message, first.next_step.clone()).with_details(details))
    }

    pub(crate) fn with_details(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }

    /// The same, in a case where the rule refuses.
    pub(crate) fn refusing(self) -> Self {
        Self { action: Action::Deny, ..self }
    }

    /// The same, in a case where the rule only warns.
    pub(crate) fn only_a_warning(self) -> Self {
        Self { action: self.action.min(Action::Warn), ..self }
    }
}

/// What a finding does to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Refuses it.
    Denies,
    /// Warns.
    Warns,
    /// Would refuse it, were it not a dry run and were the cluster to stay as it is.
    WarnsInDryRun,
    /// Would refuse it, were there no override.
    WarnsOverridden,
    /// Would refuse it, were enforcement not `Warn`.
    WarnsInTrial,
    /// Is logged only.
    Logs,
}

/// The answer as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Allowed,
    /// Refused.
    Denied,
    /// It depends on another change that is on its way.
    TryAgain,
    /// Nothing is known to be wrong, but what would show it could not be read.
    CannotJudge,
}

impl Outcome {
    /// The word for logs and metrics.
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
    /// The word for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Denies => "deny",
            Self::Warns => "warn",
            Self::WarnsInDryRun => "dry-run-warn",
            Self::WarnsOverridden => "overridden",
            Self::WarnsInTrial => "would-deny",
            Self::Logs => "audit",
        }
    }
}

impl Verdict {
    /// No rule speaks on the change.
    #[must_use]
    pub fn not_judged() -> Self {
        Self::default()
    }

    /// Nobody could judge the change; the API server tries again.
    #[must_use]
    pub fn cannot_judge() -> Self {
        let message = "flipguard could not finish its work on this change".to_owned();
        let next_step = "try again; if it stays, the cluster admin finds more in flipguard's log".to_owned();
        let finding = Finding::new(Reason::ClusterUnreadable, message, next_step);
        Self { judged: true, findings: vec![(finding, Effect::Denies)], ..Self::default() }
    }

    pub(crate) fn about(kind: &str, namespace: &str, name: &str, change: &Change) -> Self {
        Self { judged: true, subject: format!("{kind} {namespace}/{name}"), tool: change.tool, ..Self::default() }
    }

    /// Adds what a rule found, with the effect that the policy and the way of asking give it.
    pub(crate) fn find(&mut self, finding: Finding, change: &Change, policy: &Policy) {
        let effect = match finding.action {
            Action::Audit => Effect::Logs,
            Action::Warn => Effect::Warns,
            Action::Deny if finding.way_out.is_some() => Effect::Warns,
            Action::Deny if self.lifting.is_some() && finding.reason != Reason::OverrideNotPermitted => {
                Effect::WarnsOverridden
            }
            Action::Deny if policy.enforcement == Enforcement::Warn => Effect::WarnsInTrial,
            Action::Deny if change.dry_run && finding.reason.row().patience == Patience::NotYet => {
                Effect::WarnsInDryRun
            }
            Action::Deny => Effect::Denies,
        };
        self.findings.push((finding, effect));
    }

    /// The answer as a whole.
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

    /// Whether it is allowed by an override alone.
    #[must_use]
    pub fn is_overridden(&self) -> bool {
        let lifted = self.findings.iter().any(|(_, effect)| *effect == Effect::WarnsOverridden);
        lifted && self.outcome() == Outcome::Allowed
    }

    /// The findings that refuse the change.
    pub fn denying(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|(_, effect)| *effect == Effect::Denies).map(|(finding, _)| finding)
    }
}
