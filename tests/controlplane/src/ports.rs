//! Ports for servers whose port must be known before they start.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

/// The first port of the range. It is below the ranges from which kernels take outgoing ports (Linux from 32768, macOS
/// from 49152). So no client can take the port before the server starts, or while it restarts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port on 127.0.0.1 without a listener. One process never gets the same port twice.
///
/// # Errors
/// When all ports are taken, or no socket can be opened.
pub fn free_port() -> Result<u16> {
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    static START: std::sync::LazyLock<u16> = std::sync::LazyLock::new(|| {
        // Two concurrent test runs must not use the same ports.
        let random = RandomState::new().build_hasher().finish() % u64::from(COUNT);
        u16::try_from(random).unwrap_or(0)
    });
    for _ in 0..COUNT {
        let step = HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (*START % COUNT + step % COUNT) % COUNT;
        if is_free(port).with_context(|| format!("cannot look whether port {port} is free"))? {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {FIRST} and {}", FIRST + COUNT - 1)
}

/// Binds without listening. A process that another thread starts meanwhile inherits the socket until it runs its own
/// program. Linux still gives the address to a server as long as the socket does not listen (socket(7),
/// `SO_REUSEADDR`).
fn is_free(port: u16) -> io::Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    match socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(false),
        bound => bound.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        net::TcpListener,
        process::Command,
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn a_port_that_is_listened_on_is_taken() -> Result<()> {
        let port = free_port()?;
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        assert!(!is_free(port)?);
        Ok(())
    }

    #[test]
    fn no_port_is_handed_out_twice() -> Result<()> {
        let ports: BTreeSet<u16> = (0..50).map(|_| free_port()).collect::<Result<_>>()?;
        assert_eq!(ports.len(), 50);
        Ok(())
    }

    /// One test looks for a port while another one starts a program.
    #[test]
    fn a_server_can_start_on_it_while_programs_are_started() -> Result<()> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = Command::new("true").status();
                }
            });
            let served = (0..2_000).try_for_each(|_| -> Result<()> {
                let port = free_port()?;
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("port {port}"))?;
                Ok(())
            });
            done.store(true, Ordering::Relaxed);
            served
        })
    }
}
