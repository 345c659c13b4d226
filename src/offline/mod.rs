//! A cluster without a network: manifests in files, fixtures in short form, and cases with an expected verdict.

pub mod case;
pub mod files;
pub mod fixture;
pub mod places;
pub mod policies;
