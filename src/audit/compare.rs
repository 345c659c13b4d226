//! What another set of policies would change: each imagined change, judged by both.

use std::fmt;

use super::snapshot::Snapshot;
use super::whatif::{Answer, Question, answer, questions};
use crate::model::Policy;
use crate::rules::state::roles::traffic_services;

/// What differs in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The namespace.
    pub namespace: String,
    /// The Service.
    pub service: String,
    /// What differs.
    pub what: What,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The Service is guarded by one set of policies only.
    Guarded {
        /// Whether it is guarded by the new one.
        now: bool,
    },
    /// An imagined change is answered in another way.
    Answer {
        /// The change, in words.
        change: String,
        /// The answer by the present policies.
        before: Box<Answer>,
        /// The answer by the proposed policies.
        after: Box<Answer>,
    },
}

impl Difference {
    /// Whether a change that passes by the present policies would be denied.
    #[must_use]
    pub fn denies_more(&self) -> bool {
        matches!(&self.what, What::Answer { before, after, .. } if before.passes() && !after.passes())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, service, what } = self;
        match what {
            What::Guarded { now: true } => write!(f, "{namespace}: Service {service} becomes guarded"),
            What::Guarded { now: false } => write!(f, "{namespace}: Service {service} is no longer guarded"),
            What::Answer { change, before, after } => write!(f, "{namespace}: {change}: {before} -> {after}"),
        }
    }
}

/// What differs between the settings `before` and `after`.
#[must_use]
pub fn compare(snapshot: &Snapshot, before: &Policy, after: &Policy) -> Vec<Difference> {
    let Snapshot { namespace, view, at, .. } = snapshot;
    let traffic = |policy: &Policy| -> Vec<String> {
        traffic_services(view, &policy.colours).map(|service| service.meta.name.clone()).collect()
    };
    let (was, is) = (traffic(before), traffic(after));
    let of = |service: &str, what: What| Difference { namespace: namespace.clone(), service: service.to_owned(), what };
    let lost = was.iter().filter(|name| !is.contains(name)).map(|name| of(name, What::Guarded { now: false }));
    let gained = is.iter().filter(|name| !was.contains(name)).map(|name| of(name, What::Guarded { now: true }));
    let mut all: Vec<Difference> = lost.chain(gained).collect();
    let mut asked: Vec<Question> = questions(view, before);
    let more: Vec<Question> =
        questions(view, after).into_iter().filter(|new| !asked.iter().any(|old| is_same(old, new))).collect();
    asked.extend(more);
    for question in asked {
        let (before, after) = (answer(&question, view, before, *at), answer(&question, view, after, *at));
        let differs = (before.decision, &before.denies, &before.warns) != (after.decision, &after.denies, &after.warns);
        if differs {
            let change = question.to_string();
            all.push(of(&question.service, What::Answer { change, before: Box::new(before), after: Box::new(after) }));
        }
    }
    all.sort_by(|a, b| a.service.cmp(&b.service));
    all
}

fn is_same(one: &Question, other: &Question) -> bool {
    (&one.service, &one.act) == (&other.service, &other.act)
}
