//! Resolving intents: each one is pending, committed or void.

use std::collections::{BTreeMap, BTreeSet};

use super::{IntendedChange, Intent, Ledger, ObjectRef, ServiceAfter, Settled, SettledAct};
use crate::model::{ClusterView, ColourScheme, Flip, Kind, Records, Selector, Service, Timestamp, Tombstone};

/// The number of earlier flips that a record keeps.
const MAX_EARLIER: usize = 8;

/// The result of reading an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Found {
    /// No object has this name.
    Missing,
    /// An object has this name.
    There(Seen),
}

/// The parts of an object that decide the state of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// Whether `deletionTimestamp` is set.
    pub deleting: bool,
    /// The selector of a Service; empty for a workload.
    pub selector: Selector,
    /// Whether the annotations of a Service say that it is not to be guarded as traffic.
    pub is_set_aside: bool,
}

impl From<&Service> for Seen {
    fn from(service: &Service) -> Self {
        Self {
            uid: service.meta.uid.clone(),
            version: service.meta.resource_version.clone(),
            deleting: service.meta.deleting,
            selector: service.routed().clone(),
            is_set_aside: service.is_set_aside(),
        }
    }
}

/// The state of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentState {
    /// The intent may still commit.
    Pending,
    /// The intent committed.
    Committed,
    /// The intent can no longer commit. Whether it did is unknown or irrelevant.
    Void,
}

/// The state of an intent, by its object, which was read after the intent was written. A changed version does not prove
/// a commit: another writer may have changed it.
#[must_use]
pub fn state_of(intent: &Intent, found: &Found) -> IntentState {
    match (found, &intent.effect) {
        (Found::There(seen), _) if intent.creates() && seen.uid == intent.uid => IntentState::Committed,
        // Another object with this name may be deleted before the new one is stored.
        (_, _) if intent.creates() => IntentState::Pending,
        (Found::Missing, IntendedChange::Gone { .. }) => IntentState::Committed,
        (Found::There(seen), effect) if seen.uid != intent.uid => {
            if matches!(effect, IntendedChange::Gone { .. }) {
                IntentState::Committed
            } else {
                IntentState::Void
            }
        }
        (Found::There(seen), _) if seen.version == intent.base => IntentState::Pending,
        // A deleted object that waits for a finalizer is not restored.
        (Found::There(seen), IntendedChange::Gone { .. }) if seen.deleting => IntentState::Committed,
        (Found::There(seen), IntendedChange::Service(after)) if seen.selector == after.to => IntentState::Committed,
        // A Service that is set aside may get any selector, and nobody is asked.
        (Found::There(seen), IntendedChange::Service(after)) if after.opts_out && seen.is_set_aside => {
            IntentState::Committed
        }
        (Found::Missing | Found::There(_), _) => IntentState::Void,
    }
}

/// Drops void intents, records committed ones, and keeps pending ones. An intent whose object was not read stays pending.
/// Attempts that have `expired` were watched until they could no longer commit.
pub fn resolve(
    ledger: &mut Ledger,
    found: &BTreeMap<ObjectRef, Found>,
    expired: &BTreeSet<String>,
    colours: &ColourScheme,
    now: Timestamp,
) {
    // Nothing is dropped unseen: an attempt that has expired may have committed.
    let is_seen = |intent: &&Intent| found.contains_key(&intent.object);
    let seen: BTreeSet<String> = ledger.intents.iter().filter(is_seen).flat_map(|intent| intent.ids.clone()).collect();
    let expired: BTreeSet<String> = expired.intersection(&seen).cloned().collect();
    let intents = std::mem::take(&mut ledger.intents);
    for intent in intents {
        match found.get(&intent.object).map_or(IntentState::Pending, |found| state_of(&intent, found)) {
            IntentState::Pending => ledger.intents.push(intent),
            IntentState::Committed => {
                // Only the annotation itself proves that an opt-out has committed.
                let is_set_aside = matches!(found.get(&intent.object), Some(Found::There(seen)) if seen.is_set_aside);
                remember(ledger, intent, is_set_aside, colours);
            }
            IntentState::Void => {}
        }
    }
    // Expiry comes last: an expired intent may have committed, and is recorded first.
    expire(ledger, &expired);
    // A deletion is dropped from the records if the Service exists again.
    let exists =
        |name: &str| matches!(found.get(&ObjectRef::service(name)), Some(Found::There(seen)) if !seen.deleting);
    ledger.records.tombstones.retain(|tombstone| !exists(&tombstone.service));
    ledger.forget(now);
}

