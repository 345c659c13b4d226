//! What is true of a namespace at rest, and what would happen to imagined changes of it.
//!
//! - `snapshot`: what was read of a namespace
//! - `whatif`: imagined changes, judged by the same rules as real ones
//! - `compare`: what another set of policies would change
//! - `checks`: the table of checks; `judge`: all of them on one namespace; `finding`: what they find
//! - `accepted`: what a Service accepts
//! - `extras`: objects beside the workloads; `routes`: those above Services; `facts`: what all checks ask
//! - `serving`, `flips`, `colours`, `budgets`, `state`, `guarding`: one file for each family of checks
//! - `policies`: what is found about the policies of a cluster
//!
//! Nothing here does I/O. `cluster::snapshot` reads, and `cli` prints.

mod accepted;
mod budgets;
pub mod checks;
mod colours;
pub mod compare;
pub mod extras;
mod facts;
pub mod finding;
mod flips;
pub mod guarding;
pub mod judge;
pub mod policies;
mod routes;
mod serving;
pub mod snapshot;
mod state;
pub mod whatif;
