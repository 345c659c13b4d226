//! `flipguard audit`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::look::{Scope, ids, look, progress};
use super::print_out;
use super::target::{ClusterArgs, run};
use crate::audit::checks::Severity;
use crate::offline::places::places;
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
    #[arg(long, short)]
    namespace: Option<String>,
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
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
    /// The folder of the manifests: SARIF names the file and line that define an object
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
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
    /// Report objects of openreports.io, for kubectl apply
    Report,
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
        let earlier = self.baseline.as_deref().map(ids).transpose()?;
        let places = self.source.as_deref().map(places).transpose()?.unwrap_or_default();
        let scope = Scope { namespace: self.namespace.clone(), workers: self.workers };
        let mut report = run(async { look(&self.cluster.open().await?, &scope, &progress()).await })?;
        if let Some(earlier) = earlier {
            report.compare(&earlier);
        }
        let exit_code = self.exit_code(&report);
        let least = self.only.severity();
        report.findings.retain(|finding| finding.severity >= least);
        print_out(&self.written(&report, &places)?)?;
        Ok(exit_code)
    }

    fn written(&self, report: &Report, places: &Places) -> anyhow::Result<String> {
        Ok(match self.output {
            Format::Text => text(report),
            Format::Wide => wide(report),
            Format::Json => serde_json::to_string_pretty(report)? + "\n",
            Format::Sarif => serde_json::to_string_pretty(&sarif(report, places))? + "\n",
            Format::Junit => junit(report, self.fail_on.severity()),
            Format::Markdown => markdown(report),
            Format::Report => documents(&objects(report, Group::OpenReports))?,
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

/// A stream of YAML documents.
fn documents(objects: &[Value]) -> anyhow::Result<String> {
    let texts = objects.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(texts.iter().map(|text| format!("---\n{text}")).collect())
}
