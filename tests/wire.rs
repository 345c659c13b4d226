//! The wire: what a server on a network meets. A real listener with real TLS, and the rules over an empty cluster.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic, and JSON is indexed by what it should hold"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use flipguard::certs::Identity;
use flipguard::certs::pem::pair;
use flipguard::labels::{self, Put};
use flipguard::model::{Change, ClusterView, Policy, Timestamp};
use flipguard::rules::{Verdict, decide};
use flipguard::server::{Credentials, Judgement, Listeners, Mutate, Readiness, Validate, listen};
use flipguard::telemetry::Metrics;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Judges by the rules, over a cluster in which nothing runs.
struct Empty;

impl Validate for Empty {
    async fn judge(&self, change: &Change, _: tokio::time::Instant) -> Judgement {
        decide(change, &ClusterView::default(), &Policy::default(), Timestamp(0)).into()
    }
}

impl Mutate for Empty {
    async fn label(&self, change: &Change, _: tokio::time::Instant) -> (Verdict, Vec<Put>) {
        labels::label(change, &ClusterView::default(), &Policy::default())
    }
}

struct Server {
    address: SocketAddr,
    authority: String,
    token: String,
}

/// One server for all tests of this file.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| start(listen::KEEP_ALIVE).unwrap_or_else(|error| panic!("no server: {error}")))
}

fn start(keep_alive: Duration) -> Result<Server> {
    start_with(keep_alive, listen::MAX_CONNECTIONS, Readiness::default())
}

fn start_with(keep_alive: Duration, connections: usize, readiness: Readiness) -> Result<Server> {
    let identity = Identity::issue(&["127.0.0.1".to_owned()], time::OffsetDateTime::now_utc())?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listeners = Listeners::bind(any, any)?;
    let server = Server {
        address: listeners.review_address()?,
        authority: identity.authority.clone(),
        token: identity.token.clone(),
    };
    let app = listen::App {
        judge: Empty,
        credentials: Arc::new(Credentials::new(pair(&identity.leaf, &identity.leaf_key)?, identity.token)),
        readiness: Arc::new(readiness),
        metrics: Arc::new(Metrics::default()),
        drain: Duration::ZERO,
        keep_alive,
        connections,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    thread::spawn(move || runtime.block_on(listeners.serve(app, std::future::pending())));
    Ok(server)
}

impl Server {
    fn client_config(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }

    fn connect(&self) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from("127.0.0.1")?;
        let connection = ClientConnection::new(Arc::new(self.client_config()?), name)?;
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(StreamOwned::new(connection, stream))
    }

    fn path(&self, endpoint: &str) -> String {
        format!("/{endpoint}/{}", self.token)
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<(u16, String)> {
        self.send(&request("POST", path, "application/json", body.len()), body)
    }

    fn send(&self, head: &str, body: &[u8]) -> Result<(u16, String)> {
        let mut stream = self.connect()?;
        stream.write_all(head.as_bytes())?;
        // The server may answer, and hang up, before it has taken all.
        let _ = stream.write_all(body);
        answer(&mut stream)
    }

    /// Posts a review, and gives the `response` of the answer.
    fn review(&self, endpoint: &str, review: &Value) -> Result<Value> {
        let (status, body) = self.post(&self.path(endpoint), review.to_string().as_bytes())?;
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body)?;
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        Ok(answer["response"].clone())
    }
}

fn request(method: &str, path: &str, content_type: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: guard\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Reads one answer, whose body has a length.
fn answer(stream: &mut impl Read) -> Result<(u16, String)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some((head, body)) = split(&bytes) {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().to_owned()))
                .map_or(Ok(0), |length| length.parse::<usize>())?;
            if body.len() >= length {
                let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
                return Ok((status, body));
            }
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(format!("the server hung up after {:?}", String::from_utf8_lossy(&bytes)).into());
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
}

fn split(bytes: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned()))
}

fn service(selector: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "app", "namespace": "shop", "uid": "u", "annotations": { "a": "b" } },
        "spec": { "selector": selector, "type": "ClusterIP", "publishNotReadyAddresses": false,
            "ports": [{ "port": 80, "protocol": "TCP", "targetPort": "http" }] },
    })
}

