//! The modelled cluster: one namespace with two colours, the ledger's ConfigMap, and the controllers.
//!
//! The model is small, and exact where the protocol depends on it. Every write is a compare-and-swap on a version, and
//! every read lists one kind of object at one instant. Rules see flipguard's own types, decoded from the JSON that an
//! API server would send.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::LazyLock;

use super::drain::Drain;
use flipguard::ledger::{Found, IntendedChange, Ledger, ObjectRef, Seen};
use flipguard::model::{
    ClusterView, Pod, Rollout, Selector, Service, Timestamp, Workload, WorkloadKind, WorkloadManifest, annotation,
};
use serde_json::{Value, json};

/// The time of all events. The model has no clock; it only has the events that time permits.
pub(crate) const NOW: Timestamp = Timestamp(1_893_456_000);

/// The two colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Colour {
    Blue,
    Green,
}

/// The traffic Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TheService {
    pub(crate) uid: u8,
    pub(crate) version: u8,
    pub(crate) to: Colour,
    /// Whether no guarantee applies to the Service. It may have been created for a colour that did not run, or when the
    /// previous colour no longer ran. Or its colour was repaired in place without another colour beside it.
    pub(crate) excused: bool,
}

/// The kind of a colour's workload, and how it gets a new template. One Pod at most is missing during a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// A Deployment that ends all Pods first.
    Recreate,
    /// A Deployment that replaces its Pods one by one.
    Rolling,
    /// A StatefulSet, which goes from the highest ordinal to the lowest, and waits for each Pod.
    StatefulSet,
}

/// The workload of a colour.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TheDeployment {
    pub(crate) shape: Shape,
    pub(crate) version: u8,
    pub(crate) desired: u8,
    pub(crate) template: u8,
    pub(crate) generation: u8,
    pub(crate) observed: u8,
    /// `status`: all Pods, those of the current template, and the ready ones.
    pub(crate) counts: [u8; 3],
    /// When the rollout was complete, by the clock of the cluster; `None` if it is not.
    pub(crate) complete: Option<u8>,
}

/// The last flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LastFlip {
    from: Colour,
    /// The template that had been rolled out there.
    served: Option<u8>,
    /// Whether that was so when the flip was admitted. A rollout that was completed between admission and commit may count
    /// or not.
    is_certain: bool,
    is_rollback: bool,
}

/// What is true of the flips, by the order of the commits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct History {
    /// The clock. It goes on with each step of the cluster.
    pub(crate) now: u8,
    last: Option<LastFlip>,
    /// A flip that flipguard took for a rollback, or did not, against the truth.
    wrong: Option<bool>,
}

/// The largest number of Pods of a colour.
const MOST: usize = 2;

/// The Pods of a colour. They outlive their workload for a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Pods {
    /// The template of each ready Pod, by ordinal; 0 where the Pod is not ready. The Pods of a Deployment are sorted.
    ready: [u8; MOST],
    /// The number of Pods, ready or not. Pods that are not ready have the current template.
    size: u8,
    /// The current template, as the controller has seen it.
    template: u8,
    /// When the ReplicaSet of the current template was created, by the clock of the cluster.
    made: u8,
}

impl Pods {
    fn new(size: u8, ready: u8) -> Self {
        let mut pods = Self { ready: [0; MOST], size, template: 1, made: 0 };
        pods.ready.iter_mut().take(ready.into()).for_each(|pod| *pod = 1);
        pods
    }

    /// The number of ready Pods.
    pub(crate) fn ready(&self) -> u8 {
        self.of(|template| template > 0)
    }

    /// The number of ready Pods of older templates.
    fn old(&self) -> u8 {
        self.of(|template| template > 0 && template != self.template)
    }

    fn of(&self, which: impl Fn(u8) -> bool) -> u8 {
        self.ready.iter().map(|template| u8::from(which(*template))).sum()
    }

    fn counts(&self) -> [u8; 3] {
        [self.size, self.size - self.old(), self.ready()]
    }

