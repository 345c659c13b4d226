//! Changes of a workload, and deletions of a Service: does the live colour keep serving?
//!
//! While a Service sends traffic to a colour, no change may leave fewer ready Pods than the Service needs. Deleting the
//! Service ends this guarantee, and its Pods may then be deleted.
//!
//! - `scaled`, `deleted`, `owners`, `template`: the ways in which Pods are lost
//! - `joins`: another colour gets live traffic
//! - `hold`: the previous colour is kept for a while
//! - `wording`: words that these rules share

mod deleted;
mod hold;
mod joins;
mod owners;
mod scaled;
mod template;
mod wording;

use crate::model::{Change, ClusterView, Policy, Timestamp, Workload, Write};
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::TrafficService;
use crate::rules::{Finding, Reason};

/// The findings about a change of a workload or the deletion of a Service, and the summary of the change.
pub(super) fn judge(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> (String, Vec<Finding>) {
    let traffic = TrafficService::all(view, policy);
    match &change.write {
        Write::ServiceDelete { old } => {
            ("delete".to_owned(), deleted::service_deleted(old, view).into_iter().collect())
        }
        Write::WorkloadCreate { new } => {
            let mut findings = joins::joins(None, new, &traffic, &policy.colours);
            findings.extend(owners::adopts(new, &traffic, view));
            ("create".to_owned(), findings)
        }
        Write::WorkloadUpdate { old, new } => {
            let mut findings = updated(old, new, &traffic, change, policy);
            findings.extend(owners::collected(old, new, &traffic, view));
            findings.extend(owners::adopted(old, new, &traffic, view));
            findings.extend(joins::joins(Some(old), new, &traffic, &policy.colours));
            findings.extend(scaled::held(old, new, view, policy, now));
            findings.extend(hold::redeployed(old, new, view, policy, now));
            (describe(old, new), findings)
        }
        Write::WorkloadDelete { old } => {
            let mut findings = deleted::deleted(old, &traffic);
            findings.extend(hold::findings(Reason::HeldDeleted, old, &After::Gone, view, policy, now));
            ("delete".to_owned(), findings)
        }
        Write::Scale { from, to, .. } => {
            let findings = change.write.stored(view).map(|old| {
                let new = Workload { desired: *to, ..old.clone() };
                let mut findings = scaled::scaled(old, &new, &traffic, change, policy);
                findings.extend(scaled::held(old, &new, view, policy, now));
                findings
            });
            (format!("scale {from} -> {to}"), findings.unwrap_or_default())
        }
        Write::ServiceUpdate { .. }
        | Write::ServiceCreate { .. }
        | Write::JobCreate { .. }
        | Write::JobUpdate { .. }
        | Write::JobDelete { .. }
        | Write::Other => (String::new(), Vec::new()),
    }
}

fn updated(
    old: &Workload,
    new: &Workload,
    traffic: &[TrafficService<'_>],
    change: &Change,
    policy: &Policy,
) -> Vec<Finding> {
    let mut findings = scaled::scaled(old, new, traffic, change, policy);
    for service in traffic.iter().filter(|service| service.selects(old) && old.stands_alone()) {
        if service.service.routed().matches(&new.template.labels) {
            findings.extend(template::redeployed(service, old, new));
            findings.extend(template::ports_dropped(service, old, new));
            findings.extend(template::recreated(service, old, new));
        } else {
            findings.extend(template::detached(service, old, new));
        }
    }
    findings
}

fn describe(old: &Workload, new: &Workload) -> String {
    let scale = format!("scale {} -> {}", old.desired, new.desired);
    let parts: Vec<&str> = [
        (new.desired != old.desired, scale.as_str()),
        (new.first_ordinal != old.first_ordinal, "ordinals change"),
        (new.template != old.template, "template change"),
        (new.meta.owners != old.meta.owners, "owner change"),
    ]
    .into_iter()
    .filter_map(|(is, part)| is.then_some(part))
    .collect();
    if parts.is_empty() { "change".to_owned() } else { parts.join(" and ") }
}
