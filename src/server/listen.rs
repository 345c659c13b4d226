//! Binding, serving, and stopping without losing a review.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::limit::Limited;
use super::review::{self, Shared};
use super::{Credentials, Judge, Readiness, status};
use crate::telemetry::Metrics;

/// The longest time that a TLS handshake may take; it takes a few milliseconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time from a connection to the head of its first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time that a connection may be idle. It exceeds the 90 s after which the API server closes idle
/// connections: a review that is sent while this side closes is lost.
pub const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// The largest number of open connections for reviews. An API server opens one for each review at the same time.
pub const MAX_CONNECTIONS: usize = 1000;
/// The largest number of open connections for probes and metrics.
const MAX_STATUS_CONNECTIONS: usize = 100;
/// The longest time that reviews in flight may take once the listener is closed: the longest timeout of a webhook.
const GRACE: Duration = Duration::from_secs(30);
/// The interval of a timer that is shorter than any deadline of a review.
const TICK: Duration = Duration::from_millis(200);

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or is not one of this machine.
    #[error("cannot listen on {address} ({flag}): {why}; choose another address with {flag}")]
    Bind {
        /// The address to listen on.
        address: SocketAddr,
        /// The flag of that address.
        flag: &'static str,
        /// The error of the operating system.
        why: io::Error,
    },
    /// rustls does not accept the certificate.
    #[error("cannot serve the certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// A listener ended by itself.
    #[error("a listener ended: {0}")]
    Ended(#[from] io::Error),
}

/// The two listeners, bound but not serving yet.
pub struct Listeners {
    reviews: TcpListener,
    status: TcpListener,
}

/// Everything that the listeners serve.
pub struct App<J> {
    /// Judges the reviews.
    pub judge: J,
    /// The certificate, and the tokens of the registered paths.
    pub credentials: Arc<Credentials>,
    /// The state behind `/readyz`.
    pub readiness: Arc<Readiness>,
    /// The numbers behind `/metrics`.
    pub metrics: Arc<Metrics>,
    /// How long to keep serving after the signal to stop, while endpoints are updated.
    pub drain: Duration,
    /// The longest time that a connection may be idle; [`KEEP_ALIVE`] except in tests.
    pub keep_alive: Duration,
    /// The largest number of open connections for reviews; [`MAX_CONNECTIONS`] except in tests.
    pub connections: usize,
}

impl Listeners {
    /// Binds both.
    ///
    /// # Errors
    /// When an address is taken or not ours, naming the flag that set it.
    pub fn bind(listen: SocketAddr, status_listen: SocketAddr) -> Result<Self, ServeError> {
        Ok(Self { reviews: bind(listen, "--listen")?, status: bind(status_listen, "--status-listen")? })
    }

    /// The address of the status listener, with the port that the operating system chose for port 0.
    ///
    /// # Errors
    /// When the operating system does not report it.
    pub fn status_address(&self) -> io::Result<SocketAddr> {
        self.status.local_addr()
    }

    /// The address of the review listener, with the port that the operating system chose for port 0.
    ///
    /// # Errors
    /// When the operating system does not report it.
    pub fn review_address(&self) -> io::Result<SocketAddr> {
        self.reviews.local_addr()
    }

    /// Serves until `stop` ends, then drains in three steps. For the time of `drain`, `/readyz` reports not ready, and
    /// every answer closes its connection. Then no new connections are accepted. Then the last review is answered. A
    /// replica that is still starting has nothing to drain.
    ///
    /// # Errors
    /// When the certificate cannot be used or a listener fails.
    pub async fn serve<J: Judge>(self, app: App<J>, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let App { judge, credentials, readiness, metrics, drain, keep_alive, connections } = app;
        let tls = RustlsConfig::from_config(Arc::new(tls_config(credentials.clone())?));
        let handle = Handle::new();
        let shared = Arc::new(Shared { judge, credentials, metrics: metrics.clone(), readiness: readiness.clone() });

        let limited = Limited::to(connections, metrics.clone());
        let acceptor = RustlsAcceptor::new(tls).handshake_timeout(HANDSHAKE_TIMEOUT).acceptor(limited);
        let mut reviews = axum_server::from_tcp(self.reviews)?
            .acceptor(acceptor)
            .handle(handle.clone())
            .http1_only()
            .first_request_timeout(FIRST_REQUEST_TIMEOUT);
        reviews.http_builder().http1().header_read_timeout(keep_alive);
        let reviews = reviews.serve(review::router(shared).into_make_service());

        let mut probes = axum_server::from_tcp(self.status)?
            .acceptor(Limited::to(MAX_STATUS_CONNECTIONS, metrics.clone()))
            .http1_only()
            .first_request_timeout(FIRST_REQUEST_TIMEOUT);
        probes.http_builder().http1().header_read_timeout(keep_alive);
        let probes = probes.serve(status::router(readiness.clone(), metrics).into_make_service());

        tokio::pin!(reviews, probes);
        // The set aborts its task when it is dropped.
        let mut ticking = JoinSet::new();
        ticking.spawn(tick());
        // A listener that ends before `stop` ends the process.
        tokio::select! {
            ended = &mut reviews => return Ok(ended?),
            ended = &mut probes => return Ok(ended?),
            () = stop => {}
        }
        let drain = if readiness.is_starting() { Duration::ZERO } else { drain };
        readiness.drain();
        tracing::info!(after = %humantime::format_duration(drain), "draining");
        let closing = async {
            tokio::time::sleep(drain).await;
            handle.graceful_shutdown(Some(GRACE));
        };
        tokio::select! {
            (ended, ()) = async { tokio::join!(reviews, closing) } => Ok(ended?),
            ended = probes => Ok(ended?),
        }
    }
}

/// Works around a cost of tokio. A timer that is due before all others wakes the I/O driver when it is set, and each
/// body of a review sets such a timer: that took a quarter of the time of a small review (docs/performance.md). While
/// this ticks, an earlier timer is always armed.
async fn tick() {
    let mut interval = interval(TICK);
    loop {
        interval.tick().await;
    }
}

fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServeError> {
    let failed = |why| ServeError::Bind { address, flag, why };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn tls_config(credentials: Arc<Credentials>) -> Result<ServerConfig, ServeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(credentials);
    // The API server speaks HTTP/1.1 to webhooks (apiserver, `pkg/util/webhook/client.go`). An idle connection of HTTP/2
    // would never end.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
