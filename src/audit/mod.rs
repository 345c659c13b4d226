//! What is true of a namespace at rest, and what would happen to imagined changes of it.
//!
//! - `snapshot`: what was read of a namespace
//! - `whatif`: imagined changes, judged by the same rules as real ones
//! - `compare`: what another set of policies would change
//!
//! Nothing here does I/O. `cluster::snapshot` reads, and `cli` prints.

pub mod compare;
pub mod snapshot;
pub mod whatif;
