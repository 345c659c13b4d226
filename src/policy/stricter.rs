//! Of two results, the stricter one for each setting: where something is unknown, it counts for what it demands, and not
//! for what it forgives.

use std::collections::BTreeSet;

use crate::model::{ColourScheme, Exemption, Gate, Policy, setting};
use crate::rules::Reason;

/// The stricter of two, for each setting. An exemption counts where both have it.
#[must_use]
pub(super) fn stricter(a: &Policy, b: &Policy) -> Policy {
    let mut both = a.clone();
    let mut take = |is_stricter: bool, path: &str| {
        if is_stricter {
            match b.said_by.get(path) {
                Some(by) => both.said_by.insert(path.to_owned(), by.clone()),
                None => both.said_by.remove(path),
            };
        }
        is_stricter
    };
    let enforces = take(b.enforcement > a.enforcement, setting::ENFORCEMENT);
    let dry_run = take(b.dry_run > a.dry_run, setting::DRY_RUN);
    let ready = take(b.ready_percent > a.ready_percent, setting::READY_PERCENT);
    let basis = take(b.basis > a.basis, setting::BASIS);
    let parity = take(b.parity_percent > a.parity_percent, setting::PARITY_PERCENT);
    let floor = take(b.floor > a.floor, setting::FLOOR);
    let shrink = take(b.shrink_percent < a.shrink_percent, setting::SHRINK_PERCENT);
    let hold = take(b.hold > a.hold, setting::HOLD);
    let soak = take(b.soak > a.soak, setting::SOAK);
    let quarantine = take(b.quarantine > a.quarantine, setting::QUARANTINE);
    let rollback = take(b.rollback_percent > a.rollback_percent, setting::ROLLBACK_PERCENT);
    let overrides = take(b.max_override < a.max_override, setting::MAX_OVERRIDE);
    if enforces {
        (both.enforcement, both.enforces_beyond_flag) = (b.enforcement, b.enforces_beyond_flag);
    }
    for (is_taken, to, from) in [
        (ready, &mut both.ready_percent, b.ready_percent),
        (parity, &mut both.parity_percent, b.parity_percent),
        (shrink, &mut both.shrink_percent, b.shrink_percent),
        (rollback, &mut both.rollback_percent, b.rollback_percent),
    ] {
        if is_taken {
            *to = from;
        }
    }
    both.dry_run = if dry_run { b.dry_run } else { a.dry_run };
    both.basis = if basis { b.basis } else { a.basis };
    both.floor = if floor { b.floor } else { a.floor };
    both.soak = if soak { b.soak } else { a.soak };
    both.quarantine = if quarantine { b.quarantine } else { a.quarantine };
    both.hold = if hold { b.hold } else { a.hold };
    both.max_override = if overrides { b.max_override } else { a.max_override };
    gates(&mut both, b);
    both.colours = colours(&a.colours, &b.colours);
    actions(&mut both, b);
    both.exemptions = exemptions(&a.exemptions, &b.exemptions);
    both
}

/// The gates of both.
fn gates(both: &mut Policy, b: &Policy) {
    let more: Vec<Gate> =
        b.gates.iter().filter(|gate| !both.gates.iter().any(|own| own.demands_as(gate))).cloned().collect();
    if both.gates.is_empty() && !more.is_empty() {
        both.said_by.extend(b.said_by.get(setting::GATES).map(|by| (setting::GATES.to_owned(), by.clone())));
    }
    both.gates.extend(more);
    both.gates.sort();
}

/// All keys and names of both, and the preview words that both have: more Services are guarded.
fn colours(a: &ColourScheme, b: &ColourScheme) -> ColourScheme {
    let union = |a: &[String], b: &[String]| {
        let mut all = a.to_vec();
        all.extend(b.iter().filter(|word| !a.contains(word)).cloned());
        all
    };
    ColourScheme {
        keys: union(&a.keys, &b.keys),
        pins_version: a.pins_version || b.pins_version,
        version_key: a.version_key.clone(),
        names: union(&a.names, &b.names),
        preview_words: a.preview_words.iter().filter(|word| b.preview_words.contains(word)).cloned().collect(),
    }
}

fn actions(both: &mut Policy, b: &Policy) {
    for reason in Reason::ALL {
        let of = |policy: &Policy| policy.actions.get(reason.code()).copied().unwrap_or(reason.row().action);
        let path = setting::rule(reason.code());
        let (own, other) = (of(both), of(b));
        if other > own {
            both.actions.insert(reason.code().to_owned(), other);
            both.said_by.remove(&path);
            both.said_by.extend(b.said_by.get(&path).map(|by| (path, by.clone())));
        }
    }
}

fn exemptions(a: &[Exemption], b: &[Exemption]) -> Vec<Exemption> {
    let in_both = a.iter().filter_map(|own| {
        let other = b.iter().find(|other| (&other.policy, &other.name) == (&own.policy, &own.name))?;
        let rules: BTreeSet<String> = own.rules.intersection(&other.rules).cloned().collect();
        (!rules.is_empty()).then(|| Exemption { rules, ..own.clone() })
    });
    in_both.collect()
}
