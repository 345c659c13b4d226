//! Does the target of a flip have a valid proof for each gate?

use super::tested::{is_pinned, tested};
use crate::model::{ClusterView, Gate, GateKind, Pod, Policy, Proof, Tested, Timestamp, User, Workload, setting};
use crate::rules::state::backends::Backends;
use crate::rules::wording::{Remedy, in_words, object, pods, roughly};
use crate::rules::{Finding, Reason};

/// A flip, as far as gates ask about it.
pub(in crate::rules) struct Flip<'a> {
    pub(in crate::rules) target: &'a Backends<'a>,
    pub(in crate::rules) view: &'a ClusterView,
    pub(in crate::rules) policy: &'a Policy,
    pub(in crate::rules) user: &'a User,
    pub(in crate::rules) namespace: &'a str,
    pub(in crate::rules) now: Timestamp,
}

/// The findings about gates without a valid proof, one for each gate and workload of the target.
///
/// That the current colour has no ready Pod is no exception: whoever may delete Pods could then pass every gate.
pub(in crate::rules) fn findings(flip: &Flip<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for gate in &flip.policy.gates {
        findings.extend(flip.target.wanted().filter_map(|workload| missing(gate, workload, flip)));
        findings.extend(bare(gate, flip));
    }
    findings
}

/// The most workloads of which the facts tell. An app has one or two.
const MOST_FACTS: usize = 8;

/// The gates of a flip, each in a few words: `smoke: deployment/app-green passed by job 5c1f…`. They are facts for the audit
/// log and the history.
pub(in crate::rules) fn facts(flip: &Flip<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    for gate in &flip.policy.gates {
        for workload in flip.target.wanted().take(MOST_FACTS) {
            let proved = Proved { gate, workload, flip, tested: tested(workload, flip.view) }.valid();
            let words = proved.map_or_else(|_| "not passed".to_owned(), |proof| proof.words());
            facts.push(format!("{}: {} {words}", gate.name, object(workload)));
        }
    }
    facts
}

/// Pods without a workload have no template that a test could be bound to.
fn bare(gate: &Gate, flip: &Flip<'_>) -> Option<Finding> {
    // Pods of a Job beside a workload are tests of it. Alone, they would be the target.
    let is_alone = flip.target.wanted().next().is_none();
    let counts = |pod: &&&Pod| pod.serves() && (is_alone || !pod.is_of_a_job());
    let bare = flip.target.unowned.iter().filter(counts).count();
    (bare > 0).then(|| {
        let message = format!("{} cannot be proved for {} without a workload", gate.name, pods(bare, ""));
        let remedy = Remedy::words("Run them by a Deployment, a StatefulSet or a DaemonSet");
        Finding::new(Reason::GateNotPassed, message, remedy).said_by(Some(gate.policy.as_str()))
    })
}

fn missing(gate: &Gate, workload: &Workload, flip: &Flip<'_>) -> Option<Finding> {
    let why = Proved { gate, workload, flip, tested: tested(workload, flip.view) }.valid().err()?;
    let message = format!("{} {why}", gate.name);
    let finding = Finding::new(Reason::GateNotPassed, message, remedy(gate, workload, flip.namespace));
    let of_a_job = Some(format!(
        "Its Job has the label flipguard.dev/gate={} and the annotation flipguard.dev/target={}.",
        gate.name,
        object(workload)
    ));
    let details = of_a_job.filter(|_| gate.kind == GateKind::Job).into_iter().collect();
    let finding = finding.with_details(details);
    Some(finding.said_by(flip.policy.source(setting::GATES).map(|_| gate.policy.as_str())))
}

/// One gate and one workload.
struct Proved<'a> {
    gate: &'a Gate,
    workload: &'a Workload,
    flip: &'a Flip<'a>,
    /// What the workload is now.
    tested: Tested,
}

