//! The settings on a Service: a value that cannot be read is denied at the write that sets it. An unknown word, which
//! sets nothing, is a warning.

use super::expected;
use crate::model::{ColourScheme, Service, annotation};
use crate::rules::wording::Remedy;
use crate::rules::{Finding, Reason};

/// The findings about settings that a write sets or changes.
pub(crate) fn settings(old: Option<&Service>, new: &Service) -> Vec<Finding> {
    let hold = (annotation::HOLD, new.hold().err(), "10m");
    let minimum = (annotation::MIN_REPLICAS, new.minimum_replicas().err(), "2");
    let quarantine = (annotation::QUARANTINE, new.quarantine().err(), "1h");
    let expect = (annotation::EXPECT, expected::unreadable(new), "app:2.0");
    let unreadable = [hold, minimum, quarantine, expect].into_iter().filter_map(|(key, why, example)| {
        let remedy = Remedy::words(format!("Correct it, for example {key}: \"{example}\""));
        finding(old, new, key, &why?, remedy)
    });
    unreadable.chain(unknown_guard(old, new)).chain(unknown_role(old, new)).collect()
}

/// The finding about a role that does not exist. The Service keeps the role that it has without the annotation.
pub(crate) fn unknown_role(old: Option<&Service>, new: &Service) -> Option<Finding> {
    new.meta.unknown_role()?;
    unknown(old, new, annotation::ROLE, "it sets no role", "`traffic` and `preview`")
}

fn unknown_guard(old: Option<&Service>, new: &Service) -> Option<Finding> {
    new.meta.annotation(annotation::GUARD).filter(|guard| !["true", "false"].contains(guard))?;
    unknown(old, new, annotation::GUARD, "it is no opt-out", "`true` and `false`")
}

fn unknown(old: Option<&Service>, new: &Service, key: &str, effect: &str, allowed: &str) -> Option<Finding> {
    let remedy = Remedy::words(format!("Correct it: the values are {allowed}"));
    finding(old, new, key, effect, remedy).map(Finding::at_most_warn)
}

fn finding(old: Option<&Service>, new: &Service, key: &str, why: &str, remedy: Remedy) -> Option<Finding> {
    let value = new.meta.annotation(key)?;
    let is_set = old.and_then(|old| old.meta.annotation(key)) != Some(value);
    is_set.then(|| Finding::new(Reason::AnnotationInvalid, format!("annotation {key} is `{value}`; {why}"), remedy))
}

/// `role: traffic` is set where the selector picks no known colour: not all promises hold then.
pub(crate) fn key_unknown(old: Option<&Service>, new: &Service, colours: &ColourScheme) -> Option<Finding> {
    let is_set = |service: &Service| service.meta.annotation(annotation::ROLE) == Some("traffic");
    let begins = is_set(new) && !old.is_some_and(is_set);
    (begins && colours.pins(new.routed()).is_empty()).then(|| {
        let message = format!(
            "selector {} has no known colour, so only flips and kubectl scale are guarded, not deletions and updates",
            new.routed()
        );
        let remedy = Remedy::words("Add a label such as color to the pod template and to the selector");
        Finding::new(Reason::KeyUnknown, message, remedy)
    })
}
