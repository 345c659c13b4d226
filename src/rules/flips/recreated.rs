//! Recreated Services: a deleted Service that is created for another colour counts as a flip.

use super::update::Update;
use super::{opt_out, ports, target};
use crate::model::{ClusterView, Policy, Service, Timestamp, annotation};
use crate::rules::state::readiness::Demand;
use crate::rules::verdict::Bound;
use crate::rules::wording::{Remedy, pods};
use crate::rules::{Finding, Reason};

/// The finding about a Service that is created again.
pub(crate) fn finding(new: &Service, view: &ClusterView, policy: &Policy, now: Timestamp) -> Option<Finding> {
    let old = previous(new, view, now)?;
    let colours = &policy.colours;
    let tombstone = view.records.tombstone(&new.meta.name, now)?;
    let leaves = opt_out::opts_out(&old, new, view, colours);
    // The previous colour is always allowed.
    if colours.pins(old.routed()) == colours.pins(new.routed()) && !leaves {
        return None;
    }
    let update = Update::new(&old, new, view, policy, Demand::of_flip(policy));
    let ready = update.current.ready();
    let still_runs = update.current.workloads.iter().any(|workload| !workload.meta.deleting) && ready >= new.floor();
    if !still_runs {
        return None;
    }
    if leaves {
        return opt_out::opt_out(&update);
    }
    let ports = ports::on_a_flip(&update).into_iter().filter(|finding| finding.bound != Some(Bound::AtMostWarn));
    let flip = target::findings(&update).into_iter().chain(ports).next()?;
    let previous = old.routed().without(new.routed());
    let served = if tombstone.still_there {
        format!("{previous}, which {} serve", pods(ready, ""))
    } else {
        format!("{previous}, deleted {} s ago", now.since(tombstone.at).as_secs())
    };
    let message = format!("a flip from {served}: {}", flip.message);
    let back = Remedy::words(format!("To serve at once, select {previous}"));
    let mut finding = Finding::new(Reason::ServiceRecreated, message, back).with_details(flip.details);
    finding.remedies.extend(flip.remedies);
    Some(finding)
}

/// Whether a Service leaves flipguard's care by its deletion and re-creation.
pub(crate) fn opts_out(new: &Service, view: &ClusterView, policy: &Policy, now: Timestamp) -> bool {
    previous(new, view, now).is_some_and(|old| opt_out::opts_out(&old, new, view, &policy.colours))
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
