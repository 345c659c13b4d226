//! Webhooks under load: flipguard itself, and those that it is held against.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use controlplane::{ControlPlane, Guard, Process, free_port};
use serde_json::Value;

use crate::load::Target;
use crate::process;
use crate::servers::Handler;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server and the way to it.
pub struct Webhook {
    /// What it is called in tables.
    pub name: String,
    /// Its process.
    pub process: u32,
    /// Where it is asked.
    pub target: Target,
    /// How an API server finds it.
    pub registered: Registered,
    _ends: Option<Process>,
}

/// How an API server finds a webhook: its token, and the authority of its certificate.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The URL without the path.
    pub url: String,
    /// The last part of the path.
    pub token: String,
    /// The certificate that signed its own, as PEM.
    pub authority: String,
}

impl Registered {
    /// As the API server knows it.
    ///
    /// # Errors
    /// When it is not registered.
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
    /// The flipguard that is registered.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub fn of_guard(name: &str, guard: &Guard, registered: &Registered) -> Result<Self> {
        Self::at(guard.listen(), name, guard.process().id(), registered.clone(), None)
    }

    /// One more replica of flipguard, without a log.
    ///
    /// # Errors
    /// When it does not listen.
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

    /// A server of our own, on the first processor: see [`servers`](crate::servers).
    ///
    /// # Errors
    /// When it does not start.
    pub fn own(control_plane: &ControlPlane, handler: Handler) -> Result<Self> {
        Self::start(control_plane, handler, process::on_first_processor(&std::env::current_exe()?), None)
    }

    /// A server of our own that may read the cluster, on any processor.
    ///
    /// # Errors
    /// When it does not start.
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
        let ends = control_plane.spawn(&name, bench)?;
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

/// Writes a program that runs flipguard on the first processor.
///
/// # Errors
/// When it cannot be written.
pub fn pinned(control_plane: &ControlPlane, flipguard: &Path) -> Result<PathBuf> {
    let path = control_plane.dir().join("flipguard-on-first-processor");
    std::fs::write(&path, format!("#!/bin/sh\nexec taskset -c 0 '{}' \"$@\"\n", flipguard.display()))?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(path)
}

/// Ends a flipguard so that the next one finds the keeper's Lease free.
///
/// # Errors
/// When it cannot be told.
pub fn end(guard: &Guard) -> Result<()> {
    guard.process().stop(Duration::from_secs(10))
}
