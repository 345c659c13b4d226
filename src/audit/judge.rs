//! All checks on one namespace.

use std::collections::BTreeSet;

use super::extras::Extras;
use super::facts::Facts;
pub use super::facts::Options;
use super::finding::{Finding, State};
use super::snapshot::Snapshot;
use super::{budgets, colours, flips, guarding, serving, state};
use crate::model::{Policy, Service, annotation};

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
        if let Some(reason) = service.filter(|_| finding.kind == "Service").and_then(|one| accepted(one, finding.code))
        {
            (finding.state, finding.accepted) = (State::Accepted, Some(reason));
        }
    }
    all
}

/// Why a Service accepts the findings of a check: `flipguard.dev/accept: "no-pdb: single node; one-node: the same"`.
fn accepted(service: &Service, code: &str) -> Option<String> {
    let value = service.meta.annotation(annotation::ACCEPT)?;
    value.split(';').find_map(|one| {
        let (accepted, reason) = one.split_once(':')?;
        let reason = reason.trim();
        (accepted.trim() == code && !reason.is_empty()).then(|| reason.to_owned())
    })
}

/// Marks what an earlier run had found, and returns the ids that are fixed.
pub fn against(findings: &mut [Finding], earlier: &BTreeSet<String>) -> Vec<String> {
    for finding in findings.iter_mut().filter(|finding| finding.state == State::New && earlier.contains(&finding.id)) {
        finding.state = State::Same;
    }
    earlier.iter().filter(|id| !findings.iter().any(|finding| finding.id == **id)).cloned().collect()
}
