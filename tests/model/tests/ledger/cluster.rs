//! The modelled cluster: one namespace with two colours, the ledger's ConfigMap, and the controllers.
//!
//! The model is small, and exact where the protocol depends on it. Every write is a compare-and-swap on a version, and
//! every read lists one kind of object at one instant. Rules see flipguard's own types, decoded from the JSON that an
//! API server would send.

use std::collections::BTreeMap;

use flipguard::ledger::{Found, IntendedChange, Ledger, ObjectRef, Seen};
use flipguard::model::{
    ClusterView, Pod, Selector, Service, Timestamp, Workload, WorkloadKind, WorkloadManifest, annotation,
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

/// The Deployment of a colour, its ReplicaSet and its Pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TheDeployment {
    pub(crate) version: u8,
    pub(crate) desired: u8,
    pub(crate) template: u8,
    pub(crate) generation: u8,
    pub(crate) observed: u8,
}

/// The running Pods of a colour. They outlive their Deployment for a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Pods {
    pub(crate) ready: u8,
    pub(crate) template: u8,
}

/// The stored objects, and the history that the ledger is checked against.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Cluster {
    pub(crate) service: Option<TheService>,
    pub(crate) deployments: [Option<TheDeployment>; 2],
    pub(crate) pods: [Pods; 2],
    pub(crate) ledger: Ledger,
    pub(crate) ledger_version: u8,
    /// Whether the ledger was created.
    pub(crate) has_ledger: bool,
    /// Whether a flip of Service 0 to each colour was committed, and whether the Service was deleted.
    pub(crate) flipped: [bool; 2],
    pub(crate) deleted: bool,
    /// The target of the last flip of the existing Service. The ledger must have this flip on record.
    pub(crate) last_flip: Option<Colour>,
    /// The number of label edits and status writes that may still occur.
    pub(crate) noise: u8,
}

/// The parts of a cluster that were read, each at an instant of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Read {
    pub(crate) services: Option<Vec<TheService>>,
    pub(crate) deployments: Option<[Option<TheDeployment>; 2]>,
    pub(crate) pods: Option<[Pods; 2]>,
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
        let deployment = || Some(TheDeployment { version: 1, desired: 1, template: 1, generation: 1, observed: 1 });
        let pods = |ready| Pods { ready, template: 1 };
        Self {
            service: Some(TheService { uid: 0, version: 1, to: Colour::Blue, excused: false }),
            deployments: [deployment(), deployment()],
            pods: [pods(1), pods(u8::from(green_is_ready))],
            ledger: Ledger::default(),
            ledger_version: 0,
            has_ledger: true,
            flipped: [false, false],
            deleted: false,
            last_flip: None,
            noise,
        }
    }

    pub(crate) fn deployment(&self, colour: Colour) -> Option<&TheDeployment> {
        self.deployments[colour as usize].as_ref()
    }

    pub(crate) fn deployment_mut(&mut self, colour: Colour) -> &mut Option<TheDeployment> {
        &mut self.deployments[colour as usize]
    }

    /// Whether a colour runs, and will keep running without any further write.
    pub(crate) fn runs(&self, colour: Colour) -> bool {
        let pods = &self.pods[colour as usize];
        self.deployment(colour).is_some_and(|it| it.desired > 0 && it.template == pods.template) && pods.ready > 0
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
            let to = if flip.to == selector(Colour::Green) { Colour::Green } else { Colour::Blue };
            if flip.uid == "service-0" && !self.flipped[to as usize] {
                return Some(format!("the ledger tells of a flip to {} that never was", to.name()));
            }
        }
        if !self.ledger.records.tombstones.is_empty() && !self.deleted {
            return Some("the ledger tells of a deletion that never was".to_owned());
        }
        None
    }

    /// An event that the ledger neither has on record nor can still resolve.
    pub(crate) fn forgotten(&self) -> Option<String> {
        let Ledger { intents, records, .. } = &self.ledger;
        let Some(service) = &self.service else {
            let written = intents.iter().any(|it| matches!(it.effect, IntendedChange::Gone { selector: Some(_) }));
            let known = written || !records.tombstones.is_empty();
            return (!known).then(|| "the ledger has forgotten that the Service was deleted".to_owned());
        };
        let (uid, to) = (format!("service-{}", service.uid), self.last_flip?);
        let written = intents.iter().any(|it| {
            it.uid == uid && matches!(&it.effect, IntendedChange::Service(after) if after.to == selector(to))
        });
        let known = written || records.flips.iter().any(|it| it.uid == uid && it.to == selector(to));
        (!known).then(|| format!("the ledger has forgotten the flip to {}", to.name()))
    }

    /// The result of a GET of this object.
    pub(crate) fn look(&self, object: &ObjectRef) -> Found {
        let (uid, version, selector) = match Colour::of(object) {
            None => match &self.service {
                Some(it) => (format!("service-{}", it.uid), it.version, selector(it.to)),
                None => return Found::Missing,
            },
            Some(colour) => match self.deployment(colour) {
                Some(it) => (colour.deployment(), it.version, Selector::nothing()),
                None => return Found::Missing,
            },
        };
        Found::There(Seen { uid, version: version.to_string(), deleting: false, selector })
    }
}

/// A step of a controller or of a bystander.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stir {
    /// The Deployment controller creates or deletes Pods as desired.
    Reconcile(Colour),
    /// A desired Pod becomes ready.
    Start(Colour),
    /// The garbage collector deletes the Pods of a deleted Deployment.
    Collect(Colour),
    /// A user edits a label of the Service.
    EditService,
    /// A controller writes a status.
    WriteStatus(Colour),
}