/// The records of a ledger, with the changes that have committed since it was last written. `view` was read after it.
#[must_use]
pub fn settled(mut ledger: Ledger, view: &ClusterView, colours: &ColourScheme, now: Timestamp) -> Records {
    let services = ledger.intents.iter().filter(|intent| intent.object.kind == Kind::Service);
    let seen = |object: &ObjectRef| match view.services.iter().find(|service| service.meta.name == object.name) {
        None => Found::Missing,
        Some(service) => Found::There(Seen::from(service)),
    };
    let found = services.map(|intent| (intent.object.clone(), seen(&intent.object))).collect();
    resolve(&mut ledger, &found, &BTreeSet::new(), colours, now);
    ledger.records
}

/// Drops expired attempts. They were watched until they could no longer commit, and may or may not have done so.
pub fn expire(ledger: &mut Ledger, expired: &BTreeSet<String>) {
    for id in expired {
        ledger.remove(id);
    }
}

fn remember(ledger: &mut Ledger, intent: Intent, is_set_aside: bool, colours: &ColourScheme) {
    let service = intent.object.name.clone();
    if let IntendedChange::Service(after) = &intent.effect
        && after.opts_out
        && is_set_aside
    {
        ledger.settle(Settled::of(&intent, SettledAct::OptedOut, after.from.clone(), after.to.clone()));
    }
    match intent.effect.clone() {
        IntendedChange::Gone { selector: Some(selector) } => {
            let settled = Settled::of(&intent, SettledAct::Deleted, selector.clone(), Selector::nothing());
            ledger.settle(settled);
            ledger.remember_deleted(Tombstone { service, selector, at: intent.at, still_there: false });
        }
        IntendedChange::Service(after) if intent.base.is_empty() => {
            ledger.settle(Settled::of(&intent, SettledAct::Created, Selector::nothing(), after.to));
            ledger.records.tombstones.retain(|tombstone| tombstone.service != service);
        }
        // A pair more or less in the selector is no flip. The record goes on with the new selector.
        IntendedChange::Service(after) if !is_flip(&after, colours) => {
            let is_it = |flip: &&mut Flip| flip.service == service && flip.uid == intent.uid && flip.to == after.from;
            if let Some(flip) = ledger.records.flips.iter_mut().find(is_it) {
                flip.to = after.to;
            }
        }
        IntendedChange::Service(after) => {
            // An opt-out that flips as well is told of as an opt-out.
            if !(after.opts_out && is_set_aside) {
                ledger.settle(Settled::of(&intent, SettledAct::Flip, after.from.clone(), after.to.clone()));
            }
            let last = ledger.records.flips.iter().find(|flip| flip.service == service && flip.uid == intent.uid);
            // Going back once more is going forward again.
            let back_and_forth = last.filter(|last| last.to == after.from && last.from == after.to);
            let mut earlier: Vec<Timestamp> =
                back_and_forth.map(|last| last.earlier.iter().copied().chain([last.at]).collect()).unwrap_or_default();
            // Flips come in pairs, so that the oldest that is kept is one forward.
            earlier.drain(..earlier.len().saturating_sub(MAX_EARLIER) / 2 * 2);
            let flip = Flip {
                service,
                uid: intent.uid,
                from: after.from,
                to: after.to,
                at: intent.at,
                earlier,
                user: intent.user,
                manager: intent.manager,
            };
            ledger.remember_flip(flip);
        }
        IntendedChange::Gone { .. } | IntendedChange::Scaled { .. } | IntendedChange::Workload(_) => {}
    }
}