    /// Reduces the Pods. A Deployment in the middle of a rollout deletes the ready ones first, at worst.
    fn scale(&mut self, size: u8, shape: Shape) {
        let unready = self.size.saturating_sub(self.ready());
        let end = match shape {
            Shape::StatefulSet => size,
            _ if self.old() > 0 && size < self.size => size.saturating_sub(unready),
            _ => size,
        };
        self.ready.iter_mut().skip(end.into()).for_each(|pod| *pod = 0);
        self.size = size;
    }

    /// Deletes one Pod of an older template, if the rollout may go on.
    fn replace_one(&mut self, it: &TheDeployment) -> Option<()> {
        let index = match it.shape {
            Shape::StatefulSet => {
                let is_due = |index: &usize| self.ready[*index] != self.template;
                (0..usize::from(self.size)).rev().find(is_due).filter(|index| self.ready[*index] > 0)?
            }
            _ if self.ready() < it.desired => return None,
            _ => self.ready.iter().position(|template| *template > 0 && *template != self.template)?,
        };
        self.ready[index] = 0;
        self.tidy(it.shape);
        Some(())
    }

    /// Lets one Pod become ready.
    fn start_one(&mut self, it: &TheDeployment) -> Option<()> {
        let index = self.ready.iter().take(self.size.into()).position(|template| *template == 0)?;
        self.ready[index] = self.template;
        self.tidy(it.shape);
        Some(())
    }

    fn tidy(&mut self, shape: Shape) {
        if shape != Shape::StatefulSet {
            self.ready.sort_unstable_by(|a, b| b.cmp(a));
        }
    }
}

/// The stored objects, and the history that the ledger is checked against.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Cluster {
    pub(crate) service: Option<TheService>,
    pub(crate) deployments: [Option<TheDeployment>; 2],
    pub(crate) pods: [Pods; 2],
    pub(crate) ledger: Rc<Ledger>,
    pub(crate) ledger_version: u8,
    /// The former ledgers that a replica may remember, with their versions; only where the search looks at that.
    pub(crate) former: Option<Vec<(Rc<Ledger>, u8)>>,
    /// Whether the ledger was created.
    pub(crate) has_ledger: bool,
    /// Whether a flip of Service 0 to each colour was committed, and whether the Service was deleted.
    pub(crate) flipped: [bool; 2],
    pub(crate) deleted: bool,
    /// The target of the last flip of the existing Service. The ledger must have this flip on record.
    pub(crate) last_flip: Option<Colour>,
    /// The number of label edits and status writes that may still occur.
    pub(crate) noise: u8,
    /// The attempts that were under way when a change was committed that flipguard had not allowed. No guarantee applies
    /// to them.
    pub(crate) overtaken: BTreeSet<String>,
    /// Whether the Service was deleted without an answer of flipguard.
    pub(crate) deleted_unanswered: bool,
    /// Time, and what the flips were; only where the search looks at that.
    pub(crate) history: Option<History>,
    pub(crate) policy: PolicyPhase,
    /// The drain into the history; only where the search looks at that.
    pub(crate) drain: Option<Drain>,
}

/// A policy that changes once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum PolicyPhase {
    /// It never changes.
    #[default]
    Fixed,
    /// It has not changed yet.
    Old,
    /// It has changed. Some replica may still judge by the old one.
    Changed,
    /// It is programmed: whatever arrives now is judged by the new one.
    Programmed,
}

/// The parts of a cluster that were read, each at an instant of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Read {
    pub(crate) services: Option<Vec<TheService>>,
    pub(crate) deployments: Option<[Option<TheDeployment>; 2]>,
    pub(crate) pods: Option<[Pods; 2]>,
    /// Whether objects show their times.
    pub(crate) has_times: bool,
}

/// What flipguard knew of a flip when it allowed it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Judged {
    /// The time that is recorded.
    pub(crate) at: Timestamp,
    /// The template of the target, as it was read.
    pub(crate) template: Option<u8>,
    pub(crate) as_rollback: bool,
}

