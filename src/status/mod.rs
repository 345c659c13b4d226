//! The status of a namespace: how each Service is understood, and what a flip of it would meet now.
//!
//! - `report`: the facts, as plain data; `-o json` prints them as they are
//! - `past`: the last flips, from the history
//! - `tree`: the facts as a tree of lines
//! - `shown`: the same facts without hidden characters and without text of any length
//! - `signs`: signs and styles, with letters for terminals that have no signs
//! - `goal`: what `--wait` waits for

pub mod goal;
pub mod past;
pub mod report;
pub mod shown;
pub mod signs;
pub mod tree;

pub use report::{NamespaceStatus, status};
