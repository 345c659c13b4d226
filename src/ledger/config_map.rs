//! The ledger of one namespace: intents and records, as the data of a ConfigMap.
//!
//! Each key holds one entry as a line of JSON, so that `kubectl get -o yaml` is readable.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::Intent;
use super::room::MAX_INTENTS;
use super::settled::{self, Settled};
use super::unknown::Unknown;
use crate::model::{Flip, Proof, Proofs, Records, Timestamp, Tombstone};

/// The largest number of attempts that share an intent by name. Of more, only the newest is kept: it expires last.
const MAX_ATTEMPTS: usize = 8;
/// The largest size of a ledger, in bytes. The limit of etcd is 1.5 MiB.
pub const MAX_BYTES: usize = 256 * 1024;

/// The format that this release writes. A ledger of another format is left unchanged. A release that only adds fields or
/// keys keeps the format.
const FORMAT: u64 = 2;

/// Why the data of a ConfigMap cannot be used as a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A newer release has written the ledger, in this format.
    #[error("a newer flipguard has written it, in format {0}; this one knows format {FORMAT}")]
    Newer(u64),
    /// The data are damaged or somebody else's.
    #[error("{0}")]
    Unusable(String),
}

/// The intents of a namespace, and the records of its Services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    /// The intents of requests, ordered by object.
    pub intents: Vec<Intent>,
    /// The last flips and recent deletions of Services, and the proofs of gates.
    pub records: Records,
    /// Changes that have committed and are not in the history yet, ordered by their first ids.
    pub settled: Vec<Settled>,
    /// The last entry of the namespace's history: its number, a space, and its hash.
    pub head: String,
    /// What a newer release of the same format has added.
    unknown: Unknown,
}