impl Colour {
    pub(crate) const ALL: [Self; 2] = [Self::Blue, Self::Green];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    pub(crate) fn deployment(self) -> String {
        format!("app-{}", self.name())
    }

    pub(crate) fn of(object: &ObjectRef) -> Option<Self> {
        Self::ALL.into_iter().find(|colour| colour.deployment() == object.name)
    }
}

impl Cluster {
    /// The initial cluster: blue serves, and green is ready or not.
    pub(crate) fn new(green_is_ready: bool, noise: u8) -> Self {
        Self::of(Shape::Recreate, 1, green_is_ready, noise)
    }

    /// The same, with so many Pods of each colour.
    pub(crate) fn of(shape: Shape, size: u8, green_is_ready: bool, noise: u8) -> Self {
        let pods = |is_ready| Pods::new(size, if is_ready { size } else { 0 });
        let deployment = |is_ready| {
            let (version, template, generation, observed, counts) = (1, 1, 1, 1, pods(is_ready).counts());
            let complete = is_ready.then_some(0);
            Some(TheDeployment { shape, version, desired: size, template, generation, observed, counts, complete })
        };
        Self {
            service: Some(TheService { uid: 0, version: 1, to: Colour::Blue, excused: false }),
            deployments: [deployment(true), deployment(green_is_ready)],
            pods: [pods(true), pods(green_is_ready)],
            ledger: Rc::default(),
            ledger_version: 0,
            former: None,
            has_ledger: true,
            flipped: [false, false],
            deleted: false,
            last_flip: None,
            noise,
            overtaken: BTreeSet::new(),
            deleted_unanswered: false,
            history: None,
            policy: PolicyPhase::Fixed,
            drain: None,
        }
    }

    /// The same, where committed changes go into a history.
    pub(crate) fn with_a_drain(self) -> Self {
        Self { drain: Some(Drain::default()), ..self }
    }

    /// The same, where replicas may remember former ledgers.
    pub(crate) fn with_memory(self) -> Self {
        Self { former: Some(Vec::new()), ..self }
    }

    /// The same after a write of the ledger. Without a drain, nobody takes settled changes.
    pub(crate) fn with_ledger(mut self, mut ledger: Ledger) -> Self {
        if let Some(former) = &mut self.former {
            former.push((self.ledger.clone(), self.ledger_version));
            // Older ones are as wrong as these.
            former.drain(..former.len().saturating_sub(2));
        }
        if self.drain.is_none() {
            ledger.settled.clear();
        }
        self.ledger = Rc::new(ledger);
        self.ledger_version += 1;
        self
    }

    pub(crate) fn deployment(&self, colour: Colour) -> Option<&TheDeployment> {
        self.deployments[colour as usize].as_ref()
    }

    pub(crate) fn deployment_mut(&mut self, colour: Colour) -> &mut Option<TheDeployment> {
        &mut self.deployments[colour as usize]
    }

    /// Whether a colour runs. With the strategy `Recreate`, it also keeps running without any further write.
    pub(crate) fn runs(&self, colour: Colour) -> bool {
        let pods = &self.pods[colour as usize];
        let keeps = |it: &TheDeployment| it.shape != Shape::Recreate || it.template == pods.template;
        self.deployment(colour).is_some_and(|it| it.desired > 0 && keeps(it)) && pods.ready() > 0
    }

    /// Whether a rollout that begins now replaces a colour's Pods one by one.
    pub(crate) fn keeps_some_during_a_rollout(&self, colour: Colour) -> bool {
        let pods = &self.pods[colour as usize];
        let is_over = |it: &&TheDeployment| it.observed == it.generation && it.template == pods.template;
        let settled = self.deployment(colour).filter(is_over).filter(|it| it.shape != Shape::Recreate);
        settled.is_some_and(|it| it.desired > 1 && pods.old() == 0 && pods.ready() == it.desired)
    }

