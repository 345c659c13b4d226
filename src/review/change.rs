//! Decoding: from a review to the change that rules judge.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::wire::{Object, Operation, Request, Unreadable};
use crate::model::{
    Change, GateJob, JobSpec, JobStatus, Meta, MetaManifest, Service, User, Workload, WorkloadKind, Write,
};
use json_skip::Raw;

/// The change that a request asks for. The objects and the user are moved into it. If no rule applies, nothing more is
/// decoded.
///
/// # Errors
/// When an object lacks a field that the API server always sends, or a field that rules read has the wrong type.
pub fn change_of(request: &mut Request<'_>) -> Result<Change, Unreadable> {
    let objects = Objects { old: request.old_object.take(), new: request.object.take() };
    let resource = request.resource.resource.as_ref();
    let sub_resource = request.sub_resource.as_deref().unwrap_or("");
    let kind = WorkloadKind::ALL.into_iter().find(|kind| kind.resource() == resource);
    let write = match (request.resource.group.as_ref(), kind, sub_resource) {
        ("", None, "") if resource == "services" => service_write(request, objects)?,
        ("", None, "status") if resource == "services" && request.operation == Operation::Update => {
            service_status(request, objects)?
        }
        ("apps", Some(kind), "") => workload_write(request, objects, kind)?,
        ("apps", Some(kind), "status") if request.operation == Operation::Update => {
            workload_status(request, objects, kind)?
        }
        ("apps", Some(kind), "scale") if request.operation == Operation::Update => scale(request, objects, kind)?,
        ("batch", None, "" | "status") if resource == "jobs" => job_write(request, objects)?,
        _ => Write::Other,
    };
    let manager = request.options.as_ref().and_then(|options| options.field_manager.as_deref());
    let user = user(request, &write)?;
    let manager = manager.unwrap_or_default().to_owned();
    Ok(Change { write, dry_run: request.dry_run == Some(true), user, manager })
}

/// The old and the new state of the object.
struct Objects<'a> {
    old: Option<Object<'a>>,
    new: Option<Object<'a>>,
}

/// One state, with the name of its field in the review.
struct State<'a> {
    field: &'static str,
    meta: MetaManifest<'a>,
    spec: Option<Raw<'a>>,
    status: Option<Raw<'a>>,
}

impl<'a> Objects<'a> {
    fn stored(self, request: &Request<'_>) -> Result<State<'a>, Unreadable> {
        State::of("oldObject", self.old, request)
    }

    fn new_state(self, request: &Request<'_>) -> Result<State<'a>, Unreadable> {
        State::of("object", self.new, request)
    }

    fn both(self, request: &Request<'_>) -> Result<(State<'a>, State<'a>), Unreadable> {
        Ok((State::of("oldObject", self.old, request)?, State::of("object", self.new, request)?))
    }
}

impl<'a> State<'a> {
    fn of(field: &'static str, object: Option<Object<'a>>, request: &Request<'_>) -> Result<Self, Unreadable> {
        let Object { metadata, spec, status } =
            object.ok_or_else(|| unreadable(request, &format!("the review has no `{field}`")))?;
        let meta = metadata.ok_or_else(|| unreadable(request, &format!("`{field}` has no `metadata`")))?;
        Ok(Self { field, meta, spec, status })
    }

    fn spec<T: DeserializeOwned + Default>(&self, request: &Request<'_>) -> Result<T, Unreadable> {
        decode(request, self.field, "spec", self.spec.as_ref())
    }

    fn status<T: DeserializeOwned + Default>(&self, request: &Request<'_>) -> Result<T, Unreadable> {
        decode(request, self.field, "status", self.status.as_ref())
    }

    fn meta(self, request: &Request<'_>) -> Result<Meta, Unreadable> {
        let meta = self.meta.meta();
        let mut meta = meta.map_err(|why| unreadable(request, &format!("`{}.metadata`: {why}", self.field)))?;
        // The namespace of the request is authoritative; objects only repeat it.
        request.namespace().clone_into(&mut meta.namespace);
        Ok(meta)
    }
}

/// Whether an update changes anything that a rule looks at first: the `spec`, the owners, or a read annotation. Most
/// other updates change a label, another annotation, or the status.
fn is_noticed(old: &State<'_>, new: &State<'_>) -> bool {
    old.spec != new.spec || !old.meta.looks_like(&new.meta)
}

fn service_write(request: &Request<'_>, objects: Objects<'_>) -> Result<Write, Unreadable> {
    let service = |state: State<'_>| {
        let spec = state.spec(request)?;
        Ok(Box::new(Service::new(state.meta(request)?, spec)))
    };
    Ok(match request.operation {
        Operation::Update => {
            let (old, new) = objects.both(request)?;
            if !is_noticed(&old, &new) {
                return Ok(Write::Other);
            }
            Write::ServiceUpdate { old: service(old)?, new: service(new)? }
        }
        Operation::Delete => Write::ServiceDelete { old: service(objects.stored(request)?)? },
        Operation::Create => Write::ServiceCreate { new: service(objects.new_state(request)?)? },
        Operation::Connect => Write::Other,
    })
}

/// A write to the status of a Service. It cannot change `spec`, but it can change annotations.
fn service_status(request: &Request<'_>, objects: Objects<'_>) -> Result<Write, Unreadable> {
    Ok(match service_write(request, objects)? {
        Write::ServiceUpdate { old, new } => {
            let new = Service { meta: new.meta, ..old.as_ref().clone() };
            Write::ServiceUpdate { old, new: Box::new(new) }
        }
        other => other,
    })
}

fn workload_write(request: &Request<'_>, objects: Objects<'_>, kind: WorkloadKind) -> Result<Write, Unreadable> {
    let workload = |state: State<'_>| {
        let (spec, status) = (state.spec(request)?, state.status(request)?);
        Ok(Box::new(Workload::new(kind, state.meta(request)?, spec, status)))
    };
    Ok(match request.operation {
        Operation::Create => Write::WorkloadCreate { new: workload(objects.new_state(request)?)? },
        Operation::Update => {
            let (old, new) = objects.both(request)?;
            if !is_noticed(&old, &new) {
                return Ok(Write::Other);
            }
            Write::WorkloadUpdate { old: workload(old)?, new: workload(new)? }
        }
        Operation::Delete => Write::WorkloadDelete { old: workload(objects.stored(request)?)? },
        Operation::Connect => Write::Other,
    })
}

