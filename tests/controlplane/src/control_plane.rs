//! Starting, using and ending one control plane.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    binaries::Binaries,
    certificates::{Authority, service_account_key},
    components::Components,
    guard::local,
    kubeconfig::{self, Credential, write_private},
    ports::free_port,
    process::Process,
    timing::{StageTable, Stopwatch},
    watchdog::Watchdog,
};

const NODES: &str = include_str!("../kwok/nodes.yaml");
const AUDIT_POLICY: &str = include_str!("../audit-policy.yaml");
const KWOK_STAGES: &str = include_str!("../kwok/stages.yaml");

/// The file that ends a kept control plane, in its folder.
const STOP_FILE: &str = "stop";

/// The time limit for one condition of the start. A loaded machine is slow. A broken start usually ends a process, and
/// that is noticed at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time for a component to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// A running control plane. Dropping it kills all components and removes its folder. So does the end of this process,
/// whatever its cause.
#[derive(Debug)]
pub struct ControlPlane {
    // Ordered for the drop: components that depend on the API server end first.
    controllers: Vec<Process>,
    api_server: Process,
    etcd: Process,
    components: Components,
    authority: Authority,
    admin: PathBuf,
    clients: AtomicU32,
    stages: Vec<(String, Duration)>,
    watchdog: Arc<Watchdog>,
    dir: PathBuf,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts all components in a new temporary folder (in `TMPDIR`), with a free port for each server. Waits until
    /// both Nodes are Ready and Pods can be created.
    ///
    /// # Errors
    /// When a component does not start. The error shows the end of its log.
    pub fn start(binaries: &Binaries) -> Result<Self> {
        let mut stopwatch = Stopwatch::start();
        let watchdog = Arc::new(Watchdog::start()?);
        let folder = tempfile::Builder::new()
            .prefix("controlplane-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot create a temporary folder")?;
        let dir = fs::canonicalize(folder.path())
            .with_context(|| format!("cannot find the temporary folder {}", folder.path().display()))?;
        watchdog.remove(&dir)?;

        let components = Components::new(binaries, &dir)?;
        let authority = Authority::new()?;
        let admin = write_files(&dir, &components, &authority)?;
        stopwatch.lap("certificates and files");

        let spawn = |name: &str, command| Process::spawn(&watchdog, name, command, components.log(name));
        let etcd = spawn("etcd", components.etcd())?;
        // The API server waits for etcd by itself.
        let api_server = spawn("kube-apiserver", components.api_server())?;
        let mut control_plane = Self {
            controllers: Vec::new(),
            api_server,
            etcd,
            components,
            authority,
            admin,
            clients: AtomicU32::new(0),
            stages: Vec::new(),
            watchdog,
            dir,
            folder,
        };
        control_plane.wait_for_api_server()?;
        stopwatch.lap("etcd and kube-apiserver: /readyz");

        control_plane.start_controllers()?;
        control_plane.apply_nodes()?;
        control_plane.wait_for_nodes()?;
        stopwatch.lap("scheduler and kwok: nodes ready");
        control_plane.wait_for_service_account()?;
        stopwatch.lap("controller manager: service account");
        control_plane.stages = stopwatch.into_laps();
        Ok(control_plane)
    }

    /// The address of the API server, such as `https://127.0.0.1:20443`.
    #[must_use]
    pub fn url(&self) -> String {
        self.components.url()
    }

