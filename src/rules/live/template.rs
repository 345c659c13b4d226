//! The live colour gets another Pod template or another update strategy.

use serde_json::Value;

use crate::model::{ClusterView, Containers, Pod, Selector, Strategy, Workload, WorkloadKind, annotation};
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::TrafficService;
use crate::rules::wording::{Remedy, pods};
use crate::rules::{Finding, Reason};

pub(super) fn detached(service: &TrafficService<'_>, old: &Workload, new: &Workload) -> Option<Finding> {
    let remaining = service.loss(old, &After::Becomes(new))?;
    let lost = Selector::new(old.template.labels.clone()).without(&Selector::new(new.template.labels.clone()));
    let message = format!("its pods would lose {lost}; {}", service.would_keep(remaining));
    Some(service.finding_of_loss(Reason::LiveDetached, message, remaining))
}

/// The finding about a new version in place of the serving one. A return to a known revision is allowed, and so are
/// changes of the template's metadata.
pub(super) fn redeployed(service: &TrafficService<'_>, old: &Workload, new: &Workload) -> Option<Finding> {
    if old.template.spec == new.template.spec || is_known_revision(service.view, old, new) || service.ready() == 0 {
        return None;
    }
    let name = service.name();
    let reason = if same_images(old, new) { Reason::LiveReconfigured } else { Reason::LiveRedeployed };
    let what = match (old.template.main_image(), new.template.main_image()) {
        (Some(old), Some(new)) if old != new => format!("image {old} -> {new}"),
        _ => "its pod template changes".to_owned(),
    };
    let message = format!("{what} on the {} that Service {name} uses", pods(service.ready(), "ready"));
    let Some(other) = service.other_colour() else {
        let remedy = Remedy::words("To keep a way back, deploy the new version beside it and flip");
        return Some(Finding::new(reason, message, remedy).at_most_warn());
    };
    let remedy = Remedy::words(format!("Deploy it to {other} and switch to that"));
    let finding = service.finding(reason, message, remedy);
    Some(if service.is_healthy() { finding } else { finding.at_most_warn() })
}

/// The findings about named ports that the Service uses and the new template drops. An undo drops them just as well.
pub(super) fn ports_dropped(service: &TrafficService<'_>, old: &Workload, new: &Workload) -> Vec<Finding> {
    let own = service.view.owners_of_pods(old);
    let is_own = |pod: &Pod| pod.meta.controller.as_ref().is_some_and(|owner| own.contains(&owner.uid.as_str()));
    let dropped = service.service.ports.iter().filter_map(|port| {
        let name = port.target_name()?;
        let has = |containers: &Containers| containers.have_port(name, port.protocol);
        let is_dropped = has(&old.template.containers) && !has(&new.template.containers) && service.ready() > 0;
        let others = service.backends.serving.iter().any(|pod| !is_own(pod) && has(&pod.containers));
        is_dropped.then(|| port_dropped(service, port.port, name, others))
    });
    dropped.collect()
}

fn port_dropped(service: &TrafficService<'_>, port: u32, name: &str, others: bool) -> Finding {
    let message =
        format!("the new pods would lack port `{name}` that port {port} of Service {} targets", service.name());
    let remedy = Remedy::words("Declare it too, or deploy to another colour and switch");
    let finding = service.finding(Reason::PortUnresolved, message, remedy);
    if others { finding.at_most_warn() } else { finding }
}

/// Whether no container comes or goes, and each runs the image that it ran.
pub(super) fn same_images(old: &Workload, new: &Workload) -> bool {
    let images = |workload: &Workload| {
        let containers = workload.template.containers.all().iter();
        let mut images: Vec<_> = containers.map(|one| (one.name.clone(), one.image.clone())).collect();
        images.sort();
        images
    };
    images(old) == images(new)
}

/// Whether the template is one that the workload has or had before: one of its ReplicaSets runs it, apart from the label
/// that the Deployment controller adds; or one of its revisions keeps it.
fn is_known_revision(view: &ClusterView, old: &Workload, new: &Workload) -> bool {
    let mut own = view.revisions.iter().filter(|revision| revision.meta.is_controlled_by(&old.meta.uid));
    view.replica_sets_of(old).any(|replica_set| replica_set.template.spec == new.template.spec)
        || own.any(|revision| revision.matches_template(new))
}

/// The finding about a change whose rollout does not guarantee the floor.
pub(super) fn recreated(service: &TrafficService<'_>, old: &Workload, new: &Workload) -> Option<Finding> {
    // A scaling to 0 in the same change has its own rule.
    let is_scaled_away = new.desired == 0 && old.desired > 0;
    if !starts_a_rollout(old, new) || new.strategy == Strategy::OnDelete || is_scaled_away {
        return None;
    }
    let moves = old.kind == WorkloadKind::DaemonSet && placement(old) != placement(new);
    let (unavailable, _) = new.strategy.limits(new.desired);
    let sure = if moves { 0 } else { new.desired.saturating_sub(unavailable) };
    let guaranteed = usize::try_from(sure).unwrap_or(usize::MAX);
    let remaining = service.ready_after(old, &After::Gone) + guaranteed;
    if !service.is_loss(remaining) {
        return None;
    }
    let how = match new.strategy {
        // The controller deletes the Pods on nodes that no longer fit, all at once.
        _ if moves => "its pods may run on other nodes than before, and stop at once".to_owned(),
        Strategy::Recreate => "strategy Recreate stops every pod before new ones start".to_owned(),
        _ if guaranteed == 0 => format!("maxUnavailable lets all {} pods stop at once", new.desired),
        _ => format!("maxUnavailable lets {unavailable} of {} pods stop at once", new.desired),
    };
    let other = service
        .other_colour()
        .map(|other| Remedy::words(format!("Or deploy to {other}, then switch Service {} to it", service.name())));
    let message = format!("{how}; {}", service.would_keep(remaining));
    let first = match new.strategy {
        _ if moves => "Keep the nodes as they are",
        Strategy::Recreate => "Set strategy RollingUpdate first",
        _ => "Lower maxUnavailable first",
    };
    let finding = service.finding(Reason::LiveRecreate, message, Remedy::words(first)).or(other);
    let finding = finding.said_by(service.floor_source(remaining));
    let is_strict = !service.siblings.is_empty() && service.is_healthy();
    Some(if is_strict { finding } else { finding.at_most_warn() })
}

/// The fields of a template that decide on which nodes a DaemonSet runs.
fn placement(workload: &Workload) -> [Value; 3] {
    let spec: Value = serde_json::from_str(&workload.template.spec).unwrap_or(Value::Null);
    ["nodeSelector", "affinity", "tolerations"].map(|field| spec.get(field).cloned().unwrap_or(Value::Null))
}

/// Whether a change starts a rollout, resumes a paused one, or changes the strategy of a running one.
fn starts_a_rollout(old: &Workload, new: &Workload) -> bool {
    let undo = |workload: &Workload| workload.meta.annotation(annotation::ROLLBACK).map(str::to_owned);
    let undoes = undo(new).is_some() && undo(old) != undo(new);
    let begins = old.template != new.template || undoes;
    let is_running = !old.is_rolled_out() && (old.paused || old.strategy != new.strategy);
    !new.paused && (begins || is_running)
}
