//! From a review to the change that rules judge.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::wire::{Operation, Request, Unreadable};
use crate::model::{Change, Service, Write};

/// The change that a request asks for. What no rule speaks on is not decoded at all.
///
/// # Errors
/// When an object lacks what the API server always sends, or has another type in a field that rules read.
pub fn change_of(request: &Request<'_>) -> Result<Change, Unreadable> {
    let whole_object = request.sub_resource.as_deref().unwrap_or("").is_empty();
    let resource = (request.resource.group.as_ref(), request.resource.resource.as_ref());
    let write = match (resource, request.operation) {
        (("", "services"), Operation::Update) if whole_object => {
            let mut old: Service = decode(request, "oldObject", request.old_object)?;
            let mut new: Service = decode(request, "object", request.object)?;
            // The request's own namespace is authoritative; the objects repeat it.
            request.namespace().clone_into(&mut old.meta.namespace);
            request.namespace().clone_into(&mut new.meta.namespace);
            Write::ServiceUpdate { old: Box::new(old), new: Box::new(new) }
        }
        _ => Write::Other,
    };
    Ok(Change { write, dry_run: request.dry_run == Some(true) })
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
