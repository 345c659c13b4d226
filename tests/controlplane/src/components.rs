//! The command lines of the control plane's components. Pure: a component is restarted by running its command again.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{binaries::Binaries, ports::free_port};

const SERVICE_IPS: &str = "10.96.0.0/12";
/// Beside the Nodes' addresses (10.0.0.0/24), and room for half a million Pods.
const POD_IPS: &str = "10.32.0.1/13";

/// What the commands need to know.
#[derive(Debug)]
pub(crate) struct Components {
    binaries: Binaries,
    dir: PathBuf,
    api_port: u16,
    etcd_port: u16,
    etcd_peer_port: u16,
}

impl Components {
    pub(crate) fn new(binaries: &Binaries, dir: &Path) -> Result<Self> {
        Ok(Self {
            binaries: binaries.clone(),
            dir: dir.to_owned(),
            api_port: free_port()?,
            etcd_port: free_port()?,
            etcd_peer_port: free_port()?,
        })
    }

    pub(crate) fn api_port(&self) -> u16 {
        self.api_port
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// Certificates, keys and the components' kubeconfigs.
    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub(crate) fn stages(&self) -> PathBuf {
        self.dir.join("stages.yaml")
    }

    pub(crate) fn etcd(&self) -> Command {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        let mut command = self.command("etcd");
        command
            .arg(format!("--data-dir={}", self.dir.join("etcd").display()))
            .arg("--name=controlplane")
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=controlplane={peer}"))
            .arg("--log-level=warn")
            // The state is thrown away: waiting for the disk would only make tests slow.
            .arg("--unsafe-no-fsync");
        command
    }

    pub(crate) fn api_server(&self) -> Command {
        self.api_server_at(self.api_port)
    }

    /// One more, over the same etcd, that asks no webhook.
    pub(crate) fn api_server_without_webhooks(&self, port: u16) -> Command {
        let mut command = self.api_server_at(port);
        command.arg("--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook");
        command
    }

    fn api_server_at(&self, port: u16) -> Command {
        let pki = self.pki();
        let mut command = self.command("kube-apiserver");
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port))
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={port}"))
            .arg("--advertise-address=127.0.0.1")
            // Endpoints may not be loopback addresses. The Service `kubernetes` is not used here.
            .arg("--endpoint-reconciler-type=none")
            .arg(format!("--service-cluster-ip-range={SERVICE_IPS}"))
            // Nothing routes the Services' own addresses here: webhooks behind a Service are called at its endpoints.
            .arg("--enable-aggregator-routing=true")
            .arg("--authorization-mode=RBAC")
            .arg(format!("--client-ca-file={}", pki.join("ca.crt").display()))
            .arg(format!("--tls-cert-file={}", pki.join("kube-apiserver.crt").display()))
            .arg(format!("--tls-private-key-file={}", pki.join("kube-apiserver.key").display()))
            .arg(format!("--cert-dir={}", pki.display()))
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(format!("--service-account-key-file={}", pki.join("service-account.pub").display()))
            .arg(format!("--service-account-signing-key-file={}", pki.join("service-account.key").display()))
            .arg("--allow-privileged=true");
        command
    }

    pub(crate) fn controller_manager(&self) -> Command {
        let pki = self.pki();
        let mut command = self.command("kube-controller-manager");
        command
            .arg(format!("--kubeconfig={}", pki.join("kube-controller-manager.kubeconfig").display()))
            .arg(format!("--root-ca-file={}", pki.join("ca.crt").display()))
            .arg(format!("--service-account-private-key-file={}", pki.join("service-account.key").display()))
            .arg("--use-service-account-credentials=true")
            .arg("--leader-elect=false")
            .arg("--secure-port=0")
            // The defaults (20 and 30) make a test with many Pods wait for the client's own rate limiter.
            .arg("--kube-api-qps=300")
            .arg("--kube-api-burst=600");
        command
    }

    pub(crate) fn scheduler(&self) -> Command {
        let mut command = self.command("kube-scheduler");
        command
            .arg(format!("--kubeconfig={}", self.pki().join("kube-scheduler.kubeconfig").display()))
            .arg("--leader-elect=false")
            .arg("--secure-port=0")
            .arg("--kube-api-qps=300")
            .arg("--kube-api-burst=600");
        command
    }

    pub(crate) fn kwok(&self) -> Command {
        let mut command = self.command("kwok");
        command
            .arg(format!("--kubeconfig={}", self.pki().join("kwok.kubeconfig").display()))
            .arg(format!("--config={}", self.stages().display()))
            .arg("--manage-all-nodes")
            // Without leases the Nodes are NotReady after 40 s.
            .arg("--node-lease-duration-seconds=40")
            .arg(format!("--cidr={POD_IPS}"));
        command
    }

    pub(crate) fn kubectl(&self, kubeconfig: &Path) -> Command {
        let mut command = self.command("kubectl");
        command.arg(format!("--kubeconfig={}", kubeconfig.display()));
        command
    }

    pub(crate) fn helm(&self, kubeconfig: &Path) -> Command {
        let mut command = self.command("helm");
        for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(folder, self.home().join(folder));
        }
        // Not as an option, which would have to stand before the name of a chart.
        command.env("KUBECONFIG", kubeconfig);
        command
    }

    /// A command that finds nothing of the user's own configuration, and leaves nothing there.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.path(name));
        command.env("HOME", self.home()).env_remove("KUBECONFIG").env_remove("KUBERC").env_remove("KUBECACHEDIR");
        command
    }
}
