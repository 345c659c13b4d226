//! A live workload gets another owner, or a Deployment adopts it.

use crate::model::{ClusterView, Owner, Workload};
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::TrafficService;
use crate::rules::wording::Remedy;
use crate::rules::{Finding, Reason};

/// The finding about an update after which no owner exists. The garbage collector would delete the object.
pub(super) fn collected(
    old: &Workload,
    new: &Workload,
    traffic: &[TrafficService<'_>],
    view: &ClusterView,
) -> Vec<Finding> {
    let owners = &new.meta.owners;
    let exists: Vec<Option<bool>> = owners.iter().map(|owner| view.is_there(owner)).collect();
    let Some(first) = owners.first().filter(|_| old.meta.owners != *owners && !exists.contains(&Some(true))) else {
        return Vec::new();
    };
    // While one of the owners may exist, the object may remain.
    let unknown = owners.iter().zip(&exists).find(|(_, exists)| exists.is_none()).map(|(owner, _)| owner);
    let selecting = traffic.iter().filter(|service| service.selects(old));
    selecting
        .filter_map(|service| {
            let remaining = service.loss(old, &After::Gone)?;
            let owner = unknown.unwrap_or(first);
            let message = match unknown {
                Some(_) => format!(
                    "flipguard may not read owner {owner}; if it does not exist, this is garbage-collected, and {}",
                    service.would_keep(remaining)
                ),
                None => format!(
                    "owner {owner} does not exist; garbage collection would leave Service {} {remaining} of {} ready pods",
                    service.name(),
                    service.ready()
                ),
            };
            let uid = format!("The ownerReference has uid {}.", owner.uid);
            let finding = service.finding(Reason::LiveDeleted, message, correct(owner, &old.meta.namespace));
            let finding = finding.with_details(vec![uid]).said_by(service.floor_source(remaining));
            Some(if unknown.is_some() { finding.at_most_warn() } else { finding })
        })
        .collect()
}

fn correct(owner: &Owner, namespace: &str) -> Remedy {
    let Owner { api_version, kind, name, .. } = owner;
    let resource = match api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}").to_ascii_lowercase(),
        None => kind.to_ascii_lowercase(),
    };
    let command = format!("get {resource} {name} -o jsonpath='{{.metadata.uid}}'");
    Remedy::kubectl("Correct the ownerReference", namespace, &command)
}

/// The finding about a standalone ReplicaSet that is given to a Deployment, which then scales it.
pub(super) fn adopted(
    old: &Workload,
    new: &Workload,
    traffic: &[TrafficService<'_>],
    view: &ClusterView,
) -> Vec<Finding> {
    let by = view.workloads.iter().find(|workload| new.meta.is_controlled_by(&workload.meta.uid));
    let Some(by) = by.filter(|_| old.stands_alone()) else { return Vec::new() };
    let selecting = traffic.iter().filter(|service| service.selects(old));
    selecting
        .filter_map(|service| {
            let remaining = service.loss(old, &After::Becomes(new))?;
            let message = format!("{by} would adopt and scale it; {}", service.would_keep(remaining));
            Some(service.finding_of_loss(Reason::LiveScaledDown, message, remaining))
        })
        .collect()
}

/// The finding about a new Deployment whose selector matches standalone ReplicaSets. Its controller adopts and scales
/// them.
pub(super) fn adopts(new: &Workload, traffic: &[TrafficService<'_>], view: &ClusterView) -> Vec<Finding> {
    let mut findings = Vec::new();
    for orphan in view.workloads.iter().filter(|workload| new.would_adopt(workload)) {
        let selecting = traffic.iter().filter(|service| service.selects(orphan));
        findings.extend(selecting.filter_map(|service| taken(service, orphan, new)));
    }
    findings
}

fn taken(service: &TrafficService<'_>, orphan: &Workload, by: &Workload) -> Option<Finding> {
    let others = service.ready_after(orphan, &After::Gone);
    let kept = service.ready_after(orphan, &After::Becomes(orphan)).saturating_sub(others);
    let desired = usize::try_from(by.desired).unwrap_or(usize::MAX);
    let matches = service.selector.matches(&by.template.labels);
    let remaining = others + if matches { kept.min(desired) } else { 0 };
    service.is_loss(remaining).then(|| {
        let message = format!("it would adopt and scale {orphan}; {}", service.would_keep(remaining));
        service.finding_of_loss(Reason::LiveScaledDown, message, remaining)
    })
}
