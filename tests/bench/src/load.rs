//! A client that sends reviews as the API server does: HTTP/1.1 over TLS 1.3, persistent connections, the same headers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::figures::quantile;

/// A webhook with the connections to it.
pub struct Target {
    address: SocketAddr,
    path: String,
    tls: TlsConnector,
    open: Vec<SendRequest<Full<Bytes>>>,
}

/// The results of a slice of load.
#[derive(Debug, Clone)]
pub struct Slice {
    /// The number of answered reviews.
    pub answered: usize,
    /// The latencies in seconds, in ascending order.
    pub latencies: Vec<f64>,
}

impl Slice {
    /// The latency in microseconds that this part of the reviews does not exceed.
    #[must_use]
    pub fn latency(&self, part: f64) -> f64 {
        quantile(&self.latencies, part) * 1e6
    }
}

impl Target {
    /// A webhook at an address, with its CA certificate.
    ///
    /// # Errors
    /// When the CA certificate cannot be read.
    pub fn new(address: SocketAddr, token: &str, authority: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).context("no certificate")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // client-go keeps no TLS sessions either.
        config.resumption = rustls::client::Resumption::disabled();
        let path = format!("/validate/{token}?timeout=5s");
        Ok(Self { address, path, tls: TlsConnector::from(Arc::new(config)), open: Vec::new() })
    }

    /// Sends reviews for this long on this many connections. Each connection sends the next review as soon as it has an
    /// answer.
    ///
    /// # Errors
    /// When an answer is not 200.
    pub async fn ask_for(&mut self, body: &Bytes, connections: usize, time: Duration) -> Result<Slice> {
        self.ask(body, connections, Until::Time(time)).await
    }

    /// Sends this many reviews in total.
    ///
    /// # Errors
    /// When an answer is not 200.
    pub async fn ask_times(&mut self, body: &Bytes, connections: usize, times: usize) -> Result<Slice> {
        self.ask(body, connections, Until::Times(times / connections.max(1))).await
    }

    async fn ask(&mut self, body: &Bytes, connections: usize, until: Until) -> Result<Slice> {
        self.open.retain(|connection| !connection.is_closed());
        while self.open.len() < connections {
            let connection = self.connect().await?;
            self.open.push(connection);
        }
        let started = Instant::now();
        let (path, host) = (self.path.as_str(), self.address.to_string());
        let askers = self.open.iter_mut().take(connections).map(|connection| {
            let host = host.as_str();
            async move {
                let mut latencies = Vec::new();
                while until.goes_on(started, latencies.len()) {
                    let asked = Instant::now();
                    review(connection, path, host, body.clone()).await?;
                    latencies.push(asked.elapsed().as_secs_f64());
                }
                Ok::<_, anyhow::Error>(latencies)
            }
        });
        let mut latencies: Vec<f64> = join_all(askers).await.into_iter().collect::<Result<Vec<_>>>()?.concat();
        latencies.sort_by(f64::total_cmp);
        Ok(Slice { answered: latencies.len(), latencies })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.address.ip().to_string())?;
        let stream = self.tls.connect(name, stream).await.context("no TLS")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // The task ends with the sender.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

#[derive(Clone, Copy)]
enum Until {
    Time(Duration),
    Times(usize),
}

impl Until {
    fn goes_on(self, started: Instant, asked: usize) -> bool {
        match self {
            Self::Time(time) => started.elapsed() < time,
            Self::Times(times) => asked < times,
        }
    }
}

async fn review(connection: &mut SendRequest<Full<Bytes>>, path: &str, host: &str, body: Bytes) -> Result<()> {
    let request = Request::post(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT_ENCODING, "gzip")
        .body(Full::new(body))?;
    connection.ready().await.context("the connection is closed")?;
    let answer = connection.send_request(request).await.context("no answer")?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(status == 200, "HTTP status {status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}
