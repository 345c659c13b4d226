//! Gates: what has to be proved before a flip, and the proofs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Meta, Timestamp, annotation};
use job::Manifest;

/// The label of a Job that is a test for a gate; its value is the name of the gate.
pub const GATE_LABEL: &str = "flipguard.dev/gate";
/// The beginning of the annotations on a workload by which a gate is passed or approved; the name of the gate follows.
pub const GATE_PREFIX: &str = "flipguard.dev/gate.";

/// A gate that a policy demands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// Who or what proves it.
    pub kind: GateKind,
    /// The images that a Job may run; `*` stands for anything. Empty for any image, and for the other kinds.
    pub images: Vec<String>,
    /// How old a proof may be.
    pub max_age: Duration,
    /// The policy that demands it.
    pub policy: String,
}

/// Who or what proves a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GateKind {
    /// A Job that completes.
    Job,
    /// A user or a pipeline that tells of a test outside the cluster.
    Attestation,
    /// A user, who is not the one that flips.
    Approval,
}

/// A right on a gate: the verb on `bluegreenpolicies/gates` with the gate as the name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GateRight {
    /// `pass` or `approve`.
    pub verb: &'static str,
    /// The gate.
    pub gate: String,
}

impl Gate {
    /// Whether two gates demand the same, whichever policy says it.
    #[must_use]
    pub fn demands_as(&self, other: &Self) -> bool {
        (&self.name, self.kind, &self.images, self.max_age) == (&other.name, other.kind, &other.images, other.max_age)
    }

    /// The right that its proof needs.
    #[must_use]
    pub fn right(&self) -> GateRight {
        GateRight { verb: self.kind.verb(), gate: self.name.clone() }
    }

    /// The first of these images that a Job for this gate may not run.
    #[must_use]
    pub fn refused<'a>(&self, images: &'a [String]) -> Option<&'a str> {
        let is_allowed = |image: &&String| self.images.is_empty() || self.images.iter().any(|glob| fits(glob, image));
        images.iter().find(|image| !is_allowed(image)).map(String::as_str)
    }
}

impl GateKind {
    /// The verb that its proof needs.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Job | Self::Attestation => "pass",
            Self::Approval => "approve",
        }
    }

    /// The kind as policies spell it: `Job`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::Attestation => "Attestation",
            Self::Approval => "Approval",
        }
    }
}

/// Whether a text fits a pattern in which `*` stands for anything. Each part is taken at its first place, the last one at
/// the end.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(end)
}

/// What was tested: a Pod template, and the images that its Pods run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tested {
    /// SHA-256 of the Pod template, in hexadecimal digits.
    pub template: String,
    /// SHA-256 of the image IDs of its Pods; `None` while none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<String>,
}

impl Tested {
    /// Reads the two hashes of `<template> <images>`; `-` stands for no images.
    #[must_use]
    pub fn parse(template: &str, images: &str) -> Option<Self> {
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let images = Some(images).filter(|images| *images != "-");
        (is_hash(template) && images.is_none_or(is_hash))
            .then(|| Self { template: template.to_owned(), images: images.map(str::to_owned) })
    }
}

/// Writes both hashes: `<template> <images>`.
impl std::fmt::Display for Tested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.template, self.images.as_deref().unwrap_or("-"))
    }
}

/// One proof: a finished Job, or a statement of a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Who or what proved it.
    pub kind: GateKind,
    /// What was tested.
    pub tested: Tested,
    /// Whether the test passed. Statements always say so.
    pub passed: bool,
    /// When the Job finished, or the statement was made.
    pub at: Timestamp,
    /// Who made the statement. For a Job, who deleted it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The uid of the Job, or the address that the statement names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
}

impl Proof {
    /// Who or what passed the gate: `passed by job 5c1f…`, `approved by bob`.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { user, evidence, .. } = self;
        match self.kind {
            GateKind::Job => format!("passed by job {evidence}"),
            GateKind::Attestation if evidence.is_empty() => format!("passed by {user}"),
            GateKind::Attestation => format!("passed by {user} ({evidence})"),
            GateKind::Approval => format!("approved by {user}"),
        }
    }
}

