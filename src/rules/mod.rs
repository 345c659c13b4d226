//! The rules: a change and what was read in, a verdict out.
//!
//! [`decide`] is total and pure: no I/O, no clock, no log, no panic. What went wrong outside arrives in the view as
//! data. One file holds one family of rules:
//!
//! - `service`: what may not be done to a traffic Service; it calls the others
//! - `flip`: may its routing move to another colour?
//! - `rollback`: does it go back to what served before?
//! - `ports`: do the Pods have the named ports?
//! - `parity`: is the target like what serves now?
//! - [`version`]: what an image's tag says, and whether a label says the same
//! - `live`: may what carries the traffic be taken away? `left`: what a change would leave
//! - `hold`: may the colour before go? `recreated`: Services that are made again
//! - `overrides`: who may override, and what that lifts
//! - [`labels`]: which labels are added to a Deployment
//!
//! Beside them stands what rules share: [`readiness`] (what "fully ready" means), `practice` (is it blue-green at all?), [`fleet`] (what a selector matches),
//! [`reads`] (what must be read to judge a change), [`relevance`] (which writes can matter at all, as a predicate and as
//! CEL for the API server), [`reason`] (the table of rules), [`verdict`] and `wording` (numbers of Pods).

pub mod fleet;
mod flip;
mod hold;
pub mod labels;
#[cfg(test)]
mod laws;
mod left;
mod live;
mod overrides;
mod parity;
mod ports;
mod practice;
pub mod readiness;
pub mod reads;
pub mod reason;
mod recreated;
pub mod relevance;
mod rollback;
mod service;
pub mod verdict;
pub mod version;
mod wording;

pub use reads::Reads;
pub use reason::{Patience, Reason};
pub use verdict::{Effect, Finding, Outcome, Verdict};

use crate::model::{Change, ClusterView, Policy, Timestamp, Write};

/// Judges one change.
#[must_use]
pub fn decide(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> Verdict {
    let (Some((kind, name)), Some(reads)) = (subject(&change.write), reads::needed(change, policy)) else {
        return Verdict::not_judged();
    };
    let mut verdict = Verdict::about(kind, &reads.namespace, name, change);
    let colours = &policy.colours;
    if let Some(finding) = reads::unreadable(view) {
        let finding = if relevance::is_advice(change) { finding.only_a_warning() } else { finding };
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
        Write::ServiceUpdate { old, new } => service::judge(old, new, view, change, policy, &mut verdict),
        Write::ServiceCreate { new } => {
            "create".clone_into(&mut verdict.act);
            if let Some(finding) = recreated::finding(new, view, policy, now) {
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
