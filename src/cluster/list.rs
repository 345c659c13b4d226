//! A page of a list. It is asked for as protobuf, which the API server writes in less time than JSON.
//!
//! A server may answer with JSON all the same, and some protobuf can only be read in part: a Pod template with a field of
//! a newer Kubernetes. Such a page is asked for again as JSON.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

use super::connect::causes;
use crate::model::Selector;

/// The form of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Protobuf in the envelope of Kubernetes.
    Protobuf,
    /// JSON.
    Json,
}

impl Form {
    fn accept(self) -> HeaderValue {
        match self {
            // A server without protobuf answers with JSON.
            Self::Protobuf => HeaderValue::from_static("application/vnd.kubernetes.protobuf, application/json;q=0.5"),
            Self::Json => HeaderValue::from_static("application/json"),
        }
    }
}

/// The body of an answer.
pub struct Answered {
    /// Its form.
    pub form: Form,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// A page of a list.
pub struct Page<'a, T> {
    /// Its metadata.
    pub metadata: PageMeta,
    items: Items<'a, T>,
}

enum Items<'a, T> {
    Protobuf(protobuf_json::List<'a>),
    Json(Vec<T>),
}

/// The metadata of a page.
#[derive(Debug, Default, Deserialize)]
pub struct PageMeta {
    /// The token of the next page.
    #[serde(rename = "continue")]
    pub more: Option<String>,
    /// The number of objects after this page.
    #[serde(rename = "remainingItemCount")]
    pub remaining: Option<usize>,
}

/// A page as JSON.
#[derive(Deserialize)]
pub(super) struct JsonPage<T> {
    pub(super) metadata: Option<PageMeta>,
    pub(super) items: Option<Vec<T>>,
}

/// Why a page cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The page has to be asked for as JSON.
    #[error(transparent)]
    Protobuf(#[from] protobuf_json::Error),
    /// An object has another form than Kubernetes gives it.
    #[error("{}", causes(.0))]
    Json(#[from] json_skip::Error),
}

/// Asks for a page in a form.
///
/// # Errors
/// When the API server answers with an error, or not at all.
pub async fn get(client: &Client, request: http::Request<Vec<u8>>, form: Form) -> kube::Result<Answered> {
    let mut request = request.map(Body::from);
    request.headers_mut().insert(ACCEPT, form.accept());
    let answer = client.send(request).await?;
    let code = answer.status();
    let is_protobuf = answer
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|given| given.as_bytes().starts_with(protobuf_json::MEDIA_TYPE.as_bytes()));
    let form = if is_protobuf { Form::Protobuf } else { Form::Json };
    let answered = Answered { form, body: answer.into_body().collect().await?.to_bytes().into() };
    if code.is_success() { Ok(answered) } else { Err(kube::Error::Api(Box::new(answered.status(code.as_u16())))) }
}

impl Answered {
    /// The words of the API server for an error. Another server may have answered in its place, with other words.
    fn status(&self, code: u16) -> Status {
        let text = String::from_utf8_lossy(&self.body);
        let json = if self.form == Form::Protobuf { protobuf_json::status(&self.body).ok() } else { None };
        let status = serde_json::from_str(json.as_deref().unwrap_or(&text));
        status.unwrap_or_else(|_| Status::failure(text.trim(), "Failed to parse error data").with_code(code))
    }

    /// Finds the items.
    ///
    /// # Errors
    /// When the body is no list.
    pub fn page<T: DeserializeOwned>(&self) -> Result<Page<'_, T>, DecodeError> {
        match self.form {
            Form::Protobuf => {
                let list = protobuf_json::List::read(&self.body)?;
                let metadata = json_skip::from_str(&list.metadata()?)?;
                Ok(Page { metadata, items: Items::Protobuf(list) })
            }
            Form::Json => {
                let text = str::from_utf8(&self.body).map_err(json_skip::Error::custom)?;
                let JsonPage { metadata, items } = json_skip::from_str(text)?;
                Ok(Page { metadata: metadata.unwrap_or_default(), items: Items::Json(items.unwrap_or_default()) })
            }
        }
    }
}

impl<'a, T: DeserializeOwned> Page<'a, T> {
    /// The same page. Of protobuf, the `spec` of each Pod template without these labels is left out.
    #[must_use]
    pub fn with_templates_of(self, labels: &'a Selector) -> Self {
        let items = match self.items {
            Items::Protobuf(list) => Items::Protobuf(list.with_templates_of(labels.pairs().collect())),
            Items::Json(items) => Items::Json(items),
        };
        Self { items, ..self }
    }

    /// The number of items, together with those of the pages after this one.
    #[must_use]
    pub fn left(&self) -> usize {
        let here = match &self.items {
            Items::Protobuf(list) => list.len(),
            Items::Json(items) => items.len(),
        };
        here.saturating_add(self.metadata.remaining.unwrap_or(0))
    }