    /// The same cluster without the Deployment of a colour.
    pub(crate) fn without(mut self, colour: Colour) -> Self {
        self.deployments[colour as usize] = None;
        self.pods[colour as usize] = Pods::default();
        self
    }

    /// The time of the cluster.
    pub(crate) fn now(&self) -> Timestamp {
        time(self.history.as_ref().map_or(0, |history| history.now))
    }

    /// The same cluster with a clock. Blue serves, and of its current template no Pod was ready yet.
    pub(crate) fn where_blue_never_was_ready(mut self) -> Self {
        self.pods[0].ready = [0; MOST];
        let counts = self.pods[0].counts();
        if let Some(blue) = &mut self.deployments[0] {
            (blue.counts, blue.complete) = (counts, None);
        }
        if let Some(service) = &mut self.service {
            service.excused = true;
        }
        self.with_a_clock()
    }

    pub(crate) fn with_a_clock(self) -> Self {
        Self { history: Some(History { now: 1, ..History::default() }), ..self }
    }

    /// Time goes on.
    pub(crate) fn tick(&mut self) {
        if let Some(history) = &mut self.history {
            history.now += 1;
        }
    }

    /// Notes a flip that is committed now. It was judged at a time, with a template of its target, as a rollback or not.
    pub(crate) fn note_flip(&mut self, from: Colour, to: Colour, judged: &Judged) {
        let served = self.deployment(from).filter(|it| it.complete.is_some());
        let is_certain = served.is_none_or(|it| it.complete.is_some_and(|at| time(at) <= judged.at));
        let served = served.map(|it| it.template);
        let Some(history) = &mut self.history else { return };
        let last = history.last.filter(|last| last.from == to && !last.is_rollback && last.served.is_some());
        let may_be = last.is_some_and(|last| last.served == judged.template);
        let must_be = may_be && last.is_some_and(|last| last.is_certain);
        if (judged.as_rollback && !may_be) || (!judged.as_rollback && must_be) {
            history.wrong = Some(judged.as_rollback);
        }
        history.last = Some(LastFlip { from, served, is_certain, is_rollback: judged.as_rollback });
    }

    /// A flip that was classed wrongly.
    pub(crate) fn misjudged(&self) -> Option<String> {
        let wrong = self.history.as_ref()?.wrong?;
        Some(format!("a flip was {} for a rollback", if wrong { "taken" } else { "not taken" }))
    }

    /// A violated invariant: a Service whose colour does not run, or a record of an event that never happened.
    pub(crate) fn broken(&self) -> Option<String> {
        if let Some(service) = &self.service
            && !service.excused
            && !self.runs(service.to)
        {
            return Some(format!("the Service routes to {}, and nothing of it runs", service.to.name()));
        }
        for flip in &self.ledger.records.flips {
            let to = if flip.to == *selector(Colour::Green) { Colour::Green } else { Colour::Blue };
            if flip.uid == "service-0" && !self.flipped[to as usize] {
                return Some(format!("the ledger tells of a flip to {} that never was", to.name()));
            }
        }
        if !self.ledger.records.tombstones.is_empty() && !self.deleted {
            return Some("the ledger tells of a deletion that never was".to_owned());
        }
        self.drain.as_ref().and_then(|drain| drain.broken(&self.ledger))
    }

    /// An event that the ledger neither has on record nor can still resolve.
    pub(crate) fn forgotten(&self) -> Option<String> {
        let Ledger { intents, records, .. } = &*self.ledger;
        let Some(service) = &self.service else {
            let written = intents.iter().any(|it| matches!(it.effect, IntendedChange::Gone { selector: Some(_) }));
            let known = written || !records.tombstones.is_empty() || self.deleted_unanswered;
            return (!known).then(|| "the ledger has forgotten that the Service was deleted".to_owned());
        };
        let to = self.last_flip?;
        let is_its = |uid: &str| uid.strip_prefix("service-").and_then(|uid| uid.parse().ok()) == Some(service.uid);
        let written = intents.iter().any(|it| {
            is_its(&it.uid) && matches!(&it.effect, IntendedChange::Service(after) if after.to == *selector(to))
        });
        let known = written || records.flips.iter().any(|it| is_its(&it.uid) && it.to == *selector(to));
        (!known).then(|| format!("the ledger has forgotten the flip to {}", to.name()))
    }

