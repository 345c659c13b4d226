//! Reads and writes of flipguard's own ConfigMaps: the ledgers and their index.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Error};
use serde_json::json;
use tokio::time::Instant;

use super::request::{RequestError, is_not_found, within};
use crate::install::MANAGED_BY;
use crate::model::ReadFailure;

/// The ConfigMaps in flipguard's own namespace. Each request is made for the ledger of a namespace, which a failure
/// names.
pub(super) struct ConfigMaps {
    api: Api<ConfigMap>,
    pub(super) own_namespace: String,
}

impl ConfigMaps {
    pub(super) fn new(client: Client, own_namespace: &str) -> Self {
        Self { api: Api::namespaced(client, own_namespace), own_namespace: own_namespace.to_owned() }
    }

    /// A ConfigMap of flipguard that is still to be created, or is to replace a stored one. One empty entry stops the API
    /// server from tracking which manager owns which key (Kubernetes, "Server-Side Apply", "Clearing managedFields").
    /// Nobody else may write it, and to track its keys makes a write dearer.
    pub(super) fn new_map(&self, name: &str, data: BTreeMap<String, String>) -> ConfigMap {
        let mut map = ConfigMap { data: Some(data), ..ConfigMap::default() };
        map.metadata.name = Some(name.to_owned());
        map.metadata.namespace = Some(self.own_namespace.clone());
        map.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        map.metadata.labels = Some(BTreeMap::from([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())]));
        map
    }

    /// Reads a ConfigMap; `None` where none of this name exists.
    pub(super) async fn read(
        &self,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<ConfigMap>, ReadFailure> {
        match within(deadline, self.api.get(name)).await {
            Ok(map) => Ok(Some(map)),
            Err(RequestError::Api(Error::Api(status))) if is_not_found(&status) => Ok(None),
            Err(error) => Err(failed(namespace, &error)),
        }
    }

    /// Creates a ConfigMap; `None` where one of this name exists.
    pub(super) async fn create(
        &self,
        namespace: &str,
        map: &ConfigMap,
        deadline: Instant,
    ) -> Result<Option<ConfigMap>, ReadFailure> {
        match within(deadline, self.api.create(&PostParams::default(), map)).await {
            Ok(created) => Ok(Some(created)),
            Err(RequestError::Api(Error::Api(status))) if status.code == 409 => Ok(None),
            Err(RequestError::Api(Error::Api(status))) if is_not_found(&status) => {
                Err(unread(namespace, format!("flipguard's own namespace {} does not exist", self.own_namespace)))
            }
            Err(error) => Err(failed(namespace, &error)),
        }
    }

    /// Replaces a ConfigMap; `None` where it was changed or deleted since it was read.
    pub(super) async fn replace(
        &self,
        namespace: &str,
        map: &ConfigMap,
        deadline: Instant,
    ) -> Result<Option<ConfigMap>, ReadFailure> {
        let name = map.metadata.name.as_deref().unwrap_or_default();
        unless_moved(namespace, within(deadline, self.api.replace(name, &PostParams::default(), map)).await)
    }

    /// Changes the data of a ConfigMap as it was read; `false` where it was changed or deleted since then. Only the entries
    /// that differ are sent, and none is sent back: the API server takes half as long for that as for a replacement.
    pub(super) async fn change(
        &self,
        namespace: &str,
        map: &ConfigMap,
        data: &BTreeMap<String, String>,
        deadline: Instant,
    ) -> Result<bool, ReadFailure> {
        let name = map.metadata.name.as_deref().unwrap_or_default();
        let version = map.metadata.resource_version.as_deref().unwrap_or_default();
        let patch = json!({ "metadata": { "resourceVersion": version }, "data": differences(map, data) });
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let written = within(deadline, self.api.patch_metadata(name, &params, &patch)).await;
        Ok(unless_moved(namespace, written)?.is_some())
    }

    /// Deletes a ConfigMap as it was read; `false` where it was changed since then.
    pub(super) async fn delete(&self, namespace: &str, map: ConfigMap, deadline: Instant) -> Result<bool, ReadFailure> {
        let ObjectMeta { name, uid, resource_version, .. } = map.metadata;
        let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version });
        match within(deadline, self.api.delete(&name.unwrap_or_default(), &params)).await {
            Ok(_) => Ok(true),
            Err(RequestError::Api(Error::Api(status))) if is_not_found(&status) => Ok(true),
            Err(RequestError::Api(Error::Api(status))) if status.code == 409 => Ok(false),
            Err(error) => Err(failed(namespace, &error)),
        }
    }
}

/// The result of a write over a ConfigMap as it was read; `None` where it was changed or deleted since then. The next read
/// tells a deletion from a change.
fn unless_moved<T>(namespace: &str, written: Result<T, RequestError>) -> Result<Option<T>, ReadFailure> {
    match written {
        Ok(written) => Ok(Some(written)),
        Err(RequestError::Api(Error::Api(status))) if status.code == 409 || is_not_found(&status) => Ok(None),
        Err(error) => Err(failed(namespace, &error)),
    }
}

/// The entries of the new data that differ from the old ones, and null for each that is gone (Kubernetes, "Update API
/// Objects in Place Using kubectl patch").
fn differences(map: &ConfigMap, new: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
    let nothing = BTreeMap::new();
    let old = map.data.as_ref().unwrap_or(&nothing);
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    gone.chain(changed.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

/// Whether a ConfigMap is flipguard's.
pub(super) fn is_managed(map: &ConfigMap) -> bool {
    let label = map.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0));
    label.is_some_and(|value| value == MANAGED_BY.1)
}

/// A failed read of a namespace's ledger.
pub(super) fn unread(namespace: &str, why: String) -> ReadFailure {
    ReadFailure::online(format!("the ledger of namespace {namespace}"), why)
}

pub(super) fn failed(namespace: &str, error: &RequestError) -> ReadFailure {
    unread(namespace, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_sent() {
        let data = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let old = data(&[("gone", "1"), ("head", "1"), ("same", "1")]);
        let map = ConfigMap { data: Some(old), ..ConfigMap::default() };
        let sent = differences(&map, &data(&[("head", "2"), ("new", "1"), ("same", "1")]));
        let wanted = json!({ "gone": null, "head": "2", "new": "1" });
        assert_eq!(serde_json::to_value(sent).unwrap(), wanted);
    }
}
