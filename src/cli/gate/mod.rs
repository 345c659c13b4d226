//! `flipguard gate`
//!
//! - `run`: runs the test of a gate as a Job

mod run;

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::json;

use super::target::{self, Cluster, ClusterArgs, unreadable};
use crate::cluster::access::user_of;
use crate::install::namespaces;
use crate::model::{GATE_PREFIX, GateKind, Tested, Timestamp, WorkloadKind};
use crate::rules::gates::{Statement, tested};

/// Prove gates of policies.
#[derive(Debug, Args)]
pub(super) struct GateCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the test of a gate as a fresh Job, and wait for it with --wait; needs the verb `pass` on the gate
    Run(run::Run),
    /// Say that a workload has passed the test of a gate; needs the verb `pass` on it
    Pass(Say),
    /// Approve a workload for a flip that somebody else makes; needs the verb `approve` on the gate
    Approve(Say),
    /// Print what a test of a workload tests now, as the value of the annotation flipguard.dev/tested
    Tested(Of),
}

/// What is said, as an annotation on the workload.
#[derive(Debug, Args)]
struct Say {
    /// The name of the gate
    gate: String,
    #[command(flatten)]
    of: Of,
    /// Where the test can be looked at
    #[arg(long, value_name = "URL", default_value = "")]
    url: String,
}

/// A workload.
#[derive(Debug, Args)]
struct Of {
    /// The workload, such as deployment/app-green
    workload: String,
    /// The namespace of the workload; without it, that of the context
    #[arg(long, short, value_parser = namespaces::named)]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What a workload is now.
struct Found {
    cluster: Cluster,
    namespace: String,
    tested: Tested,
    /// The API server's time.
    at: Timestamp,
}

impl GateCommand {
    /// Whether its 1 is a verdict.
    pub(super) fn has_verdict(&self) -> bool {
        matches!(self.command, Command::Run(_))
    }

    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let printed = match self.command {
            Command::Run(run) => return run.run(),
            Command::Pass(say) => target::run(say.said(GateKind::Attestation, "passed")),
            Command::Approve(say) => target::run(say.said(GateKind::Approval, "approved")),
            Command::Tested(of) => target::run(async { Ok(format!("{}\n", of.look().await?.tested)) }),
        };
        super::print_out(&printed?)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Say {
    /// Writes the annotation with the rights of this user, and returns the line that tells of it.
    async fn said(&self, kind_of_proof: GateKind, done: &str) -> anyhow::Result<String> {
        let Self { gate, of: Of { workload: named, .. }, .. } = self;
        let (kind, name) = kind_and_name(named)?;
        if self.url.contains(char::is_whitespace) {
            bail!("`{}` has a space, so it is no address", self.url);
        }
        let Found { cluster, namespace, tested, at } = self.of.look().await?;
        if let Some(why) = self.is_no_gate(kind_of_proof, &cluster, &namespace).await {
            bail!(why);
        }
        let user = user_of(&cluster.client).await.context("the API server does not say who this user is")?;
        if tested.images.is_none() {
            eprintln!("no pod of {named} runs its current template, so only a template with digests will count");
        }
        let statement = Statement { tested, at, user, address: self.url.clone() };
        let key = format!("{GATE_PREFIX}{gate}");
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: statement.to_string() } } }));
        let resource = format!("/apis/apps/v1/namespaces/{namespace}/{}", kind.resource());
        let request = Request::new(resource).patch(name, &PatchParams::default(), &patch)?;
        let written = cluster.client.request_text(request).await;
        written.map_err(|error| anyhow::anyhow!("{}", crate::cluster::connect::one_line(&error)))?;
        Ok(format!("{gate} {done} for {named} by {}\n", statement.user))
    }
}

impl Say {
    /// Why the policies of the namespace know no such gate; `None` where they do, or cannot be read.
    async fn is_no_gate(&self, wanted: GateKind, cluster: &Cluster, namespace: &str) -> Option<String> {
        if cluster.unread_policies().is_some() {
            return None;
        }
        let gates = cluster.settings(namespace).await.gates;
        let name = &self.gate;
        let own: Vec<GateKind> = gates.iter().filter(|gate| gate.name == *name).map(|gate| gate.kind).collect();
        if own.contains(&wanted) {
            return None;
        }
        let workload = &self.of.workload;
        Some(match own.first() {
            Some(GateKind::Job) => format!("{name} is proved by a Job; flipguard gate run {name} {workload}"),
            Some(GateKind::Approval) => format!("{name} is an approval; flipguard gate approve {name} {workload}"),
            Some(GateKind::Attestation) => format!("{name} is a test; flipguard gate pass {name} {workload}"),
            None => {
                let all: Vec<String> =
                    gates.iter().map(|gate| format!("{} ({})", gate.name, gate.kind.name())).collect();
                let there = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
                format!("no policy of namespace {namespace} has a gate {name}; there is {there}")
            }
        })
    }
}

impl Of {
    async fn look(&self) -> anyhow::Result<Found> {
        let named = &self.workload;
        let (kind, name) = kind_and_name(named)?;
        let cluster = self.cluster.open_to_look().await?;
        let namespace = cluster.namespace(self.namespace.as_deref()).await?;
        let (mut view, at) = cluster.scan.running(&namespace).await;
        if let Some(failure) = view.failures.pop() {
            return Err(unreadable(failure));
        }
        let workload = view.workload(kind, name);
        let workload = workload.with_context(|| format!("there is no {named} in namespace {namespace}"))?;
        let tested = tested(workload, &view);
        Ok(Found { cluster, namespace, tested, at })
    }
}

fn kind_and_name(named: &str) -> anyhow::Result<(WorkloadKind, &str)> {
    let parts = named.split_once('/').filter(|(_, name)| !name.is_empty());
    let found = parts.and_then(|(kind, name)| Some((WorkloadKind::of_singular(kind)?, name)));
    found.with_context(|| format!("`{named}` names no workload; write, for example, deployment/app-green"))
}