    /// Hands the items over, one by one.
    ///
    /// # Errors
    /// When an item cannot be decoded. Those before it have been handed over.
    pub fn each(self, mut take: impl FnMut(T)) -> Result<PageMeta, DecodeError> {
        match self.items {
            Items::Protobuf(list) => list.each(|item| {
                take(json_skip::from_str(item)?);
                Ok::<_, DecodeError>(())
            })?,
            Items::Json(items) => items.into_iter().for_each(take),
        }
        Ok(self.metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::Response;

    use super::*;
    use crate::cluster::fake::read_shop;
    use crate::cluster::replica_sets::LargeNamespaces;
    use crate::model::{Selector, WorkloadKind};

    /// A field of protobuf with some bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn envelope(kind: &str, message: &[u8]) -> Vec<u8> {
        [b"k8s\0".to_vec(), field(1, &field(2, kind.as_bytes())), field(2, message)].concat()
    }

    /// A list with a Deployment `app`, whose template has the label `app=shop` and this `spec`.
    fn deployments(spec: &[u8]) -> Vec<u8> {
        let label = [field(1, b"app"), field(2, b"shop")].concat();
        let template = field(3, &[field(1, &field(11, &label)), field(2, spec)].concat());
        let deployment = [field(1, &field(1, b"app")), field(2, &template)].concat();
        envelope("DeploymentList", &field(2, &deployment))
    }

    /// An API server that gives this to who asks for Deployments as protobuf, and an empty JSON list to all others.
    /// Remembers in which forms Deployments were asked for.
    fn api(code: u16, body: Vec<u8>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let form = request.headers()[ACCEPT].to_str().unwrap().to_owned();
            let is_it = request.uri().path().ends_with("/deployments");
            if is_it {
                seen.lock().unwrap().push(form.clone());
            }
            let answer = if is_it && form.starts_with(protobuf_json::MEDIA_TYPE) {
                let form = protobuf_json::MEDIA_TYPE;
                Response::builder().status(code).header(CONTENT_TYPE, form).body(Body::from(body.clone()))
            } else {
                let json = r#"{"metadata":{},"items":[]}"#;
                Response::builder().header(CONTENT_TYPE, "application/json").body(Body::from(json.as_bytes().to_vec()))
            };
            async move { Ok::<_, Infallible>(answer.unwrap()) }
        });
        (Client::new(service, "default"), asked)
    }

    async fn read(client: &Client) -> crate::model::ClusterView {
        read_shop(client, &LargeNamespaces::default(), Selector::nothing()).await
    }

    #[tokio::test]
    async fn protobuf_is_read_and_a_template_of_a_newer_kubernetes_is_asked_for_as_json() {
        let (client, asked) = api(200, deployments(&field(3, b"Always")));
        let view = read(&client).await;
        let app = view.workload(WorkloadKind::Deployment, "app").unwrap();
        assert_eq!(&*app.template.spec, r#"{"containers":null,"restartPolicy":"Always"}"#);
        assert_eq!(asked.lock().unwrap().len(), 1);
        let (client, asked) = api(200, deployments(&[field(3, b"Always"), vec![0xfa, 0x3f, 1, b'x']].concat()));
        let view = read(&client).await;
        assert!(view.workloads.is_empty() && view.failures.is_empty(), "{:?}", view.failures);
        assert_eq!(asked.lock().unwrap().get(1).map(String::as_str), Some("application/json"));
    }

    #[tokio::test]
    async fn in_a_large_namespace_templates_of_other_apps_are_read_without_their_spec() {
        let template = async |app: &str| {
            let large = LargeNamespaces::default();
            large.saw("shop", 1000);
            let (client, _) = api(200, deployments(&field(3, b"Always")));
            let labels = Selector::new([("app".to_owned(), app.to_owned())].into());
            let view = read_shop(&client, &large, labels).await;
            view.workload(WorkloadKind::Deployment, "app").unwrap().template.clone()
        };
        let (own, other) = (template("shop").await, template("cart").await);
        assert_eq!(&*own.spec, r#"{"containers":null,"restartPolicy":"Always"}"#);
        assert_eq!((&*other.spec, &other.labels), ("", &own.labels));
    }

    #[tokio::test]
    async fn an_error_says_what_the_api_server_says() {
        let status = [field(2, b"Failure"), field(3, b"deployments is forbidden"), field(4, b"Forbidden")].concat();
        let (client, asked) = api(403, envelope("Status", &[status, vec![0x30, 0x93, 0x03]].concat()));
        let failure = read(&client).await.failures.pop().unwrap();
        assert_eq!(failure.what, "deployments in namespace shop");
        assert!(failure.why.contains("deployments is forbidden"), "{}", failure.why);
        assert_eq!(asked.lock().unwrap().len(), 1);
        let (client, _) = api(502, b"<h1>Bad gateway</h1>".to_vec());
        let failure = read(&client).await.failures.pop().unwrap();
        assert!(failure.why.contains("Bad gateway"), "{}", failure.why);
    }
}
