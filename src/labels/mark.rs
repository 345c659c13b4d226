//! The mark: the annotation that lists the labels which flipguard added.
//!
//! | entry | claims |
//! |---|---|
//! | `metadata/version` | the label, while its value is the one that the old or the new image gives |
//! | `template/version<1.0` | the same, and the value `1.0` too |
//!
//! A second value is claimed where flipguard left an old value in place because a Service selects it, or where it replaced
//! a value that an old manifest carried. A manifest that carries such a value again is stale, and not the user's choice.

use std::collections::BTreeMap;

use super::Place;
use crate::model::{Workload, annotation};

/// The claim on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// The value that the image gives.
    Image,
    /// That value, or this one.
    ImageOr(String),
}

impl Claim {
    pub(super) fn new(second: Option<String>) -> Self {
        second.map_or(Self::Image, Self::ImageOr)
    }

    /// The second value.
    pub(super) fn second(&self) -> Option<&String> {
        match self {
            Self::Image => None,
            Self::ImageOr(value) => Some(value),
        }
    }
}

/// All claims of a Deployment, by their place and key (`template/version`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mark(BTreeMap<String, Claim>);

impl Mark {
    /// The mark of a Deployment.
    pub(super) fn of(workload: &Workload) -> Self {
        let mark = workload.meta.annotation(annotation::ADDED_LABELS).unwrap_or_default();
        let entries = mark.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let claims = entries.map(|entry| match entry.split_once('<') {
            Some((label, value)) => (label.to_owned(), Claim::ImageOr(value.to_owned())),
            None => (entry.to_owned(), Claim::Image),
        });
        Self(claims.collect())
    }

    /// The mark of the stored Deployment, with that of the written one. Second values are kept.
    pub(super) fn joined(old: Option<&Workload>, new: &Workload) -> Self {
        let mut joined = old.map(Self::of).unwrap_or_default();
        for (label, claim) in Self::of(new).0 {
            let stored = joined.0.remove(&label).and_then(|stored| stored.second().cloned());
            let second = claim.second().cloned().or(stored);
            joined.0.insert(label, Claim::new(second));
        }
        joined
    }

    pub(super) fn claim(&self, place: Place, key: &str) -> Option<&Claim> {
        self.0.get(&format!("{}/{key}", place.name()))
    }

    pub(super) fn insert(&mut self, place: Place, key: &str, claim: Claim) {
        self.0.insert(format!("{}/{key}", place.name()), claim);
    }

    /// The value of the annotation.
    pub(super) fn render(&self) -> String {
        let entries = self.0.iter().map(|(label, claim)| match claim {
            Claim::Image => label.clone(),
            Claim::ImageOr(value) => format!("{label}<{value}"),
        });
        entries.collect::<Vec<_>>().join(",")
    }
}
