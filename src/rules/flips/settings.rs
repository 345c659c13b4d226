//! The settings on a Service: a value that cannot be read is denied at the write that sets it.

use crate::model::{Service, annotation};
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
    let remedy = Remedy::kubectl(
        "Correct it",
        &new.meta.namespace,
        &format!("annotate service {} --overwrite {key}={example}", new.meta.name),
    );
    is_set.then(|| Finding::new(Reason::AnnotationInvalid, format!("annotation {key} is `{value}`; {why}"), remedy))
}