fn flip() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "the-uid",
            "kind": { "group": "", "version": "v1", "kind": "Service" },
            "resource": { "group": "", "version": "v1", "resource": "services" },
            "name": "app", "namespace": "shop", "operation": "UPDATE",
            "userInfo": { "username": "alice", "groups": ["system:authenticated"] },
            "object": service(&json!({ "app": "shop", "color": "green" })),
            "oldObject": service(&json!({ "app": "shop", "color": "blue" })),
            "dryRun": false,
            "options": { "kind": "PatchOptions", "fieldManager": "kubectl-client-side-apply" },
        },
    })
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "the-uid",
            "kind": { "group": "apps", "version": "v1", "kind": "Deployment" },
            "resource": { "group": "apps", "version": "v1", "resource": "deployments" },
            "name": "app-green", "namespace": "shop", "operation": "CREATE", "userInfo": {},
            "object": {
                "metadata": { "name": "app-green" },
                "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "app" } }, "template": {
                    "metadata": { "labels": { "app": "app" } },
                    "spec": { "containers": [{ "name": "web", "image": image, "ports": [{ "name": "http" }] }] },
                } },
            },
        },
    })
}

/// The answer to a review that is understood.
fn is_understood(response: &Value) {
    assert_eq!(response["uid"], "the-uid", "{response}");
    assert_eq!(response["allowed"], true, "{response}");
}

/// The denial of a review that is not.
fn is_refused_as_unreadable(response: &Value, words: &str) {
    assert_eq!(response["uid"], "the-uid", "{words}: {response}");
    assert_eq!(response["allowed"], false, "{words}: {response}");
    assert_eq!(response["status"]["code"], 400, "{response}");
    let message = response["status"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "`{words}` is not in: {message}");
}

#[test]
fn a_review_gets_its_verdict() -> Result<()> {
    let response = server().review("validate", &flip())?;
    is_understood(&response);
    // Nothing runs at all: the first adoption, which warns.
    let warning = response["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.starts_with("target-missing: allowed, since the old selector matches no workload"), "{response}");
    assert_eq!(response["auditAnnotations"]["reasons"], "target-missing");
    assert!(response.get("patch").is_none() && response.get("patchType").is_none());
    Ok(())
}

#[test]
fn bodies_that_are_no_review() -> Result<()> {
    let whole = flip().to_string();
    let truncated = whole.split_at(whole.len() / 2).0;
    let no_request = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#;
    // The reader's own words; serde_json says "EOF".
    let ends = if cfg!(feature = "serde-json") { "EOF while parsing" } else { "the text ends too early" };
    let ends = format!("body is not an AdmissionReview: {ends}");
    for (body, words) in [
        (truncated, ends.as_str()),
        ("", &ends),
        ("hello", "body is not an AdmissionReview"),
        ("[]", "body is not an AdmissionReview"),
        ("{}", "missing field `apiVersion`"),
        (no_request, "the AdmissionReview has no `request`"),
    ] {
        let (status, text) = server().post(&server().path("validate"), body.as_bytes())?;
        assert_eq!(status, 400, "{body}: {text}");
        assert!(text.contains(words), "{body}: {text}");
    }
    Ok(())
}

#[test]
fn other_versions_are_refused_by_name() -> Result<()> {
    let mut review = flip();
    review["apiVersion"] = json!("admission.k8s.io/v1beta1");
    is_refused_as_unreadable(&server().review("validate", &review)?, "`admission.k8s.io/v1beta1`");
    Ok(())
}

#[test]
fn a_body_of_nine_mebibytes() -> Result<()> {
    let (status, text) = server().post(&server().path("validate"), &vec![b' '; 9 << 20])?;
    assert_eq!(status, 413, "{text}");
    assert!(text.contains("at most 8388608 bytes"), "{text}");
    Ok(())
}

#[test]
fn another_content_type() -> Result<()> {
    let body = flip().to_string();
    let head = request("POST", &server().path("validate"), "text/plain", body.len());
    let (status, text) = server().send(&head, body.as_bytes())?;
    assert_eq!(status, 415, "{text}");
    assert!(text.contains("application/json"), "{text}");
    let head = request("POST", &server().path("validate"), "application/json; charset=utf-8", body.len());
    assert_eq!(server().send(&head, body.as_bytes())?.0, 200);
    Ok(())
}

/// Not found before any of the body has been sent.
#[test]
fn unknown_paths_and_wrong_tokens() -> Result<()> {
    let wrong = "0".repeat(32);
    let paths = ["/", "/validate", "/validate/", "/validate/x", "/metrics", "/readyz"].map(str::to_owned);
    let tokens = [format!("/validate/{wrong}"), format!("/mutate/{wrong}"), format!("{}x", server().path("validate"))];
    for path in paths.iter().chain(&tokens) {
        let (status, text) = server().send(&request("POST", path, "application/json", 1 << 20), b"")?;
        assert_eq!(status, 404, "{path}: {text}");
    }
    assert_eq!(server().send(&request("GET", &server().path("validate"), "text/plain", 0), b"")?.0, 405);
    Ok(())
}

/// The API server shows that it reaches flipguard by the nonce that comes back.
#[test]
fn a_probe_gets_its_nonce_back() -> Result<()> {
    let probe = |nonce: &str| {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "the-uid",
                "kind": { "group": "coordination.k8s.io", "version": "v1", "kind": "Lease" },
                "operation": "CREATE",
                "dryRun": true,
                "object": { "metadata": { "name": "flipguard-probe", "annotations": { "flipguard.dev/probe": nonce } } },
            },
        })
    };
    let response = server().review("probe", &probe("a1b2"))?;
    assert_eq!(response, json!({ "uid": "the-uid", "allowed": true, "warnings": ["flipguard was reached: a1b2"] }));
    is_refused_as_unreadable(&server().review("probe", &probe("\u{1b}[2J"))?, "no review of a probe");
    assert_eq!(server().post(&server().path("probe"), b"{}")?.0, 400);
    assert_eq!(server().post("/probe/guessed", probe("a1b2").to_string().as_bytes())?.0, 404);
    Ok(())
}

