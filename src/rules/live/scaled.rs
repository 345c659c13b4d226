//! The live colour is scaled down.

use super::hold;
use crate::model::{Change, ClusterView, Policy, Timestamp, Workload, WorkloadKind};
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::TrafficService;
use crate::rules::wording::{Remedy, object};
use crate::rules::{Finding, Reason};

/// The autoscalers. A large step of an autoscaler is not taken for an accident (Kubernetes,
/// `cmd/kube-controller-manager`; KEDA).
const AUTOSCALERS: [&str; 2] =
    ["system:serviceaccount:kube-system:horizontal-pod-autoscaler", "system:serviceaccount:keda:keda-operator"];

/// Whether a change ends Pods: the desired number falls, or the ordinals of a StatefulSet start elsewhere.
fn is_scale_down(old: &Workload, new: &Workload) -> bool {
    new.desired < old.desired || new.first_ordinal != old.first_ordinal
}

pub(super) fn scaled(
    old: &Workload,
    new: &Workload,
    traffic: &[TrafficService<'_>],
    change: &Change,
    policy: &Policy,
) -> Vec<Finding> {
    if !is_scale_down(old, new) {
        return Vec::new();
    }
    let selecting = traffic.iter().filter(|service| service.selects(old) && !service.may_sleep);
    selecting
        .filter_map(|service| {
            if new.desired == 0 && service.only_blips(old) {
                return Some(service.finding_of_loss(Reason::LiveScaledDown, service.blips(), 0));
            }
            let remaining = service.ready_after(old, &After::Becomes(new));
            if service.is_loss(remaining) {
                return Some(loss(service, old, new, remaining));
            }
            let by_autoscaler = AUTOSCALERS.contains(&change.user.name.as_str());
            let percent = usize::try_from(policy.shrink_percent).unwrap_or(100);
            let lost = service.ready().saturating_sub(remaining);
            (lost * 100 > service.ready() * percent && !by_autoscaler).then(|| shrunk(service, old, remaining))
        })
        .collect()
}

fn loss(service: &TrafficService<'_>, old: &Workload, new: &Workload, remaining: usize) -> Finding {
    let message = service.loses(remaining);
    if remaining > 0 {
        let lower = if service.floor_source(remaining).is_some() { "" } else { ", or lower it" };
        let keep = Remedy::words(format!("Keep {}{lower}", service.floor));
        let (first, then) = service.switch_first();
        let finding = service.finding(Reason::LiveScaledDown, message, keep).or(Some(first)).or(then);
        return finding.said_by(service.floor_source(remaining));
    }
    let restarts = new.desired == 0 && old.kind != WorkloadKind::ReplicaSet;
    let restart = restarts.then(|| {
        let command = format!("rollout restart {}", object(old));
        Remedy::kubectl("To restart the pods", &old.meta.namespace, &command)
    });
    service.finding_of_loss(Reason::LiveScaledDown, message, remaining).or(restart)
}

fn shrunk(service: &TrafficService<'_>, old: &Workload, remaining: usize) -> Finding {
    let message = format!("Service {} drops from {} to {remaining} ready pods", service.name(), service.ready());
    let command = format!("scale {} --replicas={}", object(old), old.desired);
    let undo = Remedy::kubectl("To undo", &old.meta.namespace, &command);
    Finding::new(Reason::LiveShrunk, message, undo).about(service.name())
}

/// The findings about a held colour that is scaled down.
pub(super) fn held(
    old: &Workload,
    new: &Workload,
    view: &ClusterView,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Finding> {
    if !is_scale_down(old, new) {
        return Vec::new();
    }
    hold::findings(Reason::HeldScaledDown, old, &After::Becomes(new), view, policy, now)
}
