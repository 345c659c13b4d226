//! Flips that go back: to the previous colour, to a colour that a rollback left, or against another writer's flip.

use std::time::Duration;

use super::update::Update;
use crate::model::{Change, ClusterView, ColourScheme, Flip, Records, Service, Timestamp, annotation, setting};
use crate::rules::state::app::App;
use crate::rules::state::past::{run_since, run_since_but_for_restarts, served_before, was_rollback};
use crate::rules::wording::{Remedy, at_least, roughly};
use crate::rules::{Finding, Reason};

/// How long the version that a rollback left counts as abandoned, and a flip as recent.
const RECENT: Duration = Duration::from_secs(3600);

/// The last flip, where a change goes back to the colour before it.
fn taken_back<'a>(old: &Service, new: &Service, records: &'a Records, colours: &ColourScheme) -> Option<&'a Flip> {
    let pins = colours.pins(new.routed());
    let is_back = |flip: &&Flip| {
        let same_colour = colours.pins(&flip.from) == pins && App::of(&flip.from, colours).has_service(new.routed());
        if pins.is_empty() { flip.from == *new.routed() } else { same_colour }
    };
    records.last_flip(old).filter(is_back)
}

/// Whether a change returns to the previous colour, whatever its template is now.
pub(crate) fn may_be(old: &Service, new: &Service, records: &Records, colours: &ColourScheme) -> bool {
    taken_back(old, new, records, colours).is_some()
}

/// Whether a change is a rollback: to the colour that served before the last flip forward, with an unchanged template whose
/// rollout was complete at that time. It has served before, so less is asked of it.
pub(crate) fn is_rollback(old: &Service, new: &Service, view: &ClusterView, colours: &ColourScheme) -> bool {
    taken_back(old, new, &view.records, colours)
        .is_some_and(|flip| !was_rollback(flip, view) && served_before(new.routed(), flip.at, view))
}

/// A second try of the version that a rollback left a moment ago. Where the Service has a quarantine, it is denied for
/// that time.
pub(crate) fn returns_to_abandoned(update: &Update<'_>, now: Timestamp) -> Option<Finding> {
    let Update { old, new, view, colours, .. } = update;
    let flip = taken_back(old, new, &view.records, colours)?;
    let ago = now.since(flip.at);
    // A write cannot shorten the quarantine that it would break.
    let quarantine = [old, new].iter().filter_map(|service| service.quarantine().ok().flatten()).max();
    let by_policy = update.policy.quarantine;
    let quarantine = quarantine.unwrap_or_default().max(by_policy);
    if !was_rollback(flip, view)
        || ago >= RECENT.max(quarantine)
        || !run_since_but_for_restarts(new.routed(), flip.at, view)
    {
        return None;
    }
    let message = format!("a rollback left this version {} ago, and it has not changed since", roughly(ago));
    let finding = Finding::new(Reason::ReturnsToAbandoned, message, Remedy::words("Deploy a mended version first"));
    if ago >= quarantine {
        return Some(finding);
    }
    let rest = at_least(quarantine.saturating_sub(ago));
    let by = if quarantine > by_policy { annotation::QUARANTINE } else { setting::QUARANTINE };
    let lasts = Remedy::words(format!("Its quarantine ({by}) lasts for another {rest}"));
    let source = update.policy.source(setting::QUARANTINE).filter(|_| quarantine == by_policy);
    Some(finding.at_least_deny().or(Some(lasts)).said_by(source))
}

/// A recent flip that another field manager takes back: self-heal of Argo CD, or a second pipeline.
pub(crate) fn flip_undone(update: &Update<'_>, change: &Change, now: Timestamp) -> Option<Finding> {
    let Update { old, new, view, colours, .. } = update;
    let flip = taken_back(old, new, &view.records, colours)?;
    let ago = now.since(flip.at);
    // A new version in the previous colour is a flip forward.
    let unchanged = run_since(new.routed(), flip.at, view);
    let is_other = writer(&flip.manager) != writer(&change.manager);
    (ago < RECENT && !flip.manager.is_empty() && !change.manager.is_empty() && is_other && unchanged).then(|| {
        let message = format!(
            "{} takes back the flip to {} that {} made with {} {} ago",
            change.manager,
            flip.to.without(&flip.from),
            flip.user,
            flip.manager,
            roughly(ago)
        );
        let remedy = Remedy::words("If Git or a pipeline still has the old selector, change it there");
        Finding::new(Reason::FlipUndone, message, remedy)
    })
}

/// All of kubectl's commands are one writer: each has a manager of its own (`kubectl-edit`, `kubectl-patch`).
fn writer(manager: &str) -> &str {
    if manager.starts_with("kubectl") { "kubectl" } else { manager }
}
