//! Flips: may a Service's routing move to another colour?

use super::fleet::Fleet;
use super::readiness::{counters, shortfall, trouble};
use super::{Finding, Reason, Verdict};
use crate::model::{Change, ClusterView, Pod, Policy, Service};

/// Judges an update of a Service that is, or was, a traffic Service.
pub(super) fn judge(
    old: &Service,
    new: &Service,
    view: &ClusterView,
    change: &Change,
    policy: &Policy,
    verdict: &mut Verdict,
) {
    if !is_flip(old, new, view, policy) {
        return;
    }
    verdict.act = describe(old, new);
    let current = Fleet::of(old.routed(), view);
    let target = Fleet::of(new.routed(), view);
    let way_out = way_out(&current, &target);
    for mut finding in target_findings(&current, &target, new, old, view) {
        finding.way_out.clone_from(&way_out);
        verdict.find(finding, change, policy);
    }
}

/// Whether the change drops a Pod that serves now, or changes the pinned value while none does. A key more that all
/// serving Pods have is no flip.
fn is_flip(old: &Service, new: &Service, view: &ClusterView, policy: &Policy) -> bool {
    let mut served = view.pods.iter().filter(|pod| pod.serves() && old.routed().matches(&pod.meta.labels)).peekable();
    if served.peek().is_some() {
        return served.any(|pod: &Pod| !new.routed().matches(&pod.meta.labels));
    }
    let colours = &policy.colours;
    colours.pins(old.routed()) != colours.pins(new.routed())
}

/// Why a target that is not ready may be flipped to all the same.
fn way_out(current: &Fleet<'_>, target: &Fleet<'_>) -> Option<String> {
    if current.is_empty() {
        return Some("the old selector matches no workload and no pod, so nothing is lost".to_owned());
    }
    (current.ready == 0 && target.ready > 0)
        .then(|| format!("the current colour has no ready pod and the target has {}", target.ready))
}

/// `flip version 1.0 -> 2.0`.
fn describe(old: &Service, new: &Service) -> String {
    let left = old.routed().without(new.routed());
    let reached = new.routed().without(old.routed());
    let same_keys = left.pairs().map(|(key, _)| key).eq(reached.pairs().map(|(key, _)| key));
    if same_keys {
        let moves: Vec<String> =
            left.pairs().zip(reached.pairs()).map(|((key, from), (_, to))| format!("{key} {from} -> {to}")).collect();
        return format!("flip {}", moves.join(", "));
    }
    let or_nothing = |selector: &crate::model::Selector| {
        if selector.is_empty() { "(nothing)".to_owned() } else { selector.to_string() }
    };
    format!("flip {} -> {}", or_nothing(&left), or_nothing(&reached))
}

fn target_findings(
    current: &Fleet<'_>,
    target: &Fleet<'_>,
    new: &Service,
    old: &Service,
    view: &ClusterView,
) -> Vec<Finding> {
    if target.is_empty() {
        return vec![missing(new, old)];
    }
    let workload_gaps: Vec<_> =
        target.workloads.iter().map(|workload| (*workload, shortfall(workload, view))).collect();
    let something_ready =
        workload_gaps.iter().any(|(_, gap)| gap.is_none()) || target.standing.iter().any(|pod| pod.serves());
    let mut findings = Vec::new();
    for (workload, gap) in workload_gaps {
        // A colour may keep a workload at zero, such as a batch part that is off, as long as another one runs.
        if let Some(gap) = gap.filter(|_| workload.wanted > 0 || workload.meta.deleting || !something_ready) {
            findings.push(Finding {
                reason: Reason::TargetNotReady,
                message: format!("{workload} {}", gap.what),
                next_step: gap.next_step,
                details: vec![counters(workload)],
                way_out: None,
            });
        }
    }
    // A Pod on its way out gets no traffic; it counts only where it is all that there is.
    let something_else = !target.workloads.is_empty() || target.standing.iter().any(|pod| !pod.meta.deleting);
    let ignored = |pod: &Pod| pod.serves() || (pod.meta.deleting && something_else);
    let failing = target.standing.iter().copied().filter(|pod| !ignored(pod));
    findings.extend(standing_pods(failing, target.standing.len()));
    if current.ready == 0 && target.ready == 0 {
        for finding in &mut findings {
            finding.details.push("neither the current colour nor the target has a ready pod".to_owned());
        }
    }
    findings
}

fn missing(new: &Service, old: &Service) -> Finding {
    let common = old.routed().common(new.routed());
    let filter = if common.is_empty() { String::new() } else { format!(" -l {common}") };
    let namespace = &new.meta.namespace;
    Finding {
        reason: Reason::TargetMissing,
        message: format!("selector {} matches no workload and no pod in namespace {namespace}", new.routed()),
        next_step: format!("deploy it first; see what is there: kubectl -n {namespace} get pods --show-labels{filter}"),
        details: Vec::new(),
        way_out: None,
    }
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
    Some(Finding {
        reason: Reason::TargetNotReady,
        message: format!("Pod {} is not ready: {}{others}", first.meta.name, trouble(first)),
        next_step: format!(
            "wait for it: kubectl -n {} wait --for=condition=Ready pod/{}",
            first.meta.namespace, first.meta.name
        ),
        details: failing.iter().skip(1).take(4).map(|pod| format!("Pod {}: {}", pod.meta.name, trouble(pod))).collect(),
        way_out: None,
    })
}
