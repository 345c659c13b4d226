//! The status that a policy should have. Pure.

use std::collections::BTreeMap;

use crate::policy::census::Counts;
use crate::policy::merge::softened;
use crate::policy::read::Stored;
use crate::policy::resource::{BlueGreenPolicyStatus, Condition, ExemptionStatus};

/// `Programmed` is `True` as soon as no replica judges by an older generation.
const PROGRAMMED: &str = "Programmed";

/// The status, the reason and the message of a condition.
type Said = (&'static str, &'static str, String);

/// Whether the stored status says that this generation is programmed. Another keeper has waited for it.
pub(super) fn is_already_programmed(stored: &Stored) -> bool {
    let programmed = stored.status.conditions.iter().find(|condition| condition.kind == PROGRAMMED);
    programmed.is_some_and(|programmed| {
        programmed.status == "True" && programmed.observed_generation == Some(stored.generation)
    })
}

/// The status that a policy should have. Without counts, those of the stored status stay. `now` is an RFC 3339 time.
pub(super) fn status(
    stored: &Stored,
    is_programmed: bool,
    counts: Option<&Counts>,
    now: &str,
) -> BlueGreenPolicyStatus {
    let is_programmed = is_programmed || is_already_programmed(stored);
    let conditions = [("Accepted", accepted(stored)), (PROGRAMMED, programmed(stored, is_programmed))];
    let mut status = BlueGreenPolicyStatus {
        observed_generation: Some(stored.generation),
        conditions: conditions.into_iter().map(|(kind, said)| condition(kind, said, stored, now)).collect(),
        exemptions: exemptions(stored, now),
        softens: stored.content.as_ref().map(softened).unwrap_or_default(),
        ..stored.status.clone()
    };
    let partial = |condition: &&Condition| condition.kind == PARTIALLY;
    match counts {
        None => status.conditions.extend(stored.status.conditions.iter().find(partial).cloned()),
        Some(counts) => {
            let number = |count: usize| Some(i32::try_from(count).unwrap_or(i32::MAX));
            status.namespaces = number(counts.namespaces);
            status.services = number(counts.services);
            status.overlaps.clone_from(&counts.overlaps);
            if !counts.overridden.is_empty() {
                let message = format!("another policy comes first by name: {}", counts.overridden.join(", "));
                status.conditions.push(condition(PARTIALLY, ("True", "Overridden", message), stored, now));
            }
        }
    }
    status
}

/// The exemptions of a policy, each with the time since which it is known.
fn exemptions(stored: &Stored, now: &str) -> BTreeMap<String, ExemptionStatus> {
    let Ok(spec) = &stored.content else { return stored.status.exemptions.clone() };
    let of = |name: &str| {
        let mut known = stored.status.exemptions.get(name).cloned().unwrap_or_default();
        known.since.get_or_insert_with(|| now.to_owned());
        (name.to_owned(), known)
    };
    spec.exemptions.iter().map(|exemption| of(&exemption.name)).collect()
}

/// `PartiallyProgrammed` is there where another policy decides some of the labels that this one sets.
const PARTIALLY: &str = "PartiallyProgrammed";

fn accepted(stored: &Stored) -> Said {
    let unknown = stored.unknown_rules().join(", ");
    match &stored.content {
        Err(unread) if unread.is_beyond => ("False", "BeyondLimits", unread.why.clone()),
        Err(unread) => ("False", "Invalid", unread.why.clone()),
        Ok(_) if !unknown.is_empty() => ("True", "Accepted", format!("this version leaves out the rules {unknown}")),
        Ok(_) => ("True", "Accepted", String::new()),
    }
}

fn programmed(stored: &Stored, is_programmed: bool) -> Said {
    match &stored.content {
        Err(unread) if unread.is_beyond => ("False", "BeyondLimits", "it is set aside".to_owned()),
        Err(_) => ("False", "Invalid", "it is set aside".to_owned()),
        Ok(_) if is_programmed => ("True", PROGRAMMED, "every replica judges by it".to_owned()),
        Ok(_) => ("False", "Pending", "some replica may still judge by an older one".to_owned()),
    }
}

