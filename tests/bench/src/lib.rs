//! The cost of flipguard. `make bench` compares it with other webhooks, side by side in one run. Two tests compare
//! exact figures with a committed baseline: instructions and allocations for each decision.
//!
//! | file | does |
//! |---|---|
//! | `decision.rs` | one decision, from bytes to bytes, over a recorded namespace; both tests measure it |
//! | `baseline.rs` | compares figures with the committed ones |
//! | `recorded.rs` | the recorded reviews; `record.rs` records them again |
//! | `servers.rs` | the webhooks that flipguard is compared with; `reads.rs`: the reads that some of them make |
//! | `load.rs` | a client that sends reviews as the API server does |
//! | `process.rs` | processor time and memory of one process |
//! | `figures.rs` | medians, spreads, and slices in turn |
//! | `report.rs` | the printed table, and `report.json` |
//! | `requests.rs`, `flips.rs` with `without_flipguard.rs`, `memory.rs`, `start.rs`, `irrelevant.rs`, `largest.rs`, `whole.rs`, `earlier.rs`, `bursts.rs` | the nine parts |

pub mod baseline;
pub mod bursts;
pub mod cluster;
pub mod decision;
pub mod earlier;
pub mod figures;
pub mod flips;
pub mod irrelevant;
pub mod largest;
pub mod load;
pub mod memory;
pub mod process;
pub mod reads;
pub mod record;
pub mod recorded;
pub mod report;
pub mod requests;
pub mod servers;
pub mod start;
pub mod webhook;
pub mod whole;
mod without_flipguard;
