//! A limit on connections: anyone in the cluster can open some, and each takes memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::Metrics;

/// Accepts connections up to a limit, and closes any other one at once.
#[derive(Debug, Clone)]
pub(super) struct Limited {
    free: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Limited {
    pub(super) fn to(connections: usize, metrics: Arc<Metrics>) -> Self {
        Self { free: Arc::new(Semaphore::new(connections)), metrics }
    }
}

impl<S> Accept<TcpStream, S> for Limited {
    type Stream = Counted;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepted = if let Ok(permit) = self.free.clone().try_acquire_owned() {
            // No Nagle: an answer is one small write, and must not wait for the acknowledgement of the one before.
            stream.set_nodelay(true).map(|()| (Counted { stream, _permit: permit }, service))
        } else {
            self.metrics.connection_refused();
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, "too many connections"))
        };
        std::future::ready(accepted)
    }
}

/// A connection that counts until it is closed.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