impl Proved<'_> {
    /// The proof by which the gate is passed.
    ///
    /// # Errors
    /// Why it is not passed, in words.
    fn valid(&self) -> Result<Proof, String> {
        let Self { gate, workload, flip, .. } = self;
        let all = self.proofs();
        let current: Vec<&Proof> = all.iter().filter(|proof| self.is_current(proof)).collect();
        let by_others = || current.iter().copied().filter(|proof| self.is_by_somebody_else(proof));
        // Of two that ended in the same second, the failure counts.
        let Some(newest) = by_others().max_by_key(|proof| (proof.at, !proof.passed)) else {
            return Err(self.why_none(&all, &current));
        };
        let ago = flip.now.since(newest.at);
        if !newest.passed {
            return Err(format!("failed for {workload} {} ago", roughly(ago)));
        }
        if ago > gate.max_age {
            let age = in_words(gate.max_age);
            return Err(format!("was proved for {workload} {} ago, and a proof counts for {age}", roughly(ago)));
        }
        Ok(newest.clone())
    }

    /// Why no proof is about what the workload is now.
    fn why_none(&self, all: &[Proof], current: &[&Proof]) -> String {
        let workload = self.workload;
        if let Some(own) = current.first() {
            return format!("was approved for {workload} by {} alone, and somebody else has to flip", own.user);
        }
        if self.runs() {
            return format!("still runs for {workload}");
        }
        let same: Vec<&Proof> = all.iter().filter(|proof| proof.tested.template == self.tested.template).collect();
        if same.iter().any(|proof| proof.tested.images.is_some()) {
            return format!("was proved with other images of {workload}: a tag has moved");
        }
        if !same.is_empty() {
            return format!("was proved for {workload} before any of its pods ran");
        }
        if all.is_empty() {
            return format!("has no proof for {workload}");
        }
        format!("was proved for another Pod template of {workload}")
    }

    /// All proofs of this gate about this workload: those on record, and those of Jobs.
    fn proofs(&self) -> Vec<Proof> {
        let Self { gate, workload, flip, .. } = self;
        let target = object(workload);
        let of_gate = flip.view.records.proofs.iter().filter(|of| of.gate == gate.name && of.target == target);
        let on_record = of_gate.flat_map(|of| &of.proofs).filter(|proof| proof.kind == gate.kind).cloned();
        let is_of_job = gate.kind == GateKind::Job;
        let jobs = flip.view.jobs.iter().filter(|job| {
            is_of_job
                && job.gate() == Some(gate.name.as_str())
                && job.target() == Some(target.as_str())
                && job.foreign_controller.is_none()
                && gate.refused(&job.images).is_none()
        });
        on_record.chain(jobs.filter_map(crate::model::GateJob::proof)).collect()
    }

    /// Whether a proof is about what the workload is now.
    fn is_current(&self, proof: &Proof) -> bool {
        let images = match &proof.tested.images {
            Some(images) => self.tested.images.as_ref() == Some(images),
            // Nobody knows what a tag stood for before any Pod ran. A failure counts all the same.
            None => !proof.passed || is_pinned(&self.workload.template),
        };
        proof.tested.template == self.tested.template && images
    }

    fn is_by_somebody_else(&self, proof: &Proof) -> bool {
        self.gate.kind != GateKind::Approval || proof.user != self.flip.user.name
    }

    /// Whether a Job of this gate tests what the workload is now.
    fn runs(&self) -> bool {
        let target = object(self.workload);
        self.gate.kind == GateKind::Job
            && self.flip.view.jobs.iter().any(|job| {
                let is_it = job.gate() == Some(self.gate.name.as_str()) && job.target() == Some(target.as_str());
                is_it && job.end.is_none() && job.tested().is_some_and(|of| of.template == self.tested.template)
            })
    }
}

fn remedy(gate: &Gate, workload: &Workload, namespace: &str) -> Remedy {
    let target = object(workload);
    let name = &gate.name;
    let command = |verb: &str| Some(format!("flipguard gate {verb} {name} {target} -n {namespace}"));
    match gate.kind {
        GateKind::Job => Remedy::words("Run a Job for it"),
        GateKind::Attestation => Remedy { words: "Test it, and say so".to_owned(), command: command("pass") },
        GateKind::Approval => Remedy { words: "Let somebody else approve it".to_owned(), command: command("approve") },
    }
}
