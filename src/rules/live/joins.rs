//! A workload of another colour starts to match a live selector.

use crate::model::{ColourScheme, Workload, has_word};
use crate::rules::state::traffic::TrafficService;
use crate::rules::wording::{Remedy, pods};
use crate::rules::{Finding, Reason};

/// The finding about a workload of another colour that is created behind a live selector, or relabelled to match one.
pub(super) fn joins(
    old: Option<&Workload>,
    new: &Workload,
    traffic: &[TrafficService<'_>],
    colours: &ColourScheme,
) -> Vec<Finding> {
    if !new.stands_alone() {
        return Vec::new();
    }
    let joined = traffic.iter().filter(|service| is_joined(service, old, new, colours));
    joined
        .map(|service| {
            let message = format!(
                "its pods match Service {} and would get live traffic at once, next to {}",
                service.name(),
                pods(service.ready(), "ready")
            );
            Finding::new(Reason::JoinsLive, message, Remedy::words("Check the labels of its pod template"))
        })
        .collect()
}

fn is_joined(service: &TrafficService<'_>, old: Option<&Workload>, new: &Workload, colours: &ColourScheme) -> bool {
    let selector = service.service.routed();
    if !selector.matches(&new.template.labels) || service.ready() == 0 {
        return false;
    }
    let Some(old) = old else {
        let pins = colours.pins(selector);
        let names_another =
            |colour: &String| has_word(&new.meta.name, colour) && !pins.iter().any(|pin| pin.colour == colour);
        return !pins.is_empty() && colours.names.iter().any(names_another);
    };
    !selector.matches(&old.template.labels)
}
