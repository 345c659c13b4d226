//! The intent ledger: why two concurrent requests, each fine by itself, cannot together take a Service's Pods away.
//!
//! Every commit in the API server is a compare-and-swap on the object's `resourceVersion`, and every attempt runs
//! admission again on exactly that base. So a request that could be dangerous writes down what it would do, reads the
//! cluster meanwhile, and is judged under every combination of what others have written down and may still do:
//!
//! ```text
//! read the ledger -> look at its objects -> write the own intent, read the cluster -> judge every world -> answer
//!        ^                                        | conflict
//!        +----------------------------------------+
//! ```
//!
//! Of any two such requests, one wrote first, and the other sees it. This is the pure half: [`Attempt`] says what to read
//! or write next and is told what came of it; it does no I/O, so the exhaustive model in `tests/model` runs this very
//! code through every interleaving. `docs/ledger.md` has the proof, and what it rests on.
//!
//! - [`Intent`]: what a request would do
//! - [`Ledger`]: the intents of a namespace, and what is remembered of its Services, as a ConfigMap's data
//! - [`settle`](mod@settle): what became of an intent
//! - [`scenarios`](mod@scenarios): every combination of what may still happen
//! - [`Attempt`]: one request's way through all of it

mod attempt;
mod config_map;
mod intent;
pub mod scenarios;
pub mod settle;

pub use attempt::{Ask, Attempt, End};
pub use config_map::{LARGEST, Ledger, MOST_INTENTS};
pub use intent::{Effect, Intent, Object, ServiceAfter, WorkloadAfter};
pub use settle::{Found, Seen};
