//! The pending intents that can change a verdict: those on objects of the same app.
//!
//! Two objects are neighbours if a rule about one of them can look at the other: a Service and a workload that it selects
//! or would select with another colour; two Services of one app; a workload and its owner or its parts. The verdict on a
//! change depends on nothing but the objects that a chain of neighbours connects with its own. All states of an object
//! count: the stored one, and those after the change and after every pending intent.

use std::collections::{BTreeMap, BTreeSet};

use super::{IntendedChange, Intent};
use crate::model::{
    Change, ClusterView, ColourScheme, Kind, Labels, Owner, Role, Selector, Service, Workload, Write, annotation,
};
use crate::rules::state::app::App;

/// The name of a node: a Service by its name, since another one may replace it; a workload by its uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Service(&'a str),
    Workload(&'a str),
}

/// All states of one object, and of the parts of a workload.
#[derive(Default)]
struct Node<'a> {
    selectors: BTreeSet<&'a Selector>,
    labels: BTreeSet<&'a Labels>,
    /// The owners of the object, and the ReplicaSets that it would adopt.
    linked: BTreeSet<Key<'a>>,
}

/// The objects of a namespace.
struct Graph<'a> {
    nodes: BTreeMap<Key<'a>, Node<'a>>,
    /// The workload that each part belongs to, by uid.
    wholes: BTreeMap<&'a str, &'a str>,
    colours: &'a ColourScheme,
}

/// The pending intents that can change the verdict on a change.
#[must_use]
pub fn relevant<'a>(
    change: &Change,
    view: &ClusterView,
    pending: &'a [Intent],
    colours: &ColourScheme,
) -> Vec<&'a Intent> {
    if pending.is_empty() {
        return Vec::new();
    }
    let graph = Graph::of(change, view, pending, colours);
    let connected = graph.connected_with(change, view);
    pending.iter().filter(|intent| connected.contains(&graph.key_of(intent))).collect()
}

impl<'a> Graph<'a> {
    fn of(change: &'a Change, view: &'a ClusterView, pending: &'a [Intent], colours: &'a ColourScheme) -> Self {
        let mut graph = Self { nodes: BTreeMap::new(), wholes: BTreeMap::new(), colours };
        graph.add_view(view);
        match &change.write {
            Write::ServiceUpdate { old, new } => {
                graph.add_service(old);
                graph.add_service(new);
            }
            Write::ServiceCreate { new: service } | Write::ServiceDelete { old: service } => graph.add_service(service),
            Write::WorkloadCreate { new: workload } | Write::WorkloadDelete { old: workload } => {
                graph.add_workload(workload, view);
            }
            Write::WorkloadUpdate { old, new } => {
                graph.add_workload(old, view);
                graph.add_workload(new, view);
            }
            Write::Scale { .. }
            | Write::JobCreate { .. }
            | Write::JobUpdate { .. }
            | Write::JobDelete { .. }
            | Write::Other => {}
        }
        for intent in pending {
            graph.add_intent(intent);
        }
        graph
    }

    fn add_view(&mut self, view: &'a ClusterView) {
        for workload in view.workloads.iter().filter(|workload| !workload.stands_alone()) {
            if let Some(owner) = &workload.meta.controller {
                self.wholes.insert(&workload.meta.uid, &owner.uid);
            }
        }
        for service in &view.services {
            self.add_service(service);
        }
        // A part has the labels of its whole. Its own template is only looked at together with that.
        for workload in view.workloads.iter().filter(|workload| workload.stands_alone()) {
            self.add_workload(workload, view);
        }
        for pod in &view.pods {
            if let Some(owner) = &pod.meta.controller {
                let key = self.workload(&owner.uid);
                self.nodes.entry(key).or_default().labels.insert(&pod.meta.labels);
            }
        }
        for flip in &view.records.flips {
            self.nodes.entry(Key::Service(&flip.service)).or_default().selectors.extend([&flip.from, &flip.to]);
        }
        for tombstone in &view.records.tombstones {
            self.nodes.entry(Key::Service(&tombstone.service)).or_default().selectors.insert(&tombstone.selector);
        }
    }

    /// Adds a state of a Service. One that cannot carry traffic is left out: no rule about another object looks at it.
    fn add_service(&mut self, service: &'a Service) {
        let node = self.nodes.entry(Key::Service(&service.meta.name)).or_default();
        if service.own_role(self.colours) == Role::Traffic {
            node.selectors.insert(&service.selector);
        }
    }

