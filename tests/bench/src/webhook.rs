//! Webhooks under load: flipguard itself, and the ones that it is compared with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use controlplane::{ControlPlane, Guard, Process, free_port};
use serde_json::Value;

use crate::load::Target;
use crate::process;
use crate::servers::Handler;

/// The time limit for a server to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// The number of servers of the bench that were started.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A server with its address and credentials.
pub struct Webhook {
    /// The name in tables.
    pub name: String,
    /// The process id.
    pub process: u32,
    /// The connections of the load client.
    pub target: Target,
    /// The registration data for an API server.
    pub registered: Registered,
    _ends: Option<Process>,
}

/// The data that an API server needs for a webhook: its URL, its token and its CA certificate.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The URL without its path.
    pub url: String,
    /// The token: the last part of the path.
    pub token: String,
    /// The CA certificate of the server, as PEM.
    pub authority: String,
}

impl Registered {
    /// Reads the data of the registered flipguard.
    ///
    /// # Errors
    /// When flipguard is not registered.
    pub fn read(control_plane: &ControlPlane) -> Result<Self> {
        let output =
            control_plane.kubectl().args(["get", "validatingwebhookconfiguration/flipguard", "-o", "json"]).output()?;
        let read: Value = serde_json::from_slice(&output.stdout).context("no registration")?;
        let config = read.pointer("/webhooks/0/clientConfig").context("no webhook is registered")?;
        let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let url = text("url");
        let (begin, token) = url.split_once("/validate/").context("no token in the URL")?;
        let authority: k8s_openapi::ByteString = serde_json::from_value(Value::String(text("caBundle")))?;
        let authority = String::from_utf8(authority.0)?;
        Ok(Self { url: begin.to_owned(), token: token.to_owned(), authority })
    }
}

impl Webhook {
    /// The registered flipguard.
    ///
    /// # Errors
    /// When the CA certificate cannot be read.
    pub fn of_guard(name: &str, guard: &Guard, registered: &Registered) -> Result<Self> {
        Self::at(guard.listen(), name, guard.process().id(), registered.clone(), None)
    }

    /// Starts another replica of flipguard, without a log.
    ///
    /// # Errors
    /// When the replica does not listen.
    pub fn without_log(
        name: &str,
        control_plane: &ControlPlane,
        flipguard: &Path,
        guard: &Guard,
        registered: &Registered,
    ) -> Result<Self> {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let status = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = process::on_first_processor(flipguard);
        command
            .args(["serve", "--drain", "0s", "--external-url", &registered.url, "--kubeconfig"])
            .arg(guard.kubeconfig())
            .args(["--listen", &listen.to_string(), "--status-listen", &status.to_string()])
            .env("RUST_LOG", "off");
        let ends = control_plane.spawn("flipguard-without-log", command)?;
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(listen).is_err() {
            ends.ensure_running()?;
            anyhow::ensure!(Instant::now() < deadline, "flipguard does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self::at(listen, name, ends.id(), registered.clone(), Some(ends))
    }

    /// Starts a server of the bench on the first processor: see [`servers`](crate::servers).
    ///
    /// # Errors
    /// When the server does not start.
    pub fn own(control_plane: &ControlPlane, handler: Handler) -> Result<Self> {
        Self::start(control_plane, handler, process::on_first_processor(&std::env::current_exe()?), None)
    }

    /// Starts a server of the bench that may read the cluster, on any processor.
    ///
    /// # Errors
    /// When the server does not start.
    pub fn reading(control_plane: &ControlPlane, handler: Handler, kubeconfig: &Path) -> Result<Self> {
        Self::start(control_plane, handler, Command::new(std::env::current_exe()?), Some(kubeconfig))
    }

    fn start(
        control_plane: &ControlPlane,
        handler: Handler,
        mut bench: Command,
        kubeconfig: Option<&Path>,
    ) -> Result<Self> {
        let name = handler.name();
        bench.args(["serve", &name]);
        if let Some(kubeconfig) = kubeconfig {
            bench.arg("--kubeconfig").arg(kubeconfig);
        }
        // A log of its own: a log of the same name still has the address of the former server.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let ends = control_plane.spawn(&format!("{name}-{number}"), bench)?;
        let deadline = Instant::now() + PATIENCE;
        let said = loop {
            let said = std::fs::read_to_string(ends.log_path()).unwrap_or_default();
            if said.contains("END CERTIFICATE") {
                break said;
            }
            ends.ensure_running()?;
            if Instant::now() > deadline {
                bail!("the server `{name}` does not start");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut lines = said.splitn(3, '\n');
        let (port, token, authority) =
            (lines.next().unwrap_or_default(), lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let listen = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
        let (token, authority) = (token.to_owned(), authority.to_owned());
        let registered = Registered { url: format!("https://{listen}"), token, authority };
        Self::at(listen, &name, ends.id(), registered, Some(ends))
    }

    fn at(listen: SocketAddr, name: &str, process: u32, registered: Registered, ends: Option<Process>) -> Result<Self> {
        let target = Target::new(listen, &registered.token, &registered.authority)?;
        Ok(Self { name: name.to_owned(), process, target, registered, _ends: ends })
    }
}

/// Writes a script that runs flipguard on the first processor.
///
/// # Errors
/// When the script cannot be written.
pub fn pinned(control_plane: &ControlPlane, flipguard: &Path) -> Result<PathBuf> {
    let path = control_plane.dir().join("flipguard-on-first-processor");
    std::fs::write(&path, format!("#!/bin/sh\nexec taskset -c 0 '{}' \"$@\"\n", flipguard.display()))?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(path)
}

/// Ends a flipguard, so that the next one finds the Lease of the reconciler free.
///
/// # Errors
/// When the signal cannot be sent.
pub fn end(guard: &Guard) -> Result<()> {
    guard.process().stop(Duration::from_secs(10))
}
