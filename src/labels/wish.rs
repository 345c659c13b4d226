//! The labels that a Deployment should have, and the values that each may get.

use super::mark::Mark;
use super::{Place, colour_of};
use crate::model::{Labels, Policy, Service, Template, Workload};
use crate::rules::state::version;

/// One label, and the values that it may get.
pub(super) struct Wish {
    pub(super) place: Place,
    pub(super) key: String,
    /// The values, the best first; `None` leaves the label as the request has it.
    pub(super) values: Vec<Option<String>>,
    /// The value that the written Deployment gives.
    pub(super) given: String,
    /// The second value that flipguard claims.
    pub(super) second: Option<String>,
    /// Whether the value in the request is flipguard's.
    pub(super) is_ours: bool,
}

/// The wishes for one place.
pub(super) fn wishes(place: Place, old: Option<&Workload>, new: &Workload, mark: &Mark, policy: &Policy) -> Vec<Wish> {
    let version_of = |workload: &Workload| version::of_image(workload.template.main_image().unwrap_or_default()).label;
    let Some((colour_key, colour)) = colour_of(new, policy) else { return Vec::new() };
    let old_colour = old.and_then(|old| colour_of(old, policy)).map(|(_, colour)| colour);
    let labels =
        [(colour_key, colour, old_colour), (policy.labels.version_key.clone(), version_of(new), old.map(version_of))];
    labels
        .into_iter()
        .filter(|(key, ..)| place != Place::Template || !new.selector_keys.contains(key))
        .map(|(key, value, old_value)| {
            let claim = mark.claim(place, &key);
            let second = claim.and_then(|claim| claim.second().cloned());
            let stored = old.and_then(|old| place.labels(old).get(&key)).filter(|_| claim.is_some()).cloned();
            let requested = place.labels(new).get(&key);
            let is_claimed = |requested: &String| {
                *requested == value || [&old_value, &second].iter().any(|ours| ours.as_ref() == Some(requested))
            };
            let is_ours = claim.is_some() && requested.is_some_and(is_claimed);
            let given = value.clone();
            let values = if requested.is_none() || is_ours { vec![Some(value), stored, None] } else { vec![None] };
            Wish { place, key, values, given, second, is_ours }
        })
        .collect()
}

/// The best values for a template that leave all Services as they are. A selector that matched before, as stored or as
/// requested, still matches; no other one begins to.
pub(super) fn choose(
    wishes: &[Wish],
    old: Option<&Template>,
    new: &Template,
    services: &[Service],
) -> Vec<Option<String>> {
    let keeps_services = |labels: &Labels| {
        services.iter().all(|service| {
            let selector = service.routed();
            let before = selector.matches(&new.labels) || old.is_some_and(|old| selector.matches(&old.labels));
            selector.matches(labels) == before
        })
    };
    let labels_with = |values: &Vec<Option<String>>| {
        let mut labels = new.labels.clone();
        for (wish, value) in wishes.iter().zip(values) {
            labels.extend(value.clone().map(|value| (wish.key.clone(), value)));
        }
        labels
    };
    let as_requested = vec![None; wishes.len()];
    combinations(wishes).into_iter().find(|values| keeps_services(&labels_with(values))).unwrap_or(as_requested)
}

/// Every combination of the values, the best first.
fn combinations(wishes: &[Wish]) -> Vec<Vec<Option<String>>> {
    let mut combinations = vec![Vec::new()];
    for wish in wishes {
        let mut longer = Vec::new();
        for combination in &combinations {
            for value in &wish.values {
                let mut next: Vec<Option<String>> = combination.clone();
                next.push(value.clone());
                longer.push(next);
            }
        }
        combinations = longer;
    }
    combinations
}
