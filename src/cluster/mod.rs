//! Reading a cluster afresh from its API server, and writing the ledger there.

pub mod access;
pub mod clock;
pub mod connect;
pub mod events;
#[cfg(test)]
pub(crate) mod fake;
mod kubeconfig;
pub mod ledger_store;
pub mod meter;
pub mod namespace;
mod owners;
mod request;