    /// The kubeconfig of a cluster admin (group `system:masters`). It names certificate and key by absolute path.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// The folder with the state, the certificates (`pki/`) and the logs (`logs/`).
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The CA certificate of the API server, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.authority.certificate()
    }

    /// kubectl as cluster admin. It neither reads nor changes the user's home or environment.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.components.kubectl(&self.admin)
    }

    /// Helm as cluster admin, isolated in the same way. It exists if the binaries were built [with
    /// it](Binaries::with_helm).
    #[must_use]
    pub fn helm(&self) -> Command {
        self.components.helm(&self.admin)
    }

    /// A program of Argo CD, such as `argocd-repo-server`, with the rights of this kubeconfig. It exists if the binaries
    /// were built [with it](Binaries::with_gitops).
    #[must_use]
    pub fn argo_cd(&self, program: &str, kubeconfig: &Path) -> Command {
        self.components.argo_cd(program, kubeconfig)
    }

    /// The path of a binary, or of a file that was taken from a module.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.components.path(name)
    }

    /// Issues a client certificate for `user` in `groups` (at most two), and writes a kubeconfig for it.
    ///
    /// # Errors
    /// When there are more groups, or when a file cannot be written.
    pub fn client_kubeconfig(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let identity = self.authority.client(user, groups)?;
        let plain: String = user.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
        // The number distinguishes `a:b` from `a-b`, and several certificates of one user.
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        self.write_kubeconfig(&format!("{plain}-{number}"), &Credential::Certificate(&identity))
    }

    /// Writes a kubeconfig with a token of a ServiceAccount, valid for a day. It has the permissions of that account.
    ///
    /// # Errors
    /// When the ServiceAccount does not exist, or the file cannot be written.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self
            .kubectl()
            .args(["-n", namespace, "create", "token", name, "--duration=24h"])
            .output()
            .context("cannot run kubectl")?;
        let (said, failed) = (String::from_utf8_lossy(&token.stdout), String::from_utf8_lossy(&token.stderr));
        ensure!(token.status.success(), "kubectl create token: {}", failed.trim());
        self.write_kubeconfig(&format!("{namespace}.{name}"), &Credential::Token(said.trim()))
    }

    fn write_kubeconfig(&self, name: &str, shows: &Credential<'_>) -> Result<PathBuf> {
        let authority = self.components.pki().join("ca.crt");
        kubeconfig::write(&self.dir.join("clients"), name, &self.url(), &authority, shows)
    }

    /// Starts another supervised process, such as the webhook under test, with its output in `logs/NAME.log`. It ends
    /// when the returned value is dropped, and with this process at the latest.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::spawn(&self.watchdog, name, command, self.components.log(name))
    }

    /// The process of the API server.
    #[must_use]
    pub fn api_server(&self) -> &Process {
        &self.api_server
    }

    /// Starts another API server over the same etcd, which calls no webhook. Returns its process and the kubeconfig of
    /// a cluster admin: the same cluster, without any webhook.
    ///
    /// # Errors
    /// When the API server cannot be started, or is not ready in time.
    pub fn api_server_without_webhooks(&self) -> Result<(Process, PathBuf)> {
        let port = free_port()?;
        self.api_server_beside("kube-apiserver-bare", self.components.api_server_without_webhooks(port), port)
    }

    /// Starts another API server over the same etcd, which calls webhooks as the first one does. Returns its process and the
    /// kubeconfig of a cluster admin who asks it.
    ///
    /// # Errors
    /// When the API server cannot be started, or is not ready in time.
    pub(crate) fn another_api_server(&self, port: u16) -> Result<(Process, PathBuf)> {
        self.api_server_beside("kube-apiserver-second", self.components.another_api_server(port), port)
    }

    fn api_server_beside(&self, name: &str, command: Command, port: u16) -> Result<(Process, PathBuf)> {
        let process = self.spawn(name, command)?;
        let kubeconfig = self.kubeconfig_at(&self.admin, name, &format!("https://127.0.0.1:{port}"))?;
        self.wait_until(&format!("{name} is ready"), || {
            process.ensure_running()?;
            let output = self.components.kubectl(&kubeconfig).args(["get", "--raw=/readyz"]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
            Ok(())
        })?;
        Ok((process, kubeconfig))
    }

    /// The same credentials for the same cluster, at another address.
    pub(crate) fn kubeconfig_at(&self, kubeconfig: &Path, name: &str, url: &str) -> Result<PathBuf> {
        let text = fs::read_to_string(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
        let other = self.dir.join("clients").join(name);
        write_private(&other, &text.replace(&self.url(), url))?;
        Ok(other)
    }

    /// The stages of the start, each with its duration.
    #[must_use]
    pub fn stages(&self) -> &[(String, Duration)] {
        &self.stages
    }

    /// The stages of the start as a table to print.
    #[must_use]
    pub fn stage_table(&self) -> StageTable<'_> {
        StageTable(&self.stages)
    }

    /// Returns an error with the end of the log if a component has ended.
    ///
    /// # Errors
    /// When a component has ended.
    pub fn ensure_running(&self) -> Result<()> {
        self.processes().try_for_each(Process::ensure_running)
    }

    /// Ends the API server as a kubelet does: by SIGTERM, and by SIGKILL if that takes too long. Starts the API server
    /// again, and waits until it is ready.
    ///
    /// # Errors
    /// When the API server does not end or start.
    pub fn restart_api_server(&mut self) -> Result<()> {
        self.api_server.stop(Duration::from_secs(10))?;
        self.api_server = self.spawn("kube-apiserver", self.components.api_server())?;
        self.wait_for_api_server()
    }

    /// Kills etcd, starts it again with its data, and waits until the API server is ready.
    ///
    /// # Errors
    /// When etcd does not start.
    pub fn restart_etcd(&mut self) -> Result<()> {
        self.etcd.kill()?;
        ensure!(self.etcd.wait(PATIENCE).is_some(), "etcd survives SIGKILL");
        self.etcd = self.spawn("etcd", self.components.etcd())?;
        self.wait_for_api_server()
    }

    /// Copies the data of etcd, as a backup does. etcd is stopped meanwhile.
    ///
    /// # Errors
    /// When etcd does not stop or start, or the data cannot be copied.
    pub fn back_up_etcd(&mut self) -> Result<PathBuf> {
        self.etcd.stop(PATIENCE)?;
        let backup = self.dir.join("etcd-backup");
        copy(&self.components.etcd_data(), &backup)?;
        self.etcd = self.spawn("etcd", self.components.etcd())?;
        self.wait_for_api_server()?;
        Ok(backup)
    }

    /// Replaces the data of etcd by a backup. All components of the control plane are started again, as Kubernetes asks for
    /// after a restore ("Operating etcd clusters for Kubernetes").
    ///
    /// # Errors
    /// When a component does not stop or start, or the data cannot be copied.
    pub fn restore_etcd(&mut self, backup: &Path) -> Result<()> {
        for process in std::mem::take(&mut self.controllers) {
            process.stop(GRACE)?;
        }
        self.api_server.stop(PATIENCE)?;
        self.etcd.stop(PATIENCE)?;
        let data = self.components.etcd_data();
        fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
        copy(backup, &data)?;
        self.etcd = self.spawn("etcd", self.components.etcd())?;
        self.api_server = self.spawn("kube-apiserver", self.components.api_server())?;
        self.wait_for_api_server()?;
        self.start_controllers()
    }

    /// Ends all components in order and removes the folder. Processes of [`spawn`](Self::spawn) are not ended; they
    /// belong to the caller.
    ///
    /// # Errors
    /// When a component does not end, or the folder cannot be removed. The watchdog removes the rest at the end of this
    /// process.
    pub fn stop(self) -> Result<()> {
        for process in &self.controllers {
            process.terminate()?;
        }
        for process in self.processes() {
            process.stop(GRACE)?;
        }
        let Self { folder, dir, .. } = self;
        folder.close().with_context(|| format!("cannot remove {}", dir.display()))
    }

    /// Leaves all components running after the end of this process, and returns their folder.
    /// [`end_kept`](Self::end_kept), `controlplane down DIR` or `touch DIR/stop` ends them and removes the folder. The
    /// same applies to `others`, which [`spawn`](Self::spawn) returned.
    ///
    /// # Errors
    /// When the watchdog cannot be told.
    pub fn keep(self, others: &[Process]) -> Result<PathBuf> {
        self.watchdog.keep(&self.dir.join(STOP_FILE))?;
        self.processes().chain(others).for_each(Process::release);
        let Self { folder, dir, .. } = self;
        // The path of the temporary folder may contain symbolic links; this one does not.
        drop(folder.keep());
        Ok(dir)
    }

    /// Ends a kept control plane, and waits until its folder is removed.
    ///
    /// # Errors
    /// When `dir` is not the folder of a control plane, or is not removed.
    pub fn end_kept(dir: &Path) -> Result<()> {
        ensure!(dir.join("pki").join("ca.crt").is_file(), "{} is no control plane's folder", dir.display());
        let stop = dir.join(STOP_FILE);
        fs::write(&stop, "").with_context(|| format!("cannot write {}", stop.display()))?;
        let deadline = Instant::now() + PATIENCE;
        while dir.exists() {
            ensure!(Instant::now() < deadline, "{} is still there: nothing watches over it any more", dir.display());
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.controllers.iter().chain([&self.api_server, &self.etcd])
    }

    fn start_controllers(&mut self) -> Result<()> {
        let commands = [
            ("kube-controller-manager", self.components.controller_manager()),
            ("kube-scheduler", self.components.scheduler()),
            ("kwok", self.components.kwok()),
        ];
        for (name, command) in commands {
            self.controllers.push(self.spawn(name, command)?);
        }
        Ok(())
    }

    /// The address at which the first API server listens.
    pub(crate) fn api_address(&self) -> std::net::SocketAddr {
        local(self.components.api_port())
    }

    fn wait_for_api_server(&self) -> Result<()> {
        let address = self.api_address();
        self.wait_until("kube-apiserver listens", || {
            // A connection is cheap, so it is tried first. The API server has no time for a kubectl while it starts.
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).map(drop).map_err(Into::into)
        })?;
        self.wait_until("kube-apiserver is ready", || self.ask(["get", "--raw=/readyz"]).map(drop))
    }

    fn apply_nodes(&self) -> Result<()> {
        let mut create = self.kubectl();
        create.args(["create", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut create = create.spawn().context("cannot start kubectl")?;
        if let Some(mut stdin) = create.stdin.take() {
            // If kubectl reads nothing, its own error gives the cause.
            drop(stdin.write_all(NODES.as_bytes()));
        }
        let output = create.wait_with_output().context("cannot wait for kubectl")?;
        ensure!(output.status.success(), "cannot create the nodes: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// Waits until the Nodes are Ready, and without the taint of a new Node, which the node controller removes.
    fn wait_for_nodes(&self) -> Result<()> {
        let columns =
            r#"-o=jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{.spec.taints}{"\n"}{end}"#;
        self.wait_until("the nodes are ready", || {
            let nodes = self.ask(["get", "nodes", columns])?;
            ensure!(nodes.lines().count() == 2 && nodes.lines().all(|node| node == "True"), "nodes: {nodes:?}");
            Ok(())
        })
    }

    /// Waits for the ServiceAccount. Until it exists, the API server rejects every Pod of the namespace.
    fn wait_for_service_account(&self) -> Result<()> {
        self.wait_until("the namespace default has its service account", || {
            self.ask(["--namespace=default", "get", "serviceaccount", "default"]).map(drop)
        })
    }

    fn ask(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        let mut kubectl = self.kubectl();
        kubectl.arg("--request-timeout=5s").args(args).stdin(Stdio::null());
        let output = kubectl.output().context("cannot run kubectl")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn wait_until(&self, what: &str, holds: impl Fn() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Err(error) = holds() else { return Ok(()) };
            self.ensure_running().with_context(|| format!("waiting until {what}"))?;
            if Instant::now() >= deadline {
                bail!(
                    "waited {} s until {what}, in vain: {error:#}; the end of the API server's log:\n{}",
                    PATIENCE.as_secs(),
                    self.api_server.log_tail()
                );
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).output().context("cannot run cp")?;
    ensure!(copied.status.success(), "cannot copy {}: {}", from.display(), String::from_utf8_lossy(&copied.stderr));
    Ok(())
}

/// Writes certificates, keys, kubeconfigs and kwok's stages. Returns the admin's kubeconfig.
fn write_files(dir: &Path, components: &Components, authority: &Authority) -> Result<PathBuf> {
    let pki = components.pki();
    for folder in [&pki, &dir.join("logs"), &dir.join("clients"), &components.home()] {
        fs::create_dir(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(components.stages(), KWOK_STAGES).context("cannot write kwok's stages")?;
    fs::write(components.audit_policy(), AUDIT_POLICY).context("cannot write the audit policy")?;

    let ca = pki.join("ca.crt");
    write_private(&ca, &authority.certificate())?;
    let names = ["127.0.0.1", "localhost", "10.96.0.1", "kubernetes.default.svc"];
    let server = authority.server("kube-apiserver", &names)?;
    write_private(&pki.join("kube-apiserver.crt"), &server.certificate)?;
    write_private(&pki.join("kube-apiserver.key"), &server.key)?;
    let (private, public) = service_account_key()?;
    write_private(&pki.join("service-account.key"), &private)?;
    write_private(&pki.join("service-account.pub"), &public)?;

    let url = components.url();
    let clients: [(&str, &str, &[&str]); 3] = [
        ("kube-controller-manager", "system:kube-controller-manager", &[]),
        ("kube-scheduler", "system:kube-scheduler", &[]),
        // kwok writes the status of Nodes and Pods, as kubelets do. No predefined role permits that.
        ("kwok", "kwok", &["system:masters"]),
    ];
    for (name, user, groups) in clients {
        let identity = authority.client(user, groups)?;
        kubeconfig::write(&pki, name, &url, &ca, &Credential::Certificate(&identity))?;
    }
    let admin = authority.client("admin", &["system:masters"])?;
    kubeconfig::write(&pki, "admin", &url, &ca, &Credential::Certificate(&admin))
}
