//! Recreated Services: a deleted Service that is created for another colour counts as a flip.
//!
//! Without its Service, nobody answers, so a colour that is not ready is only warned about. Gates deny as on a flip:
//! otherwise, a user who may delete the Service would pass them all.

use super::update::Update;
use super::{expected, gated, opt_out, ports, soak, target};
use crate::model::{Change, ClusterView, Policy, Selector, Service, Timestamp, annotation};
use crate::rules::state::readiness::Demand;
use crate::rules::verdict::Bound;
use crate::rules::wording::{Remedy, pods};
use crate::rules::{Finding, Reason};

/// The findings about a Service that is created again.
pub(crate) fn findings(
    new: &Service,
    view: &ClusterView,
    change: &Change,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Finding> {
    let Some(old) = previous(new, view, now) else { return Vec::new() };
    let leaves = opt_out::opts_out(&old, new, view, &policy.colours);
    // The previous colour is always allowed.
    if !leaves && !flips(new, view, policy, now) {
        return Vec::new();
    }
    let update = Update::new(&old, new, view, policy, Demand::of_flip(policy));
    let still_runs = runs_on(&update);
    if leaves {
        return opt_out::opt_out(&update).filter(|_| still_runs).into_iter().collect();
    }
    let mut findings = Vec::new();
    // An app that is installed anew has left nothing behind.
    if !update.current.is_empty() {
        findings.extend(gated(&update, change, now));
        findings.extend(nothing_to_prove(&update));
    }
    if still_runs {
        let not_ready = target::findings(&update);
        let soaks = soak::finding(&update, now).filter(|_| not_ready.is_empty());
        findings.extend(soaks.into_iter().chain(expected::finding(&update, false)).map(Finding::at_most_warn));
        findings.extend(cannot_serve(not_ready, &update, now));
    }
    for finding in &mut findings {
        finding.remedies.insert(0, Remedy::words(format!("To serve at once, select {}", dropped(&old, new))));
    }
    findings
}

/// Whether the previous colour still runs, with as many ready Pods as the Service wants at least.
fn runs_on(update: &Update<'_>) -> bool {
    let Update { new, current, .. } = update;
    current.workloads.iter().any(|workload| !workload.meta.deleting) && current.ready() >= new.floor()
}

/// The finding about a colour that does not run yet, where there is a gate. It would run unproved later.
fn nothing_to_prove(update: &Update<'_>) -> Option<Finding> {
    let Update { new, target, policy, .. } = update;
    let gate = policy.gates.first()?;
    let runs = target.wanted().next().is_some() || !target.unowned.is_empty();
    (!runs).then(|| {
        let message = format!("{} cannot be proved: nothing runs behind {}", gate.name, new.routed());
        let deploy = Remedy::words("Deploy the colour first, and run its test");
        Finding::new(Reason::GateNotPassed, message, deploy).said_by(Some(gate.policy.as_str()))
    })
}

/// The reason why the new colour cannot serve yet, if there is one.
fn cannot_serve(not_ready: Vec<Finding>, update: &Update<'_>, now: Timestamp) -> Option<Finding> {
    let ports = ports::on_a_flip(update).into_iter().filter(|finding| finding.bound != Some(Bound::AtMostWarn));
    let flip = not_ready.into_iter().chain(ports).next()?;
    let Update { old, new, view, current, .. } = update;
    let previous = dropped(old, new);
    let served = match view.records.tombstone(&new.meta.name, now) {
        Some(tombstone) if !tombstone.still_there => {
            format!("{previous}, deleted {} s ago", now.since(tombstone.at).as_secs())
        }
        _ => format!("{previous}, which {} serve", pods(current.ready(), "")),
    };
    let message = format!("a flip from {served}: {}", flip.message);
    Some(Finding {
        reason: Reason::ServiceRecreated,
        message,
        allowed_because: None,
        bound: None,
        policy: None,
        ..flip
    })
}

/// Whether a Service leaves flipguard's care by its deletion and re-creation.
pub(crate) fn opts_out(new: &Service, view: &ClusterView, policy: &Policy, now: Timestamp) -> bool {
    previous(new, view, now).is_some_and(|old| opt_out::opts_out(&old, new, view, &policy.colours))
}

/// Whether a Service is created again for another colour.
pub(crate) fn flips(new: &Service, view: &ClusterView, policy: &Policy, now: Timestamp) -> bool {
    let pins = |selector| policy.colours.pins(selector);
    view.records.tombstone(&new.meta.name, now).is_some_and(|old| pins(&old.selector) != pins(new.routed()))
}

/// The part of the previous selector that the new one does not have.
fn dropped(old: &Service, new: &Service) -> Selector {
    old.routed().without(new.routed())
}

/// The deleted Service, rebuilt from its record: its selector, and annotations that keep it in flipguard's care.
fn previous(new: &Service, view: &ClusterView, now: Timestamp) -> Option<Service> {
    let tombstone = view.records.tombstone(&new.meta.name, now)?;
    let mut old = Service { selector: tombstone.selector.clone(), ..new.clone() };
    old.is_external_name = false;
    for key in [annotation::GUARD, annotation::ARGO_ROLLOUTS] {
        old.meta.annotations.remove(key);
    }
    if old.meta.annotation(annotation::ROLE) == Some("preview") {
        old.meta.annotations.remove(annotation::ROLE);
    }
    Some(old)
}
