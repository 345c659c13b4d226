//! The webhooks that flipguard is compared with. They use the same axum, hyper, rustls and axum-server, the same kind
//! of certificate and the same time limits. Their handlers do less.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use bytes::Bytes;
use clap::ValueEnum;
use flipguard::certs::Identity;
use flipguard::certs::pem::pair;
use flipguard::server::Credentials;
use kube::Client;
use kube::core::DynamicObject;
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};

use crate::reads;

/// The same limit as in flipguard.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// The work of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Handler {
    /// Reads the body and answers a constant.
    Null,
    /// Decodes the body into kube's `AdmissionReview<DynamicObject>` and answers under its uid.
    Tree,
    /// As `Tree`, and reads one object before the answer.
    OneRead,
    /// As `Tree`, and reads all lists of a flip.
    Lists,
    /// As `Lists`, and reads and writes a ledger.
    WithLedger,
}

impl Handler {
    /// The name in `bench serve`.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// The recorded request bodies.
pub type Kept = Arc<Mutex<Vec<Bytes>>>;

/// `kube::core::admission::AdmissionReview<DynamicObject>`. Those types are behind a feature of kube that flipguard
/// does not enable; with it, flipguard would not be built as released. The fields are the same.
#[derive(Deserialize)]
#[expect(dead_code, reason = "what is decoded is not used: that is what is measured")]
struct Review {
    #[serde(flatten)]
    types: Option<kube::core::TypeMeta>,
    request: Option<AdmissionRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "as above")]
struct AdmissionRequest {
    uid: String,
    kind: kube::core::GroupVersionKind,
    resource: kube::core::GroupVersionResource,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    request_kind: Option<kube::core::GroupVersionKind>,
    #[serde(default)]
    request_resource: Option<kube::core::GroupVersionResource>,
    #[serde(default)]
    request_sub_resource: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    operation: String,
    user_info: k8s_openapi::api::authentication::v1::UserInfo,
    object: Option<DynamicObject>,
    old_object: Option<DynamicObject>,
    #[serde(default)]
    dry_run: bool,
    options: Option<serde_json::Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Allowed<'a>,
}

#[derive(Serialize)]
struct Allowed<'a> {
    uid: &'a str,
    allowed: bool,
}

#[derive(Clone)]
struct Shared {
    handler: Handler,
    client: Option<Client>,
    token: Arc<str>,
    kept: Option<Kept>,
}

/// Serves on a listener, with a certificate for 127.0.0.1, until the process ends. Handlers that read need a client.
///
/// # Errors
/// When the certificate cannot be used, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    identity: &Identity,
    handler: Handler,
    client: Option<Client>,
    kept: Option<Kept>,
) -> Result<()> {
    let certificate = pair(&identity.leaf, &identity.leaf_key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Credentials::new(certificate, identity.token.clone())));
    tls.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls)))
        .handshake_timeout(Duration::from_secs(5))
        .acceptor(NoDelayAcceptor::new());
    listener.set_nonblocking(true)?;
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).first_request_timeout(Duration::from_secs(10));
    server.http_builder().http1().header_read_timeout(Duration::from_secs(120));
    let shared = Shared { handler, client, token: identity.token.as_str().into(), kept };
    let router = Router::new().route("/validate/{token}", post(review)).with_state(shared);
    server.serve(router.into_make_service()).await.context("the server ended")
}

/// A listener on a free port of this machine.
///
/// # Errors
/// When no port is free.
pub fn listener() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn review(State(shared): State<Shared>, Path(token): Path<String>, request: Request) -> Response {
    if *token != *shared.token {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Ok(body) = to_bytes(request.into_body(), BODY_LIMIT).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if let Some(kept) = &shared.kept {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(body.clone());
    }
    if shared.handler == Handler::Null && shared.kept.is_none() {
        // The answer is as long as flipguard's answer to a write that no rule applies to.
        return json(
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"00000000-0000-0000-0000-000000000000","allowed":true}}"#.to_vec(),
        );
    }
    let Ok(Review { request: Some(request), .. }) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if let (Some(client), Some(namespace)) = (&shared.client, &request.namespace)
        && let Err(error) = read(shared.handler, client, namespace).await
    {
        return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response();
    }
    let response = Allowed { uid: &request.uid, allowed: true };
    json(
        serde_json::to_vec(&Answer { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response })
            .unwrap_or_default(),
    )
}

async fn read(handler: Handler, client: &Client, namespace: &str) -> Result<()> {
    match handler {
        Handler::Null | Handler::Tree => Ok(()),
        Handler::OneRead => reads::one(client, namespace).await,
        Handler::Lists => reads::lists(client, namespace).await,
        Handler::WithLedger => reads::with_ledger(client, namespace).await,
    }
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}