    /// The result of a GET of this object.
    pub(crate) fn look(&self, object: &ObjectRef) -> Found {
        let (uid, version, selector) = match Colour::of(object) {
            None => match &self.service {
                Some(it) => (format!("service-{}", it.uid), it.version, selector(it.to).clone()),
                None => return Found::Missing,
            },
            Some(colour) => match self.deployment(colour) {
                Some(it) => (colour.deployment(), it.version, Selector::nothing()),
                None => return Found::Missing,
            },
        };
        Found::There(Seen { uid, version: version.to_string(), deleting: false, selector, is_set_aside: false })
    }
}

/// A step of a controller or of a bystander.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stir {
    /// The controller of a workload takes notice of a change: it creates or deletes Pods as desired.
    Reconcile(Colour),
    /// The controller deletes a Pod of an older template.
    Replace(Colour),
    /// A desired Pod becomes ready.
    Start(Colour),
    /// The garbage collector deletes the Pods of a deleted workload.
    Collect(Colour),
    /// A user edits a label of the Service.
    EditService,
    /// A controller writes a status.
    WriteStatus(Colour),
    /// An admin changes the policy.
    ChangePolicy,
    /// The policy is said to be programmed.
    ProgramPolicy,
}

impl Stir {
    pub(crate) fn all() -> Vec<Self> {
        let of = |colour| {
            [Self::Reconcile, Self::Replace, Self::Start, Self::Collect, Self::WriteStatus].map(|stir| stir(colour))
        };
        Colour::ALL
            .into_iter()
            .flat_map(of)
            .chain([Self::EditService, Self::ChangePolicy, Self::ProgramPolicy])
            .collect()
    }

    /// The cluster after this step; `None` if the step has nothing to do. Most have nothing to do, so they are told before
    /// the cluster is copied.
    pub(crate) fn of(self, cluster: &Cluster) -> Option<Cluster> {
        let now = cluster.history.as_ref().map_or(0, |history| history.now);
        match self {
            Self::ChangePolicy => {
                let policy = (cluster.policy == PolicyPhase::Old).then_some(PolicyPhase::Changed)?;
                Some(Cluster { policy, ..cluster.clone() })
            }
            Self::ProgramPolicy => {
                let policy = (cluster.policy == PolicyPhase::Changed).then_some(PolicyPhase::Programmed)?;
                Some(Cluster { policy, ..cluster.clone() })
            }
            Self::Reconcile(colour) => {
                let mut it = cluster.deployment(colour).filter(|it| it.observed != it.generation)?.clone();
                let mut pods = cluster.pods[colour as usize].clone();
                it.observed = it.generation;
                // Strategy Recreate: old Pods are deleted before new ones are created.
                if it.shape == Shape::Recreate && pods.template != it.template {
                    pods.ready = [0; MOST];
                }
                if pods.template != it.template {
                    (pods.made, it.complete) = (now, None);
                }
                pods.scale(it.desired, it.shape);
                pods.template = it.template;
                Some(cluster.after_a_controller(colour, it, pods))
            }
            Self::Replace(colour) | Self::Start(colour) => {
                let mut it = cluster.deployment(colour).filter(|it| it.observed == it.generation)?.clone();
                let mut pods = cluster.pods[colour as usize].clone();
                if matches!(self, Self::Replace(_)) {
                    pods.replace_one(&it)?;
                } else {
                    pods.start_one(&it)?;
                }
                if it.complete.is_none() && pods.counts() == [it.desired; 3] {
                    it.complete = Some(now);
                }
                Some(cluster.after_a_controller(colour, it, pods))
            }
            Self::Collect(colour) => {
                if cluster.deployment(colour).is_some() || cluster.pods[colour as usize].size == 0 {
                    return None;
                }
                let mut next = cluster.clone();
                let pods = &mut next.pods[colour as usize];
                (pods.ready, pods.size) = ([0; MOST], 0);
                Some(next)
            }
            Self::EditService => {
                let noise = cluster.noise.checked_sub(1)?;
                let mut service = cluster.service.clone()?;
                service.version += 1;
                Some(Cluster { noise, service: Some(service), ..cluster.clone() })
            }
            Self::WriteStatus(colour) => {
                let noise = cluster.noise.checked_sub(1)?;
                cluster.deployment(colour)?;
                let mut next = Cluster { noise, ..cluster.clone() };
                next.deployment_mut(colour).iter_mut().for_each(|it| it.version += 1);
                Some(next)
            }
        }
    }
}

