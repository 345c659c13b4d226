//! `AdmissionReview` requests.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::MetaManifest;
use json_skip::Raw;

/// The `request` of an `AdmissionReview`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// The id of this call; the answer must repeat it.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// The kind of the object, in the version of the webhook's registration.
    #[serde(borrow)]
    pub kind: Kind<'a>,
    /// The resource, in the version of the webhook's registration.
    #[serde(borrow)]
    pub resource: Resource<'a>,
    /// The subresource: `scale` or `status`; empty for the object itself.
    #[serde(borrow, default, deserialize_with = "borrowed")]
    pub sub_resource: Option<Cow<'a, str>>,
    /// The name of the object; empty on `deletecollection`, and on CREATE with `generateName`.
    #[serde(borrow, default, deserialize_with = "borrowed")]
    pub name: Option<Cow<'a, str>>,
    /// The namespace of the object; empty for cluster-scoped objects.
    #[serde(borrow, default, deserialize_with = "borrowed")]
    pub namespace: Option<Cow<'a, str>>,
    /// CREATE, UPDATE, DELETE or CONNECT.
    pub operation: Operation,
    /// The authenticated user, undecoded.
    #[serde(borrow, default)]
    pub user_info: Option<Raw<'a>>,
    /// The new object; null on DELETE.
    #[serde(borrow, default)]
    pub object: Option<Object<'a>>,
    /// The stored object; null on CREATE.
    #[serde(borrow, default)]
    pub old_object: Option<Object<'a>>,
    /// Whether the write is only simulated (`--dry-run=server`).
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// The options of the request, of which only the field manager is read.
    #[serde(borrow, default)]
    pub options: Option<Options<'a>>,
}

/// A group, a version and a kind.
#[derive(Debug, Deserialize)]
pub struct Kind<'a> {
    /// The API group; empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// The version, such as `v1`.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// The kind, such as `Deployment`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

/// A group, a version and a resource.
#[derive(Debug, Deserialize)]
pub struct Resource<'a> {
    /// The API group; empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// The version, such as `v1`.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// The resource in the plural, such as `deployments`.
    #[serde(borrow)]
    pub resource: Cow<'a, str>,
}

/// An object of any kind. The metadata is read at once; the rest is decoded when the kind is known.
#[derive(Debug, Default)]
pub struct Object<'a> {
    /// `metadata`, not yet decoded.
    pub metadata: Option<MetaManifest<'a>>,
    /// `spec`, not yet decoded.
    pub spec: Option<Raw<'a>>,
    /// `status`, not yet decoded.
    pub status: Option<Raw<'a>>,
}

/// A value that is not a JSON object has no parts. It causes an error only where a part is needed.
impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Parts<'a> {
            #[serde(borrow)]
            metadata: Option<MetaManifest<'a>>,
            #[serde(borrow)]
            spec: Option<Raw<'a>>,
            #[serde(borrow)]
            status: Option<Raw<'a>>,
        }
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<'de>, A::Error> {
                let Parts { metadata, spec, status } = Parts::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Object { metadata, spec, status })
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Object<'de>, E> {
                Ok(Object::default())
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// `CreateOptions`, `UpdateOptions` or `PatchOptions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options<'a> {
    /// The declared manager of the written fields, such as `kubectl-client-side-apply`.
    #[serde(borrow, default, deserialize_with = "borrowed")]
    pub field_manager: Option<Cow<'a, str>>,
}

/// The operation of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// A new object is stored.
    Create,
    /// A stored object is changed, by PUT or PATCH.
    Update,
    /// An object is deleted.
    Delete,
    /// A connection is opened, as by `kubectl exec`.
    Connect,
}

