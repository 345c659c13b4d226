//! The JSON schema of the report.

use schemars::Schema;

use super::data::Report;

/// The schema of `flipguard audit -o json`, as JSON Schema 2020-12.
#[must_use]
pub fn schema() -> Schema {
    schemars::schema_for!(Report)
}
