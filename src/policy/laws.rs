//! The laws of the merge, for any policies.

use proptest::prelude::*;

use super::merge::{Named, merge, softened};
use super::resource::{self as said, BlueGreenPolicySpec};
use super::stricter::stricter;
use super::value::{Length, RuleCode};
use super::{Policies, effective, explain};
use crate::model::setting as s;
use crate::model::{Action, Enforcement, Policy, User};
use crate::rules::Reason;

/// A policy that says some settings, with few values, so that two often say the same one.
fn specs() -> impl Strategy<Value = BlueGreenPolicySpec> {
    let enforcement = || prop::option::of(prop_oneof![Just(said::Enforcement::Deny), Just(said::Enforcement::Warn)]);
    let percent = || prop::option::of(prop_oneof![Just(10), Just(60), Just(100)]);
    let length = || prop::option::of(prop_oneof![Just(60), Just(600)]);
    let gate = (
        prop_oneof![Just("smoke"), Just("release")],
        prop_oneof![Just(said::GateKind::Job), Just(said::GateKind::Approval)],
        length(),
    );
    let gates = prop::collection::vec(gate, 0..3);
    let flip = (percent(), percent(), length(), gates);
    let live = (prop::option::of(1..4), percent());
    let rollback = (length(), percent(), length());
    let word = prop_oneof![Just("red"), Just("blue")];
    let words = prop::option::of(prop::collection::btree_set(word, 0..2));
    let rules = prop::collection::btree_map(rules(), actions(), 0..3);
    let exempt = prop::collection::btree_set(rules_index(), 0..3);
    (enforcement(), enforcement(), flip, live, rollback, length(), words, rules, exempt).prop_map(
        |(enforcement, dry_run, flip, live, rollback, max, words, rules, exempt)| {
            let length = |seconds: Option<u64>| seconds.map(|seconds| Length(std::time::Duration::from_secs(seconds)));
            BlueGreenPolicySpec {
                enforcement,
                dry_run,
                colours: words.map(|words| said::Colours {
                    preview_words: Some(words.iter().map(|word| super::value::Word((*word).to_owned())).collect()),
                    names: words.iter().map(|word| super::value::Word((*word).to_owned())).collect(),
                    ..said::Colours::default()
                }),
                flip: Some(said::FlipSettings {
                    min_ready_percent: flip.0,
                    parity_percent: flip.1,
                    soak: length(flip.2),
                    gates: flip
                        .3
                        .into_iter()
                        .map(|(name, kind, age)| said::Gate {
                            name: name.to_owned(),
                            kind,
                            images: Vec::new(),
                            max_age: length(age),
                        })
                        .collect(),
                    ..Default::default()
                }),
                live: Some(said::LiveSettings { floor: live.0, shrink_percent: live.1 }),
                rollback: Some(said::RollbackSettings {
                    hold: length(rollback.0),
                    min_ready_percent: rollback.1,
                    quarantine: length(rollback.2),
                }),
                overrides: Some(said::OverrideSettings { max: length(max) }),
                rules: rules.into_iter().map(|(rule, action)| said::RuleAction { rule, action }).collect(),
                exemptions: if exempt.is_empty() { Vec::new() } else { vec![exemption(exempt)] },
                ..BlueGreenPolicySpec::default()
            }
        },
    )
}

const RULES: [Reason; 3] = [Reason::LiveScaledDown, Reason::HeldDeleted, Reason::EnvironmentDiffers];

fn rules() -> impl Strategy<Value = RuleCode> {
    rules_index().prop_map(|index| RuleCode(RULES[index].code().to_owned()))
}

fn rules_index() -> impl Strategy<Value = usize> {
    0..RULES.len()
}

fn actions() -> impl Strategy<Value = said::Action> {
    prop_oneof![Just(said::Action::Deny), Just(said::Action::Warn), Just(said::Action::Audit), Just(said::Action::Off)]
}

