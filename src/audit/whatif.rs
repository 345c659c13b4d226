//! Imagined changes of a namespace, judged by [`rules::decide`] as real ones are.
//!
//! For a quiet namespace, the answer is that of the webhook to the same change. Nobody in particular asks: an exemption
//! counts for its own subjects only, so here it lifts nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Change, ClusterView, ColourScheme, Policy, Selector, Service, Timestamp, User, Workload, Write};
use crate::rules::state::app::App;
use crate::rules::state::backends::Backends;
use crate::rules::state::roles::traffic_services;
use crate::rules::state::traffic::TrafficService;
use crate::rules::{self, Effect, Outcome, Verdict};

/// An imagined change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The traffic Service that it is about.
    pub service: String,
    /// What it does.
    pub act: Act,
    /// The change itself.
    pub change: Change,
}

/// What an imagined change does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// The Service flips to this colour.
    Flip(String),
    /// This live workload is deleted, as kubectl takes it: `deployment/app-blue`.
    Delete(String),
    /// This live workload is scaled to a number of Pods, below the floor.
    Scale(String, u32),
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.act {
            Act::Flip(colour) => write!(f, "flip {} to {colour}", self.service),
            Act::Delete(workload) => write!(f, "delete {workload}, live behind {}", self.service),
            Act::Scale(workload, to) => write!(f, "scale {workload} to {to}, live behind {}", self.service),
        }
    }
}

/// All imagined changes of a namespace, by Service.
#[must_use]
pub fn questions(view: &ClusterView, policy: &Policy) -> Vec<Question> {
    let mut services: Vec<&Service> = traffic_services(view, &policy.colours).collect();
    services.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
    services
        .into_iter()
        .flat_map(|service| {
            let mut all = flips(service, view, &policy.colours);
            all.extend(losses(service, view, policy));
            all
        })
        .collect()
}

/// The flips of a traffic Service to each of its other colours.
#[must_use]
pub fn flips(service: &Service, view: &ClusterView, colours: &ColourScheme) -> Vec<Question> {
    let selectors = other_colours(service, view, colours).into_keys();
    selectors
        .map(|selector| {
            let colour = colours.colour_of(&selector);
            let mut new = service.clone();
            new.selector = selector;
            let write = Write::ServiceUpdate { old: Box::new(service.clone()), new: Box::new(new) };
            question(service, Act::Flip(colour), write)
        })
        .collect()
}

/// The other colours of a Service: the selector of each, with its workloads.
#[must_use]
pub fn other_colours<'v>(
    service: &Service,
    view: &'v ClusterView,
    colours: &ColourScheme,
) -> BTreeMap<Selector, Vec<&'v Workload>> {
    let app = App::of(service.routed(), colours);
    let mut all: BTreeMap<Selector, Vec<&Workload>> = BTreeMap::new();
    for sibling in app.siblings(view) {
        let pinned = |key: &str| app.pins().iter().any(|pin| pin.key == key);
        let pair = |(key, value): (&str, &str)| {
            let own = sibling.template.labels.get(key).filter(|_| pinned(key));
            (key.to_owned(), own.cloned().unwrap_or_else(|| value.to_owned()))
        };
        let selector = Selector::new(service.routed().pairs().map(pair).collect());
        all.entry(selector).or_default().push(sibling);
    }
    all
}

/// Changes that take the live colour away: each of its workloads is deleted, or scaled below the floor.
fn losses(service: &Service, view: &ClusterView, policy: &Policy) -> Vec<Question> {
    let floor = u32::try_from(TrafficService::of(service, view, policy).floor).unwrap_or(u32::MAX);
    let live = Backends::of(service.routed(), view).workloads.into_iter().filter(|workload| workload.desired > 0);
    live.flat_map(|workload| {
        let object = format!("{}/{}", workload.kind.singular(), workload.meta.name);
        let delete = Write::WorkloadDelete { old: Box::new(workload.clone()) };
        let mut all = vec![question(service, Act::Delete(object.clone()), delete)];
        if workload.is_scalable() {
            let to = floor.min(workload.desired).saturating_sub(1);
            all.push(question(service, Act::Scale(object, to), scale(workload, to)));
        }
        all
    })
    .collect()
}

fn scale(workload: &Workload, to: u32) -> Write {
    Write::Scale {
        kind: workload.kind,
        namespace: workload.meta.namespace.clone(),
        name: workload.meta.name.clone(),
        uid: workload.meta.uid.clone(),
        resource_version: workload.meta.resource_version.clone(),
        from: workload.desired,
        to,
    }
}

