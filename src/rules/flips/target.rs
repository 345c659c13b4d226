//! Flips: may a Service's routing move to another colour?

use super::update::Update;
use crate::model::{Pod, Service};
use crate::rules::state::readiness::{counters, shortfall, trouble};
use crate::rules::{Finding, Reason};

/// Whether the change drops a Pod that serves now, or changes the pinned value while none does. A key more that all
/// serving Pods have is no flip.
pub(super) fn is_flip(update: &Update<'_>) -> bool {
    let Update { old, new, current, colours, .. } = update;
    if current.serving.is_empty() {
        return colours.pins(old.routed()) != colours.pins(new.routed());
    }
    current.serving.iter().any(|pod| !new.routed().matches(&pod.meta.labels))
}

/// Why a target that is not ready may be flipped to all the same.
pub(super) fn way_out(update: &Update<'_>) -> Option<String> {
    let Update { current, target, .. } = update;
    if current.is_empty() {
        return Some("the old selector matches no workload and no pod, so nothing is lost".to_owned());
    }
    (current.ready() == 0 && target.lasting() > 0)
        .then(|| format!("the current colour has no ready pod and the target has {}", target.ready()))
}

/// `flip version 1.0 -> 2.0`.
pub(super) fn describe(old: &Service, new: &Service) -> String {
    let left = old.routed().without(new.routed());
    let reached = new.routed().without(old.routed());
    let same_keys = left.pairs().map(|(key, _)| key).eq(reached.pairs().map(|(key, _)| key));
    if same_keys {
        let moves: Vec<String> =
            left.pairs().zip(reached.pairs()).map(|((key, from), (_, to))| format!("{key} {from} -> {to}")).collect();
        return format!("flip {}", moves.join(", "));
    }
    match (left.is_empty(), reached.is_empty()) {
        (true, _) => format!("flip by adding {reached}"),
        (_, true) => format!("flip by dropping {left}"),
        _ => format!("flip {left} -> {reached}"),
    }
}

/// What the target lacks.
pub(super) fn target_findings(update: &Update<'_>) -> Vec<Finding> {
    let Update { new, current, target, view, percent, .. } = update;
    if target.is_empty() {
        return vec![missing(update)];
    }
    let workload_gaps: Vec<_> = target
        .workloads
        .iter()
        .map(|workload| (*workload, shortfall(workload, new.routed(), view, *percent)))
        .collect();
    let lasting = target.lasting();
    let something_ready =
        workload_gaps.iter().any(|(_, gap)| gap.is_none()) || target.standing.iter().any(|pod| pod.serves());
    let mut findings = Vec::new();
    for (workload, gap) in workload_gaps {
        // A colour may keep a workload at zero, such as a batch part that is off, as long as another one runs.
        if let Some(gap) = gap.filter(|_| workload.wanted > 0 || workload.meta.deleting || !something_ready) {
            let message = format!("{workload} {}", gap.what);
            findings.push(
                Finding::new(Reason::TargetNotReady, message, gap.next_step).with_details(vec![counters(workload)]),
            );
        }
    }
    let is_helper = |pod: &Pod| !target.workloads.is_empty() && pod.is_of_a_job();
    let failing = target.standing.iter().copied().filter(|pod| !pod.serves() && !is_helper(pod));
    findings.extend(standing_pods(failing, target.standing.len()));
    if findings.is_empty()
        && lasting == 0
        && let Some(leaving) = target.leaving.first()
    {
        let message = format!("Pod {} is about to go: what owned it was deleted", leaving.meta.name);
        let next_step = format!("deploy it again; see what is there: kubectl -n {} get all", new.meta.namespace);
        findings.push(Finding::new(Reason::TargetNotReady, message, next_step));
    }
    if findings.is_empty() && lasting == 0 {
        // Whatever the counters say: behind this selector nothing would answer.
        let message = format!("no pod with the labels {} is ready", new.routed());
        let next_step = format!("see why: kubectl -n {} get pods -l {} -o wide", new.meta.namespace, new.routed());
        findings.push(Finding::new(Reason::TargetNotReady, message, next_step));
    }
    if current.ready() == 0 && target.ready() == 0 {
        for finding in &mut findings {
            finding.details.push("neither the current colour nor the target has a ready pod".to_owned());
        }
    }
    findings
}

fn missing(update: &Update<'_>) -> Finding {
    let Update { old, new, .. } = update;
    let common = old.routed().common(new.routed());
    let filter = if common.is_empty() { String::new() } else { format!(" -l {common}") };
    let namespace = &new.meta.namespace;
    Finding::new(
        Reason::TargetMissing,
        format!("selector {} matches no workload and no pod in namespace {namespace}", new.routed()),
        format!("deploy it first; see what is there: kubectl -n {namespace} get pods --show-labels{filter}"),
    )
}

/// One finding for all Pods that stand for themselves and do not serve.
fn standing_pods<'a>(failing: impl Iterator<Item = &'a Pod>, of: usize) -> Option<Finding> {
    let mut failing: Vec<&Pod> = failing.collect();
    failing.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
    let first = failing.first()?;
    let others = if failing.len() > 1 {
        format!(" (and {} more of {of} pods that no matched workload owns)", failing.len() - 1)
    } else {
        String::new()
    };
    let message = format!("Pod {} is not ready: {}{others}", first.meta.name, trouble(first));
    let next_step =
        format!("wait for it: kubectl -n {} wait --for=condition=Ready pod/{}", first.meta.namespace, first.meta.name);
    let details = failing.iter().skip(1).take(4).map(|pod| format!("Pod {}: {}", pod.meta.name, trouble(pod)));
    Some(Finding::new(Reason::TargetNotReady, message, next_step).with_details(details.collect()))
}
