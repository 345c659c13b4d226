//! The ledger of one namespace: intents and records, as the data of a ConfigMap.
//!
//! Each key holds one entry as a line of JSON, so that `kubectl get -o yaml` is readable.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Intent;
use crate::model::{Flip, Records, Timestamp, Tombstone};

/// The largest number of intents in a namespace. A further change has to wait.
pub const MAX_INTENTS: usize = 64;
/// The largest number of intents that create a Service. Such an intent needs no object that exists, so anyone who can
/// send a review can invent one: they leave room for changes of what exists.
pub(super) const MAX_CREATIONS: usize = MAX_INTENTS / 4;
/// The largest number of attempts in a namespace.
const MAX_ATTEMPTS: usize = 256;
/// The largest size of a ledger, in bytes. The limit of etcd is 1.5 MiB.
pub const MAX_BYTES: usize = 256 * 1024;

/// The format that this release writes. A ledger of another format is left unchanged.
const FORMAT: &str = "2";

/// The intents of a namespace, and the records of its Services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    /// The intents of requests, ordered by object.
    pub intents: Vec<Intent>,
    /// The last flips and recent deletions of Services.
    pub records: Records,
}

impl Ledger {
    /// Reads the data of a ConfigMap.
    ///
    /// # Errors
    /// When a key is unknown, an entry cannot be read, or the format differs.
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

    /// The data of the ConfigMap, one key per entry.
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

    /// Adds an intent. An equal intent on the same version is joined, with the ids of both attempts.
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

    /// Drops the oldest records until the ledger is small enough. Returns whether it is.
    pub(super) fn fits(&mut self) -> bool {
        let attempts: usize = self.intents.iter().map(|intent| intent.ids.len()).sum();
        while self.size() > MAX_BYTES {
            let Some(oldest) = self.records.flips.iter().map(|flip| flip.at).min() else { break };
            self.records.flips.retain(|flip| flip.at > oldest);
        }
        self.intents.len() <= MAX_INTENTS && attempts <= MAX_ATTEMPTS && self.size() <= MAX_BYTES
    }

    /// Whether an intent that was just added takes no more than the share of its kind.
    pub(super) fn has_room_for(&self, own: &Intent) -> bool {
        !own.creates() || self.intents.iter().filter(|intent| intent.creates()).count() <= MAX_CREATIONS
    }

    /// Drops tombstones that no longer count.
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

    /// Sorts the entries as parsing does, so that equal ledgers compare as equal.
    fn order(&mut self) {
        self.intents.sort_by(|a, b| a.ids.cmp(&b.ids));
    }
}

fn entry<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("key `{key}` cannot be read: {error}"))
}

fn line<T: Serialize>(entry: &T) -> String {
    // Strings, numbers and maps with string keys always serialise. An empty entry would be reported as unreadable.
    serde_json::to_string(entry).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{IntendedChange, ObjectRef};
    use crate::model::Selector;

    fn intent(id: &str, name: &str) -> Intent {
        Intent {
            ids: vec![id.to_owned()],
            object: ObjectRef::service(name),
            uid: format!("uid-{name}"),
            base: "1".to_owned(),
            effect: IntendedChange::Gone { selector: Some(Selector::nothing()) },
            user: "somebody".to_owned(),
            manager: String::new(),
            at: Timestamp(1_893_456_000),
        }
    }

    fn full_of(count: usize) -> Ledger {
        let mut ledger = Ledger::default();
        (0..count).for_each(|number| ledger.add(&intent(&format!("{number:03}"), &format!("app-{number}"))));
        ledger
    }

    #[test]
    fn a_rendered_ledger_parses_to_the_same() {
        let mut ledger = full_of(3);
        ledger.remember_flip(Flip {
            service: "app".to_owned(),
            uid: "uid".to_owned(),
            from: Selector::nothing(),
            to: Selector::nothing(),
            at: Timestamp(1),
            earlier: vec![Timestamp(1)],
            user: String::new(),
            manager: String::new(),
        });
        ledger.remember_deleted(Tombstone {
            service: "other".to_owned(),
            selector: Selector::nothing(),
            at: Timestamp(2),
            still_there: false,
        });
        assert_eq!(Ledger::parse(&ledger.render()), Ok(ledger));
    }

    #[test]
    fn unknown_keys_are_named() {
        let parse = |pairs: &[(&str, &str)]| {
            let data = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Ledger::parse(&data).unwrap_err()
        };
        assert!(parse(&[]).contains("no key `format`"));
        assert!(parse(&[("format", "7")]).contains("its format is `7`"));
        assert!(parse(&[("format", "2"), ("surprise", "")]).contains("key `surprise`"));
        assert!(parse(&[("format", "2"), ("intent.x", "{}")]).contains("key `intent.x` cannot be read"));
        let no_id = r#"{"ids":[],"object":"service/app","uid":"","base":"","effect":{"scaled":{"to":0}},"user":"",
            "at":"2030-01-01T00:00:00Z"}"#;
        assert!(parse(&[("format", "2"), ("intent.x", no_id)]).contains("no id"));
    }

    #[test]
    fn equal_attempts_share_an_intent_and_are_removed_one_by_one() {
        let mut ledger = Ledger::default();
        ledger.add(&intent("a", "app"));
        ledger.add(&intent("b", "app"));
        assert_eq!(ledger.intents.len(), 1);
        ledger.remove("a");
        assert_eq!(ledger.intents.iter().map(|it| it.ids.clone()).collect::<Vec<_>>(), [["b"]]);
        ledger.remove("b");
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn creations_leave_room_for_other_changes() {
        let creation =
            |number: usize| Intent { base: String::new(), ..intent(&format!("c{number}"), &format!("new-{number}")) };
        let mut ledger = Ledger::default();
        for number in 0..MAX_CREATIONS {
            ledger.add(&creation(number));
            assert!(ledger.has_room_for(&creation(number)), "{number}");
        }
        let last = creation(MAX_CREATIONS);
        ledger.add(&last);
        assert!(!ledger.has_room_for(&last));
        let change = intent("a", "app");
        ledger.add(&change);
        assert!(ledger.has_room_for(&change) && ledger.fits());
    }

    #[test]
    fn a_ledger_is_bounded() {
        assert!(full_of(MAX_INTENTS).fits());
        assert!(!full_of(MAX_INTENTS + 1).fits());
        // The oldest records make room for intents.
        let mut ledger = full_of(1);
        for at in 0..9 {
            ledger.records.flips.push(Flip {
                service: format!("app-{at}"),
                uid: String::new(),
                from: Selector::new([("app".to_owned(), "x".repeat(40_000))].into()),
                to: Selector::nothing(),
                at: Timestamp(at),
                earlier: Vec::new(),
                user: String::new(),
                manager: String::new(),
            });
        }
        assert!(ledger.fits());
        let kept: Vec<i64> = ledger.records.flips.iter().map(|flip| flip.at.0).collect();
        assert_eq!(kept, [3, 4, 5, 6, 7, 8]);
    }
}
