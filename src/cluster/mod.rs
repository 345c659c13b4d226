//! All I/O with the API server: fresh reads of a namespace, the ledger store, Events, and the connection.

pub mod access;
pub mod allowance;
pub mod census;
pub mod clock;
mod config_maps;
pub mod connect;
pub mod credentials;
pub mod dry_run;
pub mod events;
mod extras;
#[cfg(test)]
pub(crate) mod fake;
pub mod history_store;
pub mod installation;
mod kubeconfig;
mod ledger_index;
mod ledger_memory;
mod ledger_objects;
pub mod ledger_store;
mod ledger_sweep;
#[cfg(test)]
mod ledger_tests;
pub mod list;
pub mod meter;
pub mod namespace;
pub mod own_namespace;
mod owners;
mod pages;
pub mod patch;
pub mod policies;
pub mod replica_sets;
pub mod reports;
mod request;
pub mod snapshot;
pub mod token;
mod weight;
