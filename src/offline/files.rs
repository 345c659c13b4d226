//! A cluster as files, in the format of `kubectl get -o yaml` or `-o json`. A file may hold several documents and
//! Lists.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::audit::extras::Extras;
use crate::model::{
    ClusterView, GateJob, Labels, Meta, Pod, ReadFailure, Service, Workload, WorkloadKind, WorkloadManifest,
};

/// The objects of one or several files.
#[derive(Debug, Default)]
pub struct Manifests {
    objects: Vec<Manifest>,
}

/// One object with its place in a file.
#[derive(Debug)]
pub struct Manifest {
    /// The file and the number of the object in it: `cluster.yaml, object 3`.
    pub place: String,
    /// The object as JSON.
    pub object: Value,
}

/// The reason why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be opened.
    #[error("cannot read `{file}`: {why}")]
    Open {
        /// The path of the file.
        file: String,
        /// The error of the operating system.
        why: std::io::Error,
    },
    /// The file is neither YAML nor JSON.
    #[error("`{file}` is neither YAML nor JSON: {why}")]
    Syntax {
        /// The path of the file.
        file: String,
        /// The error of the parser, in one line.
        why: String,
    },
    /// An object has an invalid field.
    #[error("{place}: {why}")]
    Object {
        /// The file and the number of the object in it.
        place: String,
        /// The field and its error.
        why: String,
    },
}

impl Manifests {
    /// Reads files; `-` is standard input.
    ///
    /// # Errors
    /// When a file cannot be read, is neither YAML nor JSON, or contains a value that is not a Kubernetes object.
    pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Self, FileError> {
        let mut manifests = Self::default();
        for file in files {
            let file = file.as_ref();
            let name = file.display().to_string();
            let opened = |why| FileError::Open { file: name.clone(), why };
            let text = if name == "-" {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(opened)?;
                text
            } else {
                fs::read_to_string(file).map_err(opened)?
            };
            manifests.add(&name, documents(&name, &text)?)?;
        }
        Ok(manifests)
    }

    /// Parses a text. Errors name it `file`.
    ///
    /// # Errors
    /// When the text is neither YAML nor JSON, or contains a value that is not a Kubernetes object.
    pub fn parse(file: &str, text: &str) -> Result<Self, FileError> {
        Self::of(file, documents(file, text)?)
    }

    /// Takes decoded objects. Errors name them `place`.
    ///
    /// # Errors
    /// When a value is not a Kubernetes object.
    pub fn of(place: &str, objects: Vec<Value>) -> Result<Self, FileError> {
        let mut manifests = Self::default();
        manifests.add(place, objects)?;
        Ok(manifests)
    }

    /// All objects, in the order of the files.
    #[must_use]
    pub fn objects(&self) -> &[Manifest] {
        &self.objects
    }

    /// The Service of this name.
    ///
    /// # Errors
    /// When a field that rules read has the wrong type.
    pub fn service(&self, namespace: &str, name: &str) -> Result<Option<Service>, FileError> {
        let found = self.services_named(name).find(|object| object.is_in(namespace));
        found.map(Manifest::service).transpose()
    }

    /// The workload of this kind and name.
    ///
    /// # Errors
    /// When a field that rules read has the wrong type.
    pub fn workload(&self, kind: WorkloadKind, namespace: &str, name: &str) -> Result<Option<Workload>, FileError> {
        self.stored(kind, namespace, name).map(|object| object.workload(kind, namespace)).transpose()
    }

    /// The manifest of the workload of this kind and name.
    #[must_use]
    pub fn stored(&self, kind: WorkloadKind, namespace: &str, name: &str) -> Option<&Manifest> {
        let is_it = |object: &&Manifest| {
            object.is_a(kind.name(), "apps/v1") && object.name() == name && object.is_in(namespace)
        };
        self.objects.iter().find(is_it)
    }

    /// All Services of this name, in any namespace.
    pub fn services_named(&self, name: &str) -> impl Iterator<Item = &Manifest> {
        self.objects.iter().filter(move |object| object.is_a("Service", "v1") && object.name() == name)
    }

    /// The labels of a namespace; `None` where the files do not hold it.
    ///
    /// # Errors
    /// When a label has the wrong type.
    pub fn namespace_labels(&self, namespace: &str) -> Result<Option<Labels>, FileError> {
        #[derive(Deserialize)]
        struct Namespace {
            metadata: Meta,
        }
        let found = self.objects.iter().find(|object| object.is_a("Namespace", "v1") && object.name() == namespace);
        found.map(|object| object.decode::<Namespace>().map(|namespace| namespace.metadata.labels)).transpose()
    }

