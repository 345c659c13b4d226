//! May this user make this proof?
//!
//! A proof of a Job is made when the Job is created: flipguard writes down what it tests. A proof by a user is made by an
//! annotation on the workload.

use std::time::Duration;

use super::NewProof;
use super::statement::Statement;
use super::tested::tested;
use crate::model::{
    Change, ClusterView, Gate, GateJob, GateKind, GateRight, Policy, Proof, ReadRequest, Selector, Timestamp, Workload,
    WorkloadKind, Write, annotation,
};
use crate::rules::wording::{Remedy, object};
use crate::rules::{Finding, Reason, filter};

/// How far the time in a statement may be from the API server's: the clock of a client, and the way of the request.
const DRIFT: Duration = Duration::from_secs(300);

/// The largest size of a statement, in bytes. The ledger keeps eight of each gate and workload.
const MAX_STATEMENT: usize = 1024;

/// The reads that a write of a gate's annotation needs; none where it proves nothing.
pub(in crate::rules) fn statement_reads(old: &Workload, new: &Workload, policy: &Policy) -> ReadRequest {
    let rights: Vec<GateRight> = stated(old, new, policy).map(|(gate, _)| gate.right()).collect();
    if rights.is_empty() {
        return ReadRequest::default();
    }
    // All Pods of the workload have the labels of its template.
    let pods = Some(Selector::new(new.template.labels.clone()));
    ReadRequest { pods, gate_rights: distinct(rights), ..ReadRequest::default() }
}

/// The reads that a new Job needs.
#[must_use]
pub fn job_reads(job: &GateJob, policy: &Policy, with_rights: bool) -> ReadRequest {
    let gates: Vec<&Gate> = gates_of(job, policy).collect();
    if gates.is_empty() {
        return ReadRequest::default();
    }
    let rights = if with_rights { gates.into_iter().map(Gate::right).collect() } else { Vec::new() };
    let pods = Some(Selector::nothing());
    ReadRequest { pods, gate_rights: distinct(rights), ..ReadRequest::default() }
}

/// The workload that a Job tests, where it names one that exists.
#[must_use]
pub fn target<'a>(job: &GateJob, view: &'a ClusterView) -> Option<&'a Workload> {
    let (kind, name) = job.target()?.split_once('/')?;
    view.workload(WorkloadKind::of_singular(kind)?, name)
}

/// The findings about a write of a Job, and its proof, where the write ends what can be read of it.
pub(in crate::rules) fn of_job(
    change: &Change,
    view: &ClusterView,
    policy: &Policy,
) -> (Vec<Finding>, Option<NewProof>) {
    match &change.write {
        Write::JobCreate { new } => (created(new, change, view, policy).into_iter().collect(), None),
        Write::JobUpdate { old, new } => {
            let goes = filter::releases(old, new);
            (changed(old, new).into_iter().collect(), goes.then(|| left(old, change, policy)).flatten())
        }
        Write::JobDelete { old } => (Vec::new(), left(old, change, policy)),
        _ => (Vec::new(), None),
    }
}

/// The proof that a Job leaves behind.
fn left(job: &GateJob, change: &Change, policy: &Policy) -> Option<NewProof> {
    gates_of(job, policy).next().and_then(|gate| kept(gate, job, change))
}

fn created(job: &GateJob, change: &Change, view: &ClusterView, policy: &Policy) -> Option<Finding> {
    let mut gates = gates_of(job, policy).peekable();
    let (name, said) = (job.gate().unwrap_or_default(), job.meta.annotation(annotation::TESTED));
    let again = || Remedy::words("Create the Job again");
    if gates.peek().is_none() {
        // A later policy would believe what it says.
        let message = format!("no policy has a gate {name} of kind Job, so the Job must not say what it tests");
        let remedy = Remedy::words(format!("Remove the annotation {}", annotation::TESTED));
        return said.map(|_| denied(message, remedy, None));
    }
    for gate in gates {
        if let Some(refused) = lacks(&gate.right(), change, view, gate) {
            return Some(refused);
        }
        if let Some(image) = gate.refused(&job.images) {
            let message = format!("a Job for {name} may not run image {image}");
            let remedy = Remedy::words(format!("Use one of: {}", gate.images.join(", ")));
            return Some(denied(message, remedy, Some(gate)));
        }
    }
    if let Some(controller) = &job.foreign_controller {
        let message = format!("{controller} would say how the Job ends (`spec.managedBy`)");
        return Some(denied(message, Remedy::words("Remove `spec.managedBy`"), None));
    }
    let Some(workload) = target(job, view) else {
        let named = job.target().map_or_else(|| "nothing".to_owned(), |target| format!("`{target}`"));
        let message = format!("annotation {} names {named}, and no workload", annotation::TARGET);
        return Some(denied(message, Remedy::words("Write, for example, `deployment/app-green`"), None));
    };
    let (now, says) = (tested(workload, view), job.tested());
    // Without images, it says less, and counts for less.
    let is_current = says.is_some_and(|says| says.template == now.template && (says.images.is_none() || says == now));
    (!is_current).then(|| {
        let message = format!("annotation {} does not say what {workload} is now", annotation::TESTED);
        denied(message, again(), None)
    })
}

fn changed(old: &GateJob, new: &GateJob) -> Option<Finding> {
    let same = |key: &str| old.meta.annotation(key) == new.meta.annotation(key);
    if old.gate() == new.gate() && same(annotation::TARGET) && same(annotation::TESTED) {
        return None;
    }
    let message = format!("the label and the annotations that make Job {} a test never change", new.meta.name);
    Some(denied(message, Remedy::words("Create another Job"), None))
}

