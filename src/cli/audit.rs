//! `flipguard audit`

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Serialize;
use serde_json::{Value, json};

use super::print_out;
use super::target::{Cluster, ClusterArgs, run, unreadable};
use crate::audit::checks::{ALL, Severity};
use crate::audit::finding::{Finding, State};
use crate::audit::judge::{against, judge};
use crate::model::printable;
use crate::policy::effective::marks;

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
    /// Print the table of checks and look at nothing
    #[arg(long)]
    checks: bool,
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
    /// A table for summaries of CI jobs
    Markdown,
}

/// What was found in all namespaces.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    namespaces: Vec<String>,
    findings: Vec<Finding>,
    fixed: Vec<String>,
    /// Kinds whose checks were skipped.
    skipped: Vec<String>,
    /// What had to be read and could not be.
    unread: Vec<String>,
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.checks {
            print_out(&checks_as_markdown())?;
            return Ok(ExitCode::SUCCESS);
        }
        let earlier = self.baseline.as_deref().map(ids).transpose()?;
        let mut report = run(self.report())?;
        if let Some(earlier) = earlier {
            report.fixed = against(&mut report.findings, &earlier);
        }
        let exit_code = self.exit_code(&report);
        let least = self.only.severity();
        if self.output != Format::Json {
            report.findings.retain(|finding| finding.severity >= least);
        }
        print_out(&match self.output {
            Format::Text => report.text(),
            Format::Wide => report.wide(),
            Format::Json => serde_json::to_string_pretty(&report.json())? + "\n",
            Format::Markdown => report.markdown(),
        })?;
        Ok(exit_code)
    }

    async fn report(&self) -> anyhow::Result<Report> {
        let cluster = self.cluster.open().await?;
        let namespaces = if let Some(given) = &self.namespace {
            vec![cluster.namespace(Some(given)).await?]
        } else {
            let marks = marks(&cluster.flags, &cluster.policies);
            let found = cluster.scan.namespaces(&marks).await.map_err(unreadable)?;
            found.into_keys().filter(|name| !cluster.exempt.contains(name)).collect()
        };
        let mut report = Report { namespaces: namespaces.clone(), ..Report::default() };
        let looks = namespaces.iter().map(|namespace| look(&cluster, namespace));
        let mut looks = stream::iter(looks).buffered(usize::from(self.workers));
        let mut done = 0_usize;
        while let Some(one) = looks.next().await {
            report.findings.extend(one.findings);
            report.skipped.extend(one.skipped);
            report.unread.extend(one.unread);
            done += 1;
            if std::io::stderr().is_terminal() && namespaces.len() > 20 {
                eprint!("\r{done} of {} namespaces", namespaces.len());
            }
        }
        Ok(report)
    }

    fn exit_code(&self, report: &Report) -> ExitCode {
        let least = match self.fail_on {
            FailOn::Error => Some(Severity::Error),
            FailOn::Warning => Some(Severity::Warning),
            FailOn::Info => Some(Severity::Info),
            FailOn::Never => None,
        };
        let fails = least.is_some_and(|least| report.findings.iter().any(|finding| finding.counts(least)));
        ExitCode::from(if report.unread.is_empty() { u8::from(fails) } else { 2 })
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

/// Judges one namespace, and lets go of what was read of it.
async fn look(cluster: &Cluster, namespace: &str) -> Report {
    let policy = cluster.settings(namespace).await;
    let snapshot = cluster.scan.namespace(namespace, &policy.colours).await;
    let extras = cluster.scan.extras(namespace).await;
    let mut skipped = extras.skipped.clone();
    skipped.extend(snapshot.without_ledger().map(|failure| format!("{}: {}", failure.what, failure.why)));
    Report {
        findings: judge(&snapshot, &extras, &policy),
        unread: snapshot.failures().iter().map(|failure| format!("{}: {}", failure.what, failure.why)).collect(),
        skipped,
        ..Report::default()
    }
}

/// The findings of an earlier run.
fn ids(file: &Path) -> anyhow::Result<BTreeSet<String>> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{name}` (--baseline)"))?;
    let report: Value = serde_json::from_str(&text).with_context(|| format!("`{name}` (--baseline) is no JSON"))?;
    let findings = report.get("findings").and_then(Value::as_array);
    let findings = findings.with_context(|| {
        format!("`{name}` (--baseline) has no findings; it must be the output of flipguard audit -o json")
    })?;
    Ok(findings.iter().filter_map(|one| one.get("id").and_then(Value::as_str).map(str::to_owned)).collect())
}

impl Report {
    fn counted(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|one| one.severity == severity && one.state != State::Accepted).count()
    }

    fn summary(&self) -> String {
        let of = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let accepted = self.findings.iter().filter(|one| one.state == State::Accepted).count();
        let mut text = format!(
            "{}, {}, {}",
            of(self.counted(Severity::Error), "error"),
            of(self.counted(Severity::Warning), "warning"),
            of(self.counted(Severity::Info), "info")
        );
        if accepted > 0 {
            let _ = write!(text, ", {accepted} accepted");
        }
        let _ = write!(text, " in {}", of(self.namespaces.len(), "namespace"));
        text
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut place = (String::new(), String::new(), String::new());
        for finding in &self.findings {
            let here = (finding.namespace.clone(), finding.kind.clone(), finding.name.clone());
            if here.0 != place.0 {
                let _ = writeln!(text, "namespace {}", here.0);
            }
            if here != place {
                let _ = writeln!(text, "  {} {}", here.1, here.2);
            }
            place = here;
            let _ = writeln!(text, "    {:<8} {:<26}{}", word(finding), finding.code, printable(&finding.message));
            let more =
                finding.accepted.as_ref().map_or_else(|| finding.next_step.clone(), |why| format!("accepted: {why}"));
            let _ = writeln!(text, "    {:8} {:26}{}", "", "", printable(&more));
        }
        for id in &self.fixed {
            let _ = writeln!(text, "fixed: {id}");
        }
        text.push_str(&self.end());
        text
    }

    fn wide(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let Finding { namespace, kind, name, code, message, .. } = finding;
            let _ = writeln!(text, "{} {code} {namespace}/{kind}/{name}: {}", word(finding), printable(message));
        }
        text
    }

    fn end(&self) -> String {
        let mut text = String::new();
        for skipped in &self.skipped {
            let _ = writeln!(text, "skipped: {}", printable(skipped));
        }
        for unread in &self.unread {
            let _ = writeln!(text, "cannot read {}", printable(unread));
        }
        let _ = writeln!(text, "{}", self.summary());
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("**flipguard audit**: {}\n", self.summary());
        if !self.findings.is_empty() {
            text.push_str("\n| severity | check | object | finding |\n|---|---|---|---|\n");
        }
        for finding in &self.findings {
            let Finding { namespace, kind, name, code, message, .. } = finding;
            let message = printable(message).replace('|', "\\|").replace('<', "&lt;");
            let _ = writeln!(text, "| {} | `{code}` | {namespace}/{kind}/{name} | {message} |", word(finding));
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "apiVersion": "audit.flipguard.dev/v1",
            "complete": self.unread.is_empty(),
            "namespaces": self.namespaces,
            "findings": self.findings,
            "fixed": self.fixed,
            "skipped": self.skipped,
            "unread": self.unread,
            "summary": {
                "errors": self.counted(Severity::Error),
                "warnings": self.counted(Severity::Warning),
                "infos": self.counted(Severity::Info),
            },
        })
    }
}

/// The severity, or that the finding is accepted or not new.
fn word(finding: &Finding) -> &'static str {
    match finding.state {
        State::Accepted => "accepted",
        State::Same => "as before",
        State::New => finding.severity.name(),
    }
}

/// `docs/checks.md`.
fn checks_as_markdown() -> String {
    let mut text = String::from(
        "<!-- Generated by `flipguard audit --checks`. -->\n# Checks\n\n\
         `flipguard audit` looks at namespaces as they are, without any change ([audit.md](audit.md)). Each check has a \
         stable code. *error*: somebody is being hurt, or the next ordinary step hurts. *warning*: the promise is weaker than \
         it looks. *info*: worth knowing.\n\n| code | severity | finds |\n|---|---|---|\n",
    );
    for check in ALL {
        let _ = writeln!(text, "| [`{0}`](#{0}) | {1} | {2} |", check.code, check.severity.name(), check.says);
    }
    for check in ALL {
        let _ = write!(
            text,
            "\n## {}\n\n{}: {}\n\n**Why.** {}\n\n**How to go on.** {}\n",
            check.code,
            check.severity.name(),
            check.says,
            check.why,
            check.remedy
        );
    }
    text
}
