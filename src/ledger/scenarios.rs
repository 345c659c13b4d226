//! Every combination of what may still happen.
//!
//! Trying only "nothing happens" and "all of it happens" would not do: a flip away from green and a flip back to it may
//! both be on their way, and only one of them alone is dangerous (the model shows it).

use std::sync::Arc;

use super::{Effect, Intent, MOST_INTENTS, Object, WorkloadAfter};
use crate::model::{
    Change, ClusterView, Meta, Policy, Selector, Service, Timestamp, Tombstone, Workload, WorkloadKind,
};
use crate::rules::{self, Finding, Outcome, Verdict};

/// How many worlds are looked at; with more, the request has to wait.
pub const MOST_WORLDS: usize = 256;

/// The cluster as it was read, with some of what may still happen.
#[derive(Debug, Clone)]
pub struct World<'a> {
    /// The cluster.
    pub view: ClusterView,
    /// What happens in it.
    pub happens: Vec<&'a Intent>,
}

/// Every world that may come: for each object, nothing or exactly one of what is pending. The first is the cluster as it
/// was read. `None` where there are too many.
#[must_use]
pub fn worlds<'a>(view: &ClusterView, pending: &'a [Intent]) -> Option<Vec<World<'a>>> {
    let mut worlds = vec![World { view: view.clone(), happens: Vec::new() }];
    let mut objects: Vec<(&Object, &str)> = Vec::new();
    for intent in pending {
        let object = (&intent.object, intent.uid.as_str());
        if !objects.contains(&object) {
            objects.push(object);
        }
    }
    // What is created comes after what has its name has gone.
    objects.sort_by_key(|(_, uid)| pending.iter().any(|intent| intent.creates() && intent.uid == *uid));
    for object in objects {
        let effects = pending.iter().filter(|intent| (&intent.object, intent.uid.as_str()) == object);
        let mut more = Vec::new();
        for intent in effects {
            for world in &worlds {
                let mut view = world.view.clone();
                if apply(&mut view, intent) {
                    let happens = world.happens.iter().copied().chain([intent]).collect();
                    more.push(World { view, happens });
                }
                if worlds.len() + more.len() > MOST_WORLDS {
                    return None;
                }
            }
        }
        worlds.extend(more);
    }
    Some(worlds)
}

/// Judges a change in every world that may come. Where they agree, that is the verdict; where they differ, the change has
/// to wait for what they differ by.
#[must_use]
pub fn decide(change: &Change, view: &ClusterView, pending: &[Intent], policy: &Policy, now: Timestamp) -> Verdict {
    let Some(worlds) = worlds(view, pending) else {
        let as_read = rules::decide(change, view, policy, now);
        return wait(as_read, &pending.iter().collect::<Vec<_>>(), None, change, policy);
    };
    let mut worlds = worlds.into_iter();
    let Some(first) = worlds.next() else { return rules::decide(change, view, policy, now) };
    let as_read = rules::decide(change, &first.view, policy, now);
    let refused = as_read.outcome() != Outcome::Allowed;
    let differing = worlds
        .map(|world| (rules::decide(change, &world.view, policy, now), world))
        .filter(|(verdict, _)| (verdict.outcome() != Outcome::Allowed) != refused)
        // What least has to happen for it is what it waits for.
        .min_by_key(|(_, world)| world.happens.len());
    match differing {
        None => as_read,
        Some((verdict, world)) => {
            let refusal = if refused { &as_read } else { &verdict };
            let finding = refusal.denying().next().cloned();
            wait(as_read, &world.happens, finding, change, policy)
        }
    }
}

/// The verdict of a change that there is no room to write down.
#[must_use]
pub fn full(change: &Change, policy: &Policy, now: Timestamp) -> Verdict {
    let nothing = rules::decide(change, &ClusterView::default(), policy, now);
    let mut verdict = Verdict { findings: Vec::new(), act: String::new(), ..nothing };
    let message = format!("more than {MOST_INTENTS} changes are on their way in this namespace");
    let finding = Finding::of_concurrency(message);
    let finding = if rules::filter::is_advice(change) { finding.only_a_warning() } else { finding };
    verdict.find(finding, change, policy);
    verdict
}

/// The verdict of a change that has to wait for others.
fn wait(as_read: Verdict, awaited: &[&Intent], would_be: Option<Finding>, change: &Change, policy: &Policy) -> Verdict {
    let mut names: Vec<String> = awaited.iter().take(3).map(ToString::to_string).collect();
    if awaited.len() > names.len() {
        names.push(format!("{} more", awaited.len() - names.len()));
    }
    let who = match awaited {
        [one] if !one.user.is_empty() => format!(" by {}", one.user),
        _ => String::new(),
    };
    let mut message = format!("it depends on {}{who}, which is on its way", names.join(" and "));
    let mut details = Vec::new();
    if let Some(would_be) = would_be {
        message.push_str(": one of the two would break the other");
        details.push(format!("{}: {}", would_be.reason, would_be.message));
    }
    let mut finding = Finding::of_concurrency(message).with_details(details);
    if rules::filter::is_advice(change) {
        finding = finding.only_a_warning();
    }
    let findings = as_read.findings.iter().filter(|(finding, _)| finding.action < crate::model::Action::Deny).cloned();
    let mut verdict = Verdict { findings: findings.collect(), ..as_read };
    verdict.find(finding, change, policy);
    verdict
}

