//! A process that runs on: its log, its address, and the signals that end it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::telemetry::log::Lines;

/// Begins the log, as lines of JSON on standard error.
pub(super) fn log() -> anyhow::Result<()> {
    tracing_subscriber::fmt().event_format(Lines).with_env_filter(log_filter()?).with_writer(std::io::stderr).init();
    // A panic is a line of the log, like all else.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a task panicked")));
    Ok(())
}

/// The filter of RUST_LOG; without it, everything from `info` on.
fn log_filter() -> anyhow::Result<EnvFilter> {
    let text = std::env::var("RUST_LOG").unwrap_or_default();
    let text = if text.is_empty() { "flipguard=info" } else { &text };
    EnvFilter::try_new(text).map_err(|error| {
        anyhow::anyhow!("cannot use RUST_LOG `{text}`: {error}; set it to, for example, flipguard=debug")
    })
}

/// The address to listen on: in a Pod all addresses, IPv6 included where the host has it; elsewhere the loopback.
pub(super) fn listen_address(given: Option<SocketAddr>, in_cluster: bool, port: u16) -> SocketAddr {
    let local = if in_cluster { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::LOCALHOST.into() };
    let address = given.unwrap_or_else(|| SocketAddr::new(local, port));
    if address.ip() == Ipv6Addr::UNSPECIFIED && TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err() {
        return (Ipv4Addr::UNSPECIFIED, address.port()).into();
    }
    address
}

/// Ends at the first SIGTERM or SIGINT. The second signal ends the process at once.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(1);
        });
    })
}

/// Parses an address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "it must be an IP address and a port, such as 127.0.0.1:10250 or [::]:10250".to_owned())
}
