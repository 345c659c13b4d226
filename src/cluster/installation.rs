//! The flags that flipguard runs with in a cluster.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use tokio::time::Instant;

use super::request::within;
use crate::install::NAME;
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
