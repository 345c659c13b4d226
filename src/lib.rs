//! flipguard: an admission webhook that makes blue-green by hand safe.
//!
//! ```text
//! bytes -> review::wire -> review::change -> [ rules::decide ] -> Verdict -> review::answer -> bytes
//!                               |                  ^
//!                               +-- what to read --+-- ClusterView <- cluster::namespace | offline::files
//! ```
//!
//! The middle is pure: [`rules::decide`] takes a [`model::Change`] and a [`model::ClusterView`] and does no I/O.
//!
//! - On the path of a request: [`server`] (listeners), [`review`] (the admission protocol, read with [`json`]),
//!   [`guard`] (drives one request through the ledger, the reads and the rules), [`rules`], [`labels`], [`model`].
//! - Concurrency: [`ledger`] is the pure protocol; [`cluster`] reads a namespace and stores the ledger.
//! - Without a network: [`offline`] (manifests in files, fixtures, cases).
//! - Around them: [`install`] (names, permissions, manifests), [`registration`] (webhooks), [`certs`] (TLS identity),
//!   [`telemetry`] (log, metrics), [`doctor`] (diagnosis), [`cli`] (one file per command).

pub mod certs;
pub mod cli;
pub mod cluster;
pub mod doctor;
pub mod guard;
pub mod install;
pub mod json;
pub mod labels;
pub mod ledger;
pub mod model;
pub mod offline;
pub mod registration;
pub mod review;
pub mod rules;
pub mod server;
pub mod telemetry;