impl Cluster {
    /// The cluster after a controller has changed Pods and written the status.
    fn after_a_controller(&self, colour: Colour, mut it: TheDeployment, pods: Pods) -> Self {
        it.count(&pods);
        let mut next = self.clone();
        next.deployments[colour as usize] = Some(it);
        next.pods[colour as usize] = pods;
        next.tick();
        next
    }
}

impl TheDeployment {
    /// The controller writes the status.
    fn count(&mut self, pods: &Pods) {
        self.version += 1;
        self.counts = pods.counts();
    }

    pub(crate) fn kind(&self) -> WorkloadKind {
        match self.shape {
            Shape::Recreate | Shape::Rolling => WorkloadKind::Deployment,
            Shape::StatefulSet => WorkloadKind::StatefulSet,
        }
    }
}

impl Read {
    /// All parts, read at one instant.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self {
            services: Some(cluster.service.iter().cloned().collect()),
            deployments: Some(cluster.deployments.clone()),
            pods: Some(cluster.pods.clone()),
            has_times: cluster.history.is_some(),
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.services.is_some() && self.deployments.is_some() && self.pods.is_some()
    }

    /// The template of a colour.
    pub(crate) fn template(&self, colour: Colour) -> Option<u8> {
        self.deployments.as_ref()?[colour as usize].as_ref().map(|it| it.template)
    }

    fn deployment(&self, colour: Colour, it: &TheDeployment) -> Workload {
        let rollout = match it.complete {
            _ if !self.has_times => Rollout::Unknown,
            Some(at) => Rollout::Complete(time(at)),
            None => Rollout::Incomplete,
        };
        Workload { rollout, ..deployment(colour, it) }
    }

    /// The view that flipguard gets. ReplicaSets are read together with their Pods.
    pub(crate) fn view(&self) -> ClusterView {
        let mut view = ClusterView::default();
        for it in self.services.iter().flatten() {
            view.services.push(service(it.uid, it.version, it.to));
        }
        for colour in Colour::ALL {
            let pods = self.pods.as_ref().map(|pods| pods[colour as usize].clone()).unwrap_or_default();
            let it = self.deployments.as_ref().and_then(|all| all[colour as usize].clone());
            // The Pods of a deleted workload have an owner that no longer exists, of either kind.
            let has_parts = it.as_ref().is_none_or(|it| it.shape != Shape::StatefulSet);
            view.workloads.extend(it.map(|it| self.deployment(colour, &it)));
            if has_parts {
                view.workloads.extend((1..=pods.template).map(|template| replica_set(colour, template, &pods)));
            }
            let ready = pods.ready.iter().enumerate().filter(|(_, template)| **template > 0);
            view.pods.extend(ready.map(|(ordinal, template)| pod(colour, ordinal, *template, has_parts)));
        }
        view
    }
}

fn time(clock: u8) -> Timestamp {
    Timestamp(NOW.0 + i64::from(clock))
}

