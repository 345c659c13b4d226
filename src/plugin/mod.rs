//! What the commands that write do next, as data: `flipguard flip` and `gate run`. Pure; the command line sends the writes.
//!
//! - `target`: the selector that a word such as `green` means
//! - `answer`: how the API server answered a write
//! - `next`: what follows: done, wait, ask again, or stop with an exit code
//! - `series`: several Services, and the way back where one of them is refused
//! - `who`: who has changed a selector meanwhile
//! - `fresh_job`: a new Job for a gate, made from another one

pub mod answer;
pub mod fresh_job;
pub mod next;
pub mod series;
pub mod target;
pub mod who;