impl Stir {
    pub(crate) fn all() -> Vec<Self> {
        let of =
            |colour| [Self::Reconcile(colour), Self::Start(colour), Self::Collect(colour), Self::WriteStatus(colour)];
        Colour::ALL.into_iter().flat_map(of).chain([Self::EditService]).collect()
    }

    /// The cluster after this step; `None` if the step has nothing to do.
    pub(crate) fn of(self, cluster: &Cluster) -> Option<Cluster> {
        let mut next = cluster.clone();
        match self {
            Self::Reconcile(colour) => {
                let pods = &mut next.pods[colour as usize];
                let it = next.deployments[colour as usize].as_mut()?;
                if it.observed == it.generation {
                    return None;
                }
                it.observed = it.generation;
                it.version += 1;
                // Strategy Recreate: old Pods are deleted before new ones are created.
                if pods.template != it.template || it.desired == 0 {
                    *pods = Pods { ready: 0, template: it.template };
                }
            }
            Self::Start(colour) => {
                let pods = &mut next.pods[colour as usize];
                let it = next.deployments[colour as usize].as_mut()?;
                if pods.ready >= it.desired || it.observed != it.generation || pods.template != it.template {
                    return None;
                }
                pods.ready = it.desired;
                it.version += 1;
            }
            Self::Collect(colour) => {
                let pods = &mut next.pods[colour as usize];
                if cluster.deployment(colour).is_some() || pods.ready == 0 {
                    return None;
                }
                pods.ready = 0;
            }
            Self::EditService => {
                next.noise = next.noise.checked_sub(1)?;
                next.service.as_mut()?.version += 1;
            }
            Self::WriteStatus(colour) => {
                next.noise = next.noise.checked_sub(1)?;
                next.deployment_mut(colour).as_mut()?.version += 1;
            }
        }
        Some(next)
    }
}

impl Read {
    /// All parts, read at one instant.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self {
            services: Some(cluster.service.iter().cloned().collect()),
            deployments: Some(cluster.deployments.clone()),
            pods: Some(cluster.pods.clone()),
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.services.is_some() && self.deployments.is_some() && self.pods.is_some()
    }

    /// The view that flipguard gets. ReplicaSets are read together with their Pods.
    pub(crate) fn view(&self) -> ClusterView {
        let mut view = ClusterView::default();
        for it in self.services.iter().flatten() {
            view.services.push(service(it.uid, it.version, it.to));
        }
        for colour in Colour::ALL {
            let pods = self.pods.as_ref().map(|pods| pods[colour as usize].clone()).unwrap_or_default();
            if let Some(it) = self.deployments.as_ref().and_then(|all| all[colour as usize].clone()) {
                view.workloads.push(deployment(colour, &it, pods.ready));
            }
            view.workloads.push(replica_set(colour, pods.template));
            for _ in 0..pods.ready {
                view.pods.push(pod(colour));
            }
        }
        view
    }
}

pub(crate) fn selector(colour: Colour) -> Selector {
    Selector::new(labels(colour))
}

fn labels(colour: Colour) -> BTreeMap<String, String> {
    [("app", "shop"), ("color", colour.name())].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

pub(crate) fn service(uid: u8, version: u8, to: Colour) -> Service {
    let metadata = json!({ "name": "app", "namespace": "shop", "uid": format!("service-{uid}"),
        "resourceVersion": version.to_string() });
    parse(json!({ "metadata": metadata, "spec": { "selector": labels(to), "ports": [{ "port": 80 }] } }))
}

pub(crate) fn deployment(colour: Colour, it: &TheDeployment, ready: u8) -> Workload {
    let metadata = json!({
        "name": colour.deployment(), "namespace": "shop", "uid": colour.deployment(),
        "resourceVersion": it.version.to_string(), "generation": it.generation,
        "annotations": { annotation::REVISION: it.template.to_string() },
    });
    let ready = if it.observed == it.generation { ready.min(it.desired) } else { ready };
    let manifest: WorkloadManifest = parse(json!({
        "metadata": metadata,
        "spec": { "replicas": it.desired, "strategy": { "type": "Recreate" }, "template": template(colour, it.template) },
        "status": { "observedGeneration": it.observed, "replicas": ready, "updatedReplicas": ready,
            "readyReplicas": ready, "availableReplicas": ready },
    }));
    manifest.into_workload(WorkloadKind::Deployment)
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

fn replica_set(colour: Colour, number: u8) -> Workload {
    let uid = format!("{}-rs", colour.deployment());
    let manifest: WorkloadManifest = parse(json!({
        "metadata": { "name": uid, "namespace": "shop", "uid": uid, "resourceVersion": "1",
            "annotations": { annotation::REVISION: number.to_string() },
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": owned_by("Deployment", &colour.deployment()) },
        "spec": { "replicas": 1, "template": template(colour, number) },
    }));
    manifest.into_workload(WorkloadKind::ReplicaSet)
}

fn pod(colour: Colour) -> Pod {
    let metadata = json!({ "name": format!("{}-pod", colour.deployment()), "namespace": "shop",
        "uid": format!("{}-pod", colour.deployment()), "labels": labels(colour),
        "ownerReferences": owned_by("ReplicaSet", &format!("{}-rs", colour.deployment())) });
    parse(json!({
        "metadata": metadata,
        "status": { "phase": "Running", "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] },
    }))
}

fn parse<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap_or_else(|error| panic!("the model is wrong: {error}"))
}
