//! Ports for servers that must be told their port before they start.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Result, bail};

/// Below the ranges that kernels take outgoing ports from (Linux from 32768, macOS from 49152): no client can get
/// the port between the look and the server's start, nor while a server is restarted.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port on 127.0.0.1 that nothing listens on; never the same twice in one process.
///
/// # Errors
/// When all of them are taken.
pub fn free_port() -> Result<u16> {
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    static START: std::sync::LazyLock<u16> = std::sync::LazyLock::new(|| {
        // Two test runs at the same time must not walk over the same ports.
        let random = RandomState::new().build_hasher().finish() % u64::from(COUNT);
        u16::try_from(random).unwrap_or(0)
    });
    for _ in 0..COUNT {
        let step = HANDED_OUT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (*START % COUNT + step % COUNT) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {FIRST} and {}", FIRST + COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_never_the_same() -> Result<()> {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()?))?;
        let ports: Vec<u16> = (0..50).map(|_| free_port()).collect::<Result<_>>()?;
        assert!(!ports.contains(&taken.local_addr()?.port()));
        let mut distinct = ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(ports.len(), distinct.len());
        Ok(())
    }
}
