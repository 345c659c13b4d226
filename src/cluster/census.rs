//! Reads the namespaces and Services of the cluster, as the status of a policy counts them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::core::params::ListParams;
use serde::Deserialize;
use tokio::time::Instant;

use super::pages::each;
use crate::model::{Policy, Service};
use crate::policy::Policies;
use crate::policy::census::Census;

/// Reads all namespaces and Services. Of the Services, one page and one namespace are held at a time.
///
/// # Errors
/// When they cannot be read before the deadline.
pub async fn take(client: &Client, flags: &Policy, policies: &Policies, deadline: Instant) -> Result<Census, String> {
    let mut census = Census::default();
    each(client, "/api/v1/namespaces", ListParams::default(), deadline, |Namespace { metadata }| {
        let labels = metadata.labels.unwrap_or_default().into_iter().collect();
        census.add(metadata.name.unwrap_or_default(), labels);
    })
    .await
    .map_err(|why| format!("cannot list the namespaces: {why}"))?;
    let mut of_one: Vec<Service> = Vec::new();
    each(client, "/api/v1/services", ListParams::default(), deadline, |service: Service| {
        let is_next = of_one.first().is_some_and(|first| first.meta.namespace != service.meta.namespace);
        if is_next {
            count(&mut census, flags, policies, std::mem::take(&mut of_one));
        }
        of_one.push(service);
    })
    .await
    .map_err(|why| format!("cannot list the Services: {why}"))?;
    count(&mut census, flags, policies, of_one);
    Ok(census)
}

fn count(census: &mut Census, flags: &Policy, policies: &Policies, services: Vec<Service>) {
    let Some(namespace) = services.first().map(|service| service.meta.namespace.clone()) else { return };
    census.count(flags, policies, &namespace, services);
}

#[derive(Deserialize)]
struct Namespace {
    metadata: ObjectMeta,
}
