//! Named ports: do the Pods declare the ports that the Service refers to?

use super::update::Update;
use crate::model::{Pod, ServicePort};
use crate::rules::wording::Remedy;
use crate::rules::{Finding, Reason};

/// On a flip, every serving Pod of the target must declare every named port. Where some current Pods lack the port (a
/// worker behind the same selector), one Pod that declares it is enough.
pub(super) fn on_a_flip(update: &Update<'_>) -> Vec<Finding> {
    let serving = servers(&update.target.serving);
    let findings = unresolved(update, &serving).filter_map(|(port, name, pod)| {
        let has = |pod: &&Pod| pod.containers.have_port(name, port.protocol);
        let as_today = !servers(&update.current.serving).iter().all(has) && serving.iter().any(has);
        (!as_today).then(|| finding(update, port, name, pod, is_new(update, port)))
    });
    findings.collect()
}

/// On any other change, a port that resolves now must still resolve.
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

/// The named ports that some Pod lacks, each with the first such Pod.
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

/// Whether a port is added while other ports remain. If none remains, clients have to move to the new one.
fn is_new(update: &Update<'_>, port: &ServicePort) -> bool {
    let stays = |port: &ServicePort| update.old.ports.iter().any(|old| old.is_same_to_clients(port));
    !stays(port) && update.new.ports.iter().any(stays)
}

/// The Pods without those of Jobs, which may carry the same labels.
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
    let has = if declared.is_empty() { "no named port".to_owned() } else { declared.join(", ") };
    let message = format!("port {} targets `{name}` ({protocol}), but Pod {} declares {has}", port.port, pod.meta.name);
    let remedy = Remedy::kubectl(
        "Declare the port, or correct targetPort",
        update.namespace(),
        &format!("get pod {} -o jsonpath='{{.spec.containers[*].ports}}'", pod.meta.name),
    );
    let finding = Finding::new(Reason::PortUnresolved, message, remedy);
    if only_new { finding.at_most_warn() } else { finding }
}