impl Operation {
    /// The operation as the protocol spells it: `UPDATE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A request body that cannot be parsed as a review.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unreadable {
    /// The uid for the answer; `None` if the body has none.
    pub uid: Option<String>,
    /// The error, in one line.
    pub why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

impl<'a> Request<'a> {
    /// Reads the envelope of a review.
    ///
    /// # Errors
    /// When the body is not an `AdmissionReview` of version `admission.k8s.io/v1` with a `request`.
    pub fn parse(body: &'a [u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(body).map_err(|error| Unreadable {
            uid: None,
            why: format!("body is not an AdmissionReview: it is no UTF-8: {error}"),
        })?;
        let review: Review<'a> = json_skip::from_str(text).map_err(|error| unreadable(text, &error))?;
        if review.kind != "AdmissionReview" || review.api_version != "admission.k8s.io/v1" {
            return Err(Unreadable {
                uid: review.request.map(|request| request.uid.into_owned()),
                why: format!(
                    "body is `{}` of `{}`; only `AdmissionReview` of `admission.k8s.io/v1` is spoken here",
                    review.kind, review.api_version
                ),
            });
        }
        review.request.ok_or_else(|| Unreadable { uid: None, why: "the AdmissionReview has no `request`".to_owned() })
    }

    /// The namespace of the object; empty for cluster-scoped objects.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }

    /// The name of the object; empty where the request has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("")
    }
}

/// Borrows an optional `Cow` from the input. serde borrows a plain `Cow` only; inside an `Option`, it would copy.
fn borrowed<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Borrowed<'a>>::deserialize(deserializer)?.map(|Borrowed(text)| text))
}

/// The error of a review, with its uid if the body has one.
fn unreadable(text: &str, error: &json_skip::Error) -> Unreadable {
    #[derive(Deserialize)]
    struct Told<T> {
        request: T,
    }
    /// Only the uid, decoded separately, so that no other error can hide it.
    #[derive(Default, Deserialize)]
    struct Uid {
        uid: Option<String>,
    }
    /// Only the namespace and the name, to identify the object in the error.
    #[derive(Default, Deserialize)]
    struct Who<'a> {
        #[serde(borrow)]
        kind: Option<Raw<'a>>,
        #[serde(borrow)]
        namespace: Option<Raw<'a>>,
        #[serde(borrow)]
        name: Option<Raw<'a>>,
    }
    let Uid { uid } = json_skip::from_str::<Told<Uid>>(text).map(|told| told.request).unwrap_or_default();
    let Who { kind, namespace, name } =
        json_skip::from_str::<Told<Who<'_>>>(text).map(|told| told.request).unwrap_or_default();
    let kind = kind.and_then(|kind| json_skip::from_str::<Kind<'_>>(&kind).ok().map(|kind| kind.kind.into_owned()));
    let said = |raw: Option<Raw<'_>>| raw.and_then(|raw| json_skip::from_str::<String>(&raw).ok()).unwrap_or_default();
    let path = json_skip::wrong_field::<Review<'_>>(text);
    let field =
        path.strip_prefix("request.").filter(|field| field.starts_with("object") || field.starts_with("oldObject"));
    let why = match (field, kind) {
        (Some(field), Some(kind)) => {
            format!("{kind} {}/{}: `{field}` cannot be read: {error}", said(namespace), said(name))
        }
        _ => format!("body is not an AdmissionReview: {error}"),
    };
    Unreadable { uid, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_of_another_version_is_rejected_by_name_with_its_uid() {
        let body = br#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"u1",
            "kind":{"version":"v1","kind":"Service"},"resource":{"version":"v1","resource":"services"},
            "operation":"UPDATE"}}"#;
        let unreadable = Request::parse(body).unwrap_err();
        assert_eq!(unreadable.uid.as_deref(), Some("u1"));
        assert!(unreadable.why.contains("`admission.k8s.io/v1beta1`"), "{}", unreadable.why);
    }

    #[test]
    fn the_uid_survives_a_field_of_the_wrong_type() {
        let body = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview",
            "request":{"uid":"u2","operation":7}}"#;
        assert_eq!(Request::parse(body).unwrap_err().uid.as_deref(), Some("u2"));
    }
}