/// The proofs of one gate about one workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proofs {
    /// The gate.
    pub gate: String,
    /// The workload: `deployment/app-green`.
    pub target: String,
    /// The newest proof of each template and kind, the oldest first.
    pub proofs: Vec<Proof>,
}

impl Proofs {
    /// The number of proofs that are kept of a gate and a workload.
    pub const MOST: usize = 8;
    /// How long a proof is kept. No gate accepts an older one.
    pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

    /// Adds a proof. Of the same kind about the same things, the newest stays.
    pub fn add(&mut self, proof: Proof) {
        // Each approval stays: who flips must not be the only one who approved.
        let is_same = |other: &Proof| {
            other.kind == proof.kind
                && other.tested == proof.tested
                && (proof.kind != GateKind::Approval || other.user == proof.user)
        };
        if self.proofs.iter().any(|other| is_same(other) && other.at > proof.at) {
            return;
        }
        self.proofs.retain(|other| !is_same(other));
        self.proofs.push(proof);
        self.proofs.sort_by_key(|proof| proof.at);
        let excess = self.proofs.len().saturating_sub(Self::MOST);
        self.proofs.drain(..excess);
    }
}

/// A `batch/v1` Job with the label of a gate, reduced to the fields that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Manifest")]
pub struct GateJob {
    /// `metadata`.
    pub meta: Meta,
    /// The images of all its containers.
    pub images: Vec<String>,
    /// `spec.managedBy`, where another controller than Kubernetes' own says how the Job ends.
    pub foreign_controller: Option<String>,
    /// How it ended.
    pub end: Option<JobEnd>,
}

/// The end of a Job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobEnd {
    /// Whether it is complete.
    pub passed: bool,
    /// When it ended.
    pub at: Timestamp,
}

impl GateJob {
    /// The gate that it is a test for.
    #[must_use]
    pub fn gate(&self) -> Option<&str> {
        self.meta.labels.get(GATE_LABEL).map(String::as_str)
    }

    /// The workload that it tests: `deployment/app-green`.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.meta.annotation(annotation::TARGET)
    }

    /// What it tests, as flipguard wrote down when it was created.
    #[must_use]
    pub fn tested(&self) -> Option<Tested> {
        let (template, images) = self.meta.annotation(annotation::TESTED)?.split_once(' ')?;
        Tested::parse(template, images)
    }

    /// Its proof, once it has ended.
    #[must_use]
    pub fn proof(&self) -> Option<Proof> {
        let JobEnd { passed, at } = self.end?;
        let (user, evidence) = (String::new(), self.meta.uid.clone());
        Some(Proof { kind: GateKind::Job, tested: self.tested()?, passed, at, user, evidence })
    }
}

/// The JSON of Jobs.
mod job {
    use serde::Deserialize;

    use super::{GateJob, JobEnd};
    use crate::model::time::lenient;
    use crate::model::{Meta, Timestamp};

    /// The controller that is built into Kubernetes (`batch/v1`, `JobControllerName`).
    const OWN: &str = "kubernetes.io/job-controller";

    #[derive(Deserialize)]
    pub(super) struct Manifest {
        metadata: Meta,
        spec: Option<JobSpec>,
        status: Option<JobStatus>,
    }

    /// `spec` of a Job.
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct JobSpec {
        template: Option<Template>,
        managed_by: Option<String>,
    }

    #[derive(Default, Deserialize)]
    struct Template {
        spec: Option<PodSpec>,
    }

    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PodSpec {
        containers: Option<Vec<Container>>,
        init_containers: Option<Vec<Container>>,
    }

    #[derive(Deserialize)]
    struct Container {
        #[serde(default)]
        image: String,
    }

    /// `status` of a Job.
    #[derive(Default, Deserialize)]
    pub struct JobStatus {
        conditions: Option<Vec<Condition>>,
        /// How many of its Pods have succeeded.
        succeeded: Option<i64>,
    }

    #[derive(Deserialize)]
    struct Condition {
        #[serde(rename = "type")]
        kind: String,
        status: String,
        #[serde(default, rename = "lastTransitionTime", deserialize_with = "lenient")]
        since: Option<Timestamp>,
    }

