//! A Service's selector: a set of labels that a Pod must carry.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Labels;

/// `spec.selector` of a Service. Kubernetes treats an absent selector and an empty one alike: the Service selects
/// nothing, and no controller writes its endpoints (API doc, `ServiceSpec.selector`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Selector(Labels);

impl Selector {
    /// A selector for these labels.
    #[must_use]
    pub fn new(labels: Labels) -> Self {
        Self(labels)
    }

    /// The selector that selects nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self(Labels::new())
    }

    /// Whether the selector selects nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels contain every pair of the selector. An empty selector matches nothing.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The pairs of the selector, ordered by key.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The pairs of this selector that another one lacks.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let missing = |(key, value): &(&String, &String)| other.0.get(*key) != Some(*value);
        Self(self.0.iter().filter(missing).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// The pairs of both selectors. Labels that match either selector contain all of them.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let shared = |(key, value): &(&String, &String)| other.0.get(*key) == Some(*value);
        Self(self.0.iter().filter(shared).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// Writes the selector as `kubectl --selector` takes it: `app=shop,version=1.0`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn an_empty_selector_matches_nothing() {
        assert!(!Selector::default().matches(&labels(&[("app", "shop")])));
    }

    #[test]
    fn every_pair_must_be_there() {
        let selector = Selector::new(labels(&[("app", "shop"), ("color", "blue")]));
        assert!(selector.matches(&labels(&[("app", "shop"), ("color", "blue"), ("more", "x")])));
        assert!(!selector.matches(&labels(&[("app", "shop")])));
        assert_eq!(selector.to_string(), "app=shop,color=blue");
    }
}