/// Each field that is read, with a value of another type.
#[test]
fn fields_of_a_wrong_type() -> Result<()> {
    for (pointer, value) in [
        ("/request/object/spec/selector", json!([1])),
        ("/request/object/spec/selector/color", json!(1.0)),
        ("/request/object/spec/type", json!({})),
        ("/request/object/spec/publishNotReadyAddresses", json!("yes")),
        ("/request/object/spec/ports", json!("80")),
        ("/request/object/spec/ports/0/port", json!("80")),
        ("/request/object/spec/ports/0/protocol", json!("HTTP")),
        ("/request/object/spec/ports/0/targetPort", json!(true)),
        ("/request/object/metadata", json!("app")),
        ("/request/object/metadata/name", json!(7)),
        ("/request/object/metadata/annotations", json!("text")),
        ("/request/oldObject/spec/selector", json!("text")),
        ("/request/object", json!("text")),
        ("/request/oldObject", Value::Null),
    ] {
        let mut review = flip();
        *review.pointer_mut(pointer).ok_or(pointer)? = value;
        let field = if pointer.starts_with("/request/oldObject") { "oldObject" } else { "object" };
        is_refused_as_unreadable(&server().review("validate", &review)?, field);
    }
    for (pointer, value) in [
        ("/request/operation", json!("PAINT")),
        ("/request/kind", json!("Service")),
        ("/request/userInfo", json!("alice")),
        ("/request/dryRun", json!("no")),
    ] {
        let mut review = flip();
        *review.pointer_mut(pointer).ok_or(pointer)? = value;
        is_refused_as_unreadable(&server().review("validate", &review)?, "cannot read this review");
    }
    Ok(())
}

