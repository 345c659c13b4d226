//! The settings on a Service: a value that cannot be read is denied at the write that sets it.

use crate::model::{ColourScheme, Service, annotation};
use crate::rules::wording::Remedy;
use crate::rules::{Finding, Reason};

/// The findings about settings that a write sets or changes.
pub(crate) fn settings(old: Option<&Service>, new: &Service) -> Vec<Finding> {
    let hold = (annotation::HOLD, new.hold().err(), "10m");
    let minimum = (annotation::MIN_REPLICAS, new.minimum_replicas().err(), "2");
    [hold, minimum].into_iter().filter_map(|(key, why, example)| finding(old, new, key, &why?, example)).collect()
}

fn finding(old: Option<&Service>, new: &Service, key: &str, why: &str, example: &str) -> Option<Finding> {
    let value = new.meta.annotation(key)?;
    let is_set = old.and_then(|old| old.meta.annotation(key)) != Some(value);
    let remedy = Remedy::words(format!("Correct it, for example {key}: \"{example}\""));
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
