//! The live colour: may what carries the traffic be taken away?
//!
//! Traffic first, then pods. A Service says what is meant to serve; as long as it stands, a change may not leave it less
//! than it needs. Deleting the Service withdraws the promise, and frees its Pods.

mod deleted;
mod hold;
mod joins;
mod owners;
mod scaled;
mod template;

use deleted::{deleted, service_deleted};
use joins::joins;
use owners::{adopted, adopts, collected};
use scaled::{held, scaled};
use template::{detached, recreated, redeployed};

use crate::model::{Change, ClusterView, Policy, Timestamp, Workload, Write};
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::{Stake, stakes};
use crate::rules::{Finding, Reason, Verdict};

/// Judges a change of a workload, or the deletion of a Service.
pub(super) fn judge(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp, verdict: &mut Verdict) {
    let colours = &policy.colours;
    let stakes = stakes(view, colours);
    let (act, findings) = match &change.write {
        Write::ServiceDelete { old } => ("delete".to_owned(), service_deleted(old, view).into_iter().collect()),
        Write::WorkloadCreate { new } => {
            let mut findings = joins(None, new, &stakes, colours);
            findings.extend(adopts(new, &stakes, view));
            ("create".to_owned(), findings)
        }
        Write::WorkloadUpdate { old, new } => {
            let mut findings = changed(old, new, &stakes, change);
            findings.extend(collected(old, new, &stakes, view));
            findings.extend(adopted(old, new, &stakes, view));
            findings.extend(joins(Some(old), new, &stakes, colours));
            findings.extend(held(old, new, view, policy, now));
            (describe(old, new), findings)
        }
        Write::WorkloadDelete { old } => {
            let mut findings = deleted(old, &stakes);
            findings.extend(hold::findings(Reason::HeldDeleted, old, &After::Gone, view, policy, now));
            ("delete".to_owned(), findings)
        }
        Write::Scale { kind, name, from, to, .. } => {
            let stored = view.workloads.iter().find(|workload| workload.kind == *kind && workload.meta.name == *name);
            let judge = |old: &Workload| {
                let new = Workload { wanted: *to, ..old.clone() };
                let mut findings = scaled(old, &new, &stakes, change);
                findings.extend(held(old, &new, view, policy, now));
                findings
            };
            (format!("scale {from} -> {to}"), stored.map(judge).unwrap_or_default())
        }
        Write::ServiceUpdate { .. } | Write::ServiceCreate { .. } | Write::Other => return,
    };
    verdict.act = act;
    for finding in findings {
        verdict.find(finding, change, policy);
    }
}

fn describe(old: &Workload, new: &Workload) -> String {
    let scale = format!("scale {} -> {}", old.wanted, new.wanted);
    let parts: Vec<&str> = [
        (new.wanted != old.wanted, scale.as_str()),
        (new.first_ordinal != old.first_ordinal, "change of its ordinals"),
        (new.template != old.template, "change of the pod template"),
        (new.meta.owners != old.meta.owners, "change of its owners"),
    ]
    .into_iter()
    .filter_map(|(is, part)| is.then_some(part))
    .collect();
    if parts.is_empty() { "change".to_owned() } else { parts.join(" and ") }
}

fn changed(old: &Workload, new: &Workload, stakes: &[Stake<'_>], change: &Change) -> Vec<Finding> {
    let mut findings = scaled(old, new, stakes, change);
    for stake in stakes.iter().filter(|stake| stake.concerns(old) && old.stands_alone()) {
        if stake.service.routed().matches(&new.template.labels) {
            findings.extend(redeployed(stake, old, new));
            findings.extend(recreated(stake, old, new));
        } else {
            findings.extend(detached(stake, old, new));
        }
    }
    findings
}
