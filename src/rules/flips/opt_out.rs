//! Opting out: a traffic Service leaves flipguard's care.

use super::update::Update;
use crate::model::{ColourScheme, Role, Service, annotation};
use crate::rules::overrides;
use crate::rules::wording::pods_serve;
use crate::rules::{Finding, Reason};

/// Whether the change takes a traffic Service out of flipguard's care by its annotations: with the old ones it would
/// be a traffic Service still.
pub(crate) fn opts_out(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    let mut guarded = new.clone();
    guarded.meta.annotations.clone_from(&old.meta.annotations);
    old.role(colours) == Role::Traffic && guarded.role(colours) == Role::Traffic && new.role(colours) != Role::Traffic
}

pub(crate) fn opt_out(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, view, current, .. } = update;
    let meta = &new.meta;
    let sets = |key: &str, value: &str| meta.annotation(key) == Some(value) && old.meta.annotation(key) != Some(value);
    let what = if sets(annotation::GUARD, "false") {
        format!("annotation {}=false takes it out of flipguard's care", annotation::GUARD)
    } else if sets(annotation::ROLE, "preview") {
        format!("annotation {}=preview takes it out of flipguard's care", annotation::ROLE)
    } else if meta.annotation(annotation::ARGO_ROLLOUTS).is_none() {
        format!("without annotation {}=traffic nobody guards it", annotation::ROLE)
    } else if view.rollout_exists == Some(true) {
        // Argo Rollouts takes over, and that is all that changes.
        return None;
    } else {
        format!("annotation {} names no Rollout that exists", annotation::ARGO_ROLLOUTS)
    };
    let is_permitted = view.may_override.get(&meta.name) == Some(&true);
    (current.ready() > 0 && !is_permitted).then(|| {
        Finding::new(
            Reason::OptOutNotPermitted,
            format!("{what} while {}", pods_serve(current.ready())),
            format!("leave it out; or {}", overrides::how_to_be_permitted(&meta.namespace)),
        )
    })
}
