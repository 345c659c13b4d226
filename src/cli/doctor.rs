//! `flipguard doctor`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::{EnforcementFlag, Output};
use crate::cluster::connect::Connection;
use crate::doctor::{self, Check, Health, Target};
use crate::install::namespaces;

/// Diagnose an installation.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The kubeconfig of the cluster; without it, KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespace in which flipguard runs
    #[arg(long, default_value = "flipguard-system", value_parser = namespaces::named)]
    namespace: String,
    /// A guarded namespace, in which you may create Deployments, for a dry run
    #[arg(long, value_name = "NAMESPACE", default_value = "default", value_parser = namespaces::named)]
    probe_namespace: String,
    /// --exempt-users of `serve`; without it, those of its Deployment
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    exempt_users: Option<Vec<String>>,
    /// --exempt-namespaces of `serve`; without it, those of its Deployment
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    exempt_namespaces: Option<Vec<String>>,
    /// --enforcement of `serve`; without it, that of its Deployment
    #[arg(long, value_enum)]
    enforcement: Option<EnforcementFlag>,
    /// --labels of `serve`; without it, that of its Deployment
    #[arg(long, value_name = "BOOL")]
    labels: Option<bool>,
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
        let checks = runtime.block_on(async {
            let connection = Connection::open(self.kubeconfig.as_deref()).await?;
            connection.version().await?;
            let target = Target {
                namespace: self.namespace,
                probe_namespace: self.probe_namespace,
                exempt_users: self.exempt_users,
                exempt_namespaces: self.exempt_namespaces,
                enforcement: self.enforcement.map(Into::into),
                labels: self.labels,
                token: connection.token(),
            };
            anyhow::Ok(doctor::run_checks(&connection.client, &target).await)
        })?;
        super::print_out(&match self.output {
            Output::Text => text(&checks),
            Output::Json => serde_json::to_string_pretty(&checks)? + "\n",
        })?;
        Ok(ExitCode::from(match doctor::worst(&checks) {
            Health::Ok | Health::Warning => 0,
            Health::Broken => 1,
            Health::Unknown => 2,
        }))
    }
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let health = match check.health {
            Health::Ok => "ok",
            Health::Warning => "warning",
            Health::Unknown => "unknown",
            Health::Broken => "BROKEN",
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{health:<8} {:<13} {}", check.check, check.message);
        if !check.next_step.is_empty() {
            let _ = writeln!(text, "{:22} {}", "", check.next_step);
        }
    }
    text
}
