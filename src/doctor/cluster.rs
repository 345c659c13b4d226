//! Checks of the API server, the clocks, the permissions of flipguard, and its replicas.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use super::{Check, Health, Runs};
use crate::cluster::connect::new_enough;
use crate::cluster::{access, clock, meter, own_namespace};
use crate::install::NAME;
use crate::model::ColourScheme;
use crate::registration::lease::LEASE;

/// The largest skew without harm, in seconds. Certificates are valid from five minutes before they are issued.
const MAX_SKEW: i64 = 240;
/// The skew that is worth a warning, in seconds. A clock that NTP keeps is better.
const WARN_SKEW: i64 = 10;
/// The time between two renewals of the Lease, in seconds.
const RENEW_INTERVAL: i64 = 5;

pub(super) async fn api_server(client: &Client) -> Check {
    const CHECK: &str = "api-server";
    match client.apiserver_version().await {
        Err(error) => Check::unknown(CHECK, "ask the API server for its version", &error),
        Ok(version) => match new_enough(&version) {
            Ok(()) => Check::ok(CHECK, format!("Kubernetes {} answers", version.git_version)),
            Err(error) => Check::of(CHECK, Health::Broken, error.to_string(), "upgrade the cluster"),
        },
    }
}

/// Compares the local clock, and the clock of the replica that holds the Lease, with the API server's. Certificates and
/// overrides depend on all three.
pub(super) async fn clock(client: &Client, namespace: &str) -> Check {
    const CHECK: &str = "clock";
    let asked = async { (client.apiserver_version().await.map(drop), clock::now().0) };
    let ((answer, there), _) = meter::measured(asked).await;
    if let Err(error) = answer {
        return Check::unknown(CHECK, "ask the API server for the time", &error);
    }
    let here = time::OffsetDateTime::now_utc().unix_timestamp();
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let renewed = leases.get_opt(LEASE).await.ok().flatten().and_then(|lease| lease.spec?.renew_time);
    // A renewal in the future shows a clock that is ahead. One in the past may as well be old.
    let ahead = renewed.map(|at| at.0.as_second() - there).filter(|ahead| *ahead > 0).unwrap_or(0);
    let (whose, off) = if ahead > (here - there).abs() {
        ("the clock of the replica that holds the Lease", ahead)
    } else {
        ("this clock", here - there)
    };
    let message =
        format!("{whose} is {} s {} the API server's", off.abs(), if off < 0 { "behind" } else { "ahead of" });
    let mend = "set this clock, and keep it by NTP";
    match off.abs() {
        0..=WARN_SKEW => Check::ok(CHECK, message),
        off if off <= MAX_SKEW => Check::of(CHECK, Health::Warning, message, mend),
        _ => Check::of(CHECK, Health::Broken, message, mend),
    }
}

/// Checks every permission that flipguard's ServiceAccount needs.
pub(super) async fn rights(client: &Client, namespace: &str, labels: bool, runs: Runs) -> Check {
    const CHECK: &str = "rights";
    match access::missing_for_account(client, namespace, labels).await {
        Err(error) => Check::unknown(CHECK, "check the permissions of flipguard", &error),
        Ok(missing) if missing.is_empty() => {
            Check::ok(CHECK, format!("ServiceAccount {namespace}/{NAME} has all permissions that it needs"))
        }
        Ok(missing) => Check::of(
            CHECK,
            Health::Broken,
            format!("ServiceAccount {namespace}/{NAME} lacks permissions: {}", missing.join(", ")),
            runs.apply_again(namespace),
        ),
    }
}

/// Checks the replicas and the Lease. Also returns where flipguard runs, and the arguments of the Deployment, if there is
/// one.
pub(super) async fn replicas(client: &Client, namespace: &str) -> (Vec<Check>, Runs, Vec<String>) {
    const CHECK: &str = "replicas";
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let (check, runs, args) = match deployments.get_opt(NAME).await {
        Err(error) => (Check::unknown(CHECK, "get flipguard's Deployment", &error), Runs::Inside, Vec::new()),
        Ok(None) => {
            let outside = format!("flipguard runs outside the cluster: it has no Deployment in namespace {namespace}");
            (Check::ok(CHECK, outside), Runs::Outside, Vec::new())
        }
        Ok(Some(deployment)) => (ready(&deployment, namespace), Runs::Inside, arguments(&deployment)),
    };
    (vec![check, keeper(client, namespace, runs).await], runs, args)
}

