//! Policies in files.

use std::path::Path;

use serde_json::Value;

use super::files::{FileError, Manifests};
use crate::policy::schema::faults;

/// The policies of files, each as a whole object. Every field is checked as the API server would.
///
/// # Errors
/// When a file cannot be read, has another object, or has a policy that the API server would refuse.
pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Vec<Value>, FileError> {
    let manifests = Manifests::read(files)?;
    let policies = manifests.objects().iter().map(|manifest| {
        let (kind, name) = (manifest.kind(), manifest.name());
        let wrong = |why: String| FileError::Object { place: manifest.place.clone(), why };
        if !manifest.is_a("BlueGreenPolicy", "flipguard.dev/v1alpha1") {
            let expected = "only BlueGreenPolicy of flipguard.dev/v1alpha1 is read here";
            return Err(wrong(format!("it is {kind} {name}; {expected}")));
        }
        let faults = faults(&manifest.object).map_err(|error| wrong(error.to_string()))?;
        let Some(first) = faults.first() else { return Ok(manifest.object.clone()) };
        let more = match faults.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        Err(wrong(format!("{kind} {name}: `{}`: {}{more}", first.field, first.why)))
    });
    policies.collect()
}
