//! The rules: a change and what was read in, a verdict out.
//!
//! [`decide`] is total and pure: no I/O, no clock, no log, no panic. What went wrong outside arrives in the view as
//! data. One file holds one family of rules:
//!
//! - [`flip`]: may a Service's routing move to another colour?
//!
//! Beside them stand what rules share: [`readiness`] (section by section what "fully ready" means), [`fleet`] (what a
//! selector matches), [`reads`] (what must be read to judge a change), [`relevance`] (which writes can matter at all,
//! as a predicate and as CEL for the API server), [`reason`] (the table of rules) and [`verdict`].

pub mod fleet;
pub mod flip;
pub mod readiness;
pub mod reads;
pub mod reason;
pub mod relevance;
pub mod verdict;

pub use reads::Reads;
pub use reason::{Patience, Reason};
pub use verdict::{Effect, Finding, Outcome, Verdict};

use crate::model::{Change, ClusterView, Policy, Write};

/// Judges one change.
#[must_use]
pub fn decide(change: &Change, view: &ClusterView, policy: &Policy) -> Verdict {
    let Some(reads) = reads::needed(change, policy) else {
        return Verdict::not_judged();
    };
    let Write::ServiceUpdate { old, new } = &change.write else {
        return Verdict::not_judged();
    };
    let mut verdict = Verdict::about("service", &reads.namespace, &new.meta.name);
    if let Some(finding) = reads::unreadable(view) {
        verdict.find(finding, change, policy);
        return verdict;
    }
    flip::judge(old, new, view, change, policy, &mut verdict);
    verdict
}
