//! `flipguard ui`: the page of the audit on the loopback, fresh while somebody looks at it.
//!
//! Whoever knows the path may read the page, so the path holds a secret. A name that resolves to the loopback is no way
//! in: the `Host` header has to be the loopback's own (DNS rebinding).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::model::printable;
use crate::page::{Live, page};
use crate::report::Report;
use crate::server::plain::serve_until;

#[cfg(test)]
mod tests;

/// The shortest time between two looks, and the time between two loads of the page.
const FRESH: Duration = Duration::from_secs(5);

/// Looks at a cluster.
pub trait Look: Send + Sync + 'static {
    /// Looks once.
    ///
    /// # Errors
    /// When nothing can be said; the message is one line.
    fn look(&self) -> impl Future<Output = Result<Report, String>> + Send;
}

/// The last report.
#[derive(Default)]
struct Last {
    report: Option<Report>,
    /// When the last look ended, and its error.
    ended: Option<Instant>,
    failed: Option<String>,
}

struct Shared<L> {
    look: L,
    /// The value of the `Host` header, by both names of the loopback.
    hosts: [String; 2],
    last: Mutex<Last>,
}

/// Serves the page at `/TOKEN/` until `stop`. All other paths do not exist, and only GET is answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve<L: Look>(
    listener: TcpListener,
    token: &str,
    look: L,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let port = listener.local_addr()?.port();
    serve_until(listener, router(port, token, look), stop).await
}

fn router<L: Look>(port: u16, token: &str, look: L) -> Router {
    let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let shared = Arc::new(Shared { look, hosts, last: Mutex::default() });
    Router::new().route(&format!("/{token}/"), get(show::<L>)).with_state(shared)
}

/// The address that people open.
#[must_use]
pub fn url(address: SocketAddr, token: &str) -> String {
    format!("http://{address}/{token}/")
}

async fn show<L: Look>(State(shared): State<Arc<Shared<L>>>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !shared.hosts.iter().any(|own| own == host) {
        return (StatusCode::FORBIDDEN, "open the address that flipguard ui has printed\n").into_response();
    }
    let mut last = shared.last.lock().await;
    if last.ended.is_none_or(|at| at.elapsed() >= FRESH) {
        match shared.look.look().await {
            Ok(report) => (last.report, last.failed) = (Some(report), None),
            Err(why) => last.failed = Some(why),
        }
        last.ended = Some(Instant::now());
    }
    let seconds = u32::try_from(FRESH.as_secs()).unwrap_or(u32::MAX);
    let answer = match (&last.report, &last.failed) {
        (Some(report), failed) => {
            (StatusCode::OK, "text/html; charset=utf-8", page(report, Some(&Live { seconds, stale: failed.clone() })))
        }
        (None, failed) => {
            let why = failed.as_deref().unwrap_or("nothing was looked at");
            (StatusCode::BAD_GATEWAY, "text/plain; charset=utf-8", format!("{}\n", printable(why)))
        }
    };
    let (status, kind, body) = answer;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
    ];
    (status, headers, body).into_response()
}