impl Ledger {
    /// Reads the data of a ConfigMap. Unknown keys and fields are kept.
    ///
    /// # Errors
    /// When the format differs, or an entry cannot be read.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, LedgerError> {
        check_format(data)?;
        let mut ledger = Self::default();
        for (key, text) in data.iter().filter(|(key, _)| *key != "format") {
            ledger.take(key, text).map_err(LedgerError::Unusable)?;
        }
        Ok(ledger)
    }

    fn take(&mut self, key: &str, text: &str) -> Result<(), String> {
        let one = || std::iter::once(key.to_owned());
        match key.split_once('.') {
            Some(("intent", _)) => {
                let intent: Intent = entry(key, text)?;
                if intent.ids.is_empty() {
                    return Err(format!("key `{key}` has no id"));
                }
                self.unknown.keep_fields(keys_of(&intent), text, &intent);
                self.intents.push(intent);
            }
            Some(("flip", _)) => {
                let flip: Flip = entry(key, text)?;
                self.unknown.keep_fields(one(), text, &flip);
                self.records.flips.push(flip);
            }
            Some(("tombstone", _)) => {
                let tombstone: Tombstone = entry(key, text)?;
                self.unknown.keep_fields(one(), text, &tombstone);
                self.records.tombstones.push(tombstone);
            }
            Some(("settled", _)) => {
                let settled: Settled = entry(key, text)?;
                self.unknown.keep_fields(one(), text, &settled);
                self.settled.push(settled);
            }
            None if key == "head" => text.clone_into(&mut self.head),
            Some(("gate", _)) => {
                let proofs: Proofs = entry(key, text)?;
                self.unknown.keep_fields(one(), text, &proofs);
                self.records.proofs.push(proofs);
            }
            _ => self.unknown.keep_entry(key, text),
        }
        Ok(())
    }

    /// The data of the ConfigMap, one key per entry.
    #[must_use]
    pub fn render(&self) -> BTreeMap<String, String> {
        let unknown = &self.unknown;
        let mut data = BTreeMap::from([("format".to_owned(), FORMAT.to_string())]);
        data.extend(unknown.entries().map(|(key, text)| (key.clone(), text.clone())));
        for intent in &self.intents {
            let key = keys_of(intent).next().unwrap_or_default();
            data.insert(key, unknown.line(keys_of(intent), intent));
        }
        for flip in &self.records.flips {
            let key = flip_key(&flip.service);
            data.insert(key.clone(), unknown.line([key].into_iter(), flip));
        }
        for tombstone in &self.records.tombstones {
            let key = tombstone_key(&tombstone.service);
            data.insert(key.clone(), unknown.line([key].into_iter(), tombstone));
        }
        for settled in &self.settled {
            let key = settled_key(settled);
            data.insert(key.clone(), unknown.line([key].into_iter(), settled));
        }
        if !self.head.is_empty() {
            data.insert("head".to_owned(), self.head.clone());
        }
        for proofs in &self.records.proofs {
            let key = gate_key(&proofs.gate, &proofs.target);
            data.insert(key.clone(), unknown.line([key].into_iter(), proofs));
        }
        data
    }

    /// Adds an intent. An equal intent on the same version is joined, with the ids of both attempts. It is known by the
    /// user of the newest one.
    pub(super) fn add(&mut self, own: &Intent) {
        let same = |intent: &&mut Intent| intent.excludes(own) && intent.effect == own.effect;
        match self.intents.iter_mut().find(same) {
            Some(intent) => {
                intent.is_crowded |= intent.ids.len() >= MAX_ATTEMPTS;
                if intent.is_crowded {
                    intent.ids.clear();
                }
                intent.ids.extend(own.ids.iter().cloned());
                (intent.user, intent.manager, intent.at) = (own.user.clone(), own.manager.clone(), own.at);
            }
            None => self.intents.push(own.clone()),
        }
        self.order();
    }

    /// Withdraws one attempt's intent, by its id. A crowded one stays: other attempts, whose ids are no longer known, may
    /// still commit.
    pub(super) fn withdraw(&mut self, id: &str) {
        if !self.intents.iter().any(|intent| intent.is_crowded && intent.ids.iter().any(|other| other == id)) {
            self.remove(id);
        }
    }

    /// Removes one attempt's intent, by its id: withdrawn, or expired.
    pub(super) fn remove(&mut self, id: &str) {
        for intent in &mut self.intents {
            intent.ids.retain(|other| other != id);
        }
        self.intents.retain(|intent| !intent.ids.is_empty());
        self.order();
    }

    /// Drops the oldest records until the ledger is small enough. Returns whether it is. A lost proof can be made again.
    pub(super) fn fits(&mut self) -> bool {
        while self.size() > MAX_BYTES && settled::drop_oldest(&mut self.settled, |_| true) {}
        while self.size() > MAX_BYTES {
            if let Some(oldest) = self.records.proofs.iter().flat_map(|of| &of.proofs).map(|proof| proof.at).min() {
                self.forget_proofs(|proof| proof.at > oldest);
                continue;
            }
            let Some(oldest) = self.records.flips.iter().map(|flip| flip.at).min() else { break };
            self.records.flips.retain(|flip| flip.at > oldest);
        }
        self.intents.len() <= MAX_INTENTS && self.size() <= MAX_BYTES
    }

    /// Drops tombstones that no longer count.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.records.tombstones.retain(|tombstone| tombstone.counts(now));
        self.forget_proofs(|proof| now.since(proof.at) <= Proofs::KEPT);
    }

    /// Adds the proof of a gate about a workload, as `deployment/app-green`. Returns whether the ledger has changed.
    pub fn remember_proof(&mut self, gate: &str, target: &str, proof: Proof) -> bool {
        let before = self.records.proofs.clone();
        if let Some(of) = self.records.proofs.iter_mut().find(|of| of.gate == gate && of.target == target) {
            of.add(proof);
        } else {
            let (gate, target) = (gate.to_owned(), target.to_owned());
            self.records.proofs.push(Proofs { gate, target, proofs: vec![proof] });
        }
        self.records.proofs != before && self.fits()
    }

    fn forget_proofs(&mut self, keep: impl Fn(&Proof) -> bool) {
        self.records.proofs.iter_mut().for_each(|of| of.proofs.retain(&keep));
        self.records.proofs.retain(|of| !of.proofs.is_empty());
    }

    /// Keeps a change that has committed, until the history has it.
    pub(super) fn settle(&mut self, new: Settled) {
        settled::add(&mut self.settled, new);
        self.settled.sort_by_key(settled_key);
    }

    /// Lets go of the changes that the history has now, and notes its last entry.
    pub fn drained(&mut self, is_taken: impl Fn(&Settled) -> bool, head: String) {
        self.settled.retain(|settled| !is_taken(settled));
        self.head = head;
    }

    pub(super) fn remember_flip(&mut self, flip: Flip) {
        self.unknown.forget_fields(&flip_key(&flip.service));
        self.records.flips.retain(|other| other.service != flip.service);
        self.records.flips.push(flip);
    }

    pub(super) fn remember_deleted(&mut self, tombstone: Tombstone) {
        self.unknown.forget_fields(&tombstone_key(&tombstone.service));
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

fn check_format(data: &BTreeMap<String, String>) -> Result<(), LedgerError> {
    let Some(format) = data.get("format") else {
        return Err(LedgerError::Unusable("it has no key `format`, so flipguard has not written it".to_owned()));
    };
    match format.parse() {
        Ok(FORMAT) => Ok(()),
        Ok(newer) if newer > FORMAT => Err(LedgerError::Newer(newer)),
        _ => Err(LedgerError::Unusable(format!("its format is `{format}`, and this flipguard knows `{FORMAT}`"))),
    }
}

fn entry<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("key `{key}` cannot be read: {error}"))
}

