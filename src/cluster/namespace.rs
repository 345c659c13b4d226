//! Fresh reads of a namespace from the API server.
//!
//! Every list is requested without a `resourceVersion`, so Kubernetes answers with the most recent data (API concepts,
//! "Semantics for get and list"). No verdict depends on a cache. Only the fields that rules read are decoded. All lists
//! are read concurrently, in pages, under the deadline of their request.

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams};
use kube::{Api, Client};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::connect::causes;
use super::owners;
use super::request::{Answer, Anything, ask, within};
use crate::model::{
    ClusterView, Pod, ReadFailure, ReadRequest, Revision, Selector, Service, User, Workload, WorkloadKind,
    WorkloadManifest,
};

/// The number of objects in a page.
const PAGE: u32 = 500;
/// The largest number of objects of one kind; a larger namespace cannot be judged. Kubernetes supports 2,000
/// Deployments in a namespace. With ten old ReplicaSets each, they have 22,000 ReplicaSets.
const MOST: usize = 25_000;

/// Makes the requested reads concurrently. A failed read is a failure in the view.
pub async fn read(
    client: &Client,
    namespace: &str,
    user: &User,
    request: ReadRequest,
    deadline: Instant,
) -> ClusterView {
    let mut view = ClusterView::default();
    let ((pods, services, revisions, rollout), permissions) = tokio::join!(
        Box::pin(lists(client, namespace, &request, deadline)),
        permissions(client, namespace, user, &request.permissions, deadline),
    );
    let failures = &mut view.failures;
    if let Some((workloads, pods)) = pods {
        for read in workloads {
            keep(read, failures, |mut some| view.workloads.append(&mut some));
        }
        keep(pods, failures, |pods| view.pods = pods);
    }
    if let Some(read) = services {
        keep(read, failures, |services| view.services = services);
    }
    if let Some(read) = revisions {
        keep(read, failures, |revisions| view.revisions = revisions);
    }
    if let Some(read) = rollout {
        keep(read, failures, |exists| view.rollout_exists = Some(exists));
    }
    for (service, read) in permissions {
        keep(read, failures, |may| {
            view.may_override.insert(service, may);
        });
    }
    match owners::among(client, namespace, &request.owners, deadline).await {
        Ok(owners) => view.owners = owners,
        Err(failure) => view.failures.push(failure),
    }
    view.done = request;
    view
}

type Lists = (
    Option<([Read<Vec<Workload>>; 4], Read<Vec<Pod>>)>,
    Option<Read<Vec<Service>>>,
    Option<Read<Vec<Revision>>>,
    Option<Read<bool>>,
);

async fn lists(client: &Client, namespace: &str, request: &ReadRequest, deadline: Instant) -> Lists {
    tokio::join!(
        maybe(request.pods.as_ref().map(|labels| backends(client, namespace, labels, deadline))),
        maybe(request.services.then(|| services(client, namespace, deadline))),
        maybe(request.revisions.then(|| revisions(client, namespace, deadline))),
        maybe(request.rollout.as_ref().map(|name| rollout_exists(client, namespace, name, deadline))),
    )
}

/// Whether the user has the verb `override` for each of these Services.
async fn permissions(
    client: &Client,
    namespace: &str,
    user: &User,
    services: &[String],
    deadline: Instant,
) -> Vec<(String, Read<bool>)> {
    let asked = services
        .iter()
        .map(async |service| (service.clone(), may_override(client, namespace, user, service, deadline).await));
    join_all(asked).await
}

async fn maybe<F: Future>(read: Option<F>) -> Option<F::Output> {
    match read {
        Some(read) => Some(read.await),
        None => None,
    }
}

fn keep<T>(read: Result<T, ReadFailure>, unread: &mut Vec<ReadFailure>, keep: impl FnOnce(T)) {
    match read {
        Ok(read) => keep(read),
        Err(why) => unread.push(why),
    }
}

type Read<T> = Result<T, ReadFailure>;

async fn backends(
    client: &Client,
    namespace: &str,
    labels: &Selector,
    deadline: Instant,
) -> ([Read<Vec<Workload>>; 4], Read<Vec<Pod>>) {
    let workloads = |kind: WorkloadKind| workloads(client, kind, namespace, deadline);
    let (deployments, stateful_sets, daemon_sets, replica_sets, pods) = tokio::join!(
        workloads(WorkloadKind::Deployment),
        workloads(WorkloadKind::StatefulSet),
        workloads(WorkloadKind::DaemonSet),
        workloads(WorkloadKind::ReplicaSet),
        pods(client, namespace, labels, deadline),
    );
    ([deployments, stateful_sets, daemon_sets, replica_sets], pods)
}

