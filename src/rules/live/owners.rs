//! What is live gets another owner, and with it another fate.

use crate::model::{ClusterView, Owner, Workload, WorkloadKind};
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::Stake;
use crate::rules::{Finding, Reason};

/// An update after which no owner is left, so that the garbage collector deletes the object.
pub(super) fn collected(old: &Workload, new: &Workload, stakes: &[Stake<'_>], view: &ClusterView) -> Vec<Finding> {
    let owners = &new.meta.owners;
    let is_there: Vec<Option<bool>> = owners.iter().map(|owner| view.is_there(owner)).collect();
    let Some(first) = owners.first().filter(|_| old.meta.owners != *owners && !is_there.contains(&Some(true))) else {
        return Vec::new();
    };
    // As long as one of them may be there, it may stay.
    let unknown = owners.iter().zip(&is_there).find(|(_, is_there)| is_there.is_none()).map(|(owner, _)| owner);
    let concerned = stakes.iter().filter(|stake| stake.concerns(old));
    concerned
        .filter_map(|stake| {
            let left = stake.left(old, &After::Gone);
            let leaves = stake.would_leave(left);
            let owner = unknown.unwrap_or(first);
            let Owner { api_version, kind, name, uid } = owner;
            let message = match unknown {
                Some(_) => format!(
                    "flipguard may not see whether its owner {owner} exists; if not, the garbage collector deletes it, \
                     and {leaves}"
                ),
                None => format!(
                    "its owner {owner} with uid {uid} does not exist or is being deleted, so the garbage collector would \
                     delete it; {leaves}"
                ),
            };
            let resource = match api_version.split_once('/') {
                Some((group, _)) => format!("{kind}.{group}").to_ascii_lowercase(),
                None => kind.to_ascii_lowercase(),
            };
            let next_step = format!(
                "leave the ownerReference out, or give it the uid of what exists: kubectl -n {} get {resource} {name} -o \
                 jsonpath='{{.metadata.uid}}'",
                old.meta.namespace
            );
            let finding = stake.finding(Reason::LiveDeleted, message, next_step);
            stake.too_little(left).then(|| if unknown.is_some() { finding.only_a_warning() } else { finding })
        })
        .collect()
}

/// A ReplicaSet of its own that is given to a Deployment, which scales it as an old or the current one of its own.
pub(super) fn adopted(old: &Workload, new: &Workload, stakes: &[Stake<'_>], view: &ClusterView) -> Vec<Finding> {
    let by = view.workloads.iter().find(|workload| new.meta.is_controlled_by(&workload.meta.uid));
    let Some(by) = by.filter(|_| old.stands_alone()) else { return Vec::new() };
    let concerned = stakes.iter().filter(|stake| stake.concerns(old));
    concerned
        .filter_map(|stake| {
            let left = stake.left(old, &After::Becomes(new));
            let message = format!("{by} would scale it as its own; {}", stake.would_leave(left));
            stake.too_little(left).then(|| stake.finding(Reason::LiveScaledDown, message, stake.flip_first()))
        })
        .collect()
}

/// A new Deployment whose selector matches ReplicaSets that stand alone: its controller takes them over, and scales them.
pub(super) fn adopts(new: &Workload, stakes: &[Stake<'_>], view: &ClusterView) -> Vec<Finding> {
    let is_orphan = |workload: &&Workload| {
        workload.kind == WorkloadKind::ReplicaSet && workload.stands_alone() && new.would_select(&workload.meta.labels)
    };
    let orphans = view.workloads.iter().filter(is_orphan).filter(|_| new.kind == WorkloadKind::Deployment);
    let taken = |stake: &Stake<'_>, orphan: &Workload| {
        let others = stake.left(orphan, &After::Gone);
        let kept = stake.left(orphan, &After::Becomes(orphan)).saturating_sub(others);
        let wanted = usize::try_from(new.wanted).unwrap_or(usize::MAX);
        let left = others + if stake.selector.matches(&new.template.labels) { kept.min(wanted) } else { 0 };
        stake.too_little(left).then(|| {
            let message = format!("it would take {orphan} over and scale it as its own; {}", stake.would_leave(left));
            stake.finding(Reason::LiveScaledDown, message, stake.flip_first())
        })
    };
    orphans
        .flat_map(|orphan| {
            stakes.iter().filter(|stake| stake.concerns(orphan)).filter_map(move |stake| taken(stake, orphan))
        })
        .collect()
}
