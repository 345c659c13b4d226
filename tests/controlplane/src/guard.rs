//! flipguard under test. It is installed by its own manifests, and runs beside the control plane under its own
//! ServiceAccount.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::balancer::Backend;
use crate::{ControlPlane, Process, free_port};

/// The namespace of flipguard.
const NAMESPACE: &str = "flipguard-system";

/// The namespace of the Service that shows whether flipguard guards.
const CANARY: &str = "flipguard-canary";

/// The time limit for flipguard to guard. It usually takes less than two seconds; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time that flipguard has to end. It then gives its lease back, for which the next one would wait for 15 s.
const GRACE: Duration = Duration::from_secs(5);

/// Where an installation of flipguard runs, and at which URL the API server calls it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// flipguard's own namespace.
    pub namespace: &'a str,
    /// The address that listens for reviews.
    pub listen: SocketAddr,
    /// The registered URL.
    pub url: &'a str,
}

/// A running flipguard that guards its control plane.
#[derive(Debug)]
pub struct Guard {
    process: Process,
    listen: SocketAddr,
    status: SocketAddr,
    kubeconfig: PathBuf,
}

impl Guard {
    /// Applies the manifests that `binary` prints, and starts it with `flags` in addition to the required ones. Waits
    /// until the API server calls it.
    ///
    /// # Errors
    /// When an object cannot be applied, flipguard cannot be started, or it does not guard within a minute.
    pub fn start(control_plane: &ControlPlane, binary: &Path, flags: &[&str]) -> Result<Self> {
        let listen = local(free_port()?);
        let url = format!("https://{listen}");
        install(control_plane, binary, &url)?;
        let kubeconfig = own_kubeconfig(control_plane)?;
        let guard = Self::serve(control_plane, binary, &kubeconfig, listen, &url, flags)?;
        guard.wait_until_it_guards(control_plane)?;
        Ok(guard)
    }

    /// Starts another replica with its own address beside one that guards, and waits until it serves. From then on, the
    /// policy of the registration allows only the new address.
    ///
    /// # Errors
    /// When the replica does not serve within a minute.
    pub fn start_beside(control_plane: &ControlPlane, binary: &Path, flags: &[&str]) -> Result<Self> {
        let listen = local(free_port()?);
        let kubeconfig = own_kubeconfig(control_plane)?;
        apply(control_plane, &manifests(binary, NAMESPACE, &format!("https://{listen}"), &["--part", "requests"])?)?;
        let guard = Self::serve(control_plane, binary, &kubeconfig, listen, &format!("https://{listen}"), flags)?;
        guard.wait_until_it_serves()?;
        Ok(guard)
    }

    /// Applies the manifests for a place, starts flipguard there, and waits until it serves. The API server may not reach
    /// it, and another installation may guard.
    ///
    /// # Errors
    /// When an object cannot be applied, or flipguard does not serve within a minute.
    pub fn install_at(control_plane: &ControlPlane, binary: &Path, place: &Place<'_>, flags: &[&str]) -> Result<Self> {
        let Place { namespace, listen, url } = *place;
        install_in(control_plane, binary, namespace, url)?;
        let kubeconfig = control_plane.service_account_kubeconfig(namespace, "flipguard")?;
        let flags = [&["--namespace", namespace], flags].concat();
        let guard = Self::serve(control_plane, binary, &kubeconfig, listen, url, &flags)?;
        guard.wait_until_it_serves()?;
        Ok(guard)
    }

