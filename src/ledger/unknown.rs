//! The parts of a stored ledger that this release does not know: entries and fields that a newer release added. They are
//! passed over, and written back as they were read.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// The unknown parts of one ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Unknown {
    /// Whole entries, by their keys.
    entries: BTreeMap<String, String>,
    /// The unknown fields of known entries, by the keys of these.
    fields: BTreeMap<String, Value>,
}

impl Unknown {
    /// Keeps an entry whose key is unknown.
    pub(super) fn keep_entry(&mut self, key: &str, text: &str) {
        self.entries.insert(key.to_owned(), text.to_owned());
    }

    /// Keeps the fields of an entry that its type does not have, under each of these keys.
    pub(super) fn keep_fields<T: Serialize>(&mut self, keys: impl Iterator<Item = String>, text: &str, entry: &T) {
        // Nearly every entry is as this release renders it.
        if serde_json::to_string(entry).is_ok_and(|rendered| rendered == text) {
            return;
        }
        let stored = serde_json::from_str::<Value>(text).ok();
        let known = serde_json::to_value(entry).ok();
        if let Some(more) = stored.zip(known).and_then(|(stored, known)| without(&stored, &known)) {
            self.fields.extend(keys.map(|key| (key, more.clone())));
        }
    }

    /// Forgets the fields of an entry that has been replaced.
    pub(super) fn forget_fields(&mut self, key: &str) {
        self.fields.remove(key);
    }

    /// The whole entries, by their keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &String)> {
        self.entries.iter()
    }

    /// The text of an entry, with its unknown fields. The first of its keys that has any counts.
    pub(super) fn line<T: Serialize>(&self, mut keys: impl Iterator<Item = String>, entry: &T) -> String {
        let more = if self.fields.is_empty() { None } else { keys.find_map(|key| self.fields.get(&key)) };
        // Strings, numbers and maps with string keys always serialise. An empty entry would be reported as unreadable.
        match more {
            None => serde_json::to_string(entry).unwrap_or_default(),
            Some(more) => {
                let mut all = serde_json::to_value(entry).unwrap_or_default();
                add(&mut all, more);
                all.to_string()
            }
        }
    }
}

/// The members of an object, at any depth, that another one does not have.
fn without(stored: &Value, known: &Value) -> Option<Value> {
    let (Value::Object(stored), Value::Object(known)) = (stored, known) else { return None };
    let mut rest = Map::new();
    for (key, value) in stored {
        let more = match known.get(key) {
            None => Some(value.clone()),
            Some(known) => without(value, known),
        };
        rest.extend(more.map(|more| (key.clone(), more)));
    }
    (!rest.is_empty()).then_some(Value::Object(rest))
}

/// Adds members to an object, at any depth. Existing members stay.
fn add(to: &mut Value, more: &Value) {
    let (Value::Object(to), Value::Object(more)) = (to, more) else { return };
    for (key, value) in more {
        match to.get_mut(key) {
            None => drop(to.insert(key.clone(), value.clone())),
            Some(existing) => add(existing, value),
        }
    }
}
