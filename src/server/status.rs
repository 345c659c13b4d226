//! Probes and metrics, over plain HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::Readiness;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::FORMAT;

#[derive(Clone)]
struct Shared {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
}

/// `/livez`, `/readyz` and `/metrics`.
pub(super) fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Shared { readiness, metrics })
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    let missing = shared.readiness.missing();
    if missing.is_empty() {
        let lines = [vec!["ok".to_owned()], shared.readiness.notes()].concat();
        (StatusCode::OK, lines.join("\n") + "\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", missing.join("\n")))
    }
}

async fn metrics_text(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, FORMAT)], shared.metrics.text())
}
