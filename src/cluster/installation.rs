//! The flags that flipguard runs with in a cluster, its registration, and whether a replica keeps that.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::time::Instant;

use super::request::within;
use super::{clock, meter};
use crate::install::{KEEPER_LEASE, NAME};
use crate::model::ReadFailure;

/// flipguard's Deployment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Installed {
    /// The arguments of its container.
    pub arguments: Vec<String>,
    /// The tag of its image; empty where there is none.
    pub tag: String,
    /// The number of ready replicas.
    pub ready: i32,
    /// The number of desired replicas.
    pub desired: i32,
}

/// flipguard's Deployment; `None` where there is no such Deployment.
///
/// # Errors
/// When the Deployment cannot be read.
pub async fn installed(
    client: &Client,
    own_namespace: &str,
    deadline: Instant,
) -> Result<Option<Installed>, ReadFailure> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), own_namespace);
    let what = || format!("Deployment {own_namespace}/{NAME}, which has the flags of flipguard");
    let read = within(deadline, deployments.get_opt(NAME)).await;
    let deployment = read.map_err(|error| ReadFailure::online(what(), error.to_string()))?;
    Ok(deployment.map(|deployment| {
        let ready = deployment.status.and_then(|status| status.ready_replicas).unwrap_or(0);
        let spec = deployment.spec.unwrap_or_default();
        let containers = spec.template.spec.map(|pod| pod.containers).unwrap_or_default();
        let own = containers.into_iter().find(|container| container.name == NAME).unwrap_or_default();
        let image = own.image.unwrap_or_default();
        let name = image.rsplit('/').next().unwrap_or_default();
        let tag = name.split_once(':').map(|(_, tag)| tag.to_owned()).unwrap_or_default();
        Installed { arguments: own.args.unwrap_or_default(), tag, ready, desired: spec.replicas.unwrap_or(1) }
    }))
}

/// The registration of the webhooks that deny; `None` where there is none.
///
/// # Errors
/// When it cannot be read.
pub async fn registration(
    client: &Client,
    deadline: Instant,
) -> Result<Option<ValidatingWebhookConfiguration>, ReadFailure> {
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let what = || format!("ValidatingWebhookConfiguration {NAME}");
    within(deadline, configurations.get_opt(NAME)).await.map_err(|error| ReadFailure::online(what(), error.to_string()))
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
