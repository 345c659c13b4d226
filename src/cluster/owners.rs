//! Looks up owners of any kind, as the garbage collector does.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::Request;
use kube::core::params::GetParams;
use kube::core::request::Error::BuildRequest;
use serde::Deserialize;
use tokio::time::Instant;

use super::request::{Answer, RequestError, ask};
use crate::model::{Owner, ReadFailure};

/// An APIResourceList: the resources of one API version.
#[derive(Deserialize)]
struct ApiVersion {
    resources: Option<Vec<ApiResource>>,
}

#[derive(Deserialize)]
struct ApiResource {
    name: String,
    kind: String,
    namespaced: bool,
}

#[derive(Deserialize)]
struct OwnerObject {
    metadata: OwnerMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerMeta {
    uid: Option<String>,
    deletion_timestamp: Option<String>,
}

/// Looks up owners of an object in this namespace, by uid, until one exists: one owner is enough to keep the object.
///
/// # Errors
/// When a lookup fails.
pub(super) async fn among(
    client: &Client,
    namespace: &str,
    owners: &[Owner],
    deadline: Instant,
) -> Result<BTreeMap<String, Option<bool>>, ReadFailure> {
    let mut found = BTreeMap::new();
    for owner in owners {
        let exists = if is_askable(owner) {
            exists(client, namespace, owner, deadline)
                .await
                .map_err(|error| ReadFailure::online(format!("{owner} in namespace {namespace}"), error.to_string()))?
        } else {
            None
        };
        found.insert(owner.uid.clone(), exists);
        if exists == Some(true) {
            break;
        }
    }
    Ok(found)
}

/// Whether an owner reference can be a part of a URL. The API server stores nearly any text there; the garbage
/// collector cannot find an owner by any other text either.
fn is_askable(owner: &Owner) -> bool {
    let plain = |text: &str, also: &str| {
        text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-.".contains(letter) || also.contains(letter))
            && !text.split('/').any(|part| matches!(part, "" | "." | ".."))
    };
    plain(&owner.api_version, "/") && plain(&owner.name, ":_")
}

/// Whether an owner exists and is not being deleted; `None` where RBAC hides it, or the API server does not know its
/// kind.
async fn exists(
    client: &Client,
    namespace: &str,
    owner: &Owner,
    deadline: Instant,
) -> Result<Option<bool>, RequestError> {
    let Owner { api_version, kind, name, uid } = owner;
    // `v1` is the core group; every other version has its group before it.
    let root = if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
    let request = http::Request::get(&root).body(Vec::new()).map_err(BuildRequest)?;
    let Answer::Is(version) = ask::<ApiVersion>(client, request, deadline).await? else {
        return Ok(None);
    };
    let is_it = |resource: &ApiResource| resource.kind == *kind && !resource.name.contains('/');
    let Some(resource) = version.resources.into_iter().flatten().find(is_it) else { return Ok(None) };
    let place = if resource.namespaced { format!("{root}/namespaces/{namespace}") } else { root };
    let request = Request::new(format!("{place}/{}", resource.name)).get_metadata(name, &GetParams::default())?;
    Ok(match ask::<OwnerObject>(client, request, deadline).await? {
        Answer::Is(OwnerObject { metadata }) => {
            Some(metadata.uid.as_ref() == Some(uid) && metadata.deletion_timestamp.is_none())
        }
        Answer::NotFound => Some(false),
        Answer::NoPage(words) => return Err(RequestError::NoPage(words)),
        Answer::Forbidden(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_name_is_asked_for() {
        let asked = |api_version: &str, name: &str| {
            is_askable(&Owner { api_version: api_version.to_owned(), name: name.to_owned(), ..Owner::default() })
        };
        assert!(asked("v1", "app") && asked("example.com/v1alpha1", "system:app_1.x"));
        assert!(!asked("v1", "../../secrets/app") && !asked("v1", "..") && !asked("v1", "a b") && !asked("v1", ""));
        assert!(!asked("../v1", "app") && !asked("example.com/v1?x", "app"));
    }
}
