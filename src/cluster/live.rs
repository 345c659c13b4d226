//! A namespace as the API server knows it now.
//!
//! Every list is asked for without a `resourceVersion`, which Kubernetes answers with the most recent data (API
//! concepts, "Semantics for get and list"): a verdict never rests on a cache. Only the fields that rules use are
//! decoded. All lists run at once, in pages, under the deadline of the request that they are for.

use std::time::Duration;

use kube::Client;
use kube::core::Request;
use kube::core::params::ListParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::connect::one_line;
use crate::model::{ClusterView, Pod, Selector, Unread, Workload, WorkloadKind, WorkloadManifest};
use crate::rules::Reads;

/// Objects asked for at a time.
const PAGE: u32 = 500;
/// Objects of one kind that are read at most; a namespace that holds more cannot be judged.
const MOST: usize = 20_000;

/// Reads what a change needs.
pub async fn view(client: &Client, reads: &Reads, deadline: Instant) -> ClusterView {
    let namespace = reads.namespace.as_str();
    let workloads = |kind: WorkloadKind| workloads(client, kind, namespace, deadline);
    let (deployments, stateful_sets, daemon_sets, replica_sets, pods) = tokio::join!(
        workloads(WorkloadKind::Deployment),
        workloads(WorkloadKind::StatefulSet),
        workloads(WorkloadKind::DaemonSet),
        workloads(WorkloadKind::ReplicaSet),
        pods(client, namespace, &reads.pods, deadline),
    );
    let mut view = ClusterView::default();
    for read in [deployments, stateful_sets, daemon_sets, replica_sets] {
        match read {
            Ok(mut some) => view.workloads.append(&mut some),
            Err(unread) => view.unread.push(unread),
        }
    }
    match pods {
        Ok(pods) => view.pods = pods,
        Err(unread) => view.unread.push(unread),
    }
    view
}

async fn workloads(
    client: &Client,
    kind: WorkloadKind,
    namespace: &str,
    deadline: Instant,
) -> Result<Vec<Workload>, Unread> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/{}", kind.resource());
    let manifests: Vec<WorkloadManifest> =
        list(client, path, kind.resource(), namespace, &Selector::nothing(), deadline).await?;
    Ok(manifests.into_iter().map(|manifest| manifest.into_workload(kind)).collect())
}

async fn pods(client: &Client, namespace: &str, labels: &Selector, deadline: Instant) -> Result<Vec<Pod>, Unread> {
    list(client, format!("/api/v1/namespaces/{namespace}/pods"), "pods", namespace, labels, deadline).await
}

async fn list<T: DeserializeOwned>(
    client: &Client,
    path: String,
    resource: &str,
    namespace: &str,
    labels: &Selector,
    deadline: Instant,
) -> Result<Vec<T>, Unread> {
    let started = Instant::now();
    let unread = |why: String| Unread { what: format!("{resource} in namespace {namespace}"), why };
    let mut params = ListParams::default().limit(PAGE);
    if !labels.is_empty() {
        params = params.labels(&labels.to_string());
    }
    let mut items: Vec<T> = Vec::new();
    loop {
        let request = Request::new(path.clone()).list(&params).map_err(|error| unread(one_line(&error)))?;
        let page: Page<T> = timeout_at(deadline, client.request(request))
            .await
            .map_err(|_| unread(format!("no answer within {}", in_seconds(started.elapsed()))))?
            .map_err(|error| unread(one_line(&error)))?;
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

fn in_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
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
