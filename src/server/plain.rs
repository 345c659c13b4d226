//! Plain HTTP of commands that lose nothing with an open connection.

use std::io;

use axum::Router;
use tokio::net::TcpListener;

/// Serves until `stop`, and then ends at once. A graceful end of axum waits for each open connection, also for one that
/// is idle, and a browser or a scraper keeps its connection for minutes.
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
    use std::time::Duration;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    /// One connection has been answered and is idle, and another one has sent half of a request.
    #[tokio::test]
    async fn open_connections_do_not_keep_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("/", get(|| async { "ok" }));
        let serving = tokio::spawn(serve_until(listener, router, async { drop(stopped.await) }));
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HT").await.unwrap();
        stop.send(()).unwrap();
        timeout(Duration::from_secs(60), serving).await.expect("it waits for a connection").unwrap().unwrap();
    }
}
