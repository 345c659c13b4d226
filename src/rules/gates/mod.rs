//! Gates: what has to be proved before a flip.
//!
//! - [`tested`](mod@tested): the hashes of what was tested
//! - [`statement`]: the annotation by which a user passes or approves a gate
//! - `passed`: does the target of a flip have a valid proof for each gate?
//! - `permitted`: may this user make this proof?
//!
//! The proofs of statements are in the ledger alone. The annotation only asks for one, so a copy of it is worth nothing.

pub(super) mod passed;
pub(super) mod permitted;
pub mod statement;
pub mod tested;

pub use permitted::{job_reads, target};
pub use statement::Statement;
pub use tested::{of_template as template_hash, tested};

use crate::model::{Change, ClusterView, Policy, Proof, Service, Timestamp};
use crate::rules::state::backends::Backends;

/// The gates of a flip, each in a few words, for the audit log and the history.
pub(super) fn facts(
    new: &Service,
    change: &Change,
    view: &ClusterView,
    policy: &Policy,
    now: Timestamp,
) -> Vec<String> {
    let target = &Backends::of(new.routed(), view);
    let (user, namespace) = (&change.user, new.meta.namespace.as_str());
    passed::facts(&passed::Flip { target, view, policy, user, namespace, now })
}

/// A proof that a change makes, to be kept once the change is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProof {
    /// The gate.
    pub gate: String,
    /// The workload: `deployment/app-green`.
    pub target: String,
    /// The proof.
    pub proof: Proof,
}
