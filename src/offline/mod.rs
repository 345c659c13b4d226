//! A cluster without a network: manifests in files, fixtures in a few words, and cases that say what is expected.

pub mod case;
pub mod files;
pub mod fixture;
