//! Overrides: who may set one, and what it lifts while it lasts.

use super::{Finding, Reason};
use crate::model::{
    Change, ClusterView, ColourScheme, Labels, Meta, Override, Role, Service, Timestamp, Write, annotation,
};

/// The Services for which the user needs the verb `override`, by name: for an override that is set or extended on the
/// Service itself, or on a workload that a traffic Service selects.
pub(super) fn to_be_permitted(
    change: &Change,
    services: &[Service],
    colours: &ColourScheme,
    now: Timestamp,
) -> Vec<String> {
    if set(change, colours).is_none_or(|value| is_past(value, now)) {
        return Vec::new();
    }
    match &change.write {
        Write::ServiceUpdate { new, .. } | Write::ServiceCreate { new } => vec![new.meta.name.clone()],
        Write::WorkloadCreate { new } | Write::WorkloadUpdate { new, .. } => {
            let names = selecting(&new.template.labels, services, colours).map(|service| service.meta.name.clone());
            let names: Vec<String> = names.collect();
            // On a workload that no traffic Service selects yet, it would lift what comes later: that needs the verb for
            // the whole namespace.
            if names.is_empty() { vec![String::new()] } else { names }
        }
        _ => Vec::new(),
    }
}

/// The finding about an override that may not be set as it is.
pub(super) fn not_permitted(
    change: &Change,
    view: &ClusterView,
    colours: &ColourScheme,
    now: Timestamp,
) -> Option<Finding> {
    let value = set(change, colours)?;
    let finding =
        |message: String, next_step: String| Some(Finding::new(Reason::OverrideNotPermitted, message, next_step));
    let parsed = match Override::parse(value) {
        Ok(parsed) => parsed,
        Err(why) => return finding(format!("annotation {}: {why}", annotation::OVERRIDE), "correct it".to_owned()),
    };
    if parsed.until <= now {
        return None;
    }
    if !parsed.lasts(now) {
        let message = format!("annotation {}: {} is more than 1 h ahead", annotation::OVERRIDE, parsed.until);
        return finding(message, format!("it is {now} now; set a time within the hour"));
    }
    let asked = to_be_permitted(change, &view.services, colours, now);
    let refused = asked.iter().find(|name| view.may_override.get(*name) != Some(&true))?;
    let namespace = namespace(change)?;
    let user = if change.user.name.is_empty() { "(nobody)" } else { &change.user.name };
    let place = if refused.is_empty() { format!("in namespace {namespace}") } else { format!("for Service {refused}") };
    finding(
        format!("user {user} may not set annotation {} {place}", annotation::OVERRIDE),
        how_to_be_permitted(namespace),
    )
}

/// The override that lasts for a change: of the object itself, as it would be on an UPDATE and as it is stored on DELETE
/// and `/scale`; or of a Service, for its whole fleet.
pub(super) fn lasting(change: &Change, view: &ClusterView, colours: &ColourScheme, now: Timestamp) -> Option<Override> {
    let stored_workload = || match &change.write {
        Write::Scale { kind, name, .. } => {
            view.workloads.iter().find(|workload| workload.kind == *kind && workload.meta.name == *name)
        }
        _ => None,
    };
    let (meta, labels): (&Meta, Option<&Labels>) = match &change.write {
        Write::ServiceUpdate { new, .. } | Write::ServiceCreate { new } => (&new.meta, None),
        Write::ServiceDelete { old } => (&old.meta, None),
        Write::WorkloadCreate { new } => (&new.meta, Some(&new.template.labels)),
        Write::WorkloadUpdate { old, new } => (&new.meta, Some(&old.template.labels)),
        Write::WorkloadDelete { old } => (&old.meta, Some(&old.template.labels)),
        Write::Scale { .. } => {
            let stored = stored_workload()?;
            (&stored.meta, Some(&stored.template.labels))
        }
        Write::Other => return None,
    };
    let lasting = |meta: &Meta| {
        let parsed = Override::parse(meta.annotation(annotation::OVERRIDE)?).ok()?;
        parsed.lasts(now).then_some(parsed)
    };
    let of_services = || {
        let mut of_all = selecting(labels?, &view.services, colours).map(|service| lasting(&service.meta));
        // Each Service that could lose must agree.
        let first = of_all.next()??;
        of_all.all(|other| other.is_some()).then_some(first)
    };
    lasting(meta).or_else(of_services)
}

/// The traffic Services that select Pods with these labels.
fn selecting<'a>(
    labels: &'a Labels,
    services: &'a [Service],
    colours: &'a ColourScheme,
) -> impl Iterator<Item = &'a Service> {
    services.iter().filter(move |service| service.role(colours) == Role::Traffic && service.routed().matches(labels))
}

/// The value of an override that this change sets, or that begins to count with it: one that stood on an object that
/// nobody guarded was permitted by nobody.
fn set<'a>(change: &'a Change, colours: &ColourScheme) -> Option<&'a str> {
    let (old, new) = match &change.write {
        Write::ServiceUpdate { old, new } => {
            (Some(&old.meta).filter(|_| old.role(colours) == Role::Traffic), &new.meta)
        }
        Write::ServiceCreate { new } => (None, &new.meta),
        Write::WorkloadUpdate { old, new } => {
            (Some(&old.meta).filter(|_| colours.mark(&old.template.labels)), &new.meta)
        }
        Write::WorkloadCreate { new } => (None, &new.meta),
        _ => return None,
    };
    let before = old.and_then(|meta| meta.annotation(annotation::OVERRIDE));
    new.annotation(annotation::OVERRIDE).filter(|value| before != Some(*value))
}

/// Where the verb comes from that permits overrides and opt-outs.
pub(super) fn how_to_be_permitted(namespace: &str) -> String {
    format!(
        "ask a cluster admin for a Role in namespace {namespace} with verb `override` on \
         `bluegreenpolicies.flipguard.dev`"
    )
}

/// Whether an override is set by this change, so that somebody must permit it.
pub(super) fn is_set(change: &Change, colours: &ColourScheme) -> bool {
    set(change, colours).is_some()
}

fn is_past(value: &str, now: Timestamp) -> bool {
    Override::parse(value).is_ok_and(|parsed| parsed.until <= now)
}

fn namespace(change: &Change) -> Option<&str> {
    match &change.write {
        Write::ServiceUpdate { new, .. } | Write::ServiceCreate { new } => Some(&new.meta.namespace),
        Write::WorkloadUpdate { new, .. } | Write::WorkloadCreate { new } => Some(&new.meta.namespace),
        _ => None,
    }
}