fn selector(colour: Colour) -> &'static Selector {
    static ALL: LazyLock<[Selector; 2]> = LazyLock::new(|| Colour::ALL.map(|colour| Selector::new(labels(colour))));
    &ALL[colour as usize]
}

fn labels(colour: Colour) -> BTreeMap<String, String> {
    [("app", "shop"), ("color", colour.name())].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

pub(crate) fn service(uid: u8, version: u8, to: Colour) -> Service {
    let metadata = json!({ "name": "app", "namespace": "shop", "uid": format!("service-{uid}"),
        "resourceVersion": version.to_string() });
    parse(json!({ "metadata": metadata, "spec": { "selector": labels(to), "ports": [{ "port": 80 }] } }))
}

pub(crate) fn deployment(colour: Colour, it: &TheDeployment) -> Workload {
    let metadata = json!({
        "name": colour.deployment(), "namespace": "shop", "uid": colour.deployment(),
        "resourceVersion": it.version.to_string(), "generation": it.generation,
        "annotations": { annotation::REVISION: it.template.to_string() },
    });
    let one = json!({ "maxUnavailable": 1, "maxSurge": 0 });
    let strategy = match it.shape {
        Shape::Recreate => json!({ "type": "Recreate" }),
        Shape::Rolling => json!({ "type": "RollingUpdate", "rollingUpdate": one }),
        Shape::StatefulSet => Value::Null,
    };
    let [replicas, updated, ready] = it.counts;
    let manifest: WorkloadManifest = parse(json!({
        "metadata": metadata,
        "spec": { "replicas": it.desired, "strategy": strategy, "template": template(colour, it.template) },
        "status": { "observedGeneration": it.observed, "replicas": replicas, "updatedReplicas": updated,
            "readyReplicas": ready, "availableReplicas": ready, "updateRevision": revision(it.template) },
    }));
    manifest.into_workload(it.kind())
}

fn revision(template: u8) -> String {
    format!("revision-{template}")
}

fn template(colour: Colour, number: u8) -> Value {
    json!({
        "metadata": { "labels": labels(colour) },
        "spec": { "containers": [{ "name": "web", "image": format!("web:{number}"), "readinessProbe": {} }] },
    })
}

fn owned_by(kind: &str, uid: &str) -> Value {
    json!([{ "apiVersion": "apps/v1", "kind": kind, "name": uid, "uid": uid, "controller": true }])
}

fn part(colour: Colour, number: u8) -> String {
    format!("{}-{number}", colour.deployment())
}

fn replica_set(colour: Colour, number: u8, pods: &Pods) -> Workload {
    let uid = part(colour, number);
    let size = if number == pods.template { pods.size - pods.old() } else { pods.of(|template| template == number) };
    let manifest: WorkloadManifest = parse(json!({
        "metadata": { "name": uid, "namespace": "shop", "uid": uid, "resourceVersion": "1",
            "annotations": { annotation::REVISION: number.to_string() },
            "creationTimestamp": if number == pods.template { time(pods.made) } else { time(0) },
            "ownerReferences": owned_by("Deployment", &colour.deployment()) },
        "spec": { "replicas": size, "template": template(colour, number) },
    }));
    manifest.into_workload(WorkloadKind::ReplicaSet)
}

fn pod(colour: Colour, ordinal: usize, number: u8, has_parts: bool) -> Pod {
    let name = format!("{}-{ordinal}", colour.deployment());
    let owner = if has_parts {
        owned_by("ReplicaSet", &part(colour, number))
    } else {
        owned_by("StatefulSet", &colour.deployment())
    };
    let mut labels = labels(colour);
    labels.insert("controller-revision-hash".to_owned(), revision(number));
    let metadata = json!({ "name": name, "namespace": "shop", "uid": format!("{name}-pod"), "labels": labels,
        "ownerReferences": owner });
    parse(json!({
        "metadata": metadata,
        "status": { "phase": "Running", "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] },
    }))
}

fn parse<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap_or_else(|error| panic!("the model is wrong: {error}"))
}
