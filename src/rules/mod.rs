//! The rules: a change and what was read in, a verdict out.
//!
//! [`decide`] is total and pure: no I/O, no clock, no log, no panic. What went wrong outside arrives in the view as
//! data.
//!
//! - [`state`]: what is true of a namespace, without any change
//! - `flips`: a Service changes
//! - `live`: a workload changes, or a Service is deleted
//! - `overrides`: who may override, and what that lifts
//! - [`needs`]: what must be read to judge a change; [`filter`]: which writes can matter at all
//! - [`reason`]: the table of rules; [`verdict`]: what came of them

pub mod filter;
#[cfg(test)]
mod filter_properties;
mod flips;
mod live;
pub mod needs;
mod overrides;
pub mod reason;
pub mod state;
pub mod verdict;
mod wording;

pub use needs::Reads;
pub use reason::{Patience, Reason};
pub use verdict::{Effect, Finding, Outcome, Verdict};

use crate::model::{Change, ClusterView, Policy, Timestamp, Write};

/// Judges one change.
#[must_use]
pub fn decide(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> Verdict {
    let (Some((kind, name)), Some(reads)) = (subject(&change.write), needs::needed(change, policy)) else {
        return Verdict::not_judged();
    };
    let mut verdict = Verdict::about(kind, &reads.namespace, name, change);
    let colours = &policy.colours;
    if let Some(finding) = Finding::unreadable(view) {
        let finding = if filter::is_advice(change) { finding.only_a_warning() } else { finding };
        // One that is set just now could not be permitted; one that stands still counts.
        if !overrides::is_set(change, colours) {
            verdict.lifting = overrides::lasting(change, view, colours, now);
        }
        verdict.find(finding, change, policy);
        return verdict;
    }
    match overrides::not_permitted(change, view, colours, now) {
        Some(finding) => verdict.find(finding, change, policy),
        None => verdict.lifting = overrides::lasting(change, view, colours, now),
    }
    match &change.write {
        Write::ServiceUpdate { old, new } => flips::judge(old, new, view, change, policy, &mut verdict),
        Write::ServiceCreate { new } => {
            "create".clone_into(&mut verdict.act);
            if let Some(finding) = flips::recreated(new, view, policy, now) {
                verdict.find(finding, change, policy);
            }
        }
        _ => live::judge(change, view, policy, now, &mut verdict),
    }
    verdict
}

/// What a write is about, as `kubectl` spells it.
fn subject(write: &Write) -> Option<(&'static str, &str)> {
    match write {
        Write::ServiceUpdate { new: service, .. }
        | Write::ServiceCreate { new: service }
        | Write::ServiceDelete { old: service } => Some(("service", &service.meta.name)),
        Write::WorkloadCreate { new: workload }
        | Write::WorkloadUpdate { new: workload, .. }
        | Write::WorkloadDelete { old: workload } => Some((workload.kind.singular(), &workload.meta.name)),
        Write::Scale { kind, name, .. } => Some((kind.singular(), name)),
        Write::Other => None,
    }
}
