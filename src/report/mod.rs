//! What `flipguard audit` reports, and each format of it: pure.
//!
//! - `data`: the report, which is also the JSON; `schema`: its JSON schema
//! - `text`: for people, and one line a finding; `markdown`: for summaries of CI jobs, and docs/checks.md
//! - `sarif`, `junit`: for code scanning and for CI systems
//! - `open_reports`: Kubernetes objects for those who collect reports in a cluster
//!
//! - `shown`: the report that all formats but the JSON are made of
//!
//! Every text from the cluster is escaped as its format wants it. Hidden characters are shown in each of them.

pub mod data;
pub mod junit;
pub mod markdown;
pub mod open_reports;
pub mod sarif;
pub mod schema;
mod shown;
pub mod text;

pub use data::{Looked, Report};
