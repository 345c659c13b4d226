//! One write that somebody asks for.

use super::Service;

/// A write, and how it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The write itself.
    pub write: Write,
    /// Whether nothing is to be stored (`--dry-run=server`).
    pub dry_run: bool,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A Service is changed.
    ServiceUpdate {
        /// As it is stored.
        old: Box<Service>,
        /// As it would be.
        new: Box<Service>,
    },
    /// Something that no rule speaks on.
    Other,
}