/// The keys under which an intent may be stored: the first of its attempts names it.
fn keys_of(intent: &Intent) -> impl Iterator<Item = String> {
    intent.ids.iter().map(|id| format!("intent.{id}"))
}

fn flip_key(service: &str) -> String {
    format!("flip.{service}")
}

fn settled_key(settled: &Settled) -> String {
    format!("settled.{}", settled.ids.first().map_or("", String::as_str))
}

fn tombstone_key(service: &str) -> String {
    format!("tombstone.{service}")
}

/// A name of Kubernetes has no `/`, and a key of a ConfigMap must not have one.
fn gate_key(gate: &str, target: &str) -> String {
    format!("gate.{gate}.{}", target.replace('/', "."))
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
            is_crowded: false,
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
        assert!(ledger.remember_proof("smoke", "deployment/app-green", proof(3)));
        assert!(!ledger.remember_proof("smoke", "deployment/app-green", proof(2)), "an older run of the same");
        assert!(ledger.render().contains_key("gate.smoke.deployment.app-green"));
        assert_eq!(Ledger::parse(&ledger.render()).as_ref(), Ok(&ledger));
        ledger.forget(Timestamp(3).after(Proofs::KEPT + std::time::Duration::from_secs(1)));
        assert!(ledger.records.proofs.is_empty());
    }

    fn proof(at: i64) -> Proof {
        let tested = crate::model::Tested { template: "0".repeat(64), images: None };
        let (user, evidence) = ("alice".to_owned(), String::new());
        Proof { kind: crate::model::GateKind::Job, tested, passed: true, at: Timestamp(at), user, evidence }
    }

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let parse = |pairs: &[(&str, &str)]| Ledger::parse(&data(pairs)).unwrap_err().to_string();
        assert!(parse(&[]).contains("no key `format`"));
        assert!(parse(&[("format", "1")]).contains("its format is `1`, and this flipguard knows `2`"));
        assert!(parse(&[("format", "two")]).contains("its format is `two`"));
        assert!(parse(&[("format", "2"), ("intent.x", "{}")]).contains("key `intent.x` cannot be read"));
        let no_id = r#"{"ids":[],"object":"service/app","uid":"","base":"","effect":{"scaled":{"to":0}},"user":"",
            "at":"2030-01-01T00:00:00Z"}"#;
        assert!(parse(&[("format", "2"), ("intent.x", no_id)]).contains("no id"));
        // Nothing in a ledger of a newer format is looked at.
        let newer = Ledger::parse(&data(&[("format", "3"), ("intent.x", "?")]));
        assert_eq!(newer, Err(LedgerError::Newer(3)));
    }

    /// Tomorrow's release adds a key, and fields to the entries of today.
    const TOMORROW: [(&str, &str); 5] = [
        ("format", "2"),
        ("lane.shop", "reserved"),
        (
            "intent.a",
            r#"{"ids":["a","b"],"object":"deployment/app-blue","uid":"u","base":"7","priority":{"of":["x"]},"user":"alice",
            "effect":{"workload":{"desired":1,"paused":false,"labels":{},"templateChanges":true,"strategy":"recreate",
            "firstOrdinal":0,"nodes":{"pool":"new"}}},"at":"2030-01-01T00:00:00Z"}"#,
        ),
        (
            "flip.app",
            r#"{"service":"app","uid":"u","from":{},"to":{"color":"green"},"at":"2030-01-01T00:00:00Z","user":"alice",
            "ticket":"OPS-7"}"#,
        ),
        ("tombstone.other", r#"{"service":"other","selector":{},"at":"2030-01-01T00:00:00Z","uid":"o"}"#),
    ];

    #[test]
    fn what_tomorrows_release_adds_is_kept() {
        let stored = data(&TOMORROW);
        let mut ledger = Ledger::parse(&stored).unwrap();
        assert_eq!((ledger.intents.len(), ledger.records.flips.len(), ledger.records.tombstones.len()), (1, 1, 1));
        let values = |data: &BTreeMap<String, String>| -> BTreeMap<String, serde_json::Value> {
            let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into());
            data.iter().map(|(key, text)| (key.clone(), value(text))).collect()
        };
        let has = |data: &BTreeMap<String, String>, key: &str, at: &str| {
            values(data).get(key).and_then(|value| value.pointer(at).cloned()).is_some()
        };
        let written = ledger.render();
        assert_eq!(written.get("lane.shop").map(String::as_str), Some("reserved"));
        assert!(
            has(&written, "intent.a", "/priority/of/0") && has(&written, "intent.a", "/effect/workload/nodes/pool")
        );
        assert!(has(&written, "flip.app", "/ticket") && has(&written, "tombstone.other", "/uid"));
        assert_eq!(Ledger::parse(&written).unwrap().render(), written, "the second time, nothing changes");
        // The fields belong to the intent, whichever of its attempts is withdrawn.
        ledger.remove("a");
        assert!(has(&ledger.render(), "intent.b", "/priority/of/0"));
        ledger.remove("b");
        assert!(ledger.render().keys().all(|key| !key.starts_with("intent.")));
        // A later flip of the same Service is another entry.
        let again = Flip { user: "bob".to_owned(), ..ledger.records.flips.first().unwrap().clone() };
        ledger.remember_flip(again);
        assert!(!has(&ledger.render(), "flip.app", "/ticket") && has(&ledger.render(), "tombstone.other", "/uid"));
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

    /// A client that repeats one change again and again takes no room from others.
    #[test]
    fn a_crowd_of_equal_attempts_takes_little_room() {
        let mut ledger = Ledger::default();
        (0..500)
            .for_each(|number| ledger.add(&Intent { at: Timestamp(number), ..intent(&format!("{number:03}"), "app") }));
        assert!(ledger.fits());
        let kept: Vec<_> = ledger.intents.iter().map(|it| (it.ids.clone(), it.at, it.is_crowded)).collect();
        assert_eq!(kept, [(vec!["499".to_owned()], Timestamp(499), true)]);
        // The attempts that are no longer known may still commit.
        ledger.withdraw("499");
        assert_eq!(ledger.intents.len(), 1);
        assert_eq!(Ledger::parse(&ledger.render()), Ok(ledger.clone()));
        // The newest expires last.
        ledger.remove("499");
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn a_joined_intent_is_known_by_its_newest_attempt() {
        let mut ledger = Ledger::default();
        ledger.add(&Intent { user: "alice".to_owned(), ..intent("a", "app") });
        ledger.add(&Intent { user: "bob".to_owned(), at: Timestamp(7), ..intent("b", "app") });
        let known: Vec<_> = ledger.intents.iter().map(|it| (it.user.as_str(), it.at)).collect();
        assert_eq!(known, [("bob", Timestamp(7))]);
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
