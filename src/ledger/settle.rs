//! What became of an intent.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Intent, Ledger, Object};
use crate::model::{ColourScheme, Flip, Selector, Timestamp, Tombstone};

/// An object as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Found {
    /// There is none of this name.
    Missing,
    /// There is one.
    There(Seen),
}

/// What settling needs of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Its uid.
    pub uid: String,
    /// Its `resourceVersion`.
    pub version: String,
    /// Whether it is on its way out.
    pub deleting: bool,
    /// What a Service selects.
    pub selector: Selector,
}

/// What became of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may still happen.
    Pending,
    /// It happened.
    Committed,
    /// It cannot happen any more, and whether it did is not known or does not matter.
    Over,
}

/// What became of an intent, by what was found of its object after it was written. A version that moved alone proves no
/// commit: anybody may have written anything.
#[must_use]
pub fn standing(intent: &Intent, found: &Found) -> Standing {
    match (found, &intent.effect) {
        (Found::There(seen), _) if intent.creates() && seen.uid == intent.uid => Standing::Committed,
        // Where another one has the name, it may be deleted before the new one is stored.
        (_, _) if intent.creates() => Standing::Pending,
        (Found::Missing, Effect::Gone { .. }) => Standing::Committed,
        (Found::There(seen), effect) if seen.uid != intent.uid => {
            if matches!(effect, Effect::Gone { .. }) {
                Standing::Committed
            } else {
                Standing::Over
            }
        }
        (Found::There(seen), _) if seen.version == intent.base => Standing::Pending,
        // What waits for a finalizer does not come back.
        (Found::There(seen), Effect::Gone { .. }) if seen.deleting => Standing::Committed,
        (Found::There(seen), Effect::Service(after)) if seen.selector == after.to => Standing::Committed,
        (Found::Missing | Found::There(_), _) => Standing::Over,
    }
}

/// Drops what is over, remembers what happened, and keeps what may still happen. An intent whose object was not looked at
/// may still happen, unless its attempts are `expired`: watched for so long that they cannot commit any more.
pub fn settle(
    ledger: &mut Ledger,
    found: &BTreeMap<Object, Found>,
    expired: &BTreeSet<String>,
    colours: &ColourScheme,
    now: Timestamp,
) {
    let intents = std::mem::take(&mut ledger.intents);
    for intent in intents {
        match found.get(&intent.object).map_or(Standing::Pending, |found| standing(&intent, found)) {
            Standing::Pending => ledger.intents.push(intent),
            Standing::Committed => remember(ledger, intent, colours),
            Standing::Over => {}
        }
    }
    // Only now: what is too old may have happened before it was.
    expire(ledger, expired);
    // What exists again is not gone.
    let exists = |name: &str| matches!(found.get(&Object::service(name)), Some(Found::There(seen)) if !seen.deleting);
    ledger.records.tombstones.retain(|tombstone| !exists(&tombstone.service));
    ledger.forget(now);
}

/// Drops the attempts that were watched for so long that they cannot commit any more, whether they did or not.
pub fn expire(ledger: &mut Ledger, expired: &BTreeSet<String>) {
    for id in expired {
        ledger.remove(id);
    }
}

fn remember(ledger: &mut Ledger, intent: Intent, colours: &ColourScheme) {
    let service = intent.object.name.clone();
    match intent.effect {
        Effect::Gone { selector: Some(selector) } => {
            ledger.remember_deleted(Tombstone { service, selector, at: intent.at, still_there: false });
        }
        Effect::Service(_) if intent.base.is_empty() => {
            ledger.records.tombstones.retain(|tombstone| tombstone.service != service);
        }
        Effect::Service(after) if colours.pins(&after.from) != colours.pins(&after.to) => {
            let last = ledger.records.flips.iter().find(|flip| flip.service == service && flip.uid == intent.uid);
            // Going back once more is going forward again.
            let back = last.is_some_and(|last| !last.back && last.to == after.from && last.from == after.to);
            let flip = Flip {
                service,
                uid: intent.uid,
                from: after.from,
                to: after.to,
                at: intent.at,
                back,
                user: intent.user,
            };
            ledger.remember_flip(flip);
        }
        Effect::Gone { .. } | Effect::Scaled { .. } | Effect::Service(_) | Effect::Workload(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ServiceAfter;
    use crate::model::Labels;

    fn selector(color: &str) -> Selector {
        Selector::new([("color".to_owned(), color.to_owned())].into())
    }

    fn intent(uid: &str, base: &str, effect: Effect) -> Intent {
        let (ids, object, user) = (vec!["id".to_owned()], Object::service("app"), String::new());
        Intent { ids, object, uid: uid.to_owned(), base: base.to_owned(), effect, user, at: Timestamp(100) }
    }

    fn flip() -> Effect {
        Effect::Service(ServiceAfter { from: selector("blue"), to: selector("green"), annotations: Labels::new() })
    }

    fn there(uid: &str, version: &str, color: &str) -> Found {
        Found::There(Seen {
            uid: uid.to_owned(),
            version: version.to_owned(),
            deleting: false,
            selector: selector(color),
        })
    }

    #[test]
    fn what_became_of_a_flip() {
        let standing = |found: &Found| standing(&intent("u", "1", flip()), found);
        assert_eq!(standing(&there("u", "1", "blue")), Standing::Pending);
        assert_eq!(standing(&there("u", "2", "green")), Standing::Committed);
        assert_eq!(standing(&there("u", "2", "blue")), Standing::Over, "only a label was edited");
        assert_eq!(standing(&there("w", "9", "green")), Standing::Over, "another Service of the same name");
        assert_eq!(standing(&Found::Missing), Standing::Over);
    }

    #[test]
    fn what_became_of_a_deletion() {
        let standing = |found: &Found| standing(&intent("u", "1", Effect::Gone { selector: None }), found);
        assert_eq!(standing(&there("u", "1", "blue")), Standing::Pending);
        assert_eq!(standing(&there("u", "2", "blue")), Standing::Over);
        assert_eq!(standing(&there("w", "9", "blue")), Standing::Committed);
        assert_eq!(standing(&Found::Missing), Standing::Committed);
        let Found::There(seen) = there("u", "2", "blue") else { return };
        assert_eq!(
            standing(&Found::There(Seen { deleting: true, ..seen })),
            Standing::Committed,
            "a finalizer holds it"
        );
    }

    #[test]
    fn what_became_of_a_creation() {
        let standing = |found: &Found| standing(&intent("u", "", flip()), found);
        assert_eq!(standing(&Found::Missing), Standing::Pending);
        assert_eq!(standing(&there("u", "1", "green")), Standing::Committed);
        assert_eq!(standing(&there("w", "1", "green")), Standing::Pending, "what has the name may go first");
    }

    #[test]
    fn going_back_is_remembered_as_such_and_once() {
        let mut ledger = Ledger::default();
        let colours = ColourScheme::default();
        let mut committed = |from: &str, to: &str| {
            let after = ServiceAfter { from: selector(from), to: selector(to), annotations: Labels::new() };
            ledger.intents.push(intent("u", "1", Effect::Service(after)));
            let found = [(Object::service("app"), there("u", "2", to))].into();
            settle(&mut ledger, &found, &BTreeSet::new(), &colours, Timestamp(100));
            assert!(ledger.intents.is_empty());
            ledger.records.flips.first().map(|flip| flip.back)
        };
        assert_eq!(committed("blue", "green"), Some(false));
        assert_eq!(committed("green", "blue"), Some(true));
        assert_eq!(committed("blue", "green"), Some(false), "going back once more is going forward");
    }
}