    fn add_workload(&mut self, workload: &'a Workload, view: &'a ClusterView) {
        let owners = workload.meta.owners.iter().map(|owner| self.owner(owner));
        let adopted = view.workloads.iter().filter(|orphan| workload.would_adopt(orphan));
        let linked: Vec<Key<'a>> = owners.chain(adopted.map(|orphan| Key::Workload(&orphan.meta.uid))).collect();
        let key = self.workload(&workload.meta.uid);
        let node = self.nodes.entry(key).or_default();
        node.labels.insert(&workload.template.labels);
        node.linked.extend(linked);
    }

    fn add_intent(&mut self, intent: &'a Intent) {
        let key = self.key_of(intent);
        let colours = self.colours;
        let node = self.nodes.entry(key).or_default();
        match &intent.effect {
            IntendedChange::Gone { selector } => node.selectors.extend(selector),
            IntendedChange::Service(after) => {
                let by_role = after.annotations.get(annotation::ROLE).is_some_and(|role| role == "traffic");
                let carries = |selector: &&Selector| by_role || !colours.pins(selector).is_empty();
                node.selectors.extend([&after.from, &after.to].into_iter().filter(carries));
            }
            IntendedChange::Workload(after) => drop(node.labels.insert(&after.labels)),
            IntendedChange::Scaled { .. } => {}
        }
    }

    fn key_of<'i>(&self, intent: &'i Intent) -> Key<'i>
    where
        'a: 'i,
    {
        match intent.object.kind {
            Kind::Service => Key::Service(&intent.object.name),
            Kind::Workload(_) | Kind::Job => {
                Key::Workload(self.wholes.get(intent.uid.as_str()).copied().unwrap_or(&intent.uid))
            }
        }
    }

    fn workload(&self, uid: &'a str) -> Key<'a> {
        Key::Workload(self.wholes.get(uid).copied().unwrap_or(uid))
    }

    fn owner(&self, owner: &'a Owner) -> Key<'a> {
        if owner.kind == "Service" { Key::Service(&owner.name) } else { self.workload(&owner.uid) }
    }

    /// All objects that a chain of neighbours connects with the object of a change.
    fn connected_with(&self, change: &'a Change, view: &'a ClusterView) -> BTreeSet<Key<'a>> {
        let start = match &change.write {
            Write::Scale { .. } => change.write.stored(view).map(|workload| self.workload(&workload.meta.uid)),
            write => match (write.kind(), write.new_meta().or_else(|| write.old_meta())) {
                (Some(Kind::Service), Some(meta)) => Some(Key::Service(&meta.name)),
                (Some(Kind::Workload(_)), Some(meta)) => Some(self.workload(&meta.uid)),
                _ => None,
            },
        };
        let mut connected = BTreeSet::new();
        let mut next: Vec<Key<'a>> = start.into_iter().collect();
        while let Some(key) = next.pop() {
            if !connected.insert(key) {
                continue;
            }
            let Some(node) = self.nodes.get(&key) else { continue };
            let apps: Vec<App<'_>> = node.selectors.iter().map(|selector| App::of(selector, self.colours)).collect();
            let others = self.nodes.iter().filter(|(other, _)| !connected.contains(*other));
            next.extend(
                others
                    .filter(|(other, its)| self.are_neighbours((key, node, &apps), (**other, its)))
                    .map(|(other, _)| *other),
            );
        }
        connected
    }

    fn are_neighbours(
        &self,
        (key, node, apps): (Key<'_>, &Node<'_>, &[App<'_>]),
        (other, its): (Key<'_>, &Node<'_>),
    ) -> bool {
        let reaches = |selector: &Selector, app: &App<'_>, labels: &Labels| {
            selector.matches(labels) || (!app.pins().is_empty() && app.has(labels))
        };
        let selects = |from: &Node<'_>, apps: &[App<'_>], to: &Node<'_>| {
            from.selectors.iter().zip(apps).any(|(selector, app)| {
                to.labels.iter().any(|labels| reaches(selector, app, labels))
                    || to.selectors.iter().any(|other| app.has_service(other) || *selector == *other)
            })
        };
        let its_apps = || its.selectors.iter().map(|selector| App::of(selector, self.colours)).collect::<Vec<_>>();
        node.linked.contains(&other)
            || its.linked.contains(&key)
            || selects(node, apps, its)
            || selects(its, &its_apps(), node)
    }
}
