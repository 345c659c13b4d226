//! Reviews recorded from a real API server: see [`record`](crate::record).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One recorded review.
#[derive(Debug, Clone)]
pub struct Review {
    /// The name of the file without its extension, such as `service-flip`.
    pub name: String,
    /// The unchanged body.
    pub body: Vec<u8>,
}

/// The reviews that no rule applies to. Their answers need no reads.
pub const UNJUDGED: [&str; 5] =
    ["service-label", "deployment-6k-label", "deployment-24k-label", "deployment-200k-label", "scale-up"];

/// The reviews that are judged.
pub const JUDGED: [&str; 4] = ["service-flip", "deployment-6k-image", "deployment-24k-image", "scale-to-zero"];

/// The folder of the reviews.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reviews")
}

/// The recorded namespace, in the format of `kubectl get -o json`.
#[must_use]
pub fn namespace() -> PathBuf {
    folder().join("namespace.json")
}

/// Reads the reviews with these names.
///
/// # Errors
/// When a review is missing.
pub fn reviews(names: &[&str]) -> Result<Vec<Review>> {
    let read = |name: &&str| {
        let path = folder().join(format!("{name}.json"));
        let body = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Review { name: (*name).to_owned(), body })
    };
    names.iter().map(read).collect()
}
