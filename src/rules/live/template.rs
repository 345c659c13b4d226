//! What is live gets another Pod template, or another way to roll it out.

use crate::model::{ClusterView, Selector, Strategy, Workload, annotation};
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::Stake;
use crate::rules::wording::pods;
use crate::rules::{Finding, Reason};

pub(super) fn detached(stake: &Stake<'_>, old: &Workload, new: &Workload) -> Option<Finding> {
    let left = stake.left(old, &After::Becomes(new));
    let lost = Selector::new(old.template.labels.clone()).without(&Selector::new(new.template.labels.clone()));
    stake.too_little(left).then(|| {
        let message = format!("its pods would lose {lost}; {}", stake.would_leave(left));
        stake.finding(Reason::LiveDetached, message, stake.flip_first())
    })
}

/// A new version in place of the one that serves. What goes back to a known revision passes, and what changes only
/// metadata.
pub(super) fn redeployed(stake: &Stake<'_>, old: &Workload, new: &Workload) -> Option<Finding> {
    if old.template.spec == new.template.spec || is_known_revision(stake.view, old, new) || stake.fleet.ready() == 0 {
        return None;
    }
    let service = &stake.service.meta.name;
    let (old_image, new_image) = (old.template.main_image(), new.template.main_image());
    let what = match (old_image, new_image) {
        (Some(old), Some(new)) if old != new => format!("image {old} -> {new}"),
        _ => "its pod template changes".to_owned(),
    };
    let message = format!("{what}, while Service {service} routes to it ({})", pods(stake.fleet.ready(), "ready"));
    let Some(sibling) = stake.other_colour() else {
        let next_step = "to have a way back, deploy the new version beside it and flip".to_owned();
        return Some(Finding::new(Reason::LiveRedeployed, message, next_step).only_a_warning());
    };
    let next_step = format!("deploy the new version to {sibling} and flip Service {service} to it");
    let finding = stake.finding(Reason::LiveRedeployed, message, next_step);
    let is_healthy = stake.fleet.ready() >= stake.floor;
    Some(if is_healthy { finding } else { finding.only_a_warning() })
}

/// Whether the template is one that the workload had before, or has: a ReplicaSet of its runs it, but for the label that
/// the Deployment controller adds; or a revision of its keeps it.
pub(super) fn is_known_revision(view: &ClusterView, old: &Workload, new: &Workload) -> bool {
    let mut own = view.revisions.iter().filter(|revision| revision.meta.is_controlled_by(&old.meta.uid));
    view.replica_sets_of(old).any(|replica_set| replica_set.template.spec == new.template.spec)
        || own.any(|revision| revision.keeps(new))
}

/// A change after which nothing holds the floor while it is carried out.
pub(super) fn recreated(stake: &Stake<'_>, old: &Workload, new: &Workload) -> Option<Finding> {
    let goes_back = new.meta.annotation(annotation::ROLLBACK).is_some()
        && old.meta.annotation(annotation::ROLLBACK) != new.meta.annotation(annotation::ROLLBACK);
    let begins = (old.template != new.template || goes_back) && !new.paused;
    let released = old.paused && !new.paused && !old.is_settled();
    let turned = old.strategy != new.strategy && !old.is_settled() && !new.paused;
    if !(begins || released || turned) || new.strategy == Strategy::OnDelete {
        return None;
    }
    let (unavailable, _) = new.strategy.limits(new.wanted);
    let guaranteed = usize::try_from(new.wanted.saturating_sub(unavailable)).unwrap_or(usize::MAX);
    let others = stake.left(old, &After::Gone);
    let left = others + guaranteed;
    let how = match new.strategy {
        Strategy::Recreate => "strategy Recreate ends all pods before it starts new ones".to_owned(),
        _ => format!("maxUnavailable lets all {} pods go at once", new.wanted),
    };
    stake.too_little(left).then(|| {
        let next_step = match stake.other_colour() {
            Some(sibling) => {
                format!("deploy to {sibling} and flip; or set strategy RollingUpdate first")
            }
            None => "set strategy RollingUpdate first".to_owned(),
        };
        let finding = stake.finding(Reason::LiveRecreate, format!("{how}; {}", stake.would_leave(left)), next_step);
        let is_strict = !stake.siblings.is_empty() && stake.fleet.ready() >= stake.floor;
        if is_strict { finding } else { finding.only_a_warning() }
    })
}