fn question(service: &Service, act: Act, write: Write) -> Question {
    let change = Change { write, dry_run: false, user: User::default(), manager: String::new() };
    Question { service: service.meta.name.clone(), act, change }
}

/// The answer to an imagined change.
#[must_use]
pub fn answer(question: &Question, view: &ClusterView, policy: &Policy, now: Timestamp) -> Answer {
    Answer::of(&rules::decide(&question.change, view, policy, now))
}

/// How a change would be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// It passes.
    Passes,
    /// It is denied now, and may pass later.
    NotYet,
    /// It is denied.
    Denied,
    /// It cannot be judged, since a read failed.
    Unknown,
}

impl Decision {
    /// The word in the JSON output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::NotYet => "not-yet",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        }
    }
}

/// The answer to a change, with the codes of the rules that speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it is answered.
    pub decision: Decision,
    /// The codes of what denies it.
    pub denies: Vec<&'static str>,
    /// The codes of what warns.
    pub warns: Vec<&'static str>,
    /// Why it passes although a rule denies it, such as `the override`.
    pub lifted_by: Option<&'static str>,
    /// Whether it is a rollback.
    pub is_rollback: bool,
    /// All that denies it in words, or else the first that warns; empty where nothing speaks.
    pub because: String,
    /// The policies without which it would not be denied.
    pub policies: Vec<String>,
}

impl Answer {
    /// The answer in a verdict.
    #[must_use]
    pub fn of(verdict: &Verdict) -> Self {
        let codes = |wanted: fn(Effect) -> bool| {
            let mut codes: Vec<&'static str> = verdict
                .findings
                .iter()
                .filter(|(_, effect)| wanted(*effect))
                .map(|(finding, _)| finding.reason.code())
                .collect();
            codes.dedup();
            codes
        };
        let decision = match verdict.outcome() {
            Outcome::Allowed => Decision::Passes,
            Outcome::CannotJudge => Decision::Unknown,
            Outcome::TryAgain => Decision::NotYet,
            Outcome::Denied if verdict.denying().all(|finding| finding.reason.row().retryable) => Decision::NotYet,
            Outcome::Denied => Decision::Denied,
        };
        let speaks = |effect: Effect| effect != Effect::Denies && effect != Effect::Logs;
        let mut because: Vec<&str> = verdict.denying().map(|finding| finding.message.as_str()).collect();
        if because.is_empty() {
            let mut warning = verdict.findings.iter().filter(|(_, effect)| speaks(*effect));
            because.extend(warning.next().map(|(finding, _)| finding.message.as_str()));
        }
        let mut policies: Vec<String> = verdict.denying().filter_map(|finding| finding.policy.clone()).collect();
        policies.sort();
        policies.dedup();
        Self {
            decision,
            denies: codes(|effect| effect == Effect::Denies),
            warns: codes(|effect| effect != Effect::Denies && effect != Effect::Logs),
            lifted_by: verdict.findings.iter().find_map(|(_, effect)| lifted_by(*effect)),
            is_rollback: verdict.summary.starts_with("rollback"),
            because: because.join("; "),
            policies,
        }
    }

    /// Whether the change passes.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.decision == Decision::Passes
    }
}

/// What lets a change pass although a rule denies it.
fn lifted_by(effect: Effect) -> Option<&'static str> {
    match effect {
        Effect::WarnsInTrial => Some("enforcement Warn"),
        Effect::WarnsOverridden => Some("the override"),
        Effect::WarnsExempted => Some("an exemption"),
        Effect::WarnsInDryRun => Some("the dry run"),
        Effect::Denies | Effect::Warns | Effect::Logs => None,
    }
}

/// `passes`, `passes with a warning: image-untagged`, or `denied: target-not-ready (policy production)`.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { decision, denies, warns, lifted_by, is_rollback, policies, .. } = self;
        let rollback = if *is_rollback { ", as a rollback" } else { "" };
        match decision {
            Decision::Passes if warns.is_empty() => write!(f, "passes{rollback}")?,
            Decision::Passes => {
                let by = lifted_by.map(|by| format!(" by {by}")).unwrap_or_default();
                write!(f, "passes{rollback}{by}, with a warning: {}", warns.join(", "))?;
            }
            Decision::NotYet => write!(f, "not yet: {}", denies.join(", "))?,
            Decision::Denied => write!(f, "denied: {}", denies.join(", "))?,
            Decision::Unknown => f.write_str("cannot be judged")?,
        }
        if !policies.is_empty() && !self.passes() {
            let word = if policies.len() == 1 { "policy" } else { "policies" };
            write!(f, " ({word} {})", policies.join(", "))?;
        }
        Ok(())
    }
}
