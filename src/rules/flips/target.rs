//! The target of a flip: is the new colour ready?

use super::update::Update;
use crate::model::{Pod, Selector, Service, Workload};
use crate::rules::state::readiness::{Shortfall, counters, shortfall};
use crate::rules::state::remaining::leaving;
use crate::rules::wording::{Remedy, object, pods};
use crate::rules::{Finding, Reason};

/// Whether a change is a flip: it drops a serving Pod, or, if no Pod serves, it changes the pinned value. A key added
/// to the selector is no flip if all serving Pods carry it.
pub(super) fn is_flip(update: &Update<'_>) -> bool {
    let Update { old, new, current, colours, .. } = update;
    if current.serving.is_empty() {
        return colours.pins(old.routed()) != colours.pins(new.routed());
    }
    current.serving.iter().any(|pod| !new.routed().matches(&pod.meta.labels))
}

/// The reason why a flip to a target that is not ready is allowed all the same.
pub(super) fn allowed_because(update: &Update<'_>) -> Option<String> {
    let Update { current, target, .. } = update;
    if current.is_empty() {
        return Some("the old selector matches no workload and no pod, so nothing is lost".to_owned());
    }
    (current.ready() == 0 && target.ready_with_owner() > 0)
        .then(|| format!("the current colour has no ready pod and the target has {}", target.ready()))
}

/// The summary of a flip: `flip version 1.0 -> 2.0`.
pub(super) fn describe(old: &Service, new: &Service) -> String {
    let dropped = old.routed().without(new.routed());
    let gained = new.routed().without(old.routed());
    let same_keys = dropped.pairs().map(|(key, _)| key).eq(gained.pairs().map(|(key, _)| key));
    if same_keys {
        let moves: Vec<String> =
            dropped.pairs().zip(gained.pairs()).map(|((key, from), (_, to))| format!("{key} {from} -> {to}")).collect();
        return format!("flip {}", moves.join(", "));
    }
    match (dropped.is_empty(), gained.is_empty()) {
        (true, _) => format!("flip by adding {gained}"),
        (_, true) => format!("flip by dropping {dropped}"),
        _ => format!("flip {dropped} -> {gained}"),
    }
}

/// The findings about a target that is missing or not ready.
pub(super) fn findings(update: &Update<'_>) -> Vec<Finding> {
    let Update { target, .. } = update;
    if target.is_empty() {
        return vec![missing(update)];
    }
    let mut findings = of_workloads(update);
    let is_helper = |pod: &Pod| !target.workloads.is_empty() && pod.is_of_a_job();
    let failing = target.unowned.iter().copied().filter(|pod| !pod.serves() && !is_helper(pod));
    findings.extend(of_unowned_pods(failing, target.unowned.len()));
    if target.wanted().next().is_none() {
        findings.extend(of_leaving_pods(update));
    }
    if findings.is_empty() && target.ready_with_owner() == 0 {
        findings.push(nothing_serves(update));
    }
    if update.current.ready() == 0 && target.ready() == 0 {
        for finding in &mut findings {
            finding.details.push("Neither the current colour nor the target has a ready pod.".to_owned());
        }
    }
    findings
}

/// One finding for each workload that is not fully ready.
fn of_workloads(update: &Update<'_>) -> Vec<Finding> {
    let Update { new, target, view, demand, policy, .. } = update;
    let gaps: Vec<_> =
        target.workloads.iter().map(|workload| (*workload, shortfall(workload, new.routed(), view, *demand))).collect();
    let something_ready = gaps.iter().any(|(_, gap)| gap.is_none()) || target.unowned.iter().any(|pod| pod.serves());
    // One workload of a colour may stay at zero replicas, such as a batch component, while another one runs.
    let counts = |workload: &Workload| workload.desired > 0 || workload.meta.deleting || !something_ready;
    gaps.into_iter()
        .filter(|(workload, _)| counts(workload))
        .filter_map(|(workload, gap)| {
            let Shortfall { what, remedy } = gap?;
            let finding = Finding::new(Reason::TargetNotReady, format!("{workload} {what}"), remedy);
            let by_default = || shortfall(workload, new.routed(), view, demand.by_default()).is_some();
            let source = demand.source(policy).filter(|_| !by_default());
            Some(finding.with_details(vec![counters(workload)]).said_by(source))
        })
        .collect()
}

fn missing(update: &Update<'_>) -> Finding {
    let Update { old, new, .. } = update;
    let common = old.routed().common(new.routed());
    let filter = if common.is_empty() { String::new() } else { format!(" -l {common}") };
    let namespace = update.namespace();
    Finding::new(
        Reason::TargetMissing,
        format!("no workload or pod in namespace {namespace} matches {}", new.routed()),
        Remedy::kubectl("Deploy it first", namespace, &format!("get pods --show-labels{filter}")),
    )
}

/// The finding about a target whose workloads report ready although no Pod would serve.
fn nothing_serves(update: &Update<'_>) -> Finding {
    let Update { new, target, .. } = update;
    let namespace = update.namespace();
    if let Some(orphan) = target.orphaned.first() {
        let message = format!("Pod {} is being garbage-collected: its owner was deleted", orphan.meta.name);
        return Finding::new(
            Reason::TargetNotReady,
            message,
            Remedy::kubectl("Deploy the colour again", namespace, "get all"),
        );
    }
    let message = format!("no pod with the labels {} is ready", new.routed());
    let look = Remedy::kubectl("Find out why", namespace, &format!("get pods -l {} -o wide", new.routed()));
    Finding::new(Reason::TargetNotReady, message, look)
}

/// One finding for each workload that has the Pods of the target now, and is about to replace them by others.
fn of_leaving_pods(update: &Update<'_>) -> Vec<Finding> {
    let Update { new, view, .. } = update;
    let finding = |(workload, leaving): (&Workload, usize)| {
        let missing = new.routed().without(&Selector::new(workload.template.labels.clone()));
        let gone = format!("is about to replace {} of the target by pods without", pods(leaving, "ready"));
        let message = format!("{workload} {gone} {missing}");
        let object = object(workload);
        let remedy = Remedy::kubectl("Wait, then retry", update.namespace(), &format!("rollout status {object}"));
        Finding::new(Reason::TargetNotReady, message, remedy)
    };
    leaving(new.routed(), view).map(finding).collect()
}

/// One finding for all unowned Pods that do not serve.
fn of_unowned_pods<'a>(failing: impl Iterator<Item = &'a Pod>, of: usize) -> Option<Finding> {
    let mut failing: Vec<&Pod> = failing.collect();
    failing.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
    let first = failing.first()?;
    let others = if failing.len() > 1 {
        format!(" (and {} more of {of} pods that no matched workload owns)", failing.len() - 1)
    } else {
        String::new()
    };
    let name = &first.meta.name;
    let message = format!("Pod {name} is not ready: {}{others}", first.not_ready_because());
    let remedy = if first.is_broken() {
        Remedy::kubectl("Fix it, then retry", &first.meta.namespace, &format!("describe pod {name}"))
    } else {
        Remedy::kubectl("Wait, then retry", &first.meta.namespace, &format!("wait --for=condition=Ready pod/{name}"))
    };
    let details =
        failing.iter().skip(1).take(4).map(|pod| format!("Pod {}: {}", pod.meta.name, pod.not_ready_because()));
    Some(Finding::new(Reason::TargetNotReady, message, remedy).with_details(details.collect()))
}
