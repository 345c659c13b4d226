//! Scenarios: every combination of pending intents.
//!
//! "None commits" and "all commit" are not enough. A flip away from green and a flip back to it may both be pending,
//! and only one of them alone is dangerous. The exhaustive model found such a case.

use std::sync::Arc;

use super::config_map::MAX_CREATIONS;
use super::{IntendedChange, Intent, MAX_INTENTS, ObjectRef, WorkloadAfter};
use crate::model::{
    Change, ClusterView, Kind, Meta, Policy, Selector, Service, Timestamp, Tombstone, Workload, WorkloadKind, Write,
};
use crate::rules::{self, Effect, Finding, Outcome, Reason, Verdict};

/// The largest number of scenarios to judge. With more, the request must wait.
pub const MAX_SCENARIOS: usize = 256;

/// The cluster as it was read, with some pending intents applied.
#[derive(Debug, Clone)]
pub struct Scenario<'a> {
    /// The cluster after the intents of this scenario.
    pub view: ClusterView,
    /// The intents that commit in this scenario; empty in the first one.
    pub happens: Vec<&'a Intent>,
}

/// All scenarios. For each object, either no pending intent commits, or exactly one does. The first scenario is the
/// cluster as it was read. `None` where there are too many.
#[must_use]
pub fn scenarios<'a>(view: &ClusterView, pending: &'a [Intent]) -> Option<Vec<Scenario<'a>>> {
    let mut scenarios = vec![Scenario { view: view.clone(), happens: Vec::new() }];
    let mut objects: Vec<(&ObjectRef, &str)> = Vec::new();
    for intent in pending {
        let object = (&intent.object, intent.uid.as_str());
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    // An object is created after the deletion of the one with its name.
    objects.sort_by_key(|(_, uid)| pending.iter().any(|intent| intent.creates() && intent.uid == *uid));
    for object in objects {
        let effects = pending.iter().filter(|intent| (&intent.object, intent.uid.as_str()) == object);
        let mut more = Vec::new();
        for intent in effects {
            for scenario in &scenarios {
                let mut view = scenario.view.clone();
                if apply(&mut view, intent) {
                    let happens = scenario.happens.iter().copied().chain([intent]).collect();
                    more.push(Scenario { view, happens });
                }
                if scenarios.len() + more.len() > MAX_SCENARIOS {
                    return None;
                }
            }
        }
        scenarios.extend(more);
    }
    Some(scenarios)
}

/// Judges a change in every scenario. If all verdicts agree, that verdict is final. If they differ, the change must
/// wait for the intents that make the difference.
///
/// A Service that is created again for a colour that is being scaled away also waits, although the finding about it only
/// warns. The other change does not see the new Service, so nobody would be warned. The repeated request is allowed.
#[must_use]
pub fn decide(change: &Change, view: &ClusterView, pending: &[Intent], policy: &Policy, now: Timestamp) -> Verdict {
    let Some(scenarios) = scenarios(view, pending) else {
        let as_read = rules::decide(change, view, policy, now);
        return wait(as_read, &pending.iter().collect::<Vec<_>>(), None, change, policy);
    };
    let mut scenarios = scenarios.into_iter();
    let Some(first) = scenarios.next() else { return rules::decide(change, view, policy, now) };
    let as_read = rules::decide(change, &first.view, policy, now);
    let is_allowed = as_read.outcome() == Outcome::Allowed;
    let differing = scenarios
        .map(|scenario| (rules::decide(change, &scenario.view, policy, now), scenario))
        .filter(|(verdict, _)| {
            (verdict.outcome() == Outcome::Allowed) != is_allowed
                || (is_allowed && recreated(verdict).is_some() && recreated(&as_read).is_none())
        })
        // The change waits for the fewest intents that make a difference.
        .min_by_key(|(_, scenario)| scenario.happens.len());
    match differing {
        None => as_read,
        Some((verdict, scenario)) => {
            let denial = if is_allowed { &verdict } else { &as_read };
            let finding = denial.denying().next().or_else(|| recreated(denial)).cloned();
            wait(as_read, &scenario.happens, finding, change, policy)
        }
    }
}

/// The finding about a Service that is created again for a colour that is not ready.
fn recreated(verdict: &Verdict) -> Option<&Finding> {
    verdict.findings.iter().map(|(finding, _)| finding).find(|finding| finding.reason == Reason::ServiceRecreated)
}

