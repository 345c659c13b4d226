//! Overrides: the permission to set one, and the changes that it allows.

use super::state::roles::traffic_services;
use super::state::traffic::TrafficService;
use super::wording::{Remedy, in_words};
use super::{Finding, Reason};
use crate::model::{
    Change, ClusterView, ColourScheme, Labels, Meta, Override, Policy, Role, Service, Timestamp, Workload, Write,
    annotation, setting,
};

/// The Services on which the user needs the verb `override`, by name; an empty name is the whole namespace. A
/// permission is needed where a change sets or extends an override on a Service, or on a workload. Then it is needed on
/// every traffic Service that could lose Pods by the change.
pub(super) fn to_be_permitted(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> Vec<String> {
    if set(change, &policy.colours).is_none_or(|value| is_past(value, now)) {
        return Vec::new();
    }
    match &change.write {
        Write::ServiceUpdate { new, .. } | Write::ServiceCreate { new } => vec![new.meta.name.clone()],
        Write::WorkloadCreate { new } => of_workloads(None, new, view, policy),
        Write::WorkloadUpdate { old, new } => of_workloads(Some(old), new, view, policy),
        _ => Vec::new(),
    }
}

/// The traffic Services that select the old state of a workload, the new one, or a ReplicaSet that the new one adopts.
fn of_workloads(old: Option<&Workload>, new: &Workload, view: &ClusterView, policy: &Policy) -> Vec<String> {
    let adopted = view.workloads.iter().filter(|orphan| new.would_adopt(orphan));
    let touched: Vec<&Workload> = old.into_iter().chain([new]).chain(adopted).collect();
    let services = TrafficService::all(view, policy).into_iter();
    let concerned = services.filter(|service| touched.iter().any(|workload| service.selects(workload)));
    let names: Vec<String> = concerned.map(|service| service.name().to_owned()).collect();
    // No traffic Service selects the workload yet. The override would apply to later ones too.
    if names.is_empty() { vec![String::new()] } else { names }
}

/// The finding about an override that is set without permission or with an invalid value.
pub(super) fn not_permitted(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> Option<Finding> {
    let value = set(change, &policy.colours)?;
    let finding = |message: String, remedy: Remedy| Some(Finding::new(Reason::OverrideNotPermitted, message, remedy));
    let parsed = match Override::parse(value) {
        Ok(parsed) => parsed,
        Err(why) => return finding(format!("{}: {why}", annotation::OVERRIDE), Remedy::words("Correct it")),
    };
    if parsed.until <= now {
        return None;
    }
    let most = policy.max_override;
    if !parsed.lasts(now, most) {
        let message = format!("{}: {} is more than {} ahead", annotation::OVERRIDE, parsed.until, in_words(most));
        let lasts_by_default = parsed.lasts(now, Policy::default().max_override);
        let source = policy.source(setting::MAX_OVERRIDE).filter(|_| lasts_by_default);
        let latest = now.after(most);
        let end = if source.is_some() {
            format!("End it by {latest}")
        } else {
            format!("It is {now} now; end it by {latest}")
        };
        return finding(message, Remedy::words(end)).map(|finding| finding.said_by(source));
    }
    let asked = to_be_permitted(change, view, policy, now);
    let missing = asked.iter().find(|name| view.may_override.get(*name) != Some(&true))?;
    let namespace = &change.write.new_meta()?.namespace;
    let user = if change.user.name.is_empty() { "(unauthenticated)" } else { &change.user.name };
    let place = if missing.is_empty() { format!("namespace {namespace}") } else { format!("Service {missing}") };
    let is_stored = change.write.old_meta().and_then(|old| old.annotation(annotation::OVERRIDE)) == Some(value);
    let message = format!("user {user} may not override {place}");
    if is_stored {
        let removed = Remedy::words(format!("Remove {} first", annotation::OVERRIDE));
        return finding(message, removed).map(|found| found.or(Some(ask_for_the_verb("Or ask", namespace))));
    }
    finding(message, ask_for_the_verb("Ask", namespace))
}

/// The override that applies to a change: that of the object itself, or of every traffic Service that selects it. On
/// UPDATE, the new object is read; on DELETE and `/scale`, the stored one.
///
/// The override of a workload counts only where its Pod template marks a colour. On any other workload, nobody was asked
/// to permit it: flipguard is not called for changes of its annotations.
pub(super) fn active(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> Option<Override> {
    let colours = &policy.colours;
    let of_meta = |meta: &Meta| {
        let parsed = Override::parse(meta.annotation(annotation::OVERRIDE)?).ok()?;
        parsed.lasts(now, policy.max_override).then_some(parsed)
    };
    let of_services = || {
        let labels = &change.write.template(view)?.labels;
        let mut of_all = selecting(labels, view, colours).map(|service| of_meta(&service.meta));
        // Every Service that could lose Pods must have an override.
        let first = of_all.next()??;
        of_all.all(|other| other.is_some()).then_some(first)
    };
    let own = change.write.meta(view).filter(|_| counts(change, view, colours)).and_then(of_meta);
    own.or_else(of_services)
}

/// Whether an override on the object itself counts.
fn counts(change: &Change, view: &ClusterView, colours: &ColourScheme) -> bool {
    let is_marked = |workload: &Workload| colours.is_marked(&workload.template.labels);
    match &change.write {
        Write::WorkloadUpdate { old, new } => is_marked(old) || is_marked(new),
        Write::WorkloadCreate { new: workload } | Write::WorkloadDelete { old: workload } => is_marked(workload),
        Write::Scale { .. } => change.write.stored(view).is_some_and(is_marked),
        Write::ServiceUpdate { .. } | Write::ServiceCreate { .. } | Write::ServiceDelete { .. } | Write::Other => true,
        Write::JobCreate { .. } | Write::JobUpdate { .. } | Write::JobDelete { .. } => false,
    }
}

/// The Service on which an override has to be set, as kubectl takes it. `None` where the object itself takes one.
pub(super) fn place(change: &Change, view: &ClusterView, colours: &ColourScheme) -> Option<String> {
    let labels = &change.write.template(view)?.labels;
    let service = selecting(labels, view, colours).next().filter(|_| !counts(change, view, colours))?;
    Some(format!("service/{}", service.meta.name))
}

/// The traffic Services that select Pods with these labels.
fn selecting<'a>(
    labels: &'a Labels,
    view: &'a ClusterView,
    colours: &'a ColourScheme,
) -> impl Iterator<Item = &'a Service> {
    traffic_services(view, colours).filter(move |service| service.routed().matches(labels))
}

/// The value of an override that this change sets. A value on a previously unguarded object counts as set too, because
/// nobody was asked to permit it.
fn set<'a>(change: &'a Change, colours: &ColourScheme) -> Option<&'a str> {
    let was_guarded = match &change.write {
        Write::ServiceUpdate { old, .. } => old.own_role(colours) == Role::Traffic,
        Write::WorkloadUpdate { old, .. } => colours.is_marked(&old.template.labels),
        _ => false,
    };
    let value = |meta: &'a Meta| meta.annotation(annotation::OVERRIDE);
    let before = change.write.old_meta().filter(|_| was_guarded).and_then(value);
    change.write.new_meta().and_then(value).filter(|value| before != Some(*value))
}

/// The remedy where the verb for overrides and opt-outs is missing.
pub(super) fn ask_for_the_verb(ask: &str, namespace: &str) -> Remedy {
    Remedy::words(format!("{ask} for verb override on bluegreenpolicies.flipguard.dev in {namespace}"))
}

/// Whether this change sets an override, so that a permission is needed.
pub(super) fn is_set(change: &Change, colours: &ColourScheme) -> bool {
    set(change, colours).is_some()
}

fn is_past(value: &str, now: Timestamp) -> bool {
    Override::parse(value).is_ok_and(|parsed| parsed.until <= now)
}
