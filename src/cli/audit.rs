//! `flipguard audit`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::auditor::Auditor;
use super::look::{Scope, earlier, look, progress};
use super::print_out;
use super::process::{address, listen_address};
use super::target::{ClusterArgs, run};
use crate::audit::checks::Severity;
use crate::audit::judge::Options;
use crate::cluster::connect::in_cluster;
use crate::install::manifests::yaml;
use crate::install::namespaces;
use crate::install::workload::STATUS_PORT;
use crate::model::json_with_escapes;
use crate::offline::places::places;
use crate::page::page;
use crate::report::Report;
use crate::report::junit::junit;
use crate::report::markdown::{checks, markdown};
use crate::report::open_reports::{Group, objects};
use crate::report::sarif::{Places, sarif};
use crate::report::schema::schema;
use crate::report::text::{text, wide};

/// Look for what weakens the promise of blue-green, without any change.
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 nothing at or above --fail-on, 1 something is, 2 not all could be read.\n\
    A finding is accepted by an annotation of its Service: flipguard.dev/accept: \"no-pdb: one node only\".")]
pub(super) struct Audit {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The namespace; without it, all namespaces with traffic Services
    #[arg(long, short, value_parser = namespaces::named)]
    namespace: Option<String>,
    /// All namespaces with traffic Services, which is the default
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The least severity that makes the command fail
    #[arg(long, value_enum, default_value = "error")]
    fail_on: FailOn,
    /// Show only findings of at least this severity
    #[arg(long, value_enum, default_value = "info")]
    only: Least,
    /// The JSON of an earlier run: only findings that are new count
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// How many namespaces are read at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Which state of Pods is told of
    #[arg(long, value_enum, default_value = "lasting")]
    state: StateFlag,
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
    /// The folder of the manifests: SARIF names the file and line that define an object
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Look again and again, with this time between two, and give metrics; no report is printed
    #[arg(long, value_name = "DURATION", value_parser = every, conflicts_with_all = ["output", "baseline", "source", "only", "fail_on"])]
    every: Option<Duration>,
    /// Where metrics and probes are asked for; in a Pod `[::]:8080`, else 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS", value_parser = address, requires = "every")]
    listen: Option<SocketAddr>,
    /// Write a report object into each namespace
    #[arg(long, value_enum, value_name = "GROUP", requires = "every")]
    reports: Option<ReportsFlag>,
    /// Print the table of checks and look at nothing
    #[arg(long)]
    checks: bool,
    /// Print the JSON schema of -o json and look at nothing
    #[arg(long, conflicts_with = "checks")]
    schema: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Somebody is being hurt, or the next ordinary step hurts
    Error,
    /// The promise is weaker than it looks
    Warning,
    /// Worth knowing
    Info,
    /// Never fail because of findings
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Least {
    /// Errors only
    Error,
    /// Errors and warnings
    Warning,
    /// All
    Info,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// By namespace and Service, for people
    Text,
    /// One line each, for grep
    Wide,
    /// JSON for programs, and for --baseline
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML, for CI systems
    Junit,
    /// A table for summaries of CI jobs
    Markdown,
    /// One HTML page, which loads nothing else
    Html,
    /// Report objects of openreports.io, for kubectl apply
    Report,
}

/// Which state of Pods is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StateFlag {
    /// State that outlives its Pod: claims, and folders of Nodes
    Lasting,
    /// Folders that end with the Pod (emptyDir), too
    All,
}

/// The API group of reports in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportsFlag {
    /// openreports.io/v1alpha1
    Openreports,
    /// wgpolicyk8s.io/v1alpha2, the group before
    Wgpolicyk8s,
}

impl From<ReportsFlag> for Group {
    fn from(flag: ReportsFlag) -> Self {
        match flag {
            ReportsFlag::Openreports => Self::OpenReports,
            ReportsFlag::Wgpolicyk8s => Self::PolicyWorkingGroup,
        }
    }
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.checks {
            print_out(&checks())?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.schema {
            print_out(&(serde_json::to_string_pretty(&schema())? + "\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let options = Options { ephemeral_state: self.state == StateFlag::All };
        if let Some(every) = self.every {
            let auditor = Auditor {
                cluster: self.cluster,
                scope: Scope { namespace: self.namespace, workers: self.workers, flips: false, options },
                every,
                listen: listen_address(self.listen, in_cluster(), STATUS_PORT),
                reports: self.reports.map(Into::into),
            };
            return auditor.run();
        }
        if self.fail_on.severity().is_some_and(|least| least < self.only.severity()) {
            bail!(
                "--fail-on {0} would fail because of findings that --only hides; leave --only out, or give --only {0}",
                self.fail_on.severity().map_or("never", Severity::name)
            );
        }
        let baseline = self.baseline.as_deref().map(earlier).transpose()?;
        let places = self.source.as_deref().map(places).transpose()?.unwrap_or_default();
        let flips = matches!(self.output, Format::Html | Format::Json);
        let scope = Scope { namespace: self.namespace.clone(), workers: self.workers, flips, options };
        let mut report = run(async { look(&self.cluster.open_to_look().await?, &scope, &progress()).await })?;
        if let Some(baseline) = baseline {
            report.compare(&baseline, self.namespace.is_none());
        }
        let exit_code = self.exit_code(&report);
        report.keep(self.only.severity());
        print_out(&self.written(&report, &places)?)?;
        Ok(exit_code)
    }

    fn written(&self, report: &Report, places: &Places) -> anyhow::Result<String> {
        Ok(match self.output {
            Format::Text => text(report),
            Format::Wide => wide(report),
            Format::Json => json_with_escapes(&serde_json::to_string_pretty(report)?).into_owned() + "\n",
            Format::Sarif => serde_json::to_string_pretty(&sarif(report, places))? + "\n",
            Format::Junit => junit(report, self.fail_on.severity()),
            Format::Markdown => markdown(report),
            Format::Html => page(report, None),
            Format::Report => yaml(&objects(report, Group::OpenReports))?,
        })
    }

    fn exit_code(&self, report: &Report) -> ExitCode {
        let least = self.fail_on.severity();
        let fails = least.is_some_and(|least| report.findings.iter().any(|finding| finding.counts(least)));
        ExitCode::from(if report.complete { u8::from(fails) } else { 2 })
    }
}

impl FailOn {
    fn severity(self) -> Option<Severity> {
        match self {
            Self::Error => Some(Severity::Error),
            Self::Warning => Some(Severity::Warning),
            Self::Info => Some(Severity::Info),
            Self::Never => None,
        }
    }
}

impl Least {
    fn severity(self) -> Severity {
        match self {
            Self::Error => Severity::Error,
            Self::Warning => Severity::Warning,
            Self::Info => Severity::Info,
        }
    }
}

/// Parses the time between two looks.
fn every(text: &str) -> Result<Duration, String> {
    let every =
        humantime::parse_duration(text).map_err(|_| "it must be a number with a unit, such as 5m or 30s".to_owned())?;
    let range = Duration::from_secs(5)..=Duration::from_secs(24 * 3600);
    if range.contains(&every) { Ok(every) } else { Err("it must be from 5s to 24h, such as 5m".to_owned()) }
}
