//! Services that are made again: deleting one and making it for another colour is a flip too.

use super::update::Update;
use super::{opt_out, ports, target};
use crate::model::{Action, ClusterView, Policy, Service, Timestamp, annotation};
use crate::rules::state::backends::Fleet;
use crate::rules::wording::{pods, pods_serve};
use crate::rules::{Finding, Reason};

/// The finding about a Service that is made again.
pub(crate) fn finding(new: &Service, view: &ClusterView, policy: &Policy, now: Timestamp) -> Option<Finding> {
    let old = before(new, view, now)?;
    let colours = &policy.colours;
    let tombstone = view.records.tombstone(&new.meta.name, now)?;
    // Back to the colour that it had always passes.
    if colours.pins(old.routed()) == colours.pins(new.routed()) && !opt_out::opts_out(&old, new, colours) {
        return None;
    }
    let current = Fleet::of(old.routed(), view);
    let floor = new.minimum_replicas().max(1);
    let still_runs = current.workloads.iter().any(|workload| !workload.meta.deleting) && current.ready() >= floor;
    if !still_runs {
        return None;
    }
    let ready = current.ready();
    let update = Update { old: &old, new, view, colours, current, target: Fleet::of(new.routed(), view), percent: 100 };
    if opt_out::opts_out(&old, new, colours) {
        return opt_out::opt_out(&update);
    }
    let ports = ports::on_a_flip(&update).into_iter().filter(|finding| finding.action == Action::Deny);
    let would_be = target::target_findings(&update).into_iter().chain(ports).next()?;
    let left = old.routed().without(new.routed());
    let before = if tombstone.still_there {
        format!("there is one, through which {} {left}", pods_serve(ready))
    } else {
        format!("it was deleted {} s ago while {} served {left}", now.since(tombstone.at).as_secs(), pods(ready, ""))
    };
    let message = format!(
        "{before}, and for {} it would be refused as a flip: {}",
        new.routed().without(old.routed()),
        would_be.message
    );
    let next_step = format!("{}; or make it with {left}, which passes at once", would_be.next_step);
    Some(Finding::new(Reason::ServiceRecreated, message, next_step).with_details(would_be.details))
}

/// Whether making a Service takes the place of a traffic Service out of flipguard's care.
pub(crate) fn opts_out(new: &Service, view: &ClusterView, policy: &Policy, now: Timestamp) -> bool {
    before(new, view, now).is_some_and(|old| opt_out::opts_out(&old, new, &policy.colours))
}

/// The Service that was deleted, as far as it is known: with what it selected, and in flipguard's care.
fn before(new: &Service, view: &ClusterView, now: Timestamp) -> Option<Service> {
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
