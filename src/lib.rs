//! flipguard: an admission webhook that makes blue-green by hand safe.
//!
//! ```text
//! bytes -> review::wire -> review::change -> [ rules::decide ] -> Verdict -> review::answer -> bytes
//!                               |                  ^
//!                               +-- what to read --+-- ClusterView <- cluster::live | files (offline)
//! ```
//!
//! The middle is pure: [`rules::decide`] takes a [`model::Change`] and a [`model::ClusterView`] and does no I/O. The
//! edges bring the data: [`review`] speaks the API server's admission protocol and reads it with [`json`], [`cluster`]
//! reads a namespace afresh for each request that could be dangerous. [`ledger`] keeps two requests at once from doing
//! harm together. [`judge`] is where all of these meet. Around that stand [`server`] (listeners), [`registration`] (what
//! the API server is told), [`certs`] (its TLS identity), [`doctor`] (what is wrong) and [`cli`] (one file per command).

pub mod certs;
pub mod cli;
pub mod cluster;
pub mod doctor;
pub mod json;
pub mod judge;
pub mod ledger;
pub mod model;
pub mod registration;
pub mod review;
pub mod rules;
pub mod server;