    /// The objects of a namespace that only the audit reads. Every kind counts as read.
    ///
    /// # Errors
    /// When a field that checks read has the wrong type.
    pub fn extras(&self, namespace: &str) -> Result<Extras, FileError> {
        Ok(Extras {
            budgets: Some(self.all("PodDisruptionBudget", "policy/v1", namespace)?),
            autoscalers: Some(self.all("HorizontalPodAutoscaler", "autoscaling/v2", namespace)?),
            claims: Some(self.all("PersistentVolumeClaim", "v1", namespace)?),
            jobs: Some(self.all("Job", "batch/v1", namespace)?),
            ingresses: Some(self.all("Ingress", "networking.k8s.io/v1", namespace)?),
            reaches: Some(self.all("Service", "v1", namespace)?),
            slices: Some(self.all("EndpointSlice", "discovery.k8s.io/v1", namespace)?),
            stateful_sets: Some(self.all("StatefulSet", "apps/v1", namespace)?),
            http_routes: Some(self.all("HTTPRoute", "gateway.networking.k8s.io/v1", namespace)?),
            rollouts: Some(self.all("Rollout", "argoproj.io/v1alpha1", namespace)?),
            routes: Some(self.all("Route", "route.openshift.io/v1", namespace)?),
            skipped: Vec::new(),
        })
    }

    fn all<T: DeserializeOwned>(&self, kind: &str, api_version: &str, namespace: &str) -> Result<Vec<T>, FileError> {
        let wanted = |object: &&Manifest| object.is_a(kind, api_version) && object.is_in(namespace);
        self.objects.iter().filter(wanted).map(Manifest::decode).collect()
    }

    /// All objects of a namespace that rules read. An object without a namespace belongs to every namespace.
    ///
    /// # Errors
    /// When a field that rules read has the wrong type.
    pub fn view(&self, namespace: &str) -> Result<ClusterView, FileError> {
        let mut view = ClusterView::default();
        for object in self.objects.iter().filter(|object| object.is_in(namespace)) {
            if object.is_a("Service", "v1") {
                let mut service = object.service()?;
                namespace.clone_into(&mut service.meta.namespace);
                view.services.push(service);
            } else if object.is_a("Pod", "v1") {
                let mut pod: Pod = object.decode()?;
                namespace.clone_into(&mut pod.meta.namespace);
                view.pods.push(pod);
            } else if let Some(kind) = WorkloadKind::ALL.into_iter().find(|kind| object.is_a(kind.name(), "apps/v1")) {
                view.workloads.push(object.workload(kind, namespace)?.as_listed());
            } else if object.is_a("Job", "batch/v1") {
                let job: GateJob = object.decode()?;
                view.owners.insert(job.meta.uid.clone(), Some(true));
                view.jobs.extend(Some(job).filter(|job| job.gate().is_some()));
            } else if object.is_a("ControllerRevision", "apps/v1") {
                view.revisions.push(object.decode()?);
            } else if let Some(uid) = object.object.pointer("/metadata/uid").and_then(Value::as_str) {
                view.owners.insert(uid.to_owned(), Some(true));
            }
        }
        view.failures = left_out(&view, namespace);
        Ok(view)
    }

    fn add(&mut self, file: &str, objects: Vec<Value>) -> Result<(), FileError> {
        for object in objects {
            let place = format!("{file}, object {}", self.objects.len() + 1);
            let is_list = object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
            match object.get("items").and_then(Value::as_array) {
                Some(items) if is_list => self.add(file, items.clone())?,
                _ if object.get("kind").is_none_or(|kind| !kind.is_string()) => {
                    return Err(FileError::Object { place, why: "`kind` is missing; give whole manifests".to_owned() });
                }
                _ if object.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) => {
                    let why = "`metadata.name` is missing; give whole manifests".to_owned();
                    return Err(FileError::Object { place, why });
                }
                _ => self.objects.push(Manifest { place, object }),
            }
        }
        Ok(())
    }
}

