//! Named ports: do the Pods have what the Service's ports point at?

use super::update::Update;
use crate::model::{Pod, ServicePort};
use crate::rules::{Finding, Reason};

/// On a flip every named port must be found in every Pod of the target that would serve. Where not even every current
/// Pod has it (a worker behind the same selector), one that has it is enough.
pub(super) fn on_a_flip(update: &Update<'_>) -> Vec<Finding> {
    let serving = servers(&update.target.serving);
    let findings = unresolved(update, &serving).filter_map(|(port, name, pod)| {
        let has = |pod: &&Pod| pod.containers.have_port(name, port.protocol);
        let as_today = !servers(&update.current.serving).iter().all(has) && serving.iter().any(has);
        (!as_today).then(|| finding(update, port, name, pod, is_new(update, port)))
    });
    findings.collect()
}

/// On any other change only what would be lost counts: a port that resolves today must go on to.
pub(super) fn on_other_changes(update: &Update<'_>) -> Vec<Finding> {
    let (current, serving) = (servers(&update.current.serving), servers(&update.target.serving));
    unresolved(update, &serving)
        .filter_map(|(port, name, pod)| {
            let before = update.old.ports.iter().find(|old| old.is_same_to_clients(port));
            let Some(before) = before else { return Some(finding(update, port, name, pod, true)) };
            let resolves_today = before
                .target_name
                .as_deref()
                .is_none_or(|name| current.iter().all(|pod| pod.containers.have_port(name, before.protocol)));
            resolves_today.then(|| finding(update, port, name, pod, false))
        })
        .collect()
}

/// The named ports that some Pod has not, each with the first such Pod.
fn unresolved<'a>(
    update: &'a Update<'_>,
    serving: &'a [&'a Pod],
) -> impl Iterator<Item = (&'a ServicePort, &'a str, &'a Pod)> {
    update.new.ports.iter().filter_map(move |port| {
        let name = port.target_name.as_deref()?;
        let without = |pod: &&&Pod| !pod.containers.have_port(name, port.protocol);
        let pod = serving.iter().filter(without).min_by(|a, b| a.meta.name.cmp(&b.meta.name))?;
        Some((port, name, *pod))
    })
}

/// Whether a port comes beside others that stay. Where none stays, it is no addition: clients must move to it.
fn is_new(update: &Update<'_>, port: &ServicePort) -> bool {
    let stays = |port: &ServicePort| update.old.ports.iter().any(|old| old.is_same_to_clients(port));
    !stays(port) && update.new.ports.iter().any(stays)
}

/// Pods that serve for good: a Job's Pod that happens to have the labels does not.
fn servers<'a>(pods: &[&'a Pod]) -> Vec<&'a Pod> {
    pods.iter().copied().filter(|pod| !pod.is_of_a_job()).collect()
}

fn finding(update: &Update<'_>, port: &ServicePort, name: &str, pod: &Pod, only_new: bool) -> Finding {
    let protocol = port.protocol.name();
    let mut declared: Vec<&str> = pod
        .containers
        .all()
        .iter()
        .flat_map(|container| &container.ports)
        .filter(|declared| declared.protocol == port.protocol && !declared.name.is_empty())
        .map(|declared| declared.name.as_str())
        .collect();
    declared.sort_unstable();
    let has = if declared.is_empty() { "none".to_owned() } else { declared.join(", ") };
    let finding = Finding::new(
        Reason::PortUnresolved,
        format!(
            "port {} points at `{name}` ({protocol}), which Pod {} does not declare (it has {has})",
            port.port, pod.meta.name
        ),
        format!(
            "declare it, or correct targetPort: kubectl -n {} get pod {} -o jsonpath='{{.spec.containers[*].ports}}'",
            update.new.meta.namespace, pod.meta.name
        ),
    );
    if only_new { finding.only_a_warning() } else { finding }
}
