//! The flags that flipguard runs with in a cluster, and whether a replica keeps the registration.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::time::Instant;

use super::request::within;
use super::{clock, meter};
use crate::install::{KEEPER_LEASE, NAME};
use crate::model::ReadFailure;

/// The arguments of flipguard's Deployment; `None` where there is no such Deployment.
///
/// # Errors
/// When the Deployment cannot be read.
pub async fn arguments(
    client: &Client,
    own_namespace: &str,
    deadline: Instant,
) -> Result<Option<Vec<String>>, ReadFailure> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), own_namespace);
    let what = || format!("Deployment {own_namespace}/{NAME}, which has the flags of flipguard");
    let read = within(deadline, deployments.get_opt(NAME)).await;
    let deployment = read.map_err(|error| ReadFailure::online(what(), error.to_string()))?;
    let containers = deployment.map(|deployment| deployment.spec.and_then(|spec| spec.template.spec));
    Ok(containers.map(|pod| {
        let all = pod.map(|pod| pod.containers).unwrap_or_default();
        let own = all.into_iter().find(|container| container.name == NAME);
        own.and_then(|container| container.args).unwrap_or_default()
    }))
}

/// The time without a renewal, in seconds, after which nobody keeps the registration: three times the Lease's duration.
const UNKEPT: i64 = 45;

/// Whether a replica keeps the registration and the statuses of policies; `None` where the Lease cannot be read. The times
/// are compared with the API server's clock.
pub async fn is_kept(client: &Client, own_namespace: &str, deadline: Instant) -> Option<bool> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), own_namespace);
    let asked = async { (within(deadline, leases.get_opt(KEEPER_LEASE)).await, clock::now().0) };
    let ((lease, now), _) = meter::measured(asked).await;
    let spec = lease.ok()?.and_then(|lease| lease.spec).unwrap_or_default();
    let is_held = spec.holder_identity.is_some_and(|holder| !holder.is_empty());
    Some(is_held && spec.renew_time.is_some_and(|at| now - at.0.as_second() < UNKEPT))
}