/// Lets an intent happen. Whether that changes anything that was read: an object that has moved on since is what it is.
pub fn apply(view: &mut ClusterView, intent: &Intent) -> bool {
    match intent.object.workload {
        None => apply_to_service(view, intent),
        Some(kind) => apply_to_workload(view, kind, intent),
    }
}

fn is_base(meta: &Meta, intent: &Intent) -> bool {
    meta.name == intent.object.name && meta.uid == intent.uid && meta.version == intent.base
}

fn apply_to_service(view: &mut ClusterView, intent: &Intent) -> bool {
    let service = &intent.object.name;
    match &intent.effect {
        Effect::Gone { selector } => {
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
        Effect::Service(after) if intent.creates() => {
            if view.services.iter().any(|other| other.meta.uid == intent.uid) {
                return false;
            }
            // It comes only when what has its name is gone, which need not be written down yet.
            view.services.retain(|other| other.meta.name != *service);
            let (name, uid) = (service.clone(), intent.uid.clone());
            let meta = Meta { name, uid, annotations: after.annotations.clone(), ..Meta::default() };
            view.services.push(Service { meta, selector: after.to.clone(), ..Service::default() });
            true
        }
        Effect::Service(after) => {
            let Some(service) = view.services.iter_mut().find(|service| is_base(&service.meta, intent)) else {
                return false;
            };
            service.selector.clone_from(&after.to);
            service.is_external_name = false;
            service.meta.annotations.clone_from(&after.annotations);
            true
        }
        Effect::Scaled { .. } | Effect::Workload(_) => false,
    }
}

fn apply_to_workload(view: &mut ClusterView, kind: WorkloadKind, intent: &Intent) -> bool {
    let found = view.workloads.iter().position(|workload| workload.kind == kind && is_base(&workload.meta, intent));
    let Some(workload) = found.and_then(|index| view.workloads.get_mut(index)) else { return false };
    let wanted = match &intent.effect {
        Effect::Gone { .. } => {
            let gone = found.map(|index| view.workloads.remove(index));
            if let Some(part) = gone.filter(|gone| !gone.stands_alone()) {
                keep_pods(view, &part.meta.uid, 0);
            }
            return true;
        }
        Effect::Scaled { to } => {
            become_scaled(workload, *to);
            *to
        }
        Effect::Workload(after) => {
            become_changed(workload, after);
            workload.wanted
        }
        Effect::Service(_) => return false,
    };
    if !workload.stands_alone() {
        let uid = workload.meta.uid.clone();
        keep_pods(view, &uid, wanted);
    }
    true
}

/// Its controller has not seen the change yet.
fn become_scaled(workload: &mut Workload, wanted: u32) {
    workload.meta.generation = workload.meta.generation.saturating_add(1);
    workload.wanted = wanted;
}

fn become_changed(workload: &mut Workload, after: &WorkloadAfter) {
    become_scaled(workload, if after.owners_change { 0 } else { after.wanted });
    workload.paused = after.paused;
    let template = Arc::make_mut(&mut workload.template);
    template.labels.clone_from(&after.labels);
    if after.template_changes {
        // Nothing runs it yet, whatever it is.
        template.spec = "\"changed\"".into();
    }
    workload.strategy = after.strategy;
    workload.first_ordinal = after.first_ordinal;
    workload.meta.annotations.clone_from(&after.annotations);
}

/// A part of a Deployment loses Pods at once, as far as its Deployment is concerned.
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
            let meta =
                Meta { name: (*name).to_owned(), uid: (*name).to_owned(), version: "1".to_owned(), ..Meta::default() };
            Service { meta, ..Service::default() }
        };
        ClusterView { services: services.iter().map(service).collect(), ..ClusterView::default() }
    }

    fn routes(name: &str, to: &str) -> Intent {
        let to = Selector::new([("color".to_owned(), to.to_owned())].into());
        Intent {
            ids: vec![format!("{name}-{to}")],
            object: Object::service(name),
            uid: name.to_owned(),
            base: "1".to_owned(),
            effect: Effect::Service(super::super::ServiceAfter {
                from: Selector::nothing(),
                to,
                annotations: [].into(),
            }),
            user: String::new(),
            at: Timestamp(0),
        }
    }

    #[test]
    fn of_each_object_nothing_or_one_thing_happens() {
        let view = view(&["a", "b"]);
        let pending = [routes("a", "blue"), routes("a", "green"), routes("b", "blue")];
        let worlds = worlds(&view, &pending).unwrap();
        assert_eq!(worlds.len(), 3 * 2);
        let most = worlds.iter().map(|world| world.happens.len()).max();
        assert_eq!(most, Some(2), "blue and green of one Service exclude each other");
        assert!(worlds.first().is_some_and(|world| world.view == view));
    }

    #[test]
    fn what_has_moved_on_is_what_it_is() {
        let mut view = view(&["a"]);
        view.services.iter_mut().for_each(|service| service.meta.version = "2".to_owned());
        assert_eq!(worlds(&view, &[routes("a", "blue")]).unwrap().len(), 1);
    }

    #[test]
    fn there_are_256_worlds_at_most() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let pending: Vec<Intent> = names.iter().map(|name| routes(name, "blue")).collect();
        assert_eq!(worlds(&view(&names), pending.get(..8).unwrap_or_default()).map(|worlds| worlds.len()), Some(256));
        assert!(worlds(&view(&names), &pending).is_none());
    }
}