/// The verdict on a change for which the ledger has no room.
#[must_use]
pub fn full(change: &Change, policy: &Policy, now: Timestamp) -> Verdict {
    let of_nothing = rules::decide(change, &ClusterView::default(), policy, now);
    let mut verdict = Verdict { findings: Vec::new(), summary: String::new(), ..of_nothing };
    let message = match change.write {
        Write::ServiceCreate { .. } => {
            format!("more than {MAX_CREATIONS} new Services, or {MAX_INTENTS} changes, are pending in this namespace")
        }
        _ => format!("more than {MAX_INTENTS} changes are pending in this namespace"),
    };
    verdict.add(conflict(message, change, policy), change, policy);
    verdict
}

/// The verdict on a change that must wait for pending ones. Warnings about the cluster as it was read are kept.
fn wait(as_read: Verdict, awaited: &[&Intent], would_be: Option<Finding>, change: &Change, policy: &Policy) -> Verdict {
    let mut names: Vec<String> = awaited.iter().take(3).map(ToString::to_string).collect();
    if awaited.len() > names.len() {
        names.push(format!("{} more", awaited.len() - names.len()));
    }
    let who = match awaited {
        [one] if !one.user.is_empty() => format!(" by {}", one.user),
        _ => String::new(),
    };
    let noun = if awaited.len() == 1 { "a change in progress" } else { "changes in progress" };
    let message = format!("conflicts with {noun}: {}{who}", names.join(" and "));
    let details = would_be.map(|finding| format!("Together: {} ({}).", finding.message, finding.reason));
    let finding = conflict(message, change, policy).with_details(details.into_iter().collect());
    let is_warning = |(finding, effect): &&(Finding, Effect)| {
        matches!(effect, Effect::Warns | Effect::Logs) && finding.allowed_because.is_none()
    };
    let findings = as_read.findings.iter().filter(is_warning).cloned().collect();
    let mut verdict = Verdict { findings, ..as_read };
    verdict.add(finding, change, policy);
    verdict
}

/// The finding about a conflict. An advisory change goes on.
fn conflict(message: String, change: &Change, policy: &Policy) -> Finding {
    let finding = Finding::of_concurrency(message);
    if rules::filter::is_advisory(change, &policy.colours) { finding.at_most_warn() } else { finding }
}

/// Applies an intent to a view. Returns whether the view changes: an object with a newer version stays as it is.
pub fn apply(view: &mut ClusterView, intent: &Intent) -> bool {
    match intent.object.kind {
        Kind::Service => apply_to_service(view, intent),
        Kind::Workload(kind) => apply_to_workload(view, kind, intent),
    }
}

fn is_base(meta: &Meta, intent: &Intent) -> bool {
    meta.name == intent.object.name && meta.uid == intent.uid && meta.resource_version == intent.base
}

fn apply_to_service(view: &mut ClusterView, intent: &Intent) -> bool {
    let service = &intent.object.name;
    match &intent.effect {
        IntendedChange::Gone { selector } => {
            view.services.retain(|service| !is_base(&service.meta, intent));
            let selector = selector.clone().unwrap_or_else(Selector::nothing);
            view.records.flips.retain(|flip| flip.service != *service);
            view.records.tombstones.retain(|other| other.service != *service);
            view.records.tombstones.push(Tombstone {
                service: service.clone(),
                selector,
                at: intent.at,
                still_there: false,
            });
            true
        }
        IntendedChange::Service(after) if intent.creates() => {
            if view.services.iter().any(|other| other.meta.uid == intent.uid) {
                return false;
            }
            // The Service is created only after the one with its name is deleted. That deletion may not be in the
            // ledger yet.
            view.services.retain(|other| other.meta.name != *service);
            let (name, uid) = (service.clone(), intent.uid.clone());
            let meta = Meta { name, uid, annotations: after.annotations.clone(), ..Meta::default() };
            view.services.push(Service { meta, selector: after.to.clone(), ..Service::default() });
            true
        }
        IntendedChange::Service(after) => {
            let Some(service) = view.services.iter_mut().find(|service| is_base(&service.meta, intent)) else {
                return false;
            };
            service.selector.clone_from(&after.to);
            service.is_external_name = false;
            service.meta.annotations.clone_from(&after.annotations);
            true
        }
        IntendedChange::Scaled { .. } | IntendedChange::Workload(_) => false,
    }
}

