//! A namespace of an API server in memory, for tests. Requests fail on the way, objects are lost, and answers take time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::allowance::ReadMemory;
use super::namespace::Reader;
use super::replica_sets::LargeNamespaces;
use crate::model::{ClusterView, ReadRequest, Selector, User};
use crate::review::probe::{NONCE, warning};

/// The resources that can be listed.
const COLLECTIONS: [&str; 10] = [
    "namespaces",
    "bluegreenpolicies",
    "services",
    "pods",
    "deployments",
    "statefulsets",
    "daemonsets",
    "replicasets",
    "controllerrevisions",
    "jobs",
];

/// The objects by path, and the answers that are prepared.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    prepared: Vec<Prepared>,
    /// Whether a webhook that is registered for the probe is reached, or the error of its call.
    reaches: Option<String>,
    /// The probes that were sent.
    probes: usize,
    /// The last uid or resourceVersion that was given.
    last: u64,
    /// The time that each answer takes. The request has its effect before.
    delay: Duration,
    /// The permissions that are not granted, as `verb resource`.
    denied: Vec<String>,
    /// The number of requests so far, by method and path.
    asked: BTreeMap<(String, String), usize>,
}

/// The answer to the next request of a kind.
struct Prepared {
    method: Method,
    path: String,
    code: u16,
    /// The body; empty for a Status.
    text: String,
}

impl FakeApi {
    /// A client of this API.
    pub(crate) fn client(&self) -> Client {
        let state = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let state = state.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                let dry_run = parts.uri.query().is_some_and(|query| query.contains("dryRun=All"));
                let (code, answer, warning) = if dry_run {
                    let (code, answer, warning) = state.probed(&body);
                    (code, answer.to_string(), warning)
                } else {
                    let (code, answer) = state.answer(&parts.method, &parts.uri, &body);
                    (code, answer, None)
                };
                let delay = state.0.lock().unwrap().delay;
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                let mut response = Response::builder().status(code);
                if let Some(warning) = warning {
                    response = response.header(http::header::WARNING, format!("299 - \"{warning}\""));
                }
                Ok::<_, Infallible>(response.body(Body::from(answer.into_bytes())).unwrap())
            }
        });
        Client::new(service, "default")
    }

    /// Puts an object there, whatever was there before.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().store(path, object);
    }

    /// What is there.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Deletes all objects whose path begins so.
    pub(crate) fn delete_all(&self, beginning: &str) {
        self.0.lock().unwrap().objects.retain(|path, _| !path.starts_with(beginning));
    }

    /// Makes all calls of the probe's webhook fail with these words; `None` lets them pass.
    pub(crate) fn unreachable(&self, why: Option<&str>) {
        self.0.lock().unwrap().reaches = why.map(str::to_owned);
    }

    /// The number of probes so far.
    pub(crate) fn probes(&self) -> usize {
        self.0.lock().unwrap().probes
    }

    /// Answers a dry run of the probe as an API server with the stored registration.
    fn probed(&self, body: &[u8]) -> (u16, Value, Option<String>) {
        let mut state = self.0.lock().unwrap();
        state.probes += 1;
        let object: Value = serde_json::from_slice(body).unwrap();
        let configuration = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/flipguard";
        let webhooks = state.objects.get(configuration).and_then(|stored| stored["webhooks"].as_array().cloned());
        let probe = webhooks.into_iter().flatten().find(|webhook| webhook["name"] == "probe.flipguard.dev");
        match (probe, &state.reaches) {
            (None, _) => (201, object, None),
            (Some(_), None) => {
                let nonce = object["metadata"]["annotations"][NONCE].as_str().unwrap().to_owned();
                (201, object, Some(warning(&nonce)))
            }
            (Some(probe), Some(_)) if probe["failurePolicy"] == "Ignore" => (201, object, None),
            (Some(_), Some(why)) => {
                let message = format!("failed calling webhook \"probe.flipguard.dev\": failed to call webhook: {why}");
                (500, json!({ "kind": "Status", "message": message, "code": 500 }), None)
            }
        }
    }

    /// Answers the next request of this kind with an error.
    pub(crate) fn fail(&self, method: Method, path: &str, code: u16) {
        self.answer_with(method, path, code, "");
    }

    /// Answers the next request of this kind with this text.
    pub(crate) fn answer_with(&self, method: Method, path: &str, code: u16, text: &str) {
        let (path, text) = (path.to_owned(), text.to_owned());
        self.0.lock().unwrap().prepared.push(Prepared { method, path, code, text });
    }

    /// Grants all permissions but these, each as `verb resource`.
    pub(crate) fn deny(&self, permissions: &[&str]) {
        self.0.lock().unwrap().denied = permissions.iter().map(|permission| (*permission).to_owned()).collect();
    }

    /// Lets each answer take this long. A request has its effect at once.
    pub(crate) fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    /// How many requests of this kind there were.
    pub(crate) fn asked(&self, method: &Method, path: &str) -> usize {
        self.0.lock().unwrap().asked.get(&(method.to_string(), path.to_owned())).copied().unwrap_or_default()
    }

    fn answer(&self, method: &Method, uri: &Uri, body: &[u8]) -> (u16, String) {
        let path = uri.path();
        let mut state = self.0.lock().unwrap();
        *state.asked.entry((method.to_string(), path.to_owned())).or_default() += 1;
        let prepared = state.prepared.iter().position(|prepared| prepared.method == method && prepared.path == path);
        if let Some(prepared) = prepared.map(|at| state.prepared.remove(at)) {
            let Prepared { code, text, .. } = prepared;
            return if text.is_empty() { said(error(code)) } else { (code, text) };
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        // A status is a part of its object.
        let path = path.strip_suffix("/status").unwrap_or(path);
        said(match *method {
            Method::GET if COLLECTIONS.iter().any(|name| path.ends_with(&format!("/{name}"))) => {
                (200, state.list(path, uri.query().unwrap_or_default()))
            }
            Method::GET => state.objects.get(path).map_or_else(|| error(404), |object| (200, object.clone())),
            Method::POST if path.ends_with("subjectaccessreviews") => (201, state.reviewed(body)),
            Method::POST if path.ends_with("selfsubjectreviews") => {
                (201, json!({ "metadata": {}, "status": { "userInfo": { "username": "alice" } } }))
            }
            Method::POST => {
                let path = format!("{path}/{}", text(&body, "/metadata/name"));
                if state.objects.contains_key(&path) { error(409) } else { (201, state.store(&path, body)) }
            }
            Method::PATCH if state.matches(path, &body, "/metadata") => {
                let mut object = state.objects.get(path).cloned().unwrap();
                json_patch::merge(&mut object, &body);
                (200, state.store(path, object))
            }
            Method::PUT if state.matches(path, &body, "/metadata") => (200, state.store(path, body)),
            Method::DELETE if state.matches(path, &body, "/preconditions") => {
                (200, state.objects.remove(path).unwrap())
            }
            _ if state.objects.contains_key(path) => error(409),
            _ => error(404),
        })
    }
}

