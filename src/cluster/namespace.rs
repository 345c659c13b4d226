//! Fresh reads of a namespace from the API server.
//!
//! Every list is requested without a `resourceVersion`, so Kubernetes answers with the most recent data (API concepts,
//! "Semantics for get and list"). No verdict depends on a cache. Only the fields that rules read are decoded. All lists
//! are read concurrently, in pages, under the deadline of their request and within its allowance of memory.

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::allowance::Allowance;
use super::connect::causes;
use super::list::{self, DecodeError, Form};
use super::owners;
use super::replica_sets::{self, LargeNamespaces};
use super::request::{Answer, Anything, ask, within};
use super::weight::Weight;
use crate::model::{
    ClusterView, GATE_LABEL, GateJob, GateRight, Pod, ReadFailure, ReadRequest, Revision, Selector, Service, User,
    Workload, WorkloadKind, WorkloadManifest,
};

/// The number of objects in a page.
const PAGE: u32 = 500;
/// The largest number of objects of one kind; a larger namespace cannot be judged. Kubernetes supports 2,000
/// Deployments in a namespace. With ten old ReplicaSets each, they have 22,000 ReplicaSets.
const MOST: usize = 25_000;

/// Reads a namespace for one change.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The API server.
    pub client: &'a Client,
    /// The namespace.
    pub namespace: &'a str,
    /// The user whose permissions are asked for.
    pub user: &'a User,
    /// The bytes that may be held.
    pub allowance: &'a Allowance,
    /// The namespaces with many ReplicaSets.
    pub large: &'a LargeNamespaces,
    /// The end of all reads.
    pub deadline: Instant,
}

/// No limit to some labels.
static ANY: Selector = Selector::nothing();

type Read<T> = Result<T, ReadFailure>;

type Lists = (
    Option<([Read<Vec<Workload>>; 4], Read<Vec<Pod>>)>,
    Option<Read<Vec<Service>>>,
    Option<Read<Vec<Revision>>>,
    Option<Read<bool>>,
);

type OfGates = (Option<Read<Vec<GateJob>>>, Vec<(GateRight, Read<bool>)>);