/// A write to the status of a workload. As with Services, it can change annotations.
fn workload_status(request: &Request<'_>, objects: Objects<'_>, kind: WorkloadKind) -> Result<Write, Unreadable> {
    Ok(match workload_write(request, objects, kind)? {
        Write::WorkloadUpdate { old, new } => {
            let new = Workload { meta: new.meta, ..old.as_ref().clone() };
            Write::WorkloadUpdate { old, new: Box::new(new) }
        }
        other => other,
    })
}

/// A write of a Job. The API server sends only those with the label of a gate.
fn job_write(request: &Request<'_>, objects: Objects<'_>) -> Result<Write, Unreadable> {
    let job = |state: State<'_>| {
        let (spec, status): (JobSpec, JobStatus) = (state.spec(request)?, state.status(request)?);
        Ok(Box::new(GateJob::new(state.meta(request)?, spec, &status)))
    };
    Ok(match request.operation {
        Operation::Create => Write::JobCreate { new: job(objects.new_state(request)?)? },
        Operation::Update => {
            let (old, new) = objects.both(request)?;
            Write::JobUpdate { old: job(old)?, new: job(new)? }
        }
        Operation::Delete => Write::JobDelete { old: job(objects.stored(request)?)? },
        Operation::Connect => Write::Other,
    })
}

/// A Scale. It carries neither labels nor status, and omits `replicas` when 0.
fn scale(request: &Request<'_>, objects: Objects<'_>, kind: WorkloadKind) -> Result<Write, Unreadable> {
    #[derive(Default, Deserialize)]
    struct Spec {
        replicas: Option<u32>,
    }
    let replicas = |state: &State<'_>| Ok(state.spec::<Spec>(request)?.replicas.unwrap_or_default());
    let (old, new) = objects.both(request)?;
    let (from, to) = (replicas(&old)?, replicas(&new)?);
    let Meta { uid, resource_version, .. } = old.meta(request)?;
    Ok(Write::Scale {
        kind,
        namespace: request.namespace().to_owned(),
        name: request.name().to_owned(),
        from,
        to,
        uid,
        resource_version,
    })
}

/// The user. Of a change that no rule applies to, only the name is decoded, for the log.
fn user(request: &Request<'_>, write: &Write) -> Result<User, Unreadable> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        username: String,
    }
    let Some(raw) = &request.user_info else { return Ok(User::default()) };
    let user = match write {
        Write::Other => json_skip::from_str(raw).map(|Named { username: name }| User { name, ..User::default() }),
        _ => json_skip::from_str(raw),
    };
    user.map_err(|error| unreadable(request, &format!("`userInfo` cannot be read: {error}")))
}

/// Decodes a part of an object. An absent or null part gives the default.
fn decode<T: DeserializeOwned + Default>(
    request: &Request<'_>,
    object: &str,
    part: &str,
    raw: Option<&Raw<'_>>,
) -> Result<T, Unreadable> {
    let Some(raw) = raw else { return Ok(T::default()) };
    json_skip::from_str(raw).map_err(|error| {
        let path = json_skip::wrong_field::<T>(raw);
        unreadable(request, &format!("`{object}.{part}.{path}` cannot be read: {error}"))
    })
}

fn unreadable(request: &Request<'_>, why: &str) -> Unreadable {
    Unreadable {
        uid: Some(request.uid.clone().into_owned()),
        why: format!("{} {}/{}: {why}", request.kind.kind, request.namespace(), request.name()),
    }
}
