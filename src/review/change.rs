//! From a review to the change that rules judge.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::wire::{Operation, Request, Unreadable};
use crate::model::{Change, Service, Tool, User, WorkloadKind, WorkloadManifest, Write};

/// The change that a request asks for. What no rule speaks on is not decoded at all.
///
/// # Errors
/// When an object lacks what the API server always sends, or has another type in a field that rules read.
pub fn change_of(request: &Request<'_>) -> Result<Change, Unreadable> {
    let whole_object = request.sub_resource.as_deref().unwrap_or("").is_empty();
    let resource = (request.resource.group.as_ref(), request.resource.resource.as_ref());
    let write = match (resource, request.operation) {
        _ if !whole_object => Write::Other,
        (("", "services"), Operation::Update) => service_update(request)?,
        (("apps", "deployments"), Operation::Create | Operation::Update) => deployment_write(request)?,
        _ => Write::Other,
    };
    let manager = request.options.as_ref().and_then(|options| options.field_manager.as_deref());
    Ok(Change {
        write,
        dry_run: request.dry_run == Some(true),
        user: user(request),
        tool: manager.and_then(Tool::of_field_manager),
    })
}

fn service_update(request: &Request<'_>) -> Result<Write, Unreadable> {
    let mut old: Service = decode(request, "oldObject", request.old_object)?;
    let mut new: Service = decode(request, "object", request.object)?;
    // The request's own namespace is authoritative; the objects repeat it.
    request.namespace().clone_into(&mut old.meta.namespace);
    request.namespace().clone_into(&mut new.meta.namespace);
    Ok(Write::ServiceUpdate { old: Box::new(old), new: Box::new(new) })
}

fn deployment_write(request: &Request<'_>) -> Result<Write, Unreadable> {
    let deployment = |field: &str, raw: Option<&RawValue>| {
        let manifest: WorkloadManifest = decode(request, field, raw)?;
        let mut deployment = manifest.into_workload(WorkloadKind::Deployment);
        request.namespace().clone_into(&mut deployment.meta.namespace);
        Ok(Box::new(deployment))
    };
    let old = match request.operation {
        Operation::Update => Some(deployment("oldObject", request.old_object)?),
        _ => None,
    };
    Ok(Write::DeploymentWrite { old, new: deployment("object", request.object)? })
}

fn user(request: &Request<'_>) -> User {
    let info = &request.user_info;
    User {
        name: info.username.clone().into_owned(),
        uid: info.uid.clone().unwrap_or_default().into_owned(),
        groups: info.groups.clone().unwrap_or_default(),
        extra: info.extra.clone().unwrap_or_default(),
    }
}

fn decode<T: DeserializeOwned>(request: &Request<'_>, field: &str, raw: Option<&RawValue>) -> Result<T, Unreadable> {
    let unreadable = |why: String| Unreadable {
        uid: Some(request.uid.clone().into_owned()),
        why: format!("{} {}/{}: {why}", request.kind.kind, request.namespace(), request.name()),
    };
    let raw = raw.ok_or_else(|| unreadable(format!("the review has no `{field}`")))?;
    serde_json::from_str(raw.get()).map_err(|error| {
        // Only now is it worth a second pass to name the field.
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
        let path = serde_path_to_error::deserialize::<_, T>(&mut deserializer)
            .err()
            .map(|error| error.path().to_string())
            .unwrap_or_default();
        unreadable(format!("`{field}.{path}` cannot be read: {error}"))
    })
}
