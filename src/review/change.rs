//! From a review to the change that rules judge.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::wire::{Operation, Request, Unreadable};
use crate::model::{Change, Service, Tool, User, Workload, WorkloadKind, WorkloadManifest, Write};

/// The change that a request asks for. What no rule speaks on is not decoded at all.
///
/// # Errors
/// When an object lacks what the API server always sends, or has another type in a field that rules read.
pub fn change_of(request: &Request<'_>) -> Result<Change, Unreadable> {
    let resource = request.resource.resource.as_ref();
    let sub_resource = request.sub_resource.as_deref().unwrap_or("");
    let kind = WorkloadKind::ALL.into_iter().find(|kind| kind.resource() == resource);
    let write = match (request.resource.group.as_ref(), kind, sub_resource) {
        ("", None, "") if resource == "services" => service_write(request)?,
        ("", None, "status") if resource == "services" && request.operation == Operation::Update => {
            service_status(request)?
        }
        ("apps", Some(kind), "") => workload_write(request, kind)?,
        ("apps", Some(kind), "status") if request.operation == Operation::Update => workload_status(request, kind)?,
        ("apps", Some(kind), "scale") if request.operation == Operation::Update => scale(request, kind)?,
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

fn service_write(request: &Request<'_>) -> Result<Write, Unreadable> {
    // The request's own namespace is authoritative; the objects repeat it.
    let service = |field: &str, raw: Option<&RawValue>| {
        let mut service: Service = decode(request, field, raw)?;
        request.namespace().clone_into(&mut service.meta.namespace);
        Ok(Box::new(service))
    };
    let old = || service("oldObject", request.old_object);
    Ok(match request.operation {
        Operation::Update => Write::ServiceUpdate { old: old()?, new: service("object", request.object)? },
        Operation::Delete => Write::ServiceDelete { old: old()? },
        Operation::Create => Write::ServiceCreate { new: service("object", request.object)? },
        Operation::Connect => Write::Other,
    })
}

/// A write of the status cannot change the spec, but it can change the annotations.
fn service_status(request: &Request<'_>) -> Result<Write, Unreadable> {
    Ok(match service_write(request)? {
        Write::ServiceUpdate { old, new } => {
            let new = Service { meta: new.meta, ..old.as_ref().clone() };
            Write::ServiceUpdate { old, new: Box::new(new) }
        }
        other => other,
    })
}

fn workload_write(request: &Request<'_>, kind: WorkloadKind) -> Result<Write, Unreadable> {
    let workload = |field: &str, raw: Option<&RawValue>| {
        let manifest: WorkloadManifest = decode(request, field, raw)?;
        let mut workload = manifest.into_workload(kind);
        request.namespace().clone_into(&mut workload.meta.namespace);
        Ok(Box::new(workload))
    };
    let old = || workload("oldObject", request.old_object);
    let new = || workload("object", request.object);
    Ok(match request.operation {
        Operation::Create => Write::WorkloadCreate { new: new()? },
        Operation::Update => Write::WorkloadUpdate { old: old()?, new: new()? },
        Operation::Delete => Write::WorkloadDelete { old: old()? },
        Operation::Connect => Write::Other,
    })
}

/// As with a Service: by its status, only the annotations can be changed.
fn workload_status(request: &Request<'_>, kind: WorkloadKind) -> Result<Write, Unreadable> {
    Ok(match workload_write(request, kind)? {
        Write::WorkloadUpdate { old, new } => {
            let new = Workload { meta: new.meta, ..old.as_ref().clone() };
            Write::WorkloadUpdate { old, new: Box::new(new) }
        }
        other => other,
    })
}

/// A Scale says neither labels nor status, and leaves `replicas` out when it is 0.
fn scale(request: &Request<'_>, kind: WorkloadKind) -> Result<Write, Unreadable> {
    #[derive(Deserialize)]
    struct Scale {
        metadata: ScaleMeta,
        spec: Option<ScaleSpec>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ScaleMeta {
        uid: Option<String>,
        resource_version: Option<String>,
    }
    #[derive(Default, Deserialize)]
    struct ScaleSpec {
        replicas: Option<u32>,
    }
    let replicas = |scale: &Scale| scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
    let old: Scale = decode(request, "oldObject", request.old_object)?;
    let new: Scale = decode(request, "object", request.object)?;
    Ok(Write::Scale {
        kind,
        namespace: request.namespace().to_owned(),
        name: request.name().to_owned(),
        from: replicas(&old),
        to: replicas(&new),
        uid: old.metadata.uid.unwrap_or_default(),
        version: old.metadata.resource_version.unwrap_or_default(),
    })
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
