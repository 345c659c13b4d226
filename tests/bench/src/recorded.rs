//! Reviews as a real API server sent them: see [`record`](crate::record).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One recorded review.
#[derive(Debug, Clone)]
pub struct Review {
    /// The file's name without its ending, such as `service-flip`.
    pub name: String,
    /// The body, byte by byte.
    pub body: Vec<u8>,
}

/// Those that no rule speaks on: their answer needs no read.
pub const UNJUDGED: [&str; 5] =
    ["service-label", "deployment-6k-label", "deployment-24k-label", "deployment-200k-label", "scale-up"];

/// Those that are judged.
pub const JUDGED: [&str; 4] = ["service-flip", "deployment-6k-image", "deployment-24k-image", "scale-to-zero"];

/// Where they are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reviews")
}

/// The namespace that they were recorded in, as `kubectl get -o json` shows it.
#[must_use]
pub fn namespace() -> PathBuf {
    folder().join("namespace.json")
}

/// Reads these.
///
/// # Errors
/// When one is missing.
pub fn reviews(names: &[&str]) -> Result<Vec<Review>> {
    let read = |name: &&str| {
        let path = folder().join(format!("{name}.json"));
        let body = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Review { name: (*name).to_owned(), body })
    };
    names.iter().map(read).collect()
}