impl Manifest {
    /// `kind` of the object.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.object.get("kind").and_then(Value::as_str).unwrap_or("")
    }

    /// Whether the object has this kind and API version. Without an `apiVersion`, the kind decides.
    #[must_use]
    pub fn is_a(&self, kind: &str, api_version: &str) -> bool {
        let own = self.object.get("apiVersion").and_then(Value::as_str);
        self.kind() == kind && own.is_none_or(|own| own == api_version)
    }

    /// `metadata.name` of the object; empty if absent.
    #[must_use]
    pub fn name(&self) -> &str {
        self.object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("")
    }

    /// `metadata.namespace` of the object; `None` if absent.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.object.pointer("/metadata/namespace").and_then(Value::as_str)
    }

    /// The object as a Service.
    ///
    /// # Errors
    /// When a field that rules read has the wrong type.
    pub fn service(&self) -> Result<Service, FileError> {
        self.decode()
    }

    /// This object, merged with another one. Maps are merged, lists of named items are merged by name, and all other
    /// values are replaced. This is a simplification of a strategic merge.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut object = self.object.clone();
        apply(&mut object, &other.object);
        Self { place: other.place.clone(), object }
    }

    /// The object as a workload of its kind.
    ///
    /// # Errors
    /// When a field that rules read has the wrong type.
    pub fn workload(&self, kind: WorkloadKind, namespace: &str) -> Result<Workload, FileError> {
        let mut workload = self.decode::<WorkloadManifest>()?.into_workload(kind);
        namespace.clone_into(&mut workload.meta.namespace);
        Ok(workload)
    }

    fn is_in(&self, namespace: &str) -> bool {
        self.namespace().is_none_or(|own| own == namespace)
    }

    fn decode<T: DeserializeOwned>(&self) -> Result<T, FileError> {
        serde_path_to_error::deserialize(&self.object).map_err(|error| {
            let inner = error.inner().to_string();
            let is_number = inner.contains("expected a string")
                && ["floating point", "integer", "boolean"].iter().any(|kind| inner.contains(kind));
            let fix = if is_number { "; put it in quotes" } else { "" };
            let why = format!("{} {}: `{}`: {inner}{fix}", self.kind(), self.name(), error.path());
            let why = why.replace(char::is_control, " ");
            FileError::Object { place: self.place.clone(), why }
        })
    }
}

/// The documents of a text. The limits of the YAML parser are raised, because the export of a namespace is large.
pub(crate) fn documents(file: &str, text: &str) -> Result<Vec<Value>, FileError> {
    let syntax = |why: String| FileError::Syntax { file: file.to_owned(), why };
    // JSON is tried first, because it is faster. A text that begins with a brace may still be YAML.
    if text.trim_start().starts_with('{') {
        let stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        if let Ok(documents) = stream.collect() {
            return Ok(documents);
        }
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 50_000_000,
            max_nodes: 20_000_000,
            max_documents: 100_000,
            max_total_scalar_bytes: text.len() + (64 << 20),
            max_recorded_anchor_events: 100_000,
        },
        // The output of `kubectl` contains no aliases. The limit prevents a short text from expanding to a large one.
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| syntax(error.to_string().replace(char::is_control, " ")))
}

fn apply(into: &mut Value, from: &Value) {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                apply(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) if from.iter().all(|item| name(item).is_some()) => {
            let merged = from.iter().map(|item| {
                let stored = into.iter().find(|stored| name(stored) == name(item)).cloned();
                let mut merged = stored.unwrap_or(Value::Null);
                apply(&mut merged, item);
                merged
            });
            *into = merged.collect();
        }
        (into, from) => into.clone_from(from),
    }
}

/// Missing parts of the workloads, reported as failed reads. Files without the Pods or ReplicaSets of a workload, or
/// without any workload, cannot show whether anything is ready.
fn left_out(view: &ClusterView, namespace: &str) -> Vec<ReadFailure> {
    let unread = |what: &str| ReadFailure {
        what: format!("{what} in namespace {namespace}"),
        why: "the files hold none".to_owned(),
        remedy: Some(format!("Export all: kubectl -n {namespace} get svc,deploy,sts,ds,rs,pods -o yaml")),
    };
    if view.workloads.is_empty() && view.pods.is_empty() {
        return vec![unread("workloads and pods")];
    }
    let running = |kind: Option<WorkloadKind>| {
        view.workloads
            .iter()
            .any(|workload| kind.is_none_or(|kind| workload.kind == kind) && workload.counts.replicas > 0)
    };
    let mut unreads = Vec::new();
    let has_replica_sets = view.workloads.iter().any(|workload| workload.kind == WorkloadKind::ReplicaSet);
    if running(Some(WorkloadKind::Deployment)) && !has_replica_sets {
        unreads.push(unread("replicasets"));
    }
    if running(None) && view.pods.is_empty() {
        unreads.push(unread("pods"));
    }
    unreads
}
