//! Lists of Kubernetes objects that arrive as protobuf, as the JSON that the API server writes.
//!
//! The API server writes a list in less time as protobuf. But one part of an object is needed as text: a Pod template is
//! compared with the template in a request, which always arrives as JSON. So this crate writes JSON: of a template's
//! `spec` exactly the text of the API server, and of everything else only the fields that are read.
//!
//! The tables of fields come from the Go types of Kubernetes, by `make tables`. A field that they do not know is an
//! error inside of a template, and skipped elsewhere.
//!
//! ```
//! // `k8s`, a kind, and a list with one Pod whose phase is `Failed`.
//! let body = b"k8s\0\x0a\x09\x12\x07PodList\x12\x0c\x12\x0a\x1a\x08\x0a\x06Failed";
//! let list = protobuf_json::List::read(body)?;
//! list.each(|pod| {
//!     assert_eq!(pod, r#"{"metadata":{},"spec":{"containers":null},"status":{"phase":"Failed"}}"#);
//!     Ok::<_, protobuf_json::Error>(())
//! })?;
//! # Ok::<_, protobuf_json::Error>(())
//! ```

mod table;
mod tables;
mod wire;
mod write;

use table::Message;
use wire::{Fields, Value};
use write::Writer;

/// The media type: objects in the envelope that Kubernetes puts around protobuf.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The first bytes of the envelope (apimachinery, `serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

const NOT_UTF_8: Error = Error::Malformed("text is not UTF-8");

/// Why a body cannot be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body is not what the API server sends.
    #[error("the body is no protobuf of Kubernetes: {0}")]
    Malformed(&'static str),
    /// A list of a kind that has no table.
    #[error("there is no table for the kind `{0}`")]
    UnknownKind(String),
    /// A Pod template has a field of another release of Kubernetes.
    #[error("a Pod template has the field {0}, which the tables do not have")]
    UnknownField(u32),
}

/// A list, or a page of one.
pub struct List<'a> {
    message: &'static Message,
    metadata: &'a [u8],
    items: Vec<&'a [u8]>,
    /// The labels of the Pod templates whose `spec` is written.
    labels: Vec<(&'a str, &'a str)>,
}

impl<'a> List<'a> {
    /// Finds the items of a list.
    ///
    /// # Errors
    /// When the body is no list, or one of a kind that has no table.
    pub fn read(body: &'a [u8]) -> Result<Self, Error> {
        let (kind, raw) = opened(body)?;
        let message = match kind {
            "DeploymentList" => &tables::DEPLOYMENT,
            "StatefulSetList" => &tables::STATEFUL_SET,
            "DaemonSetList" => &tables::DAEMON_SET,
            "ReplicaSetList" => &tables::REPLICA_SET,
            "ControllerRevisionList" => &tables::CONTROLLER_REVISION,
            "JobList" => &tables::JOB,
            "ServiceList" => &tables::SERVICE,
            "PodList" => &tables::POD,
            _ => return Err(Error::UnknownKind(kind.to_owned())),
        };
        let mut list = Self { message, metadata: &[], items: Vec::new(), labels: Vec::new() };
        for field in Fields::of(raw) {
            match field? {
                (1, value) => list.metadata = value.bytes()?,
                (2, value) => list.items.push(value.bytes()?),
                _ => {}
            }
        }
        Ok(list)
    }

    /// The same list, without the `spec` of each Pod template that lacks one of these labels. Most of a workload is its
    /// template's `spec`.
    #[must_use]
    pub fn with_templates_of(self, labels: Vec<(&'a str, &'a str)>) -> Self {
        Self { labels, ..self }
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The metadata of the list as JSON: `continue` and `remainingItemCount`.
    ///
    /// # Errors
    /// When they are malformed.
    pub fn metadata(&self) -> Result<String, Error> {
        written(&tables::LIST_META, self.metadata)
    }

    /// Hands the JSON of each item over, in order.
    ///
    /// # Errors
    /// When an item is malformed or has an unknown field, or the receiver has an error.
    pub fn each<E: From<Error>>(&self, mut take: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        let mut text = Vec::new();
        for item in &self.items {
            text.clear();
            Writer::new(&mut text, &self.labels).object(self.message, item)?;
            take(str::from_utf8(&text).map_err(|_| NOT_UTF_8)?)?;
        }
        Ok(())
    }
}

/// The Status of an answer that is an error, as JSON.
///
/// # Errors
/// When the body is something else.
pub fn status(body: &[u8]) -> Result<String, Error> {
    let (kind, raw) = opened(body)?;
    if kind != "Status" {
        return Err(Error::UnknownKind(kind.to_owned()));
    }
    written(&tables::STATUS, raw)
}

/// A message as JSON.
fn written(message: &Message, bytes: &[u8]) -> Result<String, Error> {
    let mut text = Vec::new();
    Writer::new(&mut text, &[]).object(message, bytes)?;
    String::from_utf8(text).map_err(|_| NOT_UTF_8)
}

/// Opens the envelope: the kind, and the message in it (apimachinery, `runtime.Unknown`).
fn opened(body: &[u8]) -> Result<(&str, &[u8]), Error> {
    let envelope = body.strip_prefix(MAGIC).ok_or(Error::Malformed("it begins with other bytes"))?;
    let type_meta = Fields::last(envelope, 1)?.map_or(Ok(&[][..]), Value::bytes)?;
    let kind = Fields::last(type_meta, 2)?.map_or(Ok(""), Value::text)?;
    let raw = Fields::last(envelope, 2)?.map_or(Ok(&[][..]), Value::bytes)?;
    Ok((kind, raw))
}
