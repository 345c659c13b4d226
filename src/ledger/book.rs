//! The ledger of one namespace: intents and records, as the data of a ConfigMap.
//!
//! One key an entry, each a line of JSON, so that `kubectl get -o yaml` shows it to a person.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Intent;
use crate::model::{Flip, Records, Timestamp, Tombstone};

/// How many intents a namespace has at most; one more has to wait.
pub const MOST_INTENTS: usize = 64;
/// How many attempts may have written the same intent.
const MOST_ATTEMPTS: usize = 256;
/// How many bytes a ledger has at most.
pub const LARGEST: usize = 256 * 1024;

/// What this release writes; another one is not touched.
const FORMAT: &str = "1";

/// The intents of a namespace, and what is remembered of its Services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    /// What requests would do.
    pub intents: Vec<Intent>,
    /// What is remembered.
    pub records: Records,
}

impl Ledger {
    /// Reads the data of a ConfigMap.
    ///
    /// # Errors
    /// What is not as it should be: a key that is unknown, an entry that cannot be read, another format.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut ledger = Self::default();
        match data.get("format").map(String::as_str) {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(format!("its format is `{other}`, and this flipguard knows `{FORMAT}`; run one release"));
            }
            None => return Err("it has no key `format`, so flipguard has not written it".to_owned()),
        }
        for (key, text) in data.iter().filter(|(key, _)| *key != "format") {
            match key.split_once('.') {
                Some(("intent", _)) => ledger.intents.push(entry(key, text)?),
                Some(("flip", _)) => ledger.records.flips.push(entry(key, text)?),
                Some(("tombstone", _)) => ledger.records.tombstones.push(entry(key, text)?),
                _ => return Err(format!("key `{key}` is none of flipguard's")),
            }
        }
        if ledger.intents.iter().any(|intent| intent.ids.is_empty()) {
            return Err("an intent has no id".to_owned());
        }
        Ok(ledger)
    }

    /// The data of its ConfigMap.
    #[must_use]
    pub fn render(&self) -> BTreeMap<String, String> {
        let mut data = BTreeMap::from([("format".to_owned(), FORMAT.to_owned())]);
        for intent in &self.intents {
            let id = intent.ids.first().map(String::as_str).unwrap_or_default();
            data.insert(format!("intent.{id}"), line(intent));
        }
        for flip in &self.records.flips {
            data.insert(format!("flip.{}", flip.service), line(flip));
        }
        for tombstone in &self.records.tombstones {
            data.insert(format!("tombstone.{}", tombstone.service), line(tombstone));
        }
        data
    }

    /// Adds an intent. One that would do the same to the same state is joined, each attempt with its own id.
    pub(super) fn add(&mut self, own: &Intent) {
        let same = |intent: &&mut Intent| intent.excludes(own) && intent.effect == own.effect;
        match self.intents.iter_mut().find(same) {
            Some(intent) => intent.ids.extend(own.ids.iter().cloned()),
            None => self.intents.push(own.clone()),
        }
        self.order();
    }

    /// Removes one attempt's intent, by its id.
    pub(super) fn remove(&mut self, id: &str) {
        for intent in &mut self.intents {
            intent.ids.retain(|other| other != id);
        }
        self.intents.retain(|intent| !intent.ids.is_empty());
        self.order();
    }

    /// Makes room: what is remembered longest goes first. Whether it fits then.
    pub(super) fn fits(&mut self) -> bool {
        let attempts: usize = self.intents.iter().map(|intent| intent.ids.len()).sum();
        while self.size() > LARGEST {
            let Some(oldest) = self.records.flips.iter().map(|flip| flip.at).min() else { break };
            self.records.flips.retain(|flip| flip.at > oldest);
        }
        self.intents.len() <= MOST_INTENTS && attempts <= MOST_ATTEMPTS && self.size() <= LARGEST
    }

    /// Forgets Services that were deleted too long ago to matter.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.records.tombstones.retain(|tombstone| tombstone.counts(now));
    }

    pub(super) fn remember_flip(&mut self, flip: Flip) {
        self.records.flips.retain(|other| other.service != flip.service);
        self.records.flips.push(flip);
    }

    pub(super) fn remember_deleted(&mut self, tombstone: Tombstone) {
        self.records.flips.retain(|flip| flip.service != tombstone.service);
        self.records.tombstones.retain(|other| other.service != tombstone.service);
        self.records.tombstones.push(tombstone);
    }

    fn size(&self) -> usize {
        self.render().iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// As it is read again, so that equal ledgers are equal.
    fn order(&mut self) {
        self.intents.sort_by(|a, b| a.ids.cmp(&b.ids));
    }
}

fn entry<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("key `{key}` cannot be read: {error}"))
}

fn line<T: Serialize>(entry: &T) -> String {
    // Strings, numbers and maps with string keys always serialise; an empty entry could not be read again, and would be
    // said so.
    serde_json::to_string(entry).unwrap_or_default()
}
