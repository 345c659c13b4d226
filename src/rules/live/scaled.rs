//! What is live is scaled down.

use super::hold;
use crate::model::{Change, ClusterView, Policy, Timestamp, Workload};
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::Stake;
use crate::rules::{Finding, Reason};

/// Who scales down for a living; a big step of theirs is no accident (Kubernetes, `cmd/kube-controller-manager`; KEDA).
const AUTOSCALERS: [&str; 2] =
    ["system:serviceaccount:kube-system:horizontal-pod-autoscaler", "system:serviceaccount:keda:keda-operator"];

pub(super) fn scaled(old: &Workload, new: &Workload, stakes: &[Stake<'_>], change: &Change) -> Vec<Finding> {
    // A StatefulSet whose ordinals begin elsewhere ends the Pods outside of them.
    if new.wanted >= old.wanted && new.first_ordinal == old.first_ordinal {
        return Vec::new();
    }
    stakes
        .iter()
        .filter(|stake| stake.concerns(old))
        .filter_map(|stake| {
            let left = stake.left(old, &After::Becomes(new));
            if stake.too_little(left) {
                return Some(stake.finding(Reason::LiveScaledDown, stake.would_leave(left), stake.flip_first()));
            }
            let by_autoscaler = AUTOSCALERS.contains(&change.user.name.as_str());
            (left * 2 < stake.fleet.ready() && !by_autoscaler).then(|| {
                let next_step = format!(
                    "if that is not meant: kubectl -n {} scale {}/{} --replicas={}",
                    old.meta.namespace,
                    old.kind.singular(),
                    old.meta.name,
                    old.wanted
                );
                let message = format!(
                    "it cuts Service {} from {} to {left} ready pods",
                    stake.service.meta.name,
                    stake.fleet.ready()
                );
                Finding::new(Reason::LiveShrunk, message, next_step)
            })
        })
        .collect()
}

/// Whether a scale-down takes the colour before below what going back would need.
pub(super) fn held(
    old: &Workload,
    new: &Workload,
    view: &ClusterView,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Finding> {
    if new.wanted >= old.wanted && new.first_ordinal == old.first_ordinal {
        return Vec::new();
    }
    hold::findings(Reason::HeldScaledDown, old, &After::Becomes(new), view, policy, now)
}
