//! The last flips of each Service, from the history.

use schemars::JsonSchema;
use serde::Serialize;

use super::report::NamespaceStatus;
use crate::history::table::cells;
use crate::history::{Entry, History};
use crate::model::ColourScheme;

/// The most flips of a Service that are shown.
const MOST_FLIPS: usize = 5;

/// A change of a Service that is in the history, in the words of `flipguard history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastFlip {
    /// The time of the request.
    pub at: String,
    /// `flip`, `rollback`, `created`, `deleted` or `opted-out`.
    pub act: String,
    /// The colours before and after.
    pub colour: String,
    /// The images before and after.
    pub image: String,
    /// Who asked for it.
    pub user: String,
    /// The tool or the field manager.
    pub with: String,
    /// Ready Pods, warnings, overrides.
    pub notes: String,
}

impl NamespaceStatus {
    /// Adds the last flips of each Service, the newest first.
    pub fn add_flips(&mut self, history: &History, colours: &ColourScheme) {
        let entries = history.by_time();
        for service in &mut self.services {
            let own = entries.iter().rev().filter(|entry| entry.service == service.name);
            let flip = |entry: &&Entry| {
                let [at, _, act, colour, image, user, with, notes] = cells(entry, colours);
                PastFlip { at, act, colour, image, user, with, notes }
            };
            service.flips = own.take(MOST_FLIPS).map(flip).collect();
        }
    }
}

impl PastFlip {
    /// `2026-11-26T22:35:09Z flip blue → green, app:1.4.2 → app:1.5.0, by alice (kubectl-patch), 2/2 ready`
    #[must_use]
    pub fn line(&self) -> String {
        let Self { at, act, colour, image, user, with, notes } = self;
        let by = if with.is_empty() { format!("by {user}") } else { format!("by {user} ({with})") };
        let parts = [image, &by, notes].into_iter().filter(|part| !part.is_empty());
        format!("{at} {act} {colour}, {}", parts.cloned().collect::<Vec<_>>().join(", "))
    }
}