fn ready(deployment: &Deployment, namespace: &str) -> Check {
    const CHECK: &str = "replicas";
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let message = format!("{ready} of {wanted} replicas are ready");
    let look = format!("kubectl -n {namespace} describe pods -l app.kubernetes.io/name={NAME}");
    match (ready, wanted) {
        (0, _) => Check::of(CHECK, Health::Broken, message, look),
        (ready, wanted) if ready < wanted => Check::of(CHECK, Health::Warning, message, look),
        (1, _) => {
            Check::of(CHECK, Health::Warning, message, "run two replicas, so that a restart of one blocks no change")
        }
        _ => Check::ok(CHECK, message),
    }
}

fn arguments(deployment: &Deployment) -> Vec<String> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = pod.and_then(|pod| pod.containers.iter().find(|container| container.name == NAME));
    container.and_then(|container| container.args.clone()).unwrap_or_default()
}

async fn keeper(client: &Client, namespace: &str, runs: Runs) -> Check {
    const CHECK: &str = "keeper";
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let asked = async { (leases.get_opt(LEASE).await, clock::now().0) };
    let ((lease, now), _) = meter::measured(asked).await;
    let spec = match lease {
        Err(error) => return Check::unknown(CHECK, "get the Lease", &error),
        Ok(lease) => lease.and_then(|lease| lease.spec).unwrap_or_default(),
    };
    let nobody = "no replica keeps the registration: none runs, or a newer version has rendered it";
    let look = format!("read why: {}", runs.logs(namespace));
    let Some(holder) = spec.holder_identity.filter(|holder| !holder.is_empty()) else {
        return Check::of(CHECK, Health::Warning, nobody, look);
    };
    let age = spec.renew_time.map_or(i64::MAX, |at| now - at.0.as_second());
    let length = i64::from(spec.lease_duration_seconds.unwrap_or(15));
    if age > length + RENEW_INTERVAL {
        let message = format!("{holder} has not renewed its Lease for {age} s: {nobody}");
        return Check::of(CHECK, Health::Broken, message, look);
    }
    Check::ok(CHECK, format!("{holder} keeps the registration"))
}

/// The finding about a namespace that does not exist; `None` where it does, or where that cannot be asked.
pub(super) async fn missing_namespace(client: &Client, namespace: &str) -> Option<Check> {
    let found = Api::<Namespace>::all(client.clone()).get_metadata_opt(namespace).await;
    matches!(found, Ok(None)).then(|| {
        let next = "give the namespace of flipguard with --namespace; if it was deleted, install flipguard again, or \
                    delete the two registrations too: docs/operations.md, `Remove it`";
        let message = format!("namespace {namespace} does not exist, so no flipguard is installed in it");
        Check::of("namespace", Health::Broken, message, next)
    })
}

/// Checks that no app is in flipguard's own namespace, which is never guarded.
pub(super) async fn own_namespace(client: &Client, namespace: &str) -> Check {
    const CHECK: &str = "namespace";
    match own_namespace::traffic_services(client, namespace, &ColourScheme::default()).await {
        Err(error) => Check::unknown(CHECK, "list the Services of flipguard's namespace", &error),
        Ok(services) if services.is_empty() => {
            Check::ok(CHECK, format!("no app is in {namespace}, which is not guarded"))
        }
        Ok(services) => Check::of(
            CHECK,
            Health::Warning,
            own_namespace::warning(namespace, &services),
            "install flipguard in a namespace of its own, or move the app",
        ),
    }
}

/// The values of a flag in the arguments of a container.
pub(super) fn values_of(flag: &str, args: &[String]) -> Vec<String> {
    let mut values: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (at, arg) in args.iter().enumerate() {
        let value = arg.strip_prefix(flag).and_then(|rest| {
            if rest.is_empty() { args.get(at + 1).map(String::as_str) } else { rest.strip_prefix('=') }
        });
        if let Some(value) = value {
            values.insert(at, value.split(',').map(str::to_owned).collect());
        }
    }
    values.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_in_both_ways() {
        let args: Vec<String> =
            ["serve", "--exempt-users=a,b", "--exempt-users", "c", "--exempt-users-not", "d"].map(str::to_owned).into();
        assert_eq!(values_of("--exempt-users", &args), ["a", "b", "c"]);
        assert!(values_of("--certificates", &args).is_empty());
        assert_eq!(values_of("--labels", &["serve", "--labels=false"].map(str::to_owned)), ["false"]);
    }
}
