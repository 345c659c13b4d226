//! Reports as objects of the cluster. Nothing is written where nothing has changed.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::params::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{Request, Status};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Duration, Instant};

use super::pages::each;
use super::request::{RequestError, within};
use super::snapshot::TIME as LIST_TIME;
use crate::report::open_reports::{Group, NAME};

/// The field manager of the objects.
const MANAGER: &str = "flipguard-auditor";
/// The longest time for one request.
const TIME: Duration = Duration::from_secs(30);

/// An object as it is stored, as far as it is compared.
#[derive(Deserialize)]
struct Stored {
    metadata: Place,
    #[serde(flatten)]
    content: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Place {
    namespace: String,
}

/// How many objects were written, and how many were deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Created or changed.
    pub written: usize,
    /// Deleted, since their namespaces have no traffic Service any more.
    pub deleted: usize,
}

/// Writes the objects that differ from the stored ones. Those of other namespaces are deleted where `is_all` says that
/// the report is about the whole cluster, and complete.
///
/// # Errors
/// When the objects cannot be listed, written or deleted; the message names the request.
pub async fn write(client: &Client, group: Group, objects: &[Value], is_all: bool) -> Result<Written, String> {
    let stored = stored(client, group).await.map_err(|error| {
        let hint = match &error {
            RequestError::Api(kube::Error::Api(status)) if status.code == 404 => {
                format!("; install the CRD of {} {}", group.api_version(), group.kind())
            }
            _ => String::new(),
        };
        format!("cannot list {}: {error}{hint}", group.resource())
    })?;
    let mut count = Written::default();
    let mut wanted = Vec::new();
    for object in objects {
        let Some(namespace) = object.pointer("/metadata/namespace").and_then(Value::as_str) else { continue };
        wanted.push(namespace);
        if stored.get(namespace).is_some_and(|stored| is_same(stored, object)) {
            continue;
        }
        let params = PatchParams::apply(MANAGER).force();
        let request = Request::new(path(group, namespace)).patch(NAME, &params, &Patch::Apply(object));
        send::<Value>(client, request)
            .await
            .map_err(|error| format!("cannot write the {} of namespace {namespace}: {error}", group.kind()))?;
        count.written += 1;
    }
    for namespace in stored.keys().filter(|one| is_all && !wanted.contains(&one.as_str())) {
        let request = Request::new(path(group, namespace)).delete(NAME, &DeleteParams::default());
        send::<Status>(client, request)
            .await
            .map_err(|error| format!("cannot delete the {} of namespace {namespace}: {error}", group.kind()))?;
        count.deleted += 1;
    }
    Ok(count)
}

fn path(group: Group, namespace: &str) -> String {
    format!("/apis/{}/namespaces/{namespace}/{}", group.api_version(), group.resource())
}

async fn send<T: serde::de::DeserializeOwned>(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<T, RequestError> {
    within(Instant::now() + TIME, client.request(request?)).await
}

/// The stored objects by namespace, page by page.
async fn stored(client: &Client, group: Group) -> Result<BTreeMap<String, BTreeMap<String, Value>>, RequestError> {
    let path = format!("/apis/{}/{}", group.api_version(), group.resource());
    let labels = format!("app.kubernetes.io/managed-by={NAME}");
    let params = ListParams::default().labels(&labels);
    let mut all = BTreeMap::new();
    let take = |Stored { metadata, content }: Stored| drop(all.insert(metadata.namespace, content));
    each(client, &path, params, Instant::now() + LIST_TIME, take).await?;
    Ok(all)
}

/// Whether all that would be written is stored already. `metadata` is never changed.
fn is_same(stored: &BTreeMap<String, Value>, wanted: &Value) -> bool {
    let fields = wanted.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
        .all(|(name, value)| stored.get(name) == Some(value))
}
