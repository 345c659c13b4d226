//! What a Job tests that is a test for a gate: flipguard writes it down when the Job is created. The Job cannot know it.

use super::{Put, PutValue};
use crate::model::{Change, ClusterView, GateJob, Policy, ReadRequest, annotation};
use crate::rules::gates;
use crate::rules::{Finding, Verdict};

/// The reads that this needs.
pub(super) fn needs(job: &GateJob, policy: &Policy) -> ReadRequest {
    gates::job_reads(job, policy, false)
}

/// The annotation with what the Job tests. A Job that names no gate or no workload must not have it.
pub(super) fn puts(job: &GateJob, change: &Change, view: &ClusterView, policy: &Policy) -> (Verdict, Vec<Put>) {
    let mut verdict = Verdict::about(change).unwrap_or_default();
    if let Some(finding) = Finding::unreadable(view) {
        verdict.add(finding.at_most_warn(), change, policy);
        return (verdict, Vec::new());
    }
    let is_gate = !needs(job, policy).is_empty();
    let workload = gates::target(job, view).filter(|_| is_gate);
    let tested = workload.map(|workload| gates::tested(workload, view).to_string());
    let path = |steps: &[&str]| steps.iter().map(|step| (*step).to_owned()).collect();
    let whole = ["metadata", "annotations", annotation::TESTED];
    let puts = match tested {
        None if job.meta.annotations.contains_key(annotation::TESTED) => vec![Put { path: path(&whole), value: None }],
        None => Vec::new(),
        Some(tested) => {
            let parent = Put { path: path(&["metadata", "annotations"]), value: Some(PutValue::EmptyMap) };
            let value = Put { path: path(&whole), value: Some(PutValue::Text(tested)) };
            if job.meta.is_annotated { vec![value] } else { vec![parent, value] }
        }
    };
    (verdict, puts)
}
