//! The history of a namespace: who flipped what, as a chain of entries in a ConfigMap.
//!
//! Each entry has the hash of the one before it. So an entry that is changed, removed or inserted breaks the chain. Who may
//! write the ConfigMap can write a new chain: the last entry's hash is therefore in the API server's audit log, too.
//!
//! - [`Entry`]: one change, with its facts
//! - [`History`]: the chain as the data of a ConfigMap; it is only added to, and the oldest entries are dropped
//! - [`anchors`]: heads of the chain in logs, and whether the chain agrees with them
//! - [`table`]: the entries as text, CSV and Markdown
//!
//! Nothing here does I/O. `cluster::history_store` reads and writes, and `guard::recorder` adds to it.

pub mod anchors;
mod chain;
mod entry;
pub mod table;

pub use chain::{Head, History, HistoryError};
pub use entry::{Act, Entry, Facts};
