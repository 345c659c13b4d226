//! Opt-outs: the annotations of a Service remove it from flipguard's care.

use super::update::Update;
use crate::model::{ClusterView, ColourScheme, Role, Service, annotation};
use crate::rules::state::app::App;
use crate::rules::state::roles::{has_main_service, is_traffic, role};
use crate::rules::wording::{Remedy, serves};
use crate::rules::{Finding, Reason, overrides};

/// Whether the new annotations of a Service remove it from flipguard's care. With its old annotations, it would still
/// be a traffic Service.
pub(crate) fn opts_out(old: &Service, new: &Service, view: &ClusterView, colours: &ColourScheme) -> bool {
    let mut guarded = new.clone();
    guarded.meta.annotations.clone_from(&old.meta.annotations);
    is_traffic(old, view, colours) && is_traffic(&guarded, view, colours) && role(new, view, colours) != Role::Traffic
}

pub(crate) fn opt_out(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, view, colours, current, .. } = update;
    let meta = &new.meta;
    let sets = |key: &str, value: &str| meta.annotation(key) == Some(value) && old.meta.annotation(key) != Some(value);
    let (cause, undo) = if sets(annotation::GUARD, "false") {
        (format!("{}=false", annotation::GUARD), "Leave it out")
    } else if sets(annotation::ROLE, "preview") {
        (format!("{}=preview", annotation::ROLE), "Leave it out")
    } else if meta.annotation(annotation::ARGO_ROLLOUTS).is_none() {
        (format!("removing {}=traffic", annotation::ROLE), "Keep it")
    } else if view.rollout_exists == Some(true) {
        // Argo Rollouts routes the Service from now on.
        return None;
    } else {
        (format!("{} names no Rollout, and", annotation::ARGO_ROLLOUTS), "Leave it out")
    };
    // Another traffic Service of the app stays, so this one may become a preview.
    let becomes_preview = meta.annotation(annotation::ROLE) == Some("preview");
    let app = App::of(old.routed(), colours);
    let stays = old.routed() == new.routed();
    if becomes_preview && stays && has_main_service(old, &app, view, colours) {
        return None;
    }
    let is_permitted = view.may_override.get(&meta.name) == Some(&true);
    (current.ready() > 0 && !is_permitted).then(|| {
        let message = format!("{cause} would leave the Service unguarded while {}", serves(current.ready()));
        let ask = overrides::ask_for_the_verb("Or ask", &meta.namespace);
        Finding::new(Reason::OptOutNotPermitted, message, Remedy::words(undo)).or(Some(ask))
    })
}

/// Whether a write lets the live colour be scaled to 0 from now on. A value on a previously unguarded Service counts as
/// set too, because nobody was asked to permit it.
pub(crate) fn lets_sleep(old: Option<&Service>, new: &Service, colours: &ColourScheme) -> bool {
    let may = |service: &Service| service.may_sleep() && service.own_role(colours) == Role::Traffic;
    may(new) && !old.is_some_and(may)
}

/// The finding about a Service whose live colour may be scaled to 0 from now on.
pub(crate) fn sleep(
    old: Option<&Service>,
    new: &Service,
    view: &ClusterView,
    colours: &ColourScheme,
) -> Option<Finding> {
    let is_permitted = view.may_override.get(&new.meta.name) == Some(&true);
    (lets_sleep(old, new, colours) && !is_permitted).then(|| {
        let message = format!("{}=0 would let anyone scale the live colour to 0", annotation::MIN_REPLICAS);
        let ask = overrides::ask_for_the_verb("Or ask", &new.meta.namespace);
        Finding::new(Reason::OptOutNotPermitted, message, Remedy::words("Leave it out")).or(Some(ask))
    })
}
