//! Scenarios: every combination of the pending intents that can change a verdict, one at a time.
//!
//! "None commits" and "all commit" are not enough. A flip away from green and a flip back to it may both be pending,
//! and only one of them alone is dangerous. The exhaustive model found such a case.

use super::apply::apply;
use super::relevant::relevant;
use super::{Full, Intent};
use crate::model::{Change, ClusterView, Policy, Timestamp, Write};
use crate::rules::{self, Effect, Finding, Outcome, Reason, Verdict};

/// The largest number of scenarios to judge. With more, the request must wait.
pub const MAX_SCENARIOS: usize = 256;

/// Judges a change in every scenario: for each object, either no pending intent commits, or exactly one does. If all
/// verdicts agree, that verdict is final. If they differ, the change must wait for the intents that make the difference.
/// The view is changed meanwhile, and is the same again afterwards.
///
/// A Service that is created again for a colour that is being scaled away also waits, although the finding about it only
/// warns. The other change does not see the new Service, so nobody would be warned. The repeated request is allowed.
#[must_use]
pub fn decide(change: &Change, view: &mut ClusterView, pending: &[Intent], policy: &Policy, now: Timestamp) -> Verdict {
    let mut relevant = relevant(change, view, pending, &policy.colours);
    // An object that has moved on, or that is not in the view, stays as it is in every scenario.
    relevant.retain(|intent| apply(view, intent).map(|before| before.restore(view)).is_some());
    decide_among(change, view, &relevant, policy, now)
}

/// The same, over exactly these intents.
#[must_use]
pub fn decide_among(
    change: &Change,
    view: &mut ClusterView,
    pending: &[&Intent],
    policy: &Policy,
    now: Timestamp,
) -> Verdict {
    let as_read = rules::decide(change, view, policy, now);
    let objects = by_object(pending);
    let scenarios = objects.iter().fold(1_usize, |count, intents| count.saturating_mul(intents.len() + 1));
    if scenarios > MAX_SCENARIOS {
        return wait(as_read, pending, None, change, policy);
    }
    // The change waits for the fewest intents that make a difference.
    let mut search = Search { change, policy, now, as_read: &as_read, happens: Vec::new() };
    let differing = (1..=objects.len()).find_map(|count| search.differing(view, &objects, count));
    let happens = search.happens;
    match differing {
        None => as_read,
        Some(verdict) => {
            let denial = if as_read.outcome() == Outcome::Allowed { &verdict } else { &as_read };
            let finding = denial.denying().next().or_else(|| recreated(denial)).cloned();
            wait(as_read, &happens, finding, change, policy)
        }
    }
}

/// The intents on each object. An object is created after the deletion of the one with its name.
fn by_object<'a>(pending: &[&'a Intent]) -> Vec<Vec<&'a Intent>> {
    let mut objects: Vec<Vec<&Intent>> = Vec::new();
    for intent in pending {
        let is_same = |other: &&mut Vec<&Intent>| {
            other.first().is_some_and(|other| other.object == intent.object && other.uid == intent.uid)
        };
        match objects.iter_mut().find(is_same) {
            Some(intents) => intents.push(intent),
            None => objects.push(vec![intent]),
        }
    }
    objects.sort_by_key(|intents| intents.iter().any(|intent| intent.creates()));
    objects
}

/// The search for a scenario whose verdict differs.
struct Search<'s, 'a> {
    change: &'s Change,
    policy: &'s Policy,
    now: Timestamp,
    as_read: &'s Verdict,
    /// The intents that commit in the current scenario. They stay when a scenario was found.
    happens: Vec<&'a Intent>,
}

impl<'a> Search<'_, 'a> {
    /// The first differing verdict where so many more of these objects change.
    fn differing(&mut self, view: &mut ClusterView, objects: &[Vec<&'a Intent>], count: usize) -> Option<Verdict> {
        if count == 0 {
            let verdict = rules::decide(self.change, view, self.policy, self.now);
            return self.differs(&verdict).then_some(verdict);
        }
        let (intents, rest) = objects.split_first().filter(|_| count <= objects.len())?;
        for intent in intents {
            let Some(before) = apply(view, intent) else { continue };
            self.happens.push(intent);
            let found = self.differing(view, rest, count - 1);
            before.restore(view);
            if found.is_some() {
                return found;
            }
            self.happens.pop();
        }
        self.differing(view, rest, count)
    }

    fn differs(&self, verdict: &Verdict) -> bool {
        let is_allowed = self.as_read.outcome() == Outcome::Allowed;
        (verdict.outcome() == Outcome::Allowed) != is_allowed
            || (is_allowed && recreated(verdict).is_some() && recreated(self.as_read).is_none())
    }
}

/// The finding about a Service that is created again for a colour that is not ready.
fn recreated(verdict: &Verdict) -> Option<&Finding> {
    verdict.findings.iter().map(|(finding, _)| finding).find(|finding| finding.reason == Reason::ServiceRecreated)
}

/// The verdict on a change for which the ledger has no room.
#[must_use]
pub fn full(change: &Change, full: Full, policy: &Policy, now: Timestamp) -> Verdict {
    let of_nothing = rules::decide(change, &ClusterView::default(), policy, now);
    let mut verdict = Verdict { findings: Vec::new(), summary: String::new(), ..of_nothing };
    let own = Intent::of(change, String::new()).map(|own| own.object.to_string()).unwrap_or_default();
    let message = full.words(&own);
    verdict.add(conflict(message, change, policy), change, policy);
    verdict
}

/// The verdict on a change that must wait for pending ones. Warnings about the cluster as it was read are kept.
fn wait(as_read: Verdict, awaited: &[&Intent], would_be: Option<Finding>, change: &Change, policy: &Policy) -> Verdict {
    let mut names: Vec<String> = awaited.iter().take(3).map(ToString::to_string).collect();
    if awaited.len() > names.len() {
        names.push(format!("{} more", awaited.len() - names.len()));
    }
    let who = match awaited {
        [one] if !one.user.is_empty() => format!(" by {}", one.user),
        _ => String::new(),
    };
    let noun = if awaited.len() == 1 { "a change in progress" } else { "changes in progress" };
    let message = format!("conflicts with {noun}: {}{who}", names.join(" and "));
    let details = would_be.map(|finding| format!("Together: {} ({}).", finding.message, finding.reason));
    let finding = conflict(message, change, policy).with_details(details.into_iter().collect());
    let is_warning = |(finding, effect): &&(Finding, Effect)| {
        matches!(effect, Effect::Warns | Effect::Logs) && finding.allowed_because.is_none()
    };
    let findings = as_read.findings.iter().filter(is_warning).cloned().collect();
    let mut verdict = Verdict { findings, ..as_read };
    verdict.add(finding, change, policy);
    verdict
}

/// The finding about a conflict. An advisory change goes on, but a new Service waits: the other change does not see it.
fn conflict(message: String, change: &Change, policy: &Policy) -> Finding {
    let finding = Finding::of_concurrency(message);
    let goes_on = rules::filter::is_advisory(change, &policy.colours);
    let waits = matches!(change.write, Write::ServiceCreate { .. });
    if goes_on && !waits { finding.at_most_warn() } else { finding }
}