    fn wait_until_it_serves(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.ask("/readyz").is_ok_and(|(status, _)| status.contains("200")) {
            self.process.ensure_running()?;
            ensure!(Instant::now() < deadline, "flipguard does not serve:\n{}", self.process.log_tail());
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Applies the manifests for its address, starts it with a kubeconfig that may not work yet, and waits for nothing.
    ///
    /// # Errors
    /// When an object cannot be applied, or flipguard cannot be started.
    pub fn start_unready(
        control_plane: &ControlPlane,
        binary: &Path,
        kubeconfig: &Path,
        flags: &[&str],
    ) -> Result<Self> {
        let listen = local(free_port()?);
        let url = format!("https://{listen}");
        install_in(control_plane, binary, "flipguard-system", &url)?;
        Self::serve(control_plane, binary, kubeconfig, listen, &url, flags)
    }

    /// Starts another replica behind the same address.
    pub(crate) fn serve(
        control_plane: &ControlPlane,
        binary: &Path,
        kubeconfig: &Path,
        listen: SocketAddr,
        url: &str,
        flags: &[&str],
    ) -> Result<Self> {
        Self::serve_at(control_plane, binary, kubeconfig, (listen, local(free_port()?)), url, flags)
    }

    /// Starts flipguard again at its old address.
    pub(crate) fn serve_again(
        &self,
        control_plane: &ControlPlane,
        binary: &Path,
        kubeconfig: &Path,
        url: &str,
        flags: &[&str],
    ) -> Result<Self> {
        Self::serve_at(control_plane, binary, kubeconfig, (self.listen, self.status), url, flags)
    }

    /// The addresses for a balancer.
    pub(crate) fn backend(&self) -> Backend {
        Backend { serves: self.listen, status: self.status }
    }

    fn serve_at(
        control_plane: &ControlPlane,
        binary: &Path,
        kubeconfig: &Path,
        (listen, status): (SocketAddr, SocketAddr),
        url: &str,
        flags: &[&str],
    ) -> Result<Self> {
        let mut serve = Command::new(binary);
        serve
            .args(["serve", "--external-url", url, "--kubeconfig"])
            .arg(kubeconfig)
            .args(["--listen", &listen.to_string(), "--status-listen", &status.to_string()])
            .args(flags);
        if !flags.contains(&"--namespace") {
            serve.args(["--namespace", NAMESPACE]);
        }
        if !flags.contains(&"--drain") {
            serve.args(["--drain", "0s"]);
        }
        let process = control_plane.spawn(&format!("flipguard-{}", listen.port()), serve)?.asked_to_end_first(GRACE);
        Ok(Self { process, listen, status, kubeconfig: kubeconfig.to_owned() })
    }

    /// The process of flipguard.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Returns the process, which then keeps running.
    #[must_use]
    pub fn into_process(self) -> Process {
        self.process
    }

    /// The address that listens for reviews.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The kubeconfig of flipguard's ServiceAccount.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The log so far, with one JSON object per line.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.process.log_path();
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Sends a request to the status listener. Returns the status line and the body.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(&self, path: &str) -> Result<(String, String)> {
        ask(self.status, path)
    }

    /// Waits until a change gets an expected warning from flipguard. Only then has every part of the API server seen
    /// the registration.
    ///
    /// # Errors
    /// When that takes more than a minute, or flipguard has ended.
    pub fn wait_until_it_guards(&self, control_plane: &ControlPlane) -> Result<()> {
        apply(
            control_plane,
            &format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {CANARY}}}}}\n---\n\
                 {{apiVersion: v1, kind: Service, metadata: {{name: canary, namespace: {CANARY}}}, \
                 spec: {{selector: {{color: blue}}, ports: [{{port: 80}}]}}}}\n"
            ),
        )?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let flip = control_plane
                .kubectl()
                .args(["-n", CANARY, "patch", "service", "canary", "--dry-run=server", "-p"])
                .arg(r#"{"spec":{"selector":{"color":"green"}}}"#)
                .output()
                .context("cannot run kubectl")?;
            if text(&flip.stderr).contains("target-missing") {
                return Ok(());
            }
            self.process.ensure_running()?;
            if Instant::now() > deadline {
                bail!("flipguard does not guard after {} s:\n{}", PATIENCE.as_secs(), self.process.log_tail());
            }
            sleep(Duration::from_millis(100));
        }
    }
}

/// Applies the manifests that `binary` prints.
pub(crate) fn install(control_plane: &ControlPlane, binary: &Path, url: &str) -> Result<()> {
    install_in(control_plane, binary, NAMESPACE, url)
}

fn install_in(control_plane: &ControlPlane, binary: &Path, namespace: &str, url: &str) -> Result<()> {
    apply(control_plane, &manifests(binary, namespace, url, &[])?).map(drop)
}

/// The manifests that `binary` prints for a flipguard at this URL, with more flags.
fn manifests(binary: &Path, namespace: &str, url: &str, flags: &[&str]) -> Result<String> {
    let manifests = Command::new(binary)
        .args(["manifests", "--namespace", namespace, "--external-url", url])
        .args(flags)
        .output()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    ensure!(manifests.status.success(), "flipguard manifests: {}", text(&manifests.stderr));
    Ok(text(&manifests.stdout))
}

/// Applies YAML as cluster admin.
fn apply(control_plane: &ControlPlane, yaml: &str) -> Result<Output> {
    let mut apply = control_plane.kubectl();
    apply.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut apply = apply.spawn().context("cannot start kubectl")?;
    if let Some(mut stdin) = apply.stdin.take() {
        // If kubectl reads nothing, its own error gives the cause.
        drop(stdin.write_all(as_yaml(yaml).as_bytes()));
    }
    let output = apply.wait_with_output().context("cannot wait for kubectl")?;
    ensure!(output.status.success(), "kubectl apply: {}", text(&output.stderr));
    Ok(output)
}

/// Text that kubectl reads as YAML. Before 1.31, kubectl takes any text that begins with a brace for JSON.
#[must_use]
pub fn as_yaml(text: &str) -> String {
    format!("---\n{text}")
}

/// A kubeconfig of flipguard's ServiceAccount, so that its real RBAC applies.
pub(crate) fn own_kubeconfig(control_plane: &ControlPlane) -> Result<PathBuf> {
    control_plane.service_account_kubeconfig(NAMESPACE, "flipguard")
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends a request to a listener of flipguard over plain HTTP. Returns the status line and the body.
///
/// # Errors
/// When there is no answer.
pub fn ask(address: SocketAddr, path: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).context("status listener")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("status listener")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default().to_owned();
    Ok((status, body.to_owned()))
}