impl Reader<'_> {
    /// Makes the requested reads concurrently. A failed read is a failure in the view.
    pub async fn read(&self, request: ReadRequest) -> ClusterView {
        let mut view = ClusterView::default();
        let ((pods, services, revisions, rollout), (jobs, rights), permissions) = tokio::join!(
            Box::pin(self.lists(&request)),
            Box::pin(self.of_gates(&request)),
            self.permissions(&request.permissions)
        );
        let failures = &mut view.failures;
        if let Some((workloads, pods)) = pods {
            view.workloads.reserve_exact(workloads.iter().flatten().map(Vec::len).sum());
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
        if let Some(read) = jobs {
            keep(read, failures, |jobs| view.jobs = jobs);
        }
        for (right, read) in rights {
            keep(read, failures, |has| {
                view.gate_rights.insert(right, has);
            });
        }
        match owners::among(self.client, self.namespace, &request.owners, self.deadline).await {
            Ok(owners) => view.owners = owners,
            Err(failure) => view.failures.push(failure),
        }
        view.done = request;
        view
    }

    async fn lists(&self, request: &ReadRequest) -> Lists {
        tokio::join!(
            maybe(request.pods.as_ref().map(|labels| self.backends(labels))),
            maybe(request.services.then(|| self.list("/api/v1", "services", &ANY, |service| service))),
            maybe(
                request
                    .revisions
                    .then(|| { self.list("/apis/apps/v1", "controllerrevisions", &ANY, |revision| revision) })
            ),
            maybe(request.rollout.as_ref().map(|name| self.rollout_exists(name))),
        )
    }

    /// What only gates ask for.
    async fn of_gates(&self, request: &ReadRequest) -> OfGates {
        let rights = request.gate_rights.iter().map(async |right| (right.clone(), self.has_right(right).await));
        tokio::join!(
            maybe(request.jobs.then(|| self.list_by("/apis/batch/v1", "jobs", GATE_LABEL, &ANY, |job| job))),
            join_all(rights),
        )
    }

    async fn backends(&self, labels: &Selector) -> ([Read<Vec<Workload>>; 4], Read<Vec<Pod>>) {
        let are_many = !labels.is_empty() && self.large.contains(self.namespace);
        let templates = if are_many { labels } else { &ANY };
        let (deployments, stateful_sets, daemon_sets, replica_sets, pods) = tokio::join!(
            self.workloads(WorkloadKind::Deployment, "", templates),
            self.workloads(WorkloadKind::StatefulSet, "", templates),
            self.workloads(WorkloadKind::DaemonSet, "", templates),
            async { if are_many { self.replica_sets_with(labels).await } else { self.replica_sets().await } },
            self.list("/api/v1", "pods", labels, |pod| pod),
        );
        let replica_sets = match (&deployments, replica_sets, &pods) {
            (Ok(deployments), Ok(some), Ok(pods))
                if are_many && !replica_sets::are_all(&some, labels, deployments, pods) =>
            {
                self.replica_sets().await
            }
            (_, replica_sets, _) => replica_sets,
        };
        ([deployments, stateful_sets, daemon_sets, replica_sets], pods)
    }

    async fn replica_sets(&self) -> Read<Vec<Workload>> {
        let all = self.workloads(WorkloadKind::ReplicaSet, "", &ANY).await?;
        self.large.saw(self.namespace, all.len());
        Ok(all)
    }

    /// The ReplicaSets of Deployments that have these labels, and all that belong to no Deployment.
    async fn replica_sets_with(&self, labels: &Selector) -> Read<Vec<Workload>> {
        let [of_deployments, others] = replica_sets::selectors(labels);
        let (of_deployments, others) = tokio::join!(
            self.workloads(WorkloadKind::ReplicaSet, &of_deployments, &ANY),
            self.workloads(WorkloadKind::ReplicaSet, &others, &ANY),
        );
        let (mut listed, others) = (of_deployments?, others?);
        // One that was relabelled between the two lists is in both.
        listed.retain(|one| !others.iter().any(|other| other.meta.uid == one.meta.uid));
        listed.extend(others);
        Ok(listed)
    }

    /// Lists the workloads of a kind. Of protobuf, the `spec` of a Pod template is read where it has the labels of
    /// `templates`.
    async fn workloads(&self, kind: WorkloadKind, selector: &str, templates: &Selector) -> Read<Vec<Workload>> {
        let keep = |manifest: WorkloadManifest| manifest.into_workload(kind).as_listed();
        self.list_by("/apis/apps/v1", kind.resource(), selector, templates, keep).await
    }

    /// Whether the user has the verb `override` for each of these Services.
    async fn permissions(&self, services: &[String]) -> Vec<(String, Read<bool>)> {
        let asked = services.iter().map(async |service| (service.clone(), self.may_override(service).await));
        join_all(asked).await
    }

    /// Asks the API server whether the user has the verb `override`.
    async fn may_override(&self, service: &str) -> Read<bool> {
        self.may("override", None, service).await
    }

    /// Asks the API server whether the user has a right on a gate.
    async fn has_right(&self, right: &GateRight) -> Read<bool> {
        self.may(right.verb, Some("gates"), &right.gate).await
    }

    /// Asks whether the user has a verb on `bluegreenpolicies`. The resource is virtual and needs no CRD.
    async fn may(&self, verb: &str, part: Option<&str>, name: &str) -> Read<bool> {
        let user = self.user;
        let unread = |why: String| ReadFailure::online(format!("whether user `{}` may {verb}", user.name), why);
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("flipguard.dev".to_owned()),
                    resource: Some("bluegreenpolicies".to_owned()),
                    subresource: part.map(str::to_owned),
                    verb: Some(verb.to_owned()),
                    namespace: Some(self.namespace.to_owned()),
                    name: Some(name.to_owned()).filter(|name| !name.is_empty()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = within(self.deadline, reviews.create(&PostParams::default(), &review)).await;
        let answer = answer.map_err(|error| unread(error.to_string()))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Whether an Argo Rollout of this name exists; `false` where the kind itself does not exist.
    async fn rollout_exists(&self, name: &str) -> Read<bool> {
        let Self { client, namespace, deadline, .. } = *self;
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

    /// Lists the objects of a resource with these labels.
    pub(super) async fn list<T: DeserializeOwned, K: Weight>(
        &self,
        api: &str,
        resource: &str,
        labels: &Selector,
        kept: impl Fn(T) -> K,
    ) -> Read<Vec<K>> {
        let selector = if labels.is_empty() { String::new() } else { labels.to_string() };
        self.list_by(api, resource, &selector, &ANY, kept).await
    }

    /// Lists the objects of a resource by a label selector, page by page. Of each page, only what is kept of its objects
    /// stays. Of protobuf, the `spec` of a Pod template is read where it has the labels of `templates`.
    async fn list_by<T: DeserializeOwned, K: Weight>(
        &self,
        api: &str,
        resource: &str,
        selector: &str,
        templates: &Selector,
        kept: impl Fn(T) -> K,
    ) -> Read<Vec<K>> {
        let Self { client, namespace, allowance, deadline, .. } = *self;
        let unread = |why: String| ReadFailure::online(format!("{resource} in namespace {namespace}"), why);
        let path = format!("{api}/namespaces/{namespace}/{resource}");
        let mut params = ListParams::default().limit(PAGE);
        if !selector.is_empty() {
            params = params.labels(selector);
        }
        let mut items: Vec<K> = Vec::new();
        let mut form = Form::Protobuf;
        loop {
            let request = Request::new(path.clone()).list(&params).map_err(|error| unread(causes(&error)))?;
            let answered = within(deadline, list::get(client, request, form)).await;
            let answered = answered.map_err(|error| unread(error.to_string()))?;
            let (before, bytes) = (items.len(), answered.body.len());
            allowance.take(bytes).map_err(unread)?;
            let metadata = answered.page().and_then(|page| {
                if before == 0 {
                    items.reserve_exact(page.left().min(MOST));
                }
                page.with_templates_of(templates).each(|item| items.push(kept(item)))
            });
            drop(answered);
            allowance.give_back(bytes);
            let metadata = match metadata {
                Err(DecodeError::Protobuf(_)) if form == Form::Protobuf => {
                    form = Form::Json;
                    items.truncate(before);
                    continue;
                }
                metadata => metadata.map_err(|error| unread(error.to_string()))?,
            };
            if items.len() > MOST {
                return Err(unread(format!("there are more than {MOST}")));
            }
            allowance.take(items.iter().skip(before).map(Weight::weight).sum()).map_err(unread)?;
            match metadata.more.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(items),
            }
        }
    }
}

async fn maybe<F: Future>(read: Option<F>) -> Option<F::Output> {
    match read {
        Some(read) => Some(read.await),
        None => None,
    }
}

fn keep<T>(read: Read<T>, unread: &mut Vec<ReadFailure>, keep: impl FnOnce(T)) {
    match read {
        Ok(read) => keep(read),
        Err(why) => unread.push(why),
    }
}
