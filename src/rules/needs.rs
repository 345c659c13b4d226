//! The reads that a change still needs. The function is called until it returns `None`.

use super::state::roles::is_named_idle;
use super::{filter, flips, gates, overrides};
use crate::model::{
    Change, ClusterView, GateKind, Meta, Owner, Policy, ReadRequest, Selector, Service, Timestamp, Workload,
    WorkloadKind, Write, annotation,
};

/// The reads that a change still needs, in view of the completed ones. `None` if the view is complete, no rule applies,
/// or a read has failed.
#[must_use]
pub fn needs(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> Option<ReadRequest> {
    if !view.failures.is_empty() || !filter::is_relevant(&change.write, &policy.colours) {
        return None;
    }
    let mut wanted = of_write(change, view, policy, now);
    // Permissions are checked once the Services are known.
    if wanted.clone().without(&view.done).is_empty() {
        wanted.permissions = permissions(change, view, policy, now);
    }
    Some(wanted.without(&view.done)).filter(|reads| !reads.is_empty())
}

/// All reads that a write needs besides permissions.
fn of_write(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> ReadRequest {
    let all = ReadRequest { pods: Some(Selector::nothing()), services: true, ..ReadRequest::default() };
    match &change.write {
        Write::ServiceUpdate { old, new } if filter::changes_only_override(old, new) => ReadRequest::default(),
        Write::ServiceUpdate { old, new } if old.routed() == new.routed() => of_service(old, new, view, policy),
        Write::ServiceUpdate { old, new } => of_gates(new, policy, of_service(old, new, view, policy)),
        // A new Service is judged only where it replaces a deleted one; the ledger has the deletions on record.
        Write::ServiceCreate { new } => {
            let reads = ReadRequest { services: flips::recreation_opts_out(new, view, policy, now), ..all };
            if flips::recreation_flips(new, view, policy, now) { of_gates(new, policy, reads) } else { reads }
        }
        Write::ServiceDelete { old } => ReadRequest { pods: Some(old.routed().clone()), ..ReadRequest::default() },
        Write::WorkloadUpdate { old, new } if !filter::takes_away(&change.write, &policy.colours) => {
            gates::permitted::statement_reads(old, new, policy)
        }
        Write::WorkloadUpdate { old, new } => {
            let gate_rights = gates::permitted::statement_reads(old, new, policy).gate_rights;
            ReadRequest { gate_rights, owners: owners(&old.meta, &new.meta), revisions: may_undo(old, new), ..all }
        }
        Write::WorkloadCreate { .. } | Write::WorkloadDelete { .. } | Write::Scale { .. } => all,
        Write::JobCreate { new } => gates::job_reads(new, policy, true),
        Write::JobUpdate { .. } | Write::JobDelete { .. } | Write::Other => ReadRequest::default(),
    }
}

/// Adds the reads of gates about a new target: the Jobs that test it.
fn of_gates(new: &Service, policy: &Policy, reads: ReadRequest) -> ReadRequest {
    let jobs = !new.routed().is_empty() && policy.gates.iter().any(|gate| gate.kind == GateKind::Job);
    ReadRequest { jobs, ..reads }
}

fn of_service(old: &Service, new: &Service, view: &ClusterView, policy: &Policy) -> ReadRequest {
    let colours = &policy.colours;
    // One list serves both selectors in one consistent snapshot. An empty selector matches no Pod.
    let pods = match (old.routed().is_empty(), new.routed().is_empty()) {
        (true, _) => new.routed().clone(),
        (_, true) => old.routed().clone(),
        (false, false) => old.routed().common(new.routed()),
    };
    let opts_out = flips::opts_out(old, new, view, colours);
    let rollout = new.meta.annotation(annotation::ARGO_ROLLOUTS).filter(|_| opts_out).map(str::to_owned);
    // The age of the templates decides whether a flip is a rollback. ReplicaSets show it for Deployments and are always
    // read.
    let revisions =
        flips::may_be_rollback(old, new, &view.records, colours) && view.workloads.iter().any(has_revisions);
    // The other Services of the app matter where the name or an annotation may make this one a preview.
    let services = opts_out || is_named_idle(old, colours);
    ReadRequest { pods: Some(pods), services, rollout, revisions, ..ReadRequest::default() }
}

/// The Services for which the user needs the verb `override`, by name.
fn permissions(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp) -> Vec<String> {
    let mut names = overrides::to_be_permitted(change, view, policy, now);
    match &change.write {
        Write::ServiceUpdate { old, new }
            if flips::opts_out(old, new, view, &policy.colours)
                || flips::lets_sleep(Some(old), new, &policy.colours) =>
        {
            names.push(new.meta.name.clone());
        }
        Write::ServiceCreate { new }
            if flips::recreation_opts_out(new, view, policy, now) || flips::lets_sleep(None, new, &policy.colours) =>
        {
            names.push(new.meta.name.clone());
        }
        _ => {}
    }
    names.sort();
    names.dedup();
    names
}

/// Whether revisions can tell an undo from a new version. Deployments need none: their revisions are ReplicaSets.
fn may_undo(old: &Workload, new: &Workload) -> bool {
    has_revisions(new) && old.template.spec != new.template.spec
}

fn has_revisions(workload: &Workload) -> bool {
    matches!(workload.kind, WorkloadKind::StatefulSet | WorkloadKind::DaemonSet)
}

/// The owners to look up: those of an object whose owners change.
fn owners(old: &Meta, new: &Meta) -> Vec<Owner> {
    let elsewhere = new.owners.iter().filter(|owner| owner.is_elsewhere());
    if old.owners == new.owners { Vec::new() } else { elsewhere.cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::User;

    fn service(note: &str) -> Box<Service> {
        let manifest = format!(
            r#"{{"metadata":{{"name":"app","namespace":"shop","annotations":{{"flipguard.dev/override":"{note}"}}}},
                "spec":{{"selector":{{"app":"shop","color":"blue"}}}}}}"#
        );
        Box::new(serde_json::from_str(&manifest).unwrap())
    }

    #[test]
    fn an_override_alone_needs_one_permission_and_no_list() {
        let write = Write::ServiceUpdate { old: service(""), new: service("2030-01-01T00:30:00Z on fire") };
        let change = Change { write, dry_run: false, user: User::default(), manager: String::new() };
        let now = Timestamp(1_893_456_000);
        let needed = needs(&change, &ClusterView::default(), &Policy::default(), now);
        let one = ReadRequest { permissions: vec!["app".to_owned()], ..ReadRequest::default() };
        assert_eq!(needed, Some(one));
    }
}