async fn services(client: &Client, namespace: &str, deadline: Instant) -> Read<Vec<Service>> {
    let path = format!("/api/v1/namespaces/{namespace}/services");
    list(client, path, "services", namespace, &Selector::nothing(), deadline).await
}

async fn revisions(client: &Client, namespace: &str, deadline: Instant) -> Read<Vec<Revision>> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/controllerrevisions");
    list(client, path, "controllerrevisions", namespace, &Selector::nothing(), deadline).await
}

/// Asks the API server whether a user has the verb `override`. The resource is virtual and needs no CRD.
async fn may_override(client: &Client, namespace: &str, user: &User, service: &str, deadline: Instant) -> Read<bool> {
    let unread = |why: String| ReadFailure::online(format!("whether user `{}` may override", user.name), why);
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                group: Some("flipguard.dev".to_owned()),
                resource: Some("bluegreenpolicies".to_owned()),
                verb: Some("override".to_owned()),
                namespace: Some(namespace.to_owned()),
                name: Some(service.to_owned()).filter(|name| !name.is_empty()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = within(deadline, reviews.create(&PostParams::default(), &review)).await;
    let answer = answer.map_err(|error| unread(error.to_string()))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Whether an Argo Rollout of this name exists; `false` where the kind itself does not exist.
async fn rollout_exists(client: &Client, namespace: &str, name: &str, deadline: Instant) -> Read<bool> {
    let unread = |why: String| ReadFailure::online(format!("Rollout {name} in namespace {namespace}"), why);
    let path = format!("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts");
    let request = Request::new(path).get(name, &GetParams::default()).map_err(|error| unread(causes(&error)))?;
    match ask::<Anything>(client, request, deadline).await {
        // The API server does not know the kind.
        Ok(Answer::NoPage(_)) => Ok(false),
        answer => {
            let found = answer.and_then(Answer::found);
            found.map(|rollout| rollout.is_some()).map_err(|error| unread(error.to_string()))
        }
    }
}

async fn workloads(
    client: &Client,
    kind: WorkloadKind,
    namespace: &str,
    deadline: Instant,
) -> Result<Vec<Workload>, ReadFailure> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/{}", kind.resource());
    let manifests: Vec<WorkloadManifest> =
        list(client, path, kind.resource(), namespace, &Selector::nothing(), deadline).await?;
    Ok(manifests.into_iter().map(|manifest| manifest.into_workload(kind)).collect())
}

async fn pods(client: &Client, namespace: &str, labels: &Selector, deadline: Instant) -> Result<Vec<Pod>, ReadFailure> {
    list(client, format!("/api/v1/namespaces/{namespace}/pods"), "pods", namespace, labels, deadline).await
}

async fn list<T: DeserializeOwned>(
    client: &Client,
    path: String,
    resource: &str,
    namespace: &str,
    labels: &Selector,
    deadline: Instant,
) -> Result<Vec<T>, ReadFailure> {
    let unread = |why: String| ReadFailure::online(format!("{resource} in namespace {namespace}"), why);
    let mut params = ListParams::default().limit(PAGE);
    if !labels.is_empty() {
        params = params.labels(&labels.to_string());
    }
    let mut items: Vec<T> = Vec::new();
    loop {
        let request = Request::new(path.clone()).list(&params).map_err(|error| unread(causes(&error)))?;
        let page = within(deadline, client.request_text(request)).await.map_err(|error| unread(error.to_string()))?;
        let page: Page<T> = json_skip::from_str(&page).map_err(|error| unread(causes(&error)))?;
        items.extend(page.items.into_iter().flatten());
        if items.len() > MOST {
            return Err(unread(format!("there are more than {MOST}")));
        }
        match page.metadata.and_then(|metadata| metadata.more).filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(items),
        }
    }
}

#[derive(Deserialize)]
struct Page<T> {
    metadata: Option<PageMeta>,
    items: Option<Vec<T>>,
}

#[derive(Deserialize)]
struct PageMeta {
    #[serde(rename = "continue")]
    more: Option<String>,
}
