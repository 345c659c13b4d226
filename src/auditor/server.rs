//! Probes and metrics of the continuous audit, over plain HTTP.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::server::plain::serve_until;
use crate::telemetry::metrics::FORMAT;

/// The metrics of the last look; empty before the first one has ended.
pub type Shown = Arc<ArcSwap<String>>;

/// Serves `/livez`, `/readyz` and `/metrics` until `stop`. It is ready once the first look has ended.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, shown: Shown, stop: impl Future<Output = ()>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shown);
    serve_until(listener, router, stop).await
}

async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    if shown.load().is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\nthe first look has not ended yet\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, FORMAT)], shown.load().as_str().to_owned())
}
