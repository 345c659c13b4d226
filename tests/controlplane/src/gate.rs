//! A TCP gate in front of a server, which can be closed for one process, as a firewall would be.

use std::{
    fs,
    io::Read,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

/// A gate that listens, and lets connections through to a server. It serves until this process ends.
#[derive(Debug)]
pub struct Gate {
    listen: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Gate {
    /// Starts a gate to a server, closed for the process with this id. Connections of that process get no answer, as if
    /// their packets were dropped.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn closed_for(process: u32, server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port for a gate")?;
        let listen = listener.local_addr()?;
        let closed = Arc::new(AtomicBool::new(true));
        let is_closed = closed.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let is_closed = is_closed.clone();
                thread::spawn(move || {
                    if is_closed.load(Ordering::Relaxed) && belongs_to(process, &client).unwrap_or(true) {
                        hold(client);
                    } else {
                        drop(pass(client, server));
                    }
                });
            }
        });
        Ok(Self { listen, closed })
    }

    /// The address that listens.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Opens the gate for everybody, from the next connection on.
    pub fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
    }
}

/// Keeps a connection open without an answer, until its client closes it.
fn hold(mut client: TcpStream) {
    let mut lost = [0; 4096];
    while client.read(&mut lost).is_ok_and(|read| read > 0) {}
}

fn pass(client: TcpStream, server: SocketAddr) -> Result<()> {
    let server = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        drop(std::io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(Shutdown::Write));
    });
    let (mut from_server, mut to_client) = (server, client);
    std::io::copy(&mut from_server, &mut to_client)?;
    to_client.shutdown(Shutdown::Write).context("the client is gone")
}

/// Whether the other end of a local connection is a socket of this process.
fn belongs_to(process: u32, connection: &TcpStream) -> Result<bool> {
    let ports = [connection.peer_addr()?.port(), connection.local_addr()?.port()].map(|port| format!(":{port:04X}"));
    let sockets = fs::read_to_string("/proc/net/tcp")?;
    let inode = sockets.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ends = [fields.get(1)?, fields.get(2)?];
        ends.into_iter().zip(&ports).all(|(end, port)| end.ends_with(port.as_str())).then(|| fields.get(9).copied())?
    });
    let socket = format!("socket:[{}]", inode.context("no such socket")?);
    let files = fs::read_dir(format!("/proc/{process}/fd"))?;
    Ok(files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy() == socket)))
}
