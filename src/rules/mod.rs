//! The rules: a change and what was read in, a verdict out.
//!
//! [`decide`] is total and pure: no I/O, no clock, no log, no panic. What went wrong outside arrives in the view as
//! data. One file holds one family of rules:
//!
//! - `service`: what may not be done to a traffic Service; it calls the others
//! - `flip`: may its routing move to another colour?
//! - `ports`: do the Pods have the named ports?
//! - `parity`: is the target like what serves now?
//! - [`version`]: what an image's tag says, and whether a label says the same
//! - [`labels`]: which labels are added to a Deployment
//!
//! Beside them stand what rules share: [`readiness`] (what "fully ready" means), [`fleet`] (what a selector matches),
//! [`reads`] (what must be read to judge a change), [`relevance`] (which writes can matter at all, as a predicate and as
//! CEL for the API server), [`reason`] (the table of rules) and [`verdict`].

pub mod fleet;
mod flip;
pub mod labels;
mod parity;
mod ports;
pub mod readiness;
pub mod reads;
pub mod reason;
pub mod relevance;
mod service;
pub mod verdict;
pub mod version;

pub use reads::Reads;
pub use reason::{Patience, Reason};
pub use verdict::{Effect, Finding, Outcome, Verdict};

use crate::model::{Change, ClusterView, Policy, Write};

/// Judges one change.
#[must_use]
pub fn decide(change: &Change, view: &ClusterView, policy: &Policy) -> Verdict {
    let (Write::ServiceUpdate { old, new }, Some(reads)) = (&change.write, reads::needed(change, policy)) else {
        return Verdict::not_judged();
    };
    let mut verdict = Verdict::about("service", &reads.namespace, &new.meta.name, change);
    match reads::unreadable(view) {
        Some(finding) => verdict.find(finding, change, policy),
        None => service::judge(old, new, view, change, policy, &mut verdict),
    }
    verdict
}
