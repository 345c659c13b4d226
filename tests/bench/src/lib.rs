//! What flipguard costs. `make bench` measures it side by side with other webhooks, in one run; two tests hold what is
//! exact, instructions and allocations for each decision, at a committed baseline.
//!
//! | file | does |
//! |---|---|
//! | `decision.rs` | one decision, from bytes to bytes, over a recorded namespace: what the gates measure |
//! | `baseline.rs` | holds figures at what is committed |
//! | `recorded.rs` | the recorded reviews; `record.rs` records them anew |
//! | `servers.rs` | the webhooks that flipguard is held against; `reads.rs`: what some of them read, as a flip does |
//! | `load.rs` | a client that asks as the API server does |
//! | `process.rs` | processor time and memory of one process |
//! | `figures.rs` | medians, spreads, and slices in turn |
//! | `report.rs` | the table for people, and `report.json` |
//! | `requests.rs`, `flips.rs` with `without_flipguard.rs`, `memory.rs`, `start.rs`, `irrelevant.rs` | the five parts |

pub mod baseline;
pub mod cluster;
pub mod decision;
pub mod figures;
pub mod flips;
pub mod irrelevant;
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
mod without_flipguard;
