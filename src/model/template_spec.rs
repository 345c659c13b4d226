//! The `spec` of a Pod template: its JSON, or a digest of it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Deref;
use std::sync::LazyLock;

use json_skip::Raw;

/// The whole `spec` of a Pod template. Rules compare it, and a flip parses it. Of old templates, which are many, only a
/// digest is kept.
#[derive(Debug, Clone, Eq)]
pub struct TemplateSpec(Kept);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    Json(Box<str>),
    Digest(u64, u64),
}

impl TemplateSpec {
    /// The digest in the place of the JSON.
    #[must_use]
    pub fn digested(&self) -> Self {
        let (one, other) = self.digest();
        Self(Kept::Digest(one, other))
    }

    fn digest(&self) -> (u64, u64) {
        match &self.0 {
            Kept::Digest(one, other) => (*one, *other),
            Kept::Json(json) => (hash(json, &KEYS.0), hash(json, &KEYS.1)),
        }
    }
}

/// The keys of this process, so that nobody can prepare a template with the digest of another one.
static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(Default::default);

fn hash(json: &str, keys: &RandomState) -> u64 {
    let mut hasher = keys.build_hasher();
    hasher.write(json.as_bytes());
    hasher.finish()
}

impl PartialEq for TemplateSpec {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kept::Json(one), Kept::Json(other)) => one == other,
            _ => self.digest() == other.digest(),
        }
    }
}

/// The JSON; empty where only the digest is kept.
impl Deref for TemplateSpec {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Kept::Json(json) => json,
            Kept::Digest(..) => "",
        }
    }
}

impl Default for TemplateSpec {
    fn default() -> Self {
        Self(Kept::Json(Box::default()))
    }
}

impl From<&str> for TemplateSpec {
    fn from(json: &str) -> Self {
        Self(Kept::Json(json.into()))
    }
}

impl From<Raw<'_>> for TemplateSpec {
    fn from(json: Raw<'_>) -> Self {
        Self(Kept::Json(json.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_compares_as_the_json_does() {
        let (one, other) = (TemplateSpec::from("{}"), TemplateSpec::from(r#"{"a":1}"#));
        assert!(one == one.digested() && one.digested() == one && one.digested() == one.digested());
        assert!(one != other.digested() && other.digested() != one && one.digested() != other.digested());
        assert_eq!((&*one, &*one.digested()), ("{}", ""));
    }
}