fn exemption(rules: std::collections::BTreeSet<usize>) -> said::Exemption {
    said::Exemption {
        name: "night".to_owned(),
        rules: rules.into_iter().map(|index| RuleCode(RULES[index].code().to_owned())).collect(),
        subjects: vec![said::ExemptSubject { kind: said::SubjectKind::User, name: "eve".into(), namespace: None }],
        services: vec!["*".to_owned()],
        reason: "it sleeps at night".to_owned(),
        expires: None,
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn named(specs: &[BlueGreenPolicySpec]) -> Vec<Named<'_>> {
    NAMES.iter().zip(specs).map(|(name, spec)| Named { name, spec }).collect()
}

/// The action that counts for the user `eve`, where exemptions lift what they lift.
fn action_for_eve(policy: &Policy, reason: Reason) -> Action {
    let eve = User { name: "eve".to_owned(), ..User::default() };
    let action = policy.actions.get(reason.code()).copied().unwrap_or(reason.row().action);
    let lifts = policy.exemptions.iter().any(|exemption| {
        exemption.counts_for(&eve, crate::model::Timestamp(0)) && exemption.lifts(reason.code(), "app")
    });
    if lifts { action.min(Action::Warn) } else { action }
}

/// Whether each setting of `a` that a policy says is at least as strict in `b`.
fn is_as_strict(a: &Policy, b: &Policy) -> bool {
    let says = |path: &str| a.source(path).is_some();
    (!says(s::ENFORCEMENT) || b.enforcement >= a.enforcement)
        && (!says(s::DRY_RUN) || b.dry_run >= a.dry_run)
        && (!says(s::READY_PERCENT) || b.ready_percent >= a.ready_percent)
        && (!says(s::PARITY_PERCENT) || b.parity_percent >= a.parity_percent)
        && (!says(s::FLOOR) || b.floor >= a.floor)
        && (!says(s::SHRINK_PERCENT) || b.shrink_percent <= a.shrink_percent)
        && (!says(s::HOLD) || b.hold >= a.hold)
        && (!says(s::SOAK) || b.soak >= a.soak)
        && a.gates.iter().all(|gate| b.gates.iter().any(|other| other.demands_as(gate)))
        && (!says(s::QUARANTINE) || b.quarantine >= a.quarantine)
        && (!says(s::ROLLBACK_PERCENT) || b.rollback_percent >= a.rollback_percent)
        && (!says(s::MAX_OVERRIDE) || b.max_override <= a.max_override)
        && (!says(s::COLOUR_NAMES) || a.colours.names.iter().all(|name| b.colours.names.contains(name)))
        && (!says(s::PREVIEW_WORDS) || b.colours.preview_words.iter().all(|w| a.colours.preview_words.contains(w)))
        && RULES.iter().all(|reason| {
            let action = |policy: &Policy| policy.actions.get(reason.code()).copied().unwrap_or(reason.row().action);
            !says(&s::rule(reason.code())) || action(b) >= action(a)
        })
}

proptest! {
    #[test]
    fn neither_order_nor_repetition_matters(specs in prop::collection::vec(specs(), 0..4), turn in 0_usize..4) {
        let flags = Policy::default();
        let policies = named(&specs);
        let merged = merge(&flags, &policies);
        let mut turned = policies.clone();
        turned.rotate_left(turn.min(policies.len()));
        turned.reverse();
        prop_assert_eq!(&merge(&flags, &turned), &merged);
        turned.extend(policies);
        prop_assert_eq!(&merge(&flags, &turned), &merged);
    }

    #[test]
    fn another_policy_never_softens_what_is_said(specs in prop::collection::vec(specs(), 1..4)) {
        let flags = Policy::default();
        let policies = named(&specs);
        let fewer = merge(&flags, &policies[1..]);
        let all = merge(&flags, &policies);
        prop_assert!(is_as_strict(&fewer, &all), "{fewer:?}\n{all:?}");
        // Nor do its exemptions lift what another one says.
        for reason in RULES {
            let is_said = policies[1..].iter().any(|policy| policy.spec.rules.iter().any(|rule| rule.rule.0 == reason.code()));
            if is_said && fewer.exemptions.is_empty() {
                let before = fewer.actions[reason.code()];
                prop_assert!(action_for_eve(&all, reason) >= before.min(action_for_eve(&fewer, reason)));
            }
        }
    }

    #[test]
    fn without_an_exemption_nothing_is_softer(specs in prop::collection::vec(specs(), 1..4)) {
        let flags = Policy::default();
        let with = merge(&flags, &named(&specs));
        let mut fewer = specs.clone();
        fewer[0].exemptions.clear();
        let without = merge(&flags, &named(&fewer));
        for reason in RULES {
            prop_assert!(action_for_eve(&without, reason) >= action_for_eve(&with, reason));
        }
    }

    #[test]
    fn the_stricter_of_two_is_as_strict_as_each(a in specs(), b in specs()) {
        let flags = Policy::default();
        let [a, b] = [a, b].map(|spec| merge(&flags, &[Named { name: "a", spec: &spec }]));
        let both = stricter(&a, &b);
        prop_assert!(is_as_strict(&a, &both) && is_as_strict(&b, &both), "{both:?}");
        for reason in RULES {
            let strictest = action_for_eve(&a, reason).max(action_for_eve(&b, reason));
            prop_assert!(action_for_eve(&both, reason) >= strictest);
        }
    }

    #[test]
    fn what_softens_nothing_is_as_strict_as_the_defaults(spec in specs()) {
        let alone = merge(&Policy::default(), &[Named { name: "a", spec: &spec }]);
        if softened(&spec).is_empty() {
            let both = stricter(&alone, &Policy::default());
            let values = |policy: &Policy| explain::explain(policy).into_iter().map(|one| one.value).collect::<Vec<_>>();
            prop_assert_eq!(values(&both), values(&alone));
        }
    }

    #[test]
    fn the_explanation_has_what_is_used(specs in prop::collection::vec(specs(), 0..4)) {
        let merged = merge(&Policy::default(), &named(&specs));
        let explained = explain::explain(&merged);
        let value = |path: &str| explained.iter().find(|one| one.setting == path).map(|one| one.value.clone());
        prop_assert_eq!(value("live.floor"), Some(merged.floor.unwrap_or(1).to_string()));
        prop_assert_eq!(value("enforcement").as_deref() == Some("Deny"), merged.enforcement == Enforcement::Deny);
        for (path, name) in &merged.said_by {
            let one = explained.iter().find(|one| one.setting == *path);
            prop_assert_eq!(one.and_then(|one| one.policy.as_ref()), Some(name), "{}", path);
        }
    }
}

/// What is unknown demands, and forgives nothing.
#[test]
fn a_policy_that_cannot_be_read_forgives_nothing() {
    let soft = serde_json::json!({ "metadata": { "name": "soft" }, "spec": {
        "namespaceSelector": {}, "enforcement": "Warn", "live": { "floor": 3, "shrinkPercent": 90 },
        "rules": [{ "rule": "live-deleted", "action": "Off" }],
    }});
    let bad = serde_json::json!({ "metadata": { "name": "bad" }, "spec": { "namespaceSelector": {}, "flip": 7 } });
    let elsewhere = serde_json::json!({ "metadata": { "name": "bad" }, "spec": {
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "pay" } }, "flip": 7 } });
    let of = |items: &[&serde_json::Value]| {
        let policies = Policies::of(items.iter().map(|item| ((*item).clone(), 1)).collect());
        effective(&Policy::default(), &policies, "shop", Some(&crate::model::Labels::new()))
    };
    let alone = of(&[&soft]);
    assert_eq!((alone.enforcement, alone.floor, alone.notes.len()), (Enforcement::Warn, Some(3), 0));
    let both = of(&[&soft, &bad]);
    assert_eq!((both.enforcement, both.floor, both.shrink_percent), (Enforcement::Deny, Some(3), 50));
    assert_eq!(both.actions["live-deleted"], Action::Deny);
    assert!(both.notes[0].starts_with("policy bad is set aside: spec.flip: "), "{:?}", both.notes);
    assert_eq!(of(&[&soft, &elsewhere]), alone, "it is for another namespace");
}

#[test]
fn unknown_labels_forgive_nothing() {
    let soft = serde_json::json!({ "metadata": { "name": "soft" }, "spec": {
        "namespaceSelector": { "matchLabels": { "env": "trial" } }, "enforcement": "Warn", "live": { "floor": 3 } } });
    let policies = Policies::of(vec![(soft, 1)]);
    assert!(policies.needs_labels("shop"));
    let unknown = effective(&Policy::default(), &policies, "shop", None);
    assert_eq!((unknown.enforcement, unknown.floor), (Enforcement::Deny, Some(3)), "{unknown:?}");
    assert_eq!(unknown.notes.len(), 1);
    let elsewhere = effective(&Policy::default(), &policies, "shop", Some(&crate::model::Labels::new()));
    assert_eq!(elsewhere, Policy::default());
}
