//! The rules: they turn a change and a view of the cluster into a verdict.
//!
//! [`decide`] is total and pure: no I/O, no clock, no log, no panic. Failed reads arrive in the view as data.
//!
//! - [`needs`](mod@needs): the reads that a change still needs; [`filter`]: the writes that a rule can apply to;
//!   [`conditions`]: the same for the API server
//! - [`state`]: facts about a namespace, independent of any change
//! - `flips`: changes of a Service; `live`: changes of a workload, and deletions of a Service
//! - [`gates`]: what has to be proved before a flip, and who may prove it
//! - `overrides`: the permission for an override, and the changes that it allows
//! - `moved`: facts for the audit log and the history
//! - [`reason`]: the table of rules; [`verdict`]: findings and their effects; `wording`: words that several rules share

pub mod conditions;
pub mod filter;
#[cfg(test)]
mod filter_properties;
mod flips;
pub mod gates;
mod live;
mod moved;
pub mod needs;
mod overrides;
pub mod reason;
pub mod state;
pub mod verdict;
mod wording;

pub use moved::Moved;
pub use needs::needs;
pub use reason::Reason;
pub use verdict::{Effect, Finding, Outcome, Verdict};
pub use wording::Remedy;
pub(crate) use wording::{IN_DRY_RUN, in_words};

use crate::model::{Change, ClusterView, Policy, Service, Timestamp, Write};

/// Judges a write of a Job that is a test for a gate.
fn of_job(change: &Change, view: &ClusterView, policy: &Policy, mut verdict: Verdict) -> Verdict {
    for note in &policy.notes {
        verdict.add(Finding::about_policies(note), change, policy);
    }
    let summary = match change.write {
        Write::JobCreate { .. } => "create",
        Write::JobDelete { .. } => "delete",
        _ => "change",
    };
    summary.clone_into(&mut verdict.summary);
    let (findings, proof) = gates::permitted::of_job(change, view, policy);
    for finding in findings {
        verdict.add(finding, change, policy);
    }
    verdict.proofs = proof.into_iter().collect();
    verdict
}

/// Whether a change goes on although the cluster cannot be read.
fn warns_at_most(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> bool {
    let is_gated = |new: &Service| !policy.gates.is_empty() && flips::recreation_flips(new, view, policy, now);
    let may_be_denied = matches!(&change.write, Write::ServiceCreate { new } if is_gated(new));
    filter::is_advisory(change, &policy.colours) && !may_be_denied
}

/// The Service that a change moves forward to another colour.
fn flipped<'a>(
    change: &'a Change,
    act: &str,
    view: &ClusterView,
    policy: &Policy,
    now: Timestamp,
) -> Option<&'a Service> {
    match &change.write {
        Write::ServiceUpdate { new, .. } if act == "flip" => Some(new),
        Write::ServiceCreate { new } if flips::recreation_flips(new, view, policy, now) => Some(new),
        _ => None,
    }
}

/// Judges one change.
#[must_use]
pub fn decide(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> Verdict {
    if !filter::is_relevant(&change.write, &policy.colours) {
        return Verdict::not_judged();
    }
    let Some(mut verdict) = Verdict::about(change) else { return Verdict::not_judged() };
    verdict.max_override = policy.max_override;
    verdict.judged_by(change, policy, now);
    let colours = &policy.colours;
    if let Some(finding) = Finding::unreadable(view) {
        // Permission for an override set by this change cannot be checked, so only a stored override applies.
        if !overrides::is_set(change, colours) {
            verdict.active_override = overrides::active(change, view, policy, now);
        }
        let finding = if warns_at_most(change, view, policy, now) { finding.at_most_warn() } else { finding };
        verdict.add(finding, change, policy);
        return verdict;
    }
    if let Write::JobCreate { .. } | Write::JobUpdate { .. } | Write::JobDelete { .. } = change.write {
        return of_job(change, view, policy, verdict);
    }
    if let Some(service) = overrides::place(change, view, colours) {
        verdict.override_on = service;
    }
    for note in &policy.notes {
        verdict.add(Finding::about_policies(note), change, policy);
    }
    match overrides::not_permitted(change, view, policy, now) {
        Some(finding) => verdict.add(finding, change, policy),
        None => verdict.active_override = overrides::active(change, view, policy, now),
    }
    let (summary, findings) = match &change.write {
        Write::ServiceUpdate { old, new } => flips::judge(old, new, view, change, policy, now),
        Write::ServiceCreate { new } => {
            let mut findings = flips::settings(None, new);
            findings.extend(flips::key_unknown(None, new, colours));
            findings.extend(flips::sleep(None, new, view, colours));
            findings.extend(flips::recreated(new, view, change, policy, now));
            ("create".to_owned(), findings)
        }
        write if !filter::takes_away(write, colours) => (String::new(), Vec::new()),
        _ => live::judge(change, view, policy, now),
    };
    verdict.act = moved::act(change, &summary);
    // An update that is no flip moves nothing.
    if !summary.is_empty() {
        verdict.moved = moved::moved(change, view, colours);
    }
    if !policy.gates.is_empty()
        && let Some(new) = flipped(change, verdict.act, view, policy, now)
    {
        verdict.gates = gates::facts(new, change, view, policy, now);
    }
    verdict.summary = summary;
    if let Write::WorkloadUpdate { old, new } = &change.write {
        let (findings, proofs) = gates::permitted::of_statements(old, new, change, view, policy, now);
        for finding in findings {
            verdict.add(finding, change, policy);
        }
        verdict.proofs = proofs;
    }
    for finding in findings {
        verdict.add(finding, change, policy);
    }
    verdict
}
