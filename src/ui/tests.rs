//! The server without a cluster: each look is an answer of the test's own.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use tokio::time::advance;
use tower::ServiceExt as _;

use super::*;
use crate::model::Timestamp;

const OWN: &str = "127.0.0.1:7000";

/// Looks that succeed or fail as they are told to, and are counted.
#[derive(Clone, Default)]
struct Looks {
    made: Arc<AtomicUsize>,
    /// Why they fail.
    fails: Arc<std::sync::Mutex<Option<&'static str>>>,
}

impl Looks {
    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    fn fail(&self, why: Option<&'static str>) {
        *self.fails.lock().unwrap() = why;
    }
}

impl Look for Looks {
    async fn look(&self) -> Result<Report, String> {
        let before = self.made.fetch_add(1, Ordering::SeqCst);
        match *self.fails.lock().unwrap() {
            Some(why) => Err(why.to_owned()),
            None => Ok(Report::new(format!("cluster-{before}"), Timestamp(60), vec![])),
        }
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

struct Ui {
    looks: Looks,
    router: Router,
}

impl Ui {
    fn new() -> Self {
        let looks = Looks::default();
        Self { router: router(7000, "secret", looks.clone()), looks }
    }

    async fn ask(&self, method: Method, path: &str, host: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn page(&self) -> Answer {
        self.ask(Method::GET, "/secret/", Some(OWN)).await
    }
}

/// A name of somebody else may resolve to the loopback, and no browser lets a page set this header.
#[tokio::test]
async fn only_the_names_of_the_loopback_are_answered() {
    let ui = Ui::new();
    for host in [OWN, "localhost:7000"] {
        assert_eq!(ui.ask(Method::GET, "/secret/", Some(host)).await.status, StatusCode::OK, "{host}");
    }
    let looks = ui.looks.made();
    let wrong = ["evil.example", "evil.example:7000", "127.0.0.1", "127.0.0.1:7001", "localhost", "[::1]:7000", ""];
    for host in wrong.map(Some).into_iter().chain([None]) {
        let answer = ui.ask(Method::GET, "/secret/", host).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{host:?}");
        assert!(!answer.body.contains("cluster-") && !answer.body.contains("secret"), "{}", answer.body);
    }
    assert_eq!(ui.looks.made(), looks);
}

#[tokio::test]
async fn no_other_path_and_no_other_method_is_answered() {
    let ui = Ui::new();
    for path in ["/", "/secret", "/secre/", "/secret/x", "/Secret/", "/secret//"] {
        assert_eq!(ui.ask(Method::GET, path, Some(OWN)).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let answer = ui.ask(method.clone(), "/secret/", Some(OWN)).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    assert_eq!(ui.looks.made(), 0);
}

#[tokio::test]
async fn nothing_is_kept_framed_or_passed_on() {
    let ui = Ui::new();
    ui.looks.fail(Some("no answer"));
    let failed = ui.page().await;
    let ui = Ui::new();
    for (answer, kind) in [(ui.page().await, "text/html; charset=utf-8"), (failed, "text/plain; charset=utf-8")] {
        for (name, value) in [
            ("content-type", kind),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("content-security-policy", "frame-ancestors 'none'"),
        ] {
            assert_eq!(answer.headers.get(name).unwrap(), value, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_is_made_at_most_every_five_seconds() {
    let ui = Ui::new();
    assert!(ui.page().await.body.contains("cluster-0"));
    advance(Duration::from_millis(4999)).await;
    assert!(ui.page().await.body.contains("cluster-0"));
    advance(Duration::from_millis(1)).await;
    assert!(ui.page().await.body.contains("cluster-1"));
    // Those who ask at the same time share one look.
    advance(Duration::from_secs(5)).await;
    let (one, other) = tokio::join!(ui.page(), ui.page());
    assert!(one.body.contains("cluster-2") && other.body.contains("cluster-2"));
    assert_eq!(ui.looks.made(), 3);
}

/// Failed looks are as rare as others. The last report stays, with its time and the last failure.
#[tokio::test(start_paused = true)]
async fn a_failed_look_leaves_the_last_report() {
    let ui = Ui::new();
    ui.page().await;
    ui.looks.fail(Some("cannot reach\n<the> API server"));
    for looks in 2..4 {
        advance(Duration::from_secs(5)).await;
        for _ in 0..2 {
            let stale = ui.page().await;
            assert_eq!(stale.status, StatusCode::OK);
            assert!(
                stale.body.contains("cluster-0") && stale.body.contains(">1970-01-01T00:01:00Z</time>. Later looks")
            );
            assert!(stale.body.contains("failed: cannot reach &lt;the&gt; API server</p>"), "{}", stale.body);
            assert_eq!(ui.looks.made(), looks);
        }
    }
    ui.looks.fail(None);
    advance(Duration::from_secs(5)).await;
    let fresh = ui.page().await.body;
    assert!(fresh.contains("cluster-3") && !fresh.contains("Later looks failed"));
}

#[tokio::test(start_paused = true)]
async fn without_any_report_it_says_why() {
    let ui = Ui::new();
    ui.looks.fail(Some("forbidden:\u{1b}[31m\nno list"));
    let answer = ui.page().await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::BAD_GATEWAY, "forbidden:\\u{1b}[31m no list\n"));
    advance(Duration::from_secs(4)).await;
    ui.looks.fail(None);
    assert_eq!(ui.page().await.status, StatusCode::BAD_GATEWAY);
    advance(Duration::from_secs(1)).await;
    assert_eq!(ui.page().await.status, StatusCode::OK);
}
