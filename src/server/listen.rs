//! Binding, serving, and stopping without losing a review.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::review::{self, Shared};
use super::{Credentials, Judge, Readiness, status};
use crate::telemetry::Metrics;

/// A handshake takes a few milliseconds.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection must bring its first request within this time.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Longer than the API server keeps an idle connection (90 s), so that it is always the one to hang up: a review sent
/// on a connection that is just being closed is lost.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// Reviews in flight get this long to end once the listener is closed; the longest timeout that they can have.
const GRACE: Duration = Duration::from_secs(30);

/// Less than any time limit of a review.
const TICK: Duration = Duration::from_millis(200);

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not to be had.
    #[error("cannot listen on {address} ({flag}): {why}; choose another address with {flag}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The flag that set it.
        flag: &'static str,
        /// What the operating system said.
        why: io::Error,
    },
    /// The certificate and its key do not fit.
    #[error("cannot serve the certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// A listener ended.
    #[error("a listener ended: {0}")]
    Ended(#[from] io::Error),
}

/// The two listeners, bound but not serving yet.
pub struct Listeners {
    reviews: TcpListener,
    status: TcpListener,
}

/// What is served, and how it stops.
pub struct App<J> {
    /// Who judges.
    pub judge: J,
    /// The certificate, and the last segment of the registered path.
    pub credentials: Arc<Credentials>,
    /// What `/readyz` says.
    pub readiness: Arc<Readiness>,
    /// What `/metrics` says.
    pub metrics: Arc<Metrics>,
    /// How long to go on serving once told to stop, so that everybody has heard of it.
    pub drain: Duration,
}

impl Listeners {
    /// Binds both.
    ///
    /// # Errors
    /// When an address is taken or not ours, naming the flag that set it.
    pub fn bind(listen: SocketAddr, status_listen: SocketAddr) -> Result<Self, ServeError> {
        Ok(Self { reviews: bind(listen, "--listen")?, status: bind(status_listen, "--status-listen")? })
    }

    /// Where reviews arrive; of use where the port was left to the operating system.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn review_address(&self) -> io::Result<SocketAddr> {
        self.reviews.local_addr()
    }

    /// Serves until `stop` ends, then drains: not ready at first, while endpoints are still being removed, and every
    /// answer closes its connection; then no new connections; then the end of the last review.
    ///
    /// # Errors
    /// When the certificate cannot be used or a listener fails.
    pub async fn serve<J: Judge>(self, app: App<J>, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let App { judge, credentials, readiness, metrics, drain } = app;
        let tls = RustlsConfig::from_config(Arc::new(tls_config(credentials.clone())?));
        let handle = Handle::new();
        let shared = Arc::new(Shared { judge, credentials, metrics: metrics.clone(), readiness: readiness.clone() });

        // An answer is one small write, which must not wait for the one before to be acknowledged.
        let acceptor = RustlsAcceptor::new(tls).handshake_timeout(HANDSHAKE).acceptor(NoDelayAcceptor::new());
        let mut reviews = axum_server::from_tcp(self.reviews)?
            .acceptor(acceptor)
            .handle(handle.clone())
            .first_request_timeout(FIRST_REQUEST);
        reviews.http_builder().http1().header_read_timeout(KEEP_ALIVE);
        let reviews = reviews.serve(review::router(shared).into_make_service());

        let mut probes = axum_server::from_tcp(self.status)?.first_request_timeout(FIRST_REQUEST);
        probes.http_builder().http1().header_read_timeout(KEEP_ALIVE);
        let probes = probes.serve(status::router(readiness.clone(), metrics).into_make_service());

        tokio::pin!(reviews, probes);
        // It ends with this.
        let mut ticking = JoinSet::new();
        ticking.spawn(tick());
        // A listener that ends before it is told to ends the process.
        tokio::select! {
            ended = &mut reviews => return Ok(ended?),
            ended = &mut probes => return Ok(ended?),
            () = stop => {}
        }
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

/// A timer that is due before all others wakes the runtime up when it is set, and each body has such a one: that took a
/// quarter of the time of a small review. While this ticks, another is due sooner.
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
    // The API server speaks HTTP/1.1 to webhooks (apiserver, `pkg/util/webhook/client.go`).
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    Ok(config)
}
