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

/// Drops what is over, remembers what happened, and gives what may still happen. An intent whose object was not looked at
/// may still happen.
pub fn settle(ledger: &mut Ledger, found: &BTreeMap<Object, Found>, colours: &ColourScheme, now: Timestamp) {
    let intents = std::mem::take(&mut ledger.intents);
    for intent in intents {
        match found.get(&intent.object).map_or(Standing::Pending, |found| standing(&intent, found)) {
            Standing::Pending => ledger.intents.push(intent),
            Standing::Committed => remember(ledger, intent, colours),
            Standing::Over => {}
        }
    }
    // What exists again is not gone.
    let exists = |name: &str| matches!(found.get(&Object::service(name)), Some(Found::There(seen)) if !seen.deleting);
    ledger.records.tombstones.retain(|tombstone| !exists(&tombstone.service));
    ledger.forget(now);
}

/// Drops the attempts that were watched for so long that they cannot commit any more.
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
