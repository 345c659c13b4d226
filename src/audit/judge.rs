//! All checks on one namespace.

use super::accepted::Accepted;
use super::extras::Extras;
use super::facts::Facts;
pub use super::facts::Options;
use super::finding::{Finding, State};
use super::snapshot::Snapshot;
use super::{budgets, colours, flips, guarding, serving, state};
use crate::model::Policy;

/// The findings about a namespace, ordered by object, the worst first. Nothing is said of what could not be read.
#[must_use]
pub fn judge(snapshot: &Snapshot, extras: &Extras, policy: &Policy, options: Options) -> Vec<Finding> {
    if !snapshot.failures().is_empty() {
        return Vec::new();
    }
    let facts = Facts::of(snapshot, extras, policy, options);
    let families = [
        serving::findings(&facts),
        flips::findings(&facts),
        colours::findings(&facts),
        budgets::findings(&facts),
        state::findings(&facts),
        guarding::findings(&facts),
    ];
    let mut all: Vec<Finding> = families.into_iter().flatten().collect();
    all.sort_by(|a, b| {
        (&a.kind, &a.name, b.severity, a.code, &a.colour).cmp(&(&b.kind, &b.name, a.severity, b.code, &b.colour))
    });
    all.dedup_by(|a, b| a.id == b.id);
    for finding in &mut all {
        let service = snapshot.view.services.iter().find(|service| service.meta.name == finding.name);
        let accepted = service.filter(|_| finding.kind == "Service").map(Accepted::of).unwrap_or_default();
        if let Some(reason) = accepted.reason(finding.code) {
            (finding.state, finding.accepted) = (State::Accepted, Some(reason.to_owned()));
        }
    }
    all
}
