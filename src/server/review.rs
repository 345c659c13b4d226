//! The review endpoints. Each decision is one log line.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::time::{Instant, timeout_at};

use super::deadline::time_for_reads;
use super::{Credentials, Judge, Judgement, Readiness};
use crate::model::Change;
use crate::review::{self, Unreadable, answer, wire};
use crate::telemetry::Metrics;

/// The largest body of a review, in bytes. An object has at most 3 MiB (etcd: 1.5 MiB), and a review holds two.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// The state that all reviews share.
pub struct Shared<J> {
    /// Judges the changes.
    pub judge: J,
    /// The accepted tokens.
    pub credentials: Arc<Credentials>,
    /// The numbers behind `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The state behind `/readyz`.
    pub readiness: Arc<Readiness>,
}

/// One of the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/validate`: denies, warns or allows.
    Validate,
    /// `/mutate`: adds labels.
    Mutate,
    /// `/probe`: shows that the API server reaches this replica.
    Probe,
}

/// `/validate/<token>`, `/mutate/<token>` and `/probe/<token>`. Any other path is answered with 404 before its body is read: a review has
/// side effects, so only the API server may send one.
pub(super) fn router<J: Judge>(shared: Arc<Shared<J>>) -> Router {
    let endpoint = |endpoint: Endpoint| {
        post(move |State(shared): State<Arc<Shared<J>>>, Path(token): Path<String>, request: Request| async move {
            review(&shared, endpoint, &token, request).await
        })
    };
    Router::new()
        .route("/validate/{token}", endpoint(Endpoint::Validate))
        .route("/mutate/{token}", endpoint(Endpoint::Mutate))
        .route("/probe/{token}", endpoint(Endpoint::Probe))
        .method_not_allowed_fallback(async || closing(StatusCode::METHOD_NOT_ALLOWED.into_response()))
        .fallback(async || closing(StatusCode::NOT_FOUND.into_response()))
        .with_state(shared)
}

async fn review<J: Judge>(shared: &Shared<J>, endpoint: Endpoint, token: &str, request: Request) -> Response {
    let arrived = Instant::now();
    if shared.readiness.is_starting() {
        let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "flipguard is starting".to_owned());
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return closing(response);
    }
    if !shared.credentials.accepts(token) {
        // A stranger keeps no connection open.
        return closing(StatusCode::NOT_FOUND.into_response());
    }
    let deadline = arrived + time_for_reads(request.uri().query());
    let response = if is_json(&request) {
        match timeout_at(deadline, to_bytes(request.into_body(), MAX_BODY)).await {
            Ok(Ok(body)) if endpoint == Endpoint::Probe => {
                review::probe::answer(&body).map_or_else(|unreadable| refuse(shared, endpoint, &unreadable), json)
            }
            Ok(Ok(body)) => answer_to(shared, endpoint, &body, arrived, deadline).await,
            Ok(Err(error)) if is_too_large(&error) => {
                plain(StatusCode::PAYLOAD_TOO_LARGE, format!("a review may have at most {MAX_BODY} bytes"))
            }
            Ok(Err(error)) => plain(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}")),
            Err(_) => plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned()),
        }
    } else {
        plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content type must be application/json".to_owned())
    };
    // The API server must not reuse a connection that is about to be closed: it does not repeat a POST.
    if shared.readiness.is_draining() { closing(response) } else { response }
}

/// Closes the connection after this answer.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Answers the body of a review. The benchmark of a decision calls this, without a connection.
pub async fn answer_to<J: Judge>(
    shared: &Shared<J>,
    endpoint: Endpoint,
    body: &[u8],
    arrived: Instant,
    deadline: Instant,
) -> Response {
    let mut request = match wire::Request::parse(body) {
        Ok(request) => request,
        Err(unreadable) => return refuse(shared, endpoint, &unreadable),
    };
    let change = match review::change_of(&mut request) {
        Ok(change) => change,
        Err(unreadable) => return refuse(shared, endpoint, &unreadable),
    };
    let (judgement, puts) = match endpoint {
        Endpoint::Validate | Endpoint::Probe => (shared.judge.judge(&change, deadline).await, Vec::new()),
        Endpoint::Mutate => {
            let (verdict, puts) = shared.judge.label(&change, deadline).await;
            (Judgement::from(verdict), puts)
        }
    };
    // The self-check of flipguard is no decision.
    if request.kind.group != "flipguard.dev" {
        let asked = (judgement.reads, judgement.writes);
        shared.metrics.decided(&request.kind.kind, &judgement.verdict, asked, arrived.elapsed());
        log(&request, &change, endpoint, &judgement, puts.len(), arrived);
    }
    json(match endpoint {
        Endpoint::Validate | Endpoint::Probe => answer::judged(&request.uid, &judgement.verdict),
        Endpoint::Mutate => answer::labelled(&request.uid, &judgement.verdict, &puts),
    })
}

