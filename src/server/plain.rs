//! Plain HTTP of commands that lose nothing with an open connection.

use std::io;

use axum::Router;
use tokio::net::TcpListener;

/// Serves until `stop`, and then ends at once. A graceful end of axum waits for each request that has begun, also for
/// one of which only half was sent, and so for as long as the other side wants.
///
/// # Errors
/// When the listener fails.
pub async fn serve_until(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> io::Result<()> {
    tokio::select! {
        served = axum::serve(listener, router) => served,
        () = stop => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::{Notify, oneshot};
    use tokio::time::timeout;

    use super::*;

    /// One connection has been answered and is idle, and another one has a request whose answer never comes.
    #[tokio::test]
    async fn open_connections_do_not_keep_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let asked = Arc::new(Notify::new());
        let asks = asked.clone();
        let never = move || async move {
            asks.notify_one();
            pending::<&str>().await
        };
        let router = Router::new().route("/", get(|| async { "ok" })).route("/never", get(never));
        let serving = tokio::spawn(serve_until(listener, router, async { drop(stopped.await) }));
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        let mut waits = TcpStream::connect(address).await.unwrap();
        waits.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        asked.notified().await;
        stop.send(()).unwrap();
        timeout(Duration::from_secs(20), serving).await.expect("it waits for a connection").unwrap().unwrap();
    }
}
