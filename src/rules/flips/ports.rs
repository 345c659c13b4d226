//! Ports: do the Pods declare the ports that the Service refers to, and do its clients keep theirs?

use super::update::Update;
use crate::model::{Pod, ServicePort, TargetPort};
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
                .target_name()
                .is_none_or(|name| current.iter().all(|pod| pod.containers.have_port(name, before.protocol)));
            resolves_today.then(|| finding(update, port, name, pod, false))
        })
        .collect()
}

/// The warnings about target ports by number. Kubernetes needs no declared port for them, so an undeclared number is only
/// suspicious: the current Pods declare theirs, and no Pod of the target declares the new one.
pub(super) fn undeclared(update: &Update<'_>) -> Vec<Finding> {
    let (current, serving) = (servers(&update.current.serving), servers(&update.target.serving));
    let declares = |pod: &&Pod, port: &ServicePort| match &port.target {
        TargetPort::Number(number) => pod.containers.have_number(*number, port.protocol),
        TargetPort::Name(name) => pod.containers.have_port(name, port.protocol),
    };
    let is_undeclared = |port: &&ServicePort| {
        let before = update.old.ports.iter().find(|old| old.is_same_to_clients(port));
        port.target_number().is_some()
            && !serving.is_empty()
            && !serving.iter().any(|pod| declares(pod, port))
            && before.is_some_and(|before| !current.is_empty() && current.iter().all(|pod| declares(pod, before)))
    };
    let ports = update.new.ports.iter().filter(is_undeclared);
    ports.filter_map(|port| Some(number_finding(update, port, port.target_number()?))).collect()
}

fn number_finding(update: &Update<'_>, port: &ServicePort, number: u32) -> Finding {
    let message = format!("port {} targets {number}, which no container of the target declares", port.port);
    let command = format!("get pods -l {} -o jsonpath='{{.items[*].spec.containers[*].ports}}'", update.new.routed());
    Finding::new(
        Reason::PortUndeclared,
        message,
        Remedy::kubectl("Check that a container listens there", update.namespace(), &command),
    )
}

/// The warnings about ports that clients use and that go away.
pub(super) fn removed(update: &Update<'_>) -> Vec<Finding> {
    let Update { old, new, current, .. } = update;
    if current.ready() == 0 {
        return Vec::new();
    }
    let finding =
        |message: String| Finding::new(Reason::PortRemoved, message, Remedy::words("Keep it until no client uses it"));
    let lost = old.ports.iter().filter_map(|port| {
        let name = port.protocol.name();
        let Some(kept) = new.ports.iter().find(|other| other.is_same_to_clients(port)) else {
            return Some(finding(format!("clients of port {} ({name}) would be refused", port.port)));
        };
        let is_lost = port.node_port != 0 && port.node_port != kept.node_port && !new.is_external_name;
        is_lost.then(|| finding(format!("clients of node port {} ({name}) would be refused", port.node_port)))
    });
    lost.collect()
}

/// The named ports that some Pod lacks, each with the first such Pod.
fn unresolved<'a>(
    update: &'a Update<'_>,
    serving: &'a [&'a Pod],
) -> impl Iterator<Item = (&'a ServicePort, &'a str, &'a Pod)> {
    update.new.ports.iter().filter_map(move |port| {
        let name = port.target_name()?;
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
