//! Reading a cluster: afresh from its API server, or offline from files.

pub mod access;
mod ask;
pub mod connect;
pub mod cost;
pub mod events;
pub mod files;
pub mod ledgers;
pub mod live;
mod owners;
pub mod sketch;
