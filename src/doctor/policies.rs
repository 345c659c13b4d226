//! Checks the policies of the cluster: whether each counts, and whether their CRD is there.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::time::Instant;

use super::{Check, Health, Runs};
use crate::cluster::policies::{PolicyStore, Snapshot};
use crate::model::{ColourScheme, Policy};
use crate::policy::read::Stored;
use crate::registration::lease::{LEASE, policies_of};

const CHECK: &str = "policies";
/// The longest time for the list of policies.
const LIST: Duration = Duration::from_secs(10);
/// The largest number of policies that a message names.
const MOST_NAMED: usize = 5;

/// Checks the policies. Also returns the marks of a colour in any namespace, which the registration depends on.
pub(super) async fn stored(client: &Client, namespace: &str, runs: Runs) -> (Vec<Check>, ColourScheme) {
    let flags = Policy::default();
    let store = PolicyStore::new(client.clone(), flags.clone(), Duration::ZERO);
    let snapshot = match store.current(Instant::now() + LIST).await {
        Ok(snapshot) => snapshot,
        Err(failure) => {
            let message = format!("cannot list the policies: {}", failure.why);
            let next_step = "run it with credentials that may, such as a cluster admin's";
            return (vec![Check::of(CHECK, Health::Unknown, message, next_step)], flags.colours);
        }
    };
    let marks = store.marks(&snapshot.policies);
    let gates = super::gates::status_of_jobs(client, &snapshot.policies).await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let noted = leases.get_opt(LEASE).await.ok().flatten().map_or(0, |lease| policies_of(&lease.metadata));
    (judge(&snapshot, noted, namespace, runs).into_iter().chain(gates).collect(), marks)
}

fn judge(snapshot: &Snapshot, noted: usize, namespace: &str, runs: Runs) -> Vec<Check> {
    if !snapshot.is_installed {
        return vec![without_crd(noted, namespace, runs)];
    }
    let all = &snapshot.policies.all;
    if all.is_empty() {
        return vec![Check::ok(CHECK, "there are none: the flags of serve count")];
    }
    let mut checks: Vec<Check> = all.iter().filter_map(wrong).take(MOST_NAMED).collect();
    let pending: Vec<&str> =
        all.iter().filter(|stored| stored.content.is_ok() && !is_programmed(stored)).map(name).collect();
    if !pending.is_empty() {
        let message = format!("not programmed yet: {}", named(&pending));
        let look = format!("wait some seconds; then read why: {}", runs.logs(namespace));
        checks.push(Check::of(CHECK, Health::Warning, message, look));
    }
    if checks.is_empty() {
        let names: Vec<&str> = all.iter().map(name).collect();
        checks.push(Check::ok(CHECK, format!("all count: {}", named(&names))));
    }
    checks
}

fn without_crd(noted: usize, namespace: &str, runs: Runs) -> Check {
    if noted == 0 {
        return Check::ok(CHECK, "there are none, and their CRD is not installed: the flags of serve count");
    }
    let policies = if noted == 1 { "1 policy".to_owned() } else { format!("{noted} policies") };
    let message =
        format!("the CRD bluegreenpolicies.flipguard.dev is gone, and {policies} with it: the flags of serve count");
    let again = format!("{}; then apply the policies", runs.apply_again(namespace));
    Check::of(CHECK, Health::Broken, message, again)
}

/// What is wrong with one policy.
fn wrong(stored: &Stored) -> Option<Check> {
    let name = &stored.name;
    match &stored.content {
        Err(unread) if unread.is_beyond => {
            let message = format!("policy {name} is set aside: {}", unread.why);
            Some(Check::of(CHECK, Health::Broken, message, "delete policies, or put several into one"))
        }
        Err(unread) => {
            let message = format!("policy {name} is set aside: {}", unread.why);
            Some(Check::of(CHECK, Health::Broken, message, format!("kubectl edit bgpolicy {name}")))
        }
        Ok(_) => {
            let unknown = stored.unknown_rules().join(", ");
            let message = format!("policy {name} names rules that this version does not know: {unknown}");
            let next_step = format!("update flipguard, or kubectl edit bgpolicy {name}");
            (!unknown.is_empty()).then(|| Check::of(CHECK, Health::Warning, message, next_step))
        }
    }
}

fn is_programmed(stored: &Stored) -> bool {
    stored.status.conditions.iter().any(|condition| {
        condition.kind == "Programmed"
            && condition.status == "True"
            && condition.observed_generation == Some(stored.generation)
    })
}

fn name(stored: &Stored) -> &str {
    &stored.name
}

/// Some names, and how many more there are.
fn named(names: &[&str]) -> String {
    let shown = names.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
