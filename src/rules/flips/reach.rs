//! Reach: do clients still reach the Service from where they are?

use std::collections::BTreeSet;

use super::update::Update;
use crate::model::{Pod, Service};
use crate::rules::wording::{Remedy, nodes};
use crate::rules::{Finding, Reason};

/// The cloud releases the address of a load balancer.
pub(super) fn type_narrowed(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, .. } = update;
    (old.is_load_balancer && !new.is_load_balancer && !new.is_external_name).then(|| {
        let message = "without type LoadBalancer, the cloud releases its address; a later one differs".to_owned();
        Finding::new(Reason::TypeNarrowed, message, Remedy::words("Keep type: LoadBalancer"))
    })
}

/// Traffic stays on the node that it arrives at, and a node loses its last Pod.
pub(super) fn on_a_flip(update: &Update<'_>) -> Option<Finding> {
    let policy = local_policy(update.new)?;
    let (current, target) = (nodes_of(&update.current.serving), nodes_of(&update.target.serving));
    let left = current.difference(&target);
    let (first, count) = (left.clone().next()?, left.count());
    let message =
        format!("{policy}: {} of the current colour, such as {first}, would have no target pod", nodes(count));
    Some(finding(message))
}

/// Traffic begins to stay on the node that it arrives at.
pub(super) fn becomes_local(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, target, .. } = update;
    let begins = (new.local.internal && !old.local.internal) || (new.local.external && !old.local.external);
    let policy = local_policy(new).filter(|_| begins && target.ready() > 0)?;
    let count = nodes_of(&target.serving).len();
    let run = if count == 1 { "runs" } else { "run" };
    Some(finding(format!("{policy}: {} {run} a ready pod; all others would not answer", nodes(count))))
}

fn finding(message: String) -> Finding {
    Finding::new(
        Reason::TrafficLocal,
        message,
        Remedy::words("Run a pod of the target on every such node, or use Cluster"),
    )
}

fn local_policy(service: &Service) -> Option<&'static str> {
    match (service.local.internal, service.local.external) {
        (true, _) => Some("internalTrafficPolicy Local"),
        (false, true) => Some("externalTrafficPolicy Local"),
        (false, false) => None,
    }
}

fn nodes_of<'a>(pods: &[&'a Pod]) -> BTreeSet<&'a str> {
    pods.iter().map(|pod| pod.node.as_str()).filter(|node| !node.is_empty()).collect()
}