/// A missing label never causes a denial.
#[test]
fn a_deployment_that_cannot_be_read_goes_without_labels() -> Result<()> {
    let mut review = deployment("app:1");
    *review.pointer_mut("/request/object/spec/template").ok_or("template")? = json!("text");
    let response = server().review("mutate", &review)?;
    is_understood(&response);
    let warning = response["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.starts_with("flipguard adds no labels: ") && warning.chars().count() <= 120, "{warning}");
    Ok(())
}

#[test]
fn strange_images() -> Result<()> {
    for image in [":::@@", "", "@", "app:", "a/b/c:ü", "app:1@sha256:", &"x".repeat(100_000)] {
        let response = server().review("mutate", &deployment(image))?;
        is_understood(&response);
        assert_eq!(response["patchType"], "JSONPatch", "{image}: {response}");
    }
    Ok(())
}

#[test]
fn ten_thousand_labels() -> Result<()> {
    let mut review = flip();
    let labels: serde_json::Map<String, Value> =
        (0..10_000).map(|index| (format!("key-{index}"), json!("x".repeat(60)))).collect();
    review["request"]["object"]["metadata"]["labels"] = Value::Object(labels.clone());
    is_understood(&server().review("validate", &review)?);
    review["request"]["object"]["spec"]["selector"] = Value::Object(labels);
    let response = server().review("validate", &review)?;
    assert_eq!(response["uid"], "the-uid");
    for warning in response["warnings"].as_array().into_iter().flatten() {
        assert!(warning.as_str().unwrap_or_default().chars().count() <= 120, "{warning}");
    }
    Ok(())
}

/// A `deletecollection` has no name in the request.
#[test]
fn a_request_without_a_name() -> Result<()> {
    let mut review = flip();
    review["request"]["operation"] = json!("DELETE");
    review["request"]["object"] = Value::Null;
    review["request"].as_object_mut().ok_or("no object")?.remove("name");
    is_understood(&server().review("validate", &review)?);
    Ok(())
}

#[test]
fn what_no_rule_speaks_on_is_allowed_unread() -> Result<()> {
    let mut review = flip();
    review["request"]["resource"]["resource"] = json!("configmaps");
    review["request"]["object"] = json!("anything");
    is_understood(&server().review("validate", &review)?);
    let mut review = flip();
    review["request"]["subResource"] = json!("proxy");
    review["request"]["object"] = json!("anything");
    is_understood(&server().review("validate", &review)?);
    Ok(())
}

#[test]
fn the_query_of_the_api_server_is_taken() -> Result<()> {
    let body = flip().to_string();
    for query in ["timeout=5s", "timeout=500ms", "timeout=soon", "a=b"] {
        let path = format!("{}?{query}", server().path("validate"));
        assert_eq!(server().post(&path, body.as_bytes())?.0, 200, "{query}");
    }
    Ok(())
}

/// One that sends nothing, one that stops in the handshake, one that stops in the body: each is let go.
#[test]
fn clients_that_stop() -> Result<()> {
    let mut silent = TcpStream::connect(server().address)?;
    let mut half_hello = TcpStream::connect(server().address)?;
    half_hello.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])?;
    let mut after_handshake = server().connect()?;
    after_handshake.flush()?;
    let mut half_body = server().connect()?;
    let path = format!("{}?timeout=1s", server().path("validate"));
    half_body.write_all(request("POST", &path, "application/json", 1000).as_bytes())?;
    half_body.write_all(b"{")?;
    assert_eq!(answer(&mut half_body)?.0, 408);
    for stream in [&mut silent, &mut half_hello] {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut rest = Vec::new();
        // The end of the stream, or a reset: either way it is let go. A time-out would be an error of another kind.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    let mut rest = Vec::new();
    if let Err(error) = after_handshake.read_to_end(&mut rest) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it is not let go");
    }
    Ok(())
}

#[test]
fn five_hundred_idle_connections() -> Result<()> {
    let idle: Vec<_> = (0..500)
        .map(|_| {
            let mut stream = server().connect()?;
            stream.flush()?;
            Ok(stream)
        })
        .collect::<Result<Vec<_>>>()?;
    is_understood(&server().review("validate", &flip())?);
    drop(idle);
    is_understood(&server().review("validate", &flip())?);
    Ok(())
}

#[test]
fn memory_does_not_grow() -> Result<()> {
    let good = flip().to_string();
    let bad = "x".repeat(200_000);
    let rounds = |count: usize| -> Result<()> {
        for _ in 0..count {
            server().post(&server().path("validate"), good.as_bytes())?;
            server().post(&server().path("validate"), bad.as_bytes())?;
        }
        Ok(())
    };
    rounds(50)?;
    let before = resident_kib()?;
    rounds(300)?;
    let after = resident_kib()?;
    // Other tests run in the same process; a leak of the 60 MB that were sent would show all the same.
    assert!(after < before + 48 * 1024, "from {before} KiB to {after} KiB");
    Ok(())
}

fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// The API server keeps idle connections for 90 s, and a review on a connection that this side is closing is lost.
#[test]
fn an_idle_connection_outlives_the_api_servers_pool() -> Result<()> {
    const { assert!(listen::KEEP_ALIVE.as_secs() > 90) };
    // The same listener with a shorter time: a connection that was idle for less is served, and one for more is closed.
    let server = start(Duration::from_secs(1))?;
    let body = flip().to_string();
    let head = request("POST", &server.path("validate"), "application/json", body.len());
    let mut stream = server.connect()?;
    let mut ask = || {
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        answer(&mut stream)
    };
    assert_eq!(ask()?.0, 200);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(ask()?.0, 200, "it was idle for less");
    thread::sleep(Duration::from_millis(1500));
    assert!(ask().is_err(), "it was idle for longer");
    Ok(())
}

/// The API server speaks HTTP/1.1 to webhooks. An idle connection of HTTP/2 would never end.
#[test]
fn http2_is_not_spoken() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connect = async |protocols: &[&[u8]]| {
            let mut config = server().client_config()?;
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            let stream = tokio::net::TcpStream::connect(server().address).await?;
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            Result::Ok(connector.connect(ServerName::try_from("127.0.0.1")?, stream).await?)
        };
        assert!(connect(&[b"h2"]).await.is_err(), "h2 was agreed on");
        let both = connect(&[b"h2", b"http/1.1"]).await?;
        assert_eq!(both.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
        // Without any agreement, the first bytes of HTTP/2 are no request.
        let stream = connect(&[]).await?;
        let (client, connection) = h2::client::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let request = http::Request::post(format!("https://127.0.0.1{}", server().path("validate"))).body(())?;
        let answered = match client.ready().await {
            Ok(mut client) => client.send_request(request, true)?.0.await.is_ok(),
            Err(_) => false,
        };
        assert!(!answered && connection.await?.is_err());
        Ok(())
    })
}

/// Anyone in the cluster can open connections. Above the limit they are closed at once, and those of the API server go on.
#[test]
fn connections_are_limited() -> Result<()> {
    let server = start_with(listen::KEEP_ALIVE, 3, Readiness::default())?;
    let body = flip().to_string();
    let head = request("POST", &server.path("validate"), "application/json", body.len());
    let mut api_server = server.connect()?;
    let mut ask = || {
        api_server.write_all(head.as_bytes())?;
        api_server.write_all(body.as_bytes())?;
        answer(&mut api_server)
    };
    assert_eq!(ask()?.0, 200);
    // Two more, which send nothing.
    let idle = [TcpStream::connect(server.address)?, TcpStream::connect(server.address)?];
    let mut refused = TcpStream::connect(server.address)?;
    refused.set_read_timeout(Some(Duration::from_secs(30)))?;
    assert!(matches!(refused.read(&mut [0; 1]), Ok(0) | Err(_)), "it was not closed");
    assert_eq!(ask()?.0, 200);
    drop(idle);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while server.post(&server.path("validate"), body.as_bytes()).is_err() {
        assert!(std::time::Instant::now() < deadline, "a closed connection still counts");
    }
    Ok(())
}

/// A stranger keeps no connection: without the token, each answer closes it.
#[test]
fn a_refused_request_closes_its_connection() -> Result<()> {
    for (method, path) in [("POST", "/validate/none"), ("GET", "/"), ("GET", server().path("validate").as_str())] {
        let mut stream = server().connect()?;
        stream.write_all(request(method, path, "application/json", 0).as_bytes())?;
        let mut all = String::new();
        stream.read_to_string(&mut all)?;
        assert!(all.to_ascii_lowercase().contains("connection: close"), "{method} {path}: {all}");
    }
    Ok(())
}

#[test]
fn reviews_that_come_too_early_are_told_to_come_again() -> Result<()> {
    let readiness = Readiness::default();
    readiness.starting(Some("the secret reason".to_owned()));
    let server = start_with(listen::KEEP_ALIVE, listen::MAX_CONNECTIONS, readiness)?;
    let body = flip().to_string();
    for path in [server.path("validate"), "/mutate/another-token".to_owned()] {
        let mut stream = server.connect()?;
        stream.write_all(request("POST", &path, "application/json", body.len()).as_bytes())?;
        let _ = stream.write_all(body.as_bytes());
        let mut all = String::new();
        let _ = stream.read_to_string(&mut all);
        let all = all.to_ascii_lowercase();
        assert!(all.starts_with("http/1.1 503") && all.contains("retry-after: 1"), "{all}");
        assert!(!all.contains("secret"), "{all}");
    }
    Ok(())
}
