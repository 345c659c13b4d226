//! A TCP balancer in front of several replicas, in the role of a Service of the cluster. It is HAProxy from the
//! system's packages.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{ControlPlane, Process};

/// The time limit for the balancer to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// One server behind a balancer.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    /// The address for connections.
    pub serves: SocketAddr,
    /// The address that answers `/readyz`.
    pub status: SocketAddr,
}

/// The treatment of open connections to a backend that is no longer ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// They are closed, so that a backend that does not answer gets no further requests.
    Cut,
    /// They stay open, as behind a Service of the cluster.
    Kept,
}

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    process: Process,
    listen: SocketAddr,
}

impl Balancer {
    /// Starts a balancer that listens at `listen` and spreads connections over all ready backends. `open` decides about
    /// open connections to a backend that is no longer ready.
    ///
    /// # Errors
    /// When HAProxy is missing and cannot be installed, or does not listen.
    pub fn start(control_plane: &ControlPlane, listen: SocketAddr, backends: &[Backend], open: Open) -> Result<Self> {
        Self::with(control_plane, listen, &configuration(listen, backends, open)?)
    }

    /// Starts a balancer in front of API servers, as a highly available cluster has one. Connections to one that does not
    /// answer are closed.
    pub(crate) fn of_api_servers(
        control_plane: &ControlPlane,
        listen: SocketAddr,
        servers: &[SocketAddr],
    ) -> Result<Self> {
        let mut text = head(listen);
        for (index, address) in servers.iter().enumerate() {
            writeln!(
                text,
                "  server api{index} {address} check check-ssl verify none inter 500ms fastinter 200ms fall 2 rise 1 \
                 on-marked-down shutdown-sessions"
            )?;
        }
        Self::with(control_plane, listen, &text)
    }

    fn with(control_plane: &ControlPlane, listen: SocketAddr, configuration: &str) -> Result<Self> {
        let program = haproxy()?;
        let config = control_plane.dir().join(format!("haproxy-{}.cfg", listen.port()));
        fs::write(&config, configuration).with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = Command::new(program);
        command.args(["-db", "-q", "-f"]).arg(&config);
        let process = control_plane.spawn(&format!("haproxy-{}", listen.port()), command)?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(listen).is_err() {
            process.ensure_running()?;
            ensure!(Instant::now() < deadline, "haproxy does not listen:\n{}", process.log_tail());
            sleep(Duration::from_millis(20));
        }
        Ok(Self { process, listen })
    }

    /// The address that listens for connections.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The process of HAProxy.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// A replica that is not ready gets no new connection.
fn configuration(listen: SocketAddr, backends: &[Backend], open: Open) -> Result<String> {
    let marked_down = match open {
        Open::Cut => " on-marked-down shutdown-sessions",
        Open::Kept => "",
    };
    let mut text = head(listen);
    for (index, Backend { serves, status }) in backends.iter().enumerate() {
        writeln!(
            text,
            "  server replica{index} {serves} check addr {} port {} inter 200ms fastinter 100ms fall 2 rise 1{marked_down}",
            status.ip(),
            status.port()
        )?;
    }
    Ok(text)
}

/// The configuration up to its servers, which are asked for `/readyz`.
fn head(listen: SocketAddr) -> String {
    format!(
        "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 5m\n  timeout server 5m\n  retries 2\n  \
         option redispatch\n\nfrontend reviews\n  bind {listen}\n  default_backend replicas\n\nbackend replicas\n  \
         balance roundrobin\n  option httpchk GET /readyz\n"
    )
}

/// The HAProxy program. It is installed from the system's packages if missing.
fn haproxy() -> Result<PathBuf> {
    let found = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        places.map(|place| place.join("haproxy")).find(|program| program.is_file())
    };
    if let Some(program) = found() {
        return Ok(program);
    }
    eprintln!("haproxy is missing; installing it with apt-get ...");
    let install = "apt-get update -q && apt-get install -q -y --no-install-recommends haproxy";
    let as_root = Path::new("/proc/self").metadata().is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let script = if as_root { install.to_owned() } else { format!("sudo -n sh -c '{install}'") };
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("cannot start apt-get")?;
    match found() {
        Some(program) => Ok(program),
        None => bail!(
            "haproxy is missing and cannot be installed here; install it with the system's packages:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