/// The proof of a Job that is deleted. A success of images that the gate does not take is none; a failure is kept all the
/// same.
fn kept(gate: &Gate, job: &GateJob, change: &Change) -> Option<NewProof> {
    let is_of_the_gate = job.foreign_controller.is_none() && gate.refused(&job.images).is_none();
    if !is_of_the_gate && job.end.is_some_and(|end| end.passed) {
        return None;
    }
    let proof = Proof { user: change.user.name.clone(), ..job.proof()? };
    Some(NewProof { gate: gate.name.clone(), target: job.target()?.to_owned(), proof })
}

/// The findings about annotations of gates that an update of a workload sets, and the proofs that they make.
pub(in crate::rules) fn of_statements(
    old: &Workload,
    new: &Workload,
    change: &Change,
    view: &ClusterView,
    policy: &Policy,
    now: Timestamp,
) -> (Vec<Finding>, Vec<NewProof>) {
    let mut findings = Vec::new();
    let mut proofs = Vec::new();
    for (gate, value) in stated(old, new, policy) {
        // A copy of what is on record already, such as one in Git, says nothing new.
        if is_on_record(gate, value, new, view) {
            continue;
        }
        match statement(gate, value, new, change, view, now) {
            Ok(proof) => proofs.push(proof),
            Err(finding) => findings.push(*finding),
        }
    }
    findings.dedup();
    (findings, proofs)
}

fn is_on_record(gate: &Gate, value: &str, workload: &Workload, view: &ClusterView) -> bool {
    let Some(said) = Statement::parse(value) else { return false };
    let target = object(workload);
    let of_gate = view.records.proofs.iter().filter(|of| of.gate == gate.name && of.target == target);
    let is_it = |proof: &Proof| proof.tested == said.tested && proof.at == said.at && proof.user == said.user;
    of_gate.flat_map(|of| &of.proofs).any(is_it)
}

/// The gates that an update passes or approves, each with the new value of its annotation.
///
/// An update that changes the template as well proves nothing. `kubectl rollout undo` writes the annotations of the older
/// revision together with its template; the proof of that one is on record.
fn stated<'a>(old: &'a Workload, new: &'a Workload, policy: &'a Policy) -> impl Iterator<Item = (&'a Gate, &'a str)> {
    let set = super::super::filter::gates_set(&old.meta, &new.meta).filter(|_| old.template == new.template);
    set.flat_map(move |(name, value)| {
        let of_name = policy.gates.iter().filter(move |gate| gate.name == name);
        of_name.map(move |gate| (gate, value))
    })
}

fn statement(
    gate: &Gate,
    value: &str,
    workload: &Workload,
    change: &Change,
    view: &ClusterView,
    now: Timestamp,
) -> Result<NewProof, Box<Finding>> {
    let name = &gate.name;
    let verb = gate.kind.verb();
    let refused = |message: String, remedy: Remedy| Err(Box::new(denied(message, remedy, Some(gate))));
    let again = || Remedy {
        words: "Let flipguard write the annotation".to_owned(),
        command: Some(format!("flipguard gate {verb} {name} {} -n {}", object(workload), workload.meta.namespace)),
    };
    if gate.kind == GateKind::Job {
        return refused(format!("{name} is proved by a Job, and not by an annotation"), Remedy::words("Run the Job"));
    }
    if value.len() > MAX_STATEMENT {
        let message = format!("the annotation of gate {name} has {} bytes; {MAX_STATEMENT} is the most", value.len());
        return refused(message, Remedy::words("Give a shorter address"));
    }
    let Some(said) = Statement::parse(value) else {
        return refused(format!("the annotation of gate {name} cannot be read"), again());
    };
    if said.user != change.user.name {
        let (user, asks) = (&said.user, &change.user.name);
        return refused(format!("the annotation of gate {name} speaks for {user}, and {asks} writes it"), again());
    }
    if let Some(finding) = lacks(&gate.right(), change, view, gate) {
        return Err(Box::new(finding));
    }
    if said.tested != tested(workload, view) {
        return refused(format!("the annotation of gate {name} is not about what {workload} is now"), again());
    }
    if said.at > now.after(DRIFT) || now > said.at.after(DRIFT) {
        return refused(format!("the annotation of gate {name} has the time {}, and it is {now}", said.at), again());
    }
    let Statement { tested, at, user, address: evidence } = said;
    let proof = Proof { kind: gate.kind, tested, passed: true, at, user, evidence };
    Ok(NewProof { gate: name.clone(), target: object(workload), proof })
}

/// The finding about a user without the right on a gate.
fn lacks(right: &GateRight, change: &Change, view: &ClusterView, gate: &Gate) -> Option<Finding> {
    if view.gate_rights.get(right) == Some(&true) {
        return None;
    }
    let user = if change.user.name.is_empty() { "(unauthenticated)" } else { &change.user.name };
    let message = format!("user {user} may not {} gate {}", right.verb, right.gate);
    let ask = Remedy::words(format!(
        "Ask for the verb {} on bluegreenpolicies.flipguard.dev/gates, named {}",
        right.verb, right.gate
    ));
    Some(denied(message, ask, Some(gate)))
}

fn denied(message: String, remedy: Remedy, gate: Option<&Gate>) -> Finding {
    Finding::new(Reason::GateNotPermitted, message, remedy).said_by(gate.map(|gate| gate.policy.as_str()))
}

/// The gates that a Job is a test for.
fn gates_of<'a>(job: &GateJob, policy: &'a Policy) -> impl Iterator<Item = &'a Gate> {
    let name = job.gate().map(str::to_owned);
    policy.gates.iter().filter(move |gate| gate.kind == GateKind::Job && Some(&gate.name) == name.as_ref())
}

fn distinct(mut rights: Vec<GateRight>) -> Vec<GateRight> {
    rights.sort();
    rights.dedup();
    rights
}
