//! The intent ledger. Without it, two concurrent requests, each harmless alone, could together delete a Service's Pods.
//!
//! Every commit in the API server is a compare-and-swap on the object's `resourceVersion`, and every attempt runs
//! admission again on exactly that base. So a dangerous request writes its intent into the ledger and reads the cluster
//! meanwhile. It is judged under every combination of the intents of others that are still pending:
//!
//! ```text
//! read the ledger -> read its objects -> write the own intent, read the cluster -> judge every scenario -> answer
//!        ^                                        | conflict
//!        +----------------------------------------+
//! ```
//!
//! Of any two such requests, one writes first, and the other sees its intent. This module is the pure half of the
//! protocol: [`Attempt`] asks for the next read or write and is given the result. It does no I/O, so the exhaustive
//! model in `tests/model` runs this very code through every interleaving. `docs/ledger.md` has the proof and its
//! assumptions.
//!
//! - [`Intent`]: the change that a request would make
//! - [`Ledger`]: the intents and records of a namespace, as the data of a ConfigMap
//! - [`Full`]: the shares of a ledger's room
//! - [`resolve`](mod@resolve): whether an intent is pending, committed or void
//! - [`Settled`]: a change that has committed and is not in the history yet
//! - [`apply`](mod@apply): a view after an intent, and back
//! - [`relevant`](mod@relevant): the pending intents that can change a verdict
//! - [`scenarios`](mod@scenarios): every combination of those
//! - [`Attempt`]: the path of one request through all of these
//! - [`Leftover`]: what a request leaves in the ledger

pub mod apply;
mod attempt;
mod config_map;
mod intent;
mod leftover;
pub mod relevant;
pub mod resolve;
mod room;
#[cfg(test)]
mod scenario_properties;
pub mod scenarios;
mod settled;
mod unknown;

pub use attempt::{Ask, Attempt, End};
pub use config_map::{Ledger, LedgerError, MAX_BYTES};
pub use intent::{IntendedChange, Intent, ObjectRef, ServiceAfter, WorkloadAfter};
pub use leftover::{Leftover, Withdrawal};
pub use resolve::{Found, Seen};
pub use room::Full;
pub use settled::{Settled, SettledAct};