impl State {
    fn reviewed(&self, mut review: Value) -> Value {
        let asked = |field: &str| text(&review, &format!("/spec/resourceAttributes/{field}"));
        let allowed = !self.denied.contains(&format!("{} {}", asked("verb"), asked("resource")));
        review["status"] = json!({ "allowed": allowed });
        review
    }

    fn list(&self, path: &str, query: &str) -> Value {
        let inside =
            self.objects.iter().filter(|(of, _)| of.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
        let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")).unwrap_or_default();
        let selector = selector.replace("%3D", "=").replace("%2C", ",").replace("%21", "!");
        let selected = inside.map(|(_, object)| object).filter(|object| is_selected(object, &selector));
        json!({ "metadata": {}, "items": selected.collect::<Vec<_>>() })
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.last += 2;
        let uid = self.objects.get(path).map_or_else(|| format!("uid-{}", self.last), |old| text(old, "/metadata/uid"));
        object["metadata"]["uid"] = json!(uid);
        object["metadata"]["resourceVersion"] = json!((self.last + 1).to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    /// Whether the object is there, with the uid and the resourceVersion that a request names.
    fn matches(&self, path: &str, request: &Value, at: &str) -> bool {
        self.objects.get(path).is_some_and(|object| {
            ["uid", "resourceVersion"].into_iter().all(|field| {
                let wanted = text(request, &format!("{at}/{field}"));
                wanted.is_empty() || wanted == text(object, &format!("/metadata/{field}"))
            })
        })
    }
}

/// Reads the workloads of namespace `shop`, and its Pods with these labels.
pub(super) async fn read_shop(client: &Client, large: &LargeNamespaces, labels: Selector) -> ClusterView {
    let deadline = Instant::now() + Duration::from_secs(5);
    let allowance = ReadMemory::of(1 << 24).reserve(0, deadline).await.unwrap();
    let (user, allowance) = (&User::default(), &allowance);
    let reader = Reader { client, namespace: "shop", user, allowance, large, deadline };
    reader.read(ReadRequest { pods: Some(labels), ..ReadRequest::default() }).await
}

/// Whether an object has the labels of a selector: `app=shop`, `app` or `!app`, with commas between.
fn is_selected(object: &Value, selector: &str) -> bool {
    let label = |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str);
    selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        match (term.split_once('='), term.strip_prefix('!')) {
            (Some((key, value)), _) => label(key) == Some(value),
            (None, Some(key)) => label(key).is_none(),
            (None, None) => label(term).is_some(),
        }
    })
}

fn text(value: &Value, at: &str) -> String {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn said((code, answer): (u16, Value)) -> (u16, String) {
    (code, answer.to_string())
}

fn error(code: u16) -> (u16, Value) {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    let message = format!("code {code}");
    (code, json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code }))
}
