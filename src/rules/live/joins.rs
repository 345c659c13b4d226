//! Another colour comes behind a live selector.

use crate::model::{ColourScheme, Workload, has_word};
use crate::rules::state::traffic::Stake;
use crate::rules::wording::pods;
use crate::rules::{Finding, Reason};

/// A workload of another colour that comes behind a live selector.
pub(super) fn joins(
    old: Option<&Workload>,
    new: &Workload,
    stakes: &[Stake<'_>],
    colours: &ColourScheme,
) -> Vec<Finding> {
    if !new.stands_alone() {
        return Vec::new();
    }
    let name = new.meta.name.as_str();
    let joining = stakes.iter().filter(|stake| {
        let selector = stake.service.routed();
        let pins = colours.pins(selector);
        let names_another =
            colours.names.iter().any(|colour| has_word(name, colour) && !pins.iter().any(|pin| pin.colour == colour));
        let relabelled = old.is_some_and(|old| !selector.matches(&old.template.labels));
        let created = old.is_none() && names_another && !pins.is_empty();
        selector.matches(&new.template.labels) && stake.fleet.ready() > 0 && (relabelled || created)
    });
    joining
        .map(|stake| {
            let service = &stake.service.meta.name;
            Finding::new(
                Reason::JoinsLive,
                format!(
                    "its pods would serve behind Service {service} at once, beside {}",
                    pods(stake.fleet.ready(), "ready")
                ),
                "if that is not meant, correct the labels of its pod template".to_owned(),
            )
        })
        .collect()
}
