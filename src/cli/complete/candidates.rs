//! Names that the cluster, or the kubeconfig, has.

use anyhow::Context as _;
use clap::{Args as _, FromArgMatches as _};
use kube::core::Request;
use kube::core::params::ListParams;
use serde_json::Value;

use crate::cli::target::{Cluster, ClusterArgs};
use crate::model::{WorkloadKind, printable};
use crate::plugin::target::others;

/// The most names of one kind: nobody reads more.
const MOST: u32 = 200;

/// Names with descriptions.
type Names = Vec<(String, String)>;

/// The values that an argument may have, by its id, after what was given.
pub(super) async fn of(id: &str, path: &[String], given: &[(String, String)]) -> anyhow::Result<Names> {
    let value = |wanted: &str| given.iter().find(|(id, _)| id == wanted).map(|(_, value)| value.as_str());
    let args = cluster_args(given)?;
    if matches!(id, "context" | "cluster" | "user") {
        return Ok(args.names_in_kubeconfig(id)?.into_iter().map(|name| (name, String::new())).collect());
    }
    let asked = Asked { args, namespace: value("namespace").map(str::to_owned) };
    match id {
        "namespace" | "flipguard_namespace" => asked.list("/api/v1/namespaces", "", |_| String::new()).await,
        "service" | "services" => asked.services().await,
        "to" => asked.colours(value("service").context("no Service is named")?).await,
        "object" => {
            let mut all = asked.services().await?;
            all.extend(asked.workloads().await?);
            Ok(all)
        }
        "workload" => asked.workloads().await,
        "gate" => asked.gates(path.last().map(String::as_str)).await,
        "from" => asked.jobs().await,
        _ => Ok(Vec::new()),
    }
}

/// The flags that name the cluster.
fn cluster_args(given: &[(String, String)]) -> anyhow::Result<ClusterArgs> {
    let command = ClusterArgs::augment_args(clap::Command::new("x"));
    let long = |id: &str| command.get_arguments().find(|arg| arg.get_id() == id).and_then(clap::Arg::get_long);
    let words = given.iter().filter_map(|(id, value)| Some(format!("--{}={value}", long(id)?)));
    let words: Vec<String> = std::iter::once("x".to_owned()).chain(words).collect();
    Ok(ClusterArgs::from_arg_matches(&command.try_get_matches_from(words)?)?)
}

struct Asked {
    args: ClusterArgs,
    namespace: Option<String>,
}

impl Asked {
    /// The names below a path. `{}` in it is the namespace.
    async fn list(&self, path: &str, kind: &str, about: impl Fn(&Value) -> String) -> anyhow::Result<Names> {
        let client = self.args.client().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let request = Request::new(path.replace("{}", &namespace)).list(&ListParams::default().limit(MOST))?;
        let read: Value = client.request(request).await?;
        let items = read.get("items").and_then(Value::as_array).into_iter().flatten();
        let name = |item: &Value| {
            let name = item.pointer("/metadata/name").and_then(Value::as_str)?;
            Some((format!("{kind}{name}"), printable(&about(item)).into_owned()))
        };
        Ok(items.filter_map(name).collect())
    }

    async fn services(&self) -> anyhow::Result<Names> {
        let selector = |item: &Value| {
            let pairs = item.pointer("/spec/selector").and_then(Value::as_object).into_iter().flatten();
            pairs
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(",")
        };
        self.list("/api/v1/namespaces/{}/services", "", selector).await
    }

    async fn workloads(&self) -> anyhow::Result<Names> {
        let mut all = Vec::new();
        for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet] {
            let path = format!("/apis/apps/v1/namespaces/{{}}/{}", kind.resource());
            let image = |item: &Value| {
                let image = item.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
                image.unwrap_or_default().to_owned()
            };
            all.extend(self.list(&path, &format!("{}/", kind.singular()), image).await?);
        }
        Ok(all)
    }

    async fn jobs(&self) -> anyhow::Result<Names> {
        let mut all = self.list("/apis/batch/v1/namespaces/{}/cronjobs", "cronjob/", |_| String::new()).await?;
        all.extend(self.list("/apis/batch/v1/namespaces/{}/jobs", "job/", |_| String::new()).await?);
        Ok(all)
    }

    /// The other colours of a Service, each with its workloads.
    async fn colours(&self, service: &str) -> anyhow::Result<Names> {
        let (cluster, namespace) = self.open().await?;
        let policy = cluster.settings(&namespace).await;
        let snapshot = cluster.scan.namespace(&namespace, &[&policy]).await;
        let name = service.strip_prefix("service/").unwrap_or(service);
        let found = snapshot.view.services.iter().find(|one| one.meta.name == name);
        Ok(others(found.context("no such Service")?, &snapshot.view, &policy.colours))
    }

    /// The gates that count for the namespace. Those of kind Job are run, and an approval is approved.
    async fn gates(&self, command: Option<&str>) -> anyhow::Result<Names> {
        let (cluster, namespace) = self.open().await?;
        let policy = cluster.settings(&namespace).await;
        let is_meant = |kind: &str| match command {
            Some("run") => kind == "Job",
            Some("approve") => kind == "Approval",
            Some("pass") => kind == "Attestation",
            _ => true,
        };
        let gates = policy.gates.iter().filter(|gate| is_meant(gate.kind.name()));
        Ok(gates.map(|gate| (gate.name.clone(), format!("{}, policy {}", gate.kind.name(), gate.policy))).collect())
    }

    async fn open(&self) -> anyhow::Result<(Cluster, String)> {
        let cluster = self.args.open_to_look().await?;
        let namespace = cluster.namespace(self.namespace.as_deref()).await?;
        Ok((cluster, namespace))
    }
}