    impl GateJob {
        /// Builds the Job from its parts.
        #[must_use]
        pub fn new(meta: Meta, spec: JobSpec, status: &JobStatus) -> Self {
            let JobSpec { template, managed_by } = spec;
            let pod = template.unwrap_or_default().spec.unwrap_or_default();
            let containers = [pod.init_containers, pod.containers].into_iter().flatten().flatten();
            let end = status.conditions.iter().flatten().find_map(|condition| {
                let passed = match condition.kind.as_str() {
                    "Complete" => true,
                    "Failed" => false,
                    _ => return None,
                };
                // An indexed Job is complete as soon as its completions are set to 0: then nothing was tested.
                let passed = passed && status.succeeded.unwrap_or(0) > 0;
                (condition.status == "True").then_some(JobEnd { passed, at: condition.since? })
            });
            Self {
                meta,
                images: containers.map(|container| container.image).collect(),
                foreign_controller: managed_by.filter(|by| by != OWN),
                end,
            }
        }
    }

    impl From<Manifest> for GateJob {
        fn from(manifest: Manifest) -> Self {
            Self::new(manifest.metadata, manifest.spec.unwrap_or_default(), &manifest.status.unwrap_or_default())
        }
    }
}

pub use job::{JobSpec, JobStatus};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_fit_globs() {
        for (glob, image, expected) in [
            ("registry.example/smoke@sha256:*", "registry.example/smoke@sha256:01", true),
            ("registry.example/smoke@sha256:*", "registry.example/smoke:1", false),
            ("registry.example/smoke:*", "evil.example/registry.example/smoke:1", false),
            ("*/smoke:1", "registry.example/smoke:1", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("a*a", "a", false),
            ("smoke:1", "smoke:1", true),
            ("smoke:1", "smoke:12", false),
        ] {
            assert_eq!(fits(glob, image), expected, "{glob} {image}");
        }
    }

    #[test]
    fn of_equal_proofs_the_newest_stays_and_there_are_few() {
        let proof = |template: usize, at| Proof {
            kind: GateKind::Job,
            tested: Tested { template: format!("{template:064}"), images: None },
            passed: at % 2 == 0,
            at: Timestamp(at),
            user: String::new(),
            evidence: String::new(),
        };
        let mut proofs = Proofs { gate: "smoke".to_owned(), target: "deployment/app".to_owned(), proofs: Vec::new() };
        for (template, at) in [(1, 10), (1, 11), (1, 9)] {
            proofs.add(proof(template, at));
        }
        assert_eq!(proofs.proofs, [proof(1, 11)]);
        (2..20).for_each(|number| proofs.add(proof(number, 20)));
        assert_eq!(proofs.proofs.len(), Proofs::MOST);
        assert!(!proofs.proofs.contains(&proof(1, 11)), "the oldest goes");
    }

    #[test]
    fn a_job_ends_by_its_conditions() {
        let job = |conditions: &str| {
            let text = format!(
                r#"{{"metadata":{{"name":"j","uid":"u","labels":{{"flipguard.dev/gate":"smoke"}},"annotations":
                {{"flipguard.dev/tested":"{0} -"}}}},"spec":{{"managedBy":"kubernetes.io/job-controller","template":
                {{"spec":{{"initContainers":[{{"image":"a"}}],"containers":[{{"image":"b"}}]}}}}}},
                "status":{{"conditions":[{conditions}]}}}}"#,
                "0".repeat(64)
            );
            serde_json::from_str::<GateJob>(&text).unwrap()
        };
        let soon = r#"{"type":"SuccessCriteriaMet","status":"True","lastTransitionTime":"2030-01-01T00:00:00Z"}"#;
        let running = job(soon);
        assert_eq!((running.proof(), running.gate(), &running.foreign_controller), (None, Some("smoke"), &None));
        assert_eq!(running.images, ["a", "b"]);
        let failed = job(r#"{"type":"Failed","status":"True","lastTransitionTime":"2030-01-01T00:00:00Z"}"#);
        let proof = failed.proof().unwrap();
        assert_eq!((proof.passed, proof.at, proof.tested.images), (false, Timestamp(1_893_456_000), None));
    }
}
