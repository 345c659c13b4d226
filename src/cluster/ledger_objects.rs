//! Reads of the objects that a ledger is about: those of its intents, and its namespace.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use kube::core::Request;
use kube::core::params::GetParams;
use serde::Deserialize;
use tokio::time::Instant;

use super::config_maps::{failed, unread};
use super::connect::causes;
use super::ledger_store::LedgerStore;
use super::request::{Answer, RequestError, ask};
use crate::ledger::{Found, ObjectRef, Seen};
use crate::model::{Kind, Meta, ReadFailure, Selector, Service};

/// An object of which only the metadata matter.
#[derive(Deserialize)]
struct Bare {
    metadata: Meta,
}

impl LedgerStore {
    /// Reads the objects of pending changes, all at once.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn read_objects(
        &self,
        namespace: &str,
        objects: BTreeSet<ObjectRef>,
        deadline: Instant,
    ) -> Result<BTreeMap<ObjectRef, Found>, ReadFailure> {
        let reads = objects.into_iter().map(|object| async move {
            let found = self.read_object(namespace, &object, deadline).await?;
            Ok((object, found))
        });
        join_all(reads).await.into_iter().collect()
    }

    /// The metadata of a namespace; `None` where it does not exist.
    pub(super) async fn namespace_meta(&self, namespace: &str, deadline: Instant) -> Result<Option<Meta>, ReadFailure> {
        let path = Request::new("/api/v1/namespaces").get(namespace, &GetParams::default());
        let request = path.map_err(|error| unread(namespace, causes(&error)))?;
        let found = ask::<Bare>(&self.client, request, deadline).await.and_then(Answer::found);
        found.map(|found| found.map(|bare| bare.metadata)).map_err(|error| failed(namespace, &error))
    }

    async fn read_object(&self, namespace: &str, object: &ObjectRef, deadline: Instant) -> Result<Found, ReadFailure> {
        let unread =
            |error: RequestError| ReadFailure::online(format!("{object} in namespace {namespace}"), error.to_string());
        let path = match object.kind {
            Kind::Service => format!("/api/v1/namespaces/{namespace}/services"),
            Kind::Workload(kind) => format!("/apis/apps/v1/namespaces/{namespace}/{}", kind.resource()),
            Kind::Job => format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
        };
        let request = Request::new(path).get(&object.name, &GetParams::default());
        let request = request.map_err(|error| unread(error.into()))?;
        let found = if object.kind == Kind::Service {
            let service = ask::<Service>(&self.client, request, deadline).await.and_then(Answer::found);
            service.map(|found| found.as_ref().map(Seen::from))
        } else {
            let workload = ask::<Bare>(&self.client, request, deadline).await.and_then(Answer::found);
            let seen = |Bare { metadata: Meta { uid, resource_version: version, deleting, .. } }| Seen {
                uid,
                version,
                deleting,
                selector: Selector::nothing(),
                is_set_aside: false,
            };
            workload.map(|found| found.map(seen))
        };
        Ok(found.map_err(unread)?.map_or(Found::Missing, Found::There))
    }
}