/// Whether a committed change of a Service was a flip: it pins another colour, or it exchanges a pair of the selector for
/// another one (`flipguard.dev/role: traffic` without a known colour).
fn is_flip(after: &ServiceAfter, colours: &ColourScheme) -> bool {
    let (from, to) = (&after.from, &after.to);
    colours.pins(from) != colours.pins(to) || (!from.without(to).is_empty() && !to.without(from).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn selector(color: &str) -> Selector {
        Selector::new([("color".to_owned(), color.to_owned())].into())
    }

    #[test]
    fn a_flip_that_has_committed_is_on_record_before_the_next_attempt() {
        let after =
            ServiceAfter { from: selector("blue"), to: selector("green"), annotations: Labels::new(), opts_out: false };
        let pending = intent("uid", "1", IntendedChange::Service(after));
        let ledger = || {
            let mut ledger = Ledger::default();
            ledger.intents.push(pending.clone());
            ledger
        };
        let service = |version: &str, colour: &str| {
            let json = format!(
                r#"{{"metadata":{{"name":"app","uid":"uid","resourceVersion":"{version}"}},
                "spec":{{"selector":{{"color":"{colour}"}}}}}}"#
            );
            ClusterView { services: vec![serde_json::from_str(&json).unwrap()], ..ClusterView::default() }
        };
        let flips = |view: ClusterView| settled(ledger(), &view, &ColourScheme::default(), Timestamp(9)).flips.len();
        assert_eq!(flips(service("2", "green")), 1);
        assert_eq!(flips(service("1", "blue")), 0, "it is still pending");
        assert_eq!(flips(service("2", "blue")), 0, "it is void");
    }

    fn intent(uid: &str, base: &str, effect: IntendedChange) -> Intent {
        let (ids, object, user) = (vec!["id".to_owned()], ObjectRef::service("app"), String::new());
        Intent {
            ids,
            object,
            uid: uid.to_owned(),
            base: base.to_owned(),
            effect,
            user,
            manager: String::new(),
            at: Timestamp(100),
            is_crowded: false,
        }
    }

    fn flip() -> IntendedChange {
        IntendedChange::Service(ServiceAfter {
            from: selector("blue"),
            to: selector("green"),
            annotations: Labels::new(),
            opts_out: false,
        })
    }

    fn there(uid: &str, version: &str, color: &str) -> Found {
        Found::There(Seen {
            uid: uid.to_owned(),
            version: version.to_owned(),
            deleting: false,
            selector: selector(color),
            is_set_aside: false,
        })
    }

    #[test]
    fn the_state_of_a_flip() {
        let state = |found: &Found| state_of(&intent("u", "1", flip()), found);
        assert_eq!(state(&there("u", "1", "blue")), IntentState::Pending);
        assert_eq!(state(&there("u", "2", "green")), IntentState::Committed);
        assert_eq!(state(&there("u", "2", "blue")), IntentState::Void, "only a label was edited");
        assert_eq!(state(&there("w", "9", "green")), IntentState::Void, "another Service of the same name");
        assert_eq!(state(&Found::Missing), IntentState::Void);
    }

    #[test]
    fn the_state_of_an_opt_out() {
        let after =
            ServiceAfter { from: selector("blue"), to: selector("blue"), annotations: Labels::new(), opts_out: true };
        let opt_out = intent("u", "1", IntendedChange::Service(after));
        let seen = |version: &str, color: &str, is_set_aside| match there("u", version, color) {
            Found::There(seen) => Found::There(Seen { is_set_aside, ..seen }),
            Found::Missing => Found::Missing,
        };
        assert_eq!(state_of(&opt_out, &seen("1", "blue", false)), IntentState::Pending);
        assert_eq!(state_of(&opt_out, &seen("2", "blue", true)), IntentState::Committed);
        assert_eq!(state_of(&opt_out, &seen("3", "red", true)), IntentState::Committed, "its selector changed later");
        assert_eq!(state_of(&opt_out, &seen("3", "red", false)), IntentState::Void, "another change was first");
    }

    #[test]
    fn the_state_of_a_deletion() {
        let state = |found: &Found| state_of(&intent("u", "1", IntendedChange::Gone { selector: None }), found);
        assert_eq!(state(&there("u", "1", "blue")), IntentState::Pending);
        assert_eq!(state(&there("u", "2", "blue")), IntentState::Void);
        assert_eq!(state(&there("w", "9", "blue")), IntentState::Committed);
        assert_eq!(state(&Found::Missing), IntentState::Committed);
        let Found::There(seen) = there("u", "2", "blue") else { return };
        assert_eq!(
            state(&Found::There(Seen { deleting: true, ..seen })),
            IntentState::Committed,
            "a finalizer holds it"
        );
    }

    #[test]
    fn the_state_of_a_creation() {
        let state = |found: &Found| state_of(&intent("u", "", flip()), found);
        assert_eq!(state(&Found::Missing), IntentState::Pending);
        assert_eq!(state(&there("u", "1", "green")), IntentState::Committed);
        assert_eq!(state(&there("w", "1", "green")), IntentState::Pending, "what has the name may go first");
    }

    #[test]
    fn flips_back_and_forth_are_recorded() {
        let mut ledger = Ledger::default();
        let colours = ColourScheme::default();
        let mut committed = |from: &str, to: &str| {
            let after =
                ServiceAfter { from: selector(from), to: selector(to), annotations: Labels::new(), opts_out: false };
            ledger.intents.push(intent("u", "1", IntendedChange::Service(after)));
            let found = [(ObjectRef::service("app"), there("u", "2", to))].into();
            resolve(&mut ledger, &found, &BTreeSet::new(), &colours, Timestamp(100));
            assert!(ledger.intents.is_empty());
            ledger.records.flips.first().map(|flip| flip.earlier.len())
        };
        assert_eq!(committed("blue", "green"), Some(0));
        assert_eq!(committed("green", "blue"), Some(1));
        assert_eq!(committed("blue", "green"), Some(2));
    }

    /// The selectors of a flip on record after one more change of the same Service.
    fn recorded(from: &Selector, to: &Selector) -> Option<(String, String)> {
        let mut ledger = Ledger::default();
        let mut change = |from: &Selector, to: &Selector| {
            let after =
                ServiceAfter { from: from.clone(), to: to.clone(), annotations: Labels::new(), opts_out: false };
            ledger.intents.push(intent("u", "1", IntendedChange::Service(after)));
            let seen = Seen {
                uid: "u".to_owned(),
                version: "2".to_owned(),
                deleting: false,
                selector: to.clone(),
                is_set_aside: false,
            };
            let found = [(ObjectRef::service("app"), Found::There(seen))].into();
            resolve(&mut ledger, &found, &BTreeSet::new(), &ColourScheme::default(), Timestamp(100));
        };
        change(&selector("blue"), &selector("green"));
        change(from, to);
        ledger.records.flips.first().map(|flip| (flip.from.to_string(), flip.to.to_string()))
    }

    #[test]
    fn a_selector_edit_that_is_no_flip_keeps_the_record() {
        let wider = |more: &str| {
            let pairs = [("color", "green"), (more, "yes")].map(|(key, value)| (key.to_owned(), value.to_owned()));
            Selector::new(pairs.into())
        };
        let kept = recorded(&selector("green"), &wider("tier"));
        assert_eq!(kept, Some(("color=blue".to_owned(), "color=green,tier=yes".to_owned())));
        let another = recorded(&wider("tier"), &wider("app"));
        assert_eq!(another, Some(("color=green,tier=yes".to_owned(), "app=yes,color=green".to_owned())));
    }

    #[test]
    fn a_flip_by_an_unknown_key_is_recorded() {
        let track = |value: &str| Selector::new([("track".to_owned(), value.to_owned())].into());
        let recorded = recorded(&track("stable"), &track("next"));
        assert_eq!(recorded, Some(("track=stable".to_owned(), "track=next".to_owned())));
    }
}
