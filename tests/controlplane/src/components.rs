//! The command lines of the control plane's components. They are pure: a component is restarted by running its command
//! again.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{binaries::Binaries, ports::free_port};

const SERVICE_IPS: &str = "10.96.0.0/12";
/// The addresses of Pods, outside those of Nodes (10.0.0.0/24). The range has room for half a million Pods.
const POD_IPS: &str = "10.32.0.1/13";

/// The values that the commands need.
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

    /// The folder with certificates, keys and the components' kubeconfigs.
    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub(crate) fn audit_policy(&self) -> PathBuf {
        self.dir.join("audit-policy.yaml")
    }

    pub(crate) fn stages(&self) -> PathBuf {
        self.dir.join("stages.yaml")
    }

    pub(crate) fn etcd(&self) -> Command {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        let mut command = self.command("etcd");
        command
            .arg(format!("--data-dir={}", self.etcd_data().display()))
            .arg("--name=controlplane")
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=controlplane={peer}"))
            .arg("--log-level=warn")
            // The state is temporary, so waiting for the disk would only slow tests down.
            .arg("--unsafe-no-fsync");
        command
    }

    pub(crate) fn api_server(&self) -> Command {
        self.api_server_at(self.api_port)
    }

    /// Another API server over the same etcd, which calls no webhook.
    pub(crate) fn api_server_without_webhooks(&self, port: u16) -> Command {
        let mut command = self.api_server_at(port);
        command.arg("--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook");
        command
    }

    /// Another API server over the same etcd, with an audit log of its own.
    pub(crate) fn another_api_server(&self, port: u16) -> Command {
        let mut command = self.api_server_at(port);
        command.arg(format!("--audit-log-path={}", self.dir.join("audit-second.log").display()));
        command
    }

    /// The folder with the data of etcd.
    pub(crate) fn etcd_data(&self) -> PathBuf {
        self.dir.join("etcd")
    }

    fn api_server_at(&self, port: u16) -> Command {
        let pki = self.pki();
        let mut command = self.command("kube-apiserver");
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port))
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={port}"))
            .arg("--advertise-address=127.0.0.1")
            // Endpoints may not be loopback addresses, and no test uses the Service `kubernetes`.
            .arg("--endpoint-reconciler-type=none")
            .arg(format!("--service-cluster-ip-range={SERVICE_IPS}"))
            // The cluster IPs of Services are not routed here, so webhooks behind a Service are called at their
            // endpoints.
            .arg("--enable-aggregator-routing=true")
            .arg("--authorization-mode=RBAC")
            .arg(format!("--client-ca-file={}", pki.join("ca.crt").display()))
            .arg(format!("--tls-cert-file={}", pki.join("kube-apiserver.crt").display()))
            .arg(format!("--tls-private-key-file={}", pki.join("kube-apiserver.key").display()))
            .arg(format!("--cert-dir={}", pki.display()))
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(format!("--service-account-key-file={}", pki.join("service-account.pub").display()))
            .arg(format!("--service-account-signing-key-file={}", pki.join("service-account.key").display()))
            .arg("--allow-privileged=true")
            .arg(format!("--audit-policy-file={}", self.audit_policy().display()))
            .arg(format!("--audit-log-path={}", self.dir.join("audit.log").display()));
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
            // With the defaults (20 and 30), a test with many Pods would wait for the client's rate limiter.
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
            // Without leases, the Nodes become NotReady after 40 s.
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
        // The kubeconfig is not an option, because that would have to precede the name of a chart.
        command.env("KUBECONFIG", kubeconfig);
        command
    }

    /// A program of Argo CD, such as `argocd-repo-server`. Its cluster `in-cluster` is this one.
    pub(crate) fn argo_cd(&self, program: &str, kubeconfig: &Path) -> Command {
        let mut command = self.command("argocd");
        command.env("ARGOCD_BINARY_NAME", program).env("ARGOCD_FAKE_IN_CLUSTER", "true").env("KUBECONFIG", kubeconfig);
        command
    }

    /// The path of a binary or file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.binaries.path(name)
    }

    /// A command that neither reads nor changes the user's own configuration.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.path(name));
        command.env("HOME", self.home()).env_remove("KUBECONFIG").env_remove("KUBERC").env_remove("KUBECACHEDIR");
        command
    }
}