fn apply_to_workload(view: &mut ClusterView, kind: WorkloadKind, intent: &Intent) -> bool {
    let found = view.workloads.iter().position(|workload| workload.kind == kind && is_base(&workload.meta, intent));
    let Some(workload) = found.and_then(|index| view.workloads.get_mut(index)) else { return false };
    let desired = match &intent.effect {
        IntendedChange::Gone { .. } => {
            let gone = found.map(|index| view.workloads.remove(index));
            if let Some(part) = gone.filter(|gone| !gone.stands_alone()) {
                keep_pods(view, &part.meta.uid, 0);
            }
            return true;
        }
        IntendedChange::Scaled { to } => {
            become_scaled(workload, *to);
            *to
        }
        IntendedChange::Workload(after) => {
            become_changed(workload, after);
            workload.desired
        }
        IntendedChange::Service(_) => return false,
    };
    if !workload.stands_alone() {
        let uid = workload.meta.uid.clone();
        keep_pods(view, &uid, desired);
    }
    true
}

/// Scales a workload whose controller has not seen the change yet.
fn become_scaled(workload: &mut Workload, desired: u32) {
    workload.meta.generation = workload.meta.generation.saturating_add(1);
    workload.desired = desired;
}

fn become_changed(workload: &mut Workload, after: &WorkloadAfter) {
    become_scaled(workload, if after.owners_change { 0 } else { after.desired });
    workload.paused = after.paused;
    let template = Arc::make_mut(&mut workload.template);
    template.labels.clone_from(&after.labels);
    if after.template_changes {
        // No Pod runs the new template yet, whatever its content.
        template.spec = "\"changed\"".into();
    }
    workload.strategy = after.strategy;
    workload.partition = after.partition;
    workload.first_ordinal = after.first_ordinal;
    workload.meta.annotations.clone_from(&after.annotations);
}

/// Reduces the Pods of a ReplicaSet, as its Deployment will see them.
fn keep_pods(view: &mut ClusterView, owner: &str, count: u32) {
    let mut kept = 0;
    view.pods.retain(|pod| {
        if !pod.meta.is_controlled_by(owner) {
            return true;
        }
        kept += 1;
        kept <= count
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(services: &[&str]) -> ClusterView {
        let service = |name: &&str| {
            let meta = Meta {
                name: (*name).to_owned(),
                uid: (*name).to_owned(),
                resource_version: "1".to_owned(),
                ..Meta::default()
            };
            Service { meta, ..Service::default() }
        };
        ClusterView { services: services.iter().map(service).collect(), ..ClusterView::default() }
    }

    fn routes(name: &str, to: &str) -> Intent {
        let to = Selector::new([("color".to_owned(), to.to_owned())].into());
        Intent {
            ids: vec![format!("{name}-{to}")],
            object: ObjectRef::service(name),
            uid: name.to_owned(),
            base: "1".to_owned(),
            effect: IntendedChange::Service(super::super::ServiceAfter {
                from: Selector::nothing(),
                to,
                annotations: [].into(),
            }),
            user: String::new(),
            manager: String::new(),
            at: Timestamp(0),
        }
    }

    #[test]
    fn at_most_one_intent_of_each_object_commits() {
        let view = view(&["a", "b"]);
        let pending = [routes("a", "blue"), routes("a", "green"), routes("b", "blue")];
        let scenarios = scenarios(&view, &pending).unwrap();
        assert_eq!(scenarios.len(), 3 * 2);
        let most = scenarios.iter().map(|scenario| scenario.happens.len()).max();
        assert_eq!(most, Some(2), "blue and green of one Service exclude each other");
        assert!(scenarios.first().is_some_and(|scenario| scenario.view == view));
    }

    #[test]
    fn objects_with_a_newer_version_stay_as_they_are() {
        let mut view = view(&["a"]);
        view.services.iter_mut().for_each(|service| service.meta.resource_version = "2".to_owned());
        assert_eq!(scenarios(&view, &[routes("a", "blue")]).unwrap().len(), 1);
    }

    #[test]
    fn there_are_256_scenarios_at_most() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let pending: Vec<Intent> = names.iter().map(|name| routes(name, "blue")).collect();
        assert_eq!(
            scenarios(&view(&names), pending.get(..8).unwrap_or_default()).map(|scenarios| scenarios.len()),
            Some(256)
        );
        assert!(scenarios(&view(&names), &pending).is_none());
    }
}