fn condition(kind: &str, (status, reason, message): Said, stored: &Stored, now: &str) -> Condition {
    let before = stored.status.conditions.iter().find(|condition| condition.kind == kind && condition.status == status);
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.chars().take(1000).collect(),
        last_transition_time: before.map_or_else(|| now.to_owned(), |before| before.last_transition_time.clone()),
        observed_generation: Some(stored.generation),
    }
}

/// Whether a status says something else than the stored one.
pub(super) fn differs(stored: &BlueGreenPolicyStatus, wanted: &BlueGreenPolicyStatus) -> bool {
    let plain = |status: &BlueGreenPolicyStatus| {
        let mut status = status.clone();
        for condition in &mut status.conditions {
            condition.last_transition_time.clear();
        }
        status
    };
    plain(stored) != plain(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::Policies;

    const NOW: &str = "2026-11-26T00:00:00Z";

    fn stored(spec: &serde_json::Value) -> Stored {
        let policy = json!({ "metadata": { "name": "a", "generation": 2 }, "spec": spec });
        Policies::of(vec![(policy, 1)]).all.remove(0)
    }

    fn said(status: &BlueGreenPolicyStatus) -> Vec<String> {
        status.conditions.iter().map(|it| format!("{}={} {}", it.kind, it.status, it.reason)).collect()
    }

    #[test]
    fn each_condition() {
        let mut policy = stored(&json!({ "namespaceSelector": {} }));
        let pending = status(&policy, false, None, NOW);
        assert_eq!(said(&pending), ["Accepted=True Accepted", "Programmed=False Pending"]);
        policy.status = status(&policy, true, None, NOW);
        assert_eq!(said(&policy.status), ["Accepted=True Accepted", "Programmed=True Programmed"]);
        assert!(!differs(&policy.status, &status(&policy, false, None, "later")), "another keeper trusts it");
        policy.generation = 3;
        let edited = status(&policy, false, None, "later");
        assert_eq!(said(&edited)[1], "Programmed=False Pending");
        assert_eq!(edited.conditions[0].last_transition_time, NOW, "Accepted has not changed");
        let invalid = stored(&json!({ "namespaceSelector": {}, "dryRun": "Later" }));
        assert_eq!(said(&status(&invalid, true, None, NOW)), ["Accepted=False Invalid", "Programmed=False Invalid"]);
    }

    #[test]
    fn counts_stay_until_the_next_census() {
        let mut policy = stored(&json!({ "namespaceSelector": {} }));
        let counts = Counts {
            namespaces: 3,
            services: 7,
            overlaps: vec!["b".to_owned()],
            overridden: vec!["labels.colourKey (b)".to_owned()],
        };
        policy.status = status(&policy, true, Some(&counts), NOW);
        assert_eq!(said(&policy.status)[2], "PartiallyProgrammed=True Overridden");
        assert!(!differs(&policy.status, &status(&policy, true, None, NOW)));
        let alone = status(&policy, true, Some(&Counts::default()), NOW);
        assert_eq!((alone.namespaces, alone.conditions.len()), (Some(0), 2));
    }

    /// Since when an exemption is known stays, and one that is gone goes.
    #[test]
    fn exemptions_are_known_since_they_were_seen() {
        let exemption = |name: &str| {
            let subjects = json!([{ "kind": "User", "name": "eve" }]);
            let (expires, reason) = ("2031-01-01T00:00:00Z", "a long migration");
            json!({ "name": name, "rules": ["live-deleted"], "subjects": subjects, "services": ["*"],
                "reason": reason, "expires": expires })
        };
        let mut policy = stored(&json!({ "namespaceSelector": {}, "exemptions": [exemption("a"), exemption("b")] }));
        policy.status = status(&policy, true, None, NOW);
        assert_eq!(policy.status.exemptions["a"].since.as_deref(), Some(NOW));
        assert!(!differs(&policy.status, &status(&policy, true, None, "later")));
        let mut fewer = stored(&json!({ "namespaceSelector": {}, "exemptions": [exemption("b"), exemption("c")] }));
        fewer.status = policy.status.clone();
        let now = status(&fewer, true, None, "later").exemptions;
        assert_eq!(now.keys().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!((now["b"].since.as_deref(), now["c"].since.as_deref()), (Some(NOW), Some("later")));
        assert!(differs(&fewer.status, &status(&fewer, true, None, "later")));
    }
}