/// Logs one decision, without any object. Fields without a value are left out.
fn log(
    request: &wire::Request<'_>,
    change: &Change,
    endpoint: Endpoint,
    judgement: &Judgement,
    puts: usize,
    arrived: Instant,
) {
    let Judgement { verdict, reads, writes } = judgement;
    let reasons: Vec<String> =
        verdict.findings.iter().map(|(finding, effect)| format!("{}={}", finding.reason, effect.name())).collect();
    let reasons = reasons.join(",");
    let policies = if verdict.judged { verdict.policies.join(",") } else { String::new() };
    let exempted = verdict.exempted().join(",");
    let first = verdict.findings.first().map_or("", |(finding, _)| finding.message.as_str());
    tracing::info!(
        uid = &*request.uid,
        endpoint = if endpoint == Endpoint::Mutate { "mutate" } else { "validate" },
        kind = &*request.kind.kind,
        namespace = request.namespace(),
        // A `deletecollection` names no object in the request.
        name = change.write.subject().map_or_else(|| request.name(), |subject| subject.name),
        operation = request.operation.name(),
        user = change.user.name,
        dry_run = request.dry_run.filter(|dry| *dry),
        judged = verdict.judged,
        act = said(&verdict.summary),
        outcome = verdict.outcome().name(),
        reasons = said(&reasons),
        first_finding = said(first),
        exempted = said(&exempted),
        policies = said(&policies),
        history = verdict.history.as_deref(),
        intent = verdict.intent.as_deref(),
        patched = (puts > 0).then_some(true),
        reads = verdict.judged.then_some(reads),
        writes = verdict.judged.then_some(writes),
        millis = u64::try_from(arrived.elapsed().as_millis()).unwrap_or(u64::MAX),
        "decision"
    );
}

fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Denies a review that cannot be parsed, under its uid. A body without a uid is answered with 400.
fn refuse<J: Judge>(shared: &Shared<J>, endpoint: Endpoint, unreadable: &Unreadable) -> Response {
    shared.metrics.unreadable();
    tracing::warn!(uid = unreadable.uid.as_deref().unwrap_or(""), why = unreadable.why, "unreadable review");
    match (&unreadable.uid, endpoint) {
        (Some(uid), Endpoint::Validate | Endpoint::Probe) => json(answer::unreadable(uid, unreadable)),
        (Some(uid), Endpoint::Mutate) => json(answer::unlabelled(uid, unreadable)),
        (None, _) => plain(StatusCode::BAD_REQUEST, unreadable.to_string()),
    }
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, text + "\n").into_response()
}

fn is_json(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(|value| value.split(';').next()).is_some_and(|value| value.trim() == "application/json")
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::labels::Put;
    use crate::rules::Verdict;
    use crate::server::{Mutate, Validate};
    use crate::telemetry::log::Lines;

    struct Allows;

    impl Validate for Allows {
        async fn judge(&self, _: &Change, _: Instant) -> Judgement {
            Verdict::not_judged().into()
        }
    }

    impl Mutate for Allows {
        async fn label(&self, _: &Change, _: Instant) -> (Verdict, Vec<Put>) {
            (Verdict::not_judged(), Vec::new())
        }
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The request of a `deletecollection` names no object; the object that it deletes has a name.
    #[tokio::test]
    async fn the_log_names_what_a_deletecollection_deletes() {
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "r", "operation": "DELETE", "name": "", "namespace": "shop",
            "kind": { "group": "", "version": "v1", "kind": "Service" },
            "resource": { "group": "", "version": "v1", "resource": "services" },
            "userInfo": { "username": "al\u{9b}ice" },
            "oldObject": { "metadata": { "name": "app", "namespace": "shop" }, "spec": {} },
        }});
        let shared =
            Shared { judge: Allows, credentials: Arc::default(), metrics: Arc::default(), readiness: Arc::default() };
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt().event_format(Lines).with_writer(move || writer.clone()).finish();
        let logged = tracing::subscriber::set_default(subscriber);
        let now = Instant::now();
        let body = review.to_string();
        answer_to(&shared, Endpoint::Validate, body.as_bytes(), now, now + Duration::from_secs(5)).await;
        drop(logged);
        let line: Value = serde_json::from_slice(&kept.0.lock().unwrap()).unwrap();
        assert_eq!((&line["name"], &line["user"]), (&json!("app"), &json!("al\\u{9b}ice")));
    }
}
