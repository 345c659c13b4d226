//! `flipguard check`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use super::{EnforcementFlag, Output, print_out};
use crate::model::{Change, Policy, Timestamp, User, WorkloadKind, Write};
use crate::offline::case::Case;
use crate::offline::files::{Manifest, Manifests};
use crate::offline::policies;
use crate::policy::{Policies, effective};
use crate::review::message;
use crate::rules::state::explain::{Colour, Explanation, explain};
use crate::rules::{self, Finding, Outcome, Remedy, Verdict};

/// Judge a change offline.
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 allowed, 1 denied, 2 cannot judge.\n\
    Export a namespace with: kubectl -n NAMESPACE get svc,deploy,sts,ds,rs,pods -o yaml > cluster.yaml")]
pub(super) struct Check {
    /// The changed objects, as YAML or JSON; `-` is standard input
    #[arg(long, short = 'f', value_name = "FILE", required_unless_present_any = ["case", "explain"])]
    change: Vec<PathBuf>,
    /// The cluster before the change, as `kubectl get -o yaml` prints it
    #[arg(long, short, value_name = "FILE")]
    cluster: Vec<PathBuf>,
    /// Run cases instead (tests/cases/*.yaml), each with its own cluster and expected verdict
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["change", "cluster"])]
    case: Vec<PathBuf>,
    /// BlueGreenPolicies that count, as files; without them, the defaults count
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "case")]
    policy: Vec<PathBuf>,
    /// The namespace of objects that name none
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// Judge the change as a dry run
    #[arg(long)]
    dry_run: bool,
    /// Whether unsafe changes are denied, or admitted with a warning
    #[arg(long, value_enum, default_value = "deny")]
    enforcement: EnforcementFlag,
    /// Show how the Services of the namespace are understood: role and why, app, colours
    #[arg(long)]
    explain: bool,
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.explain {
            return self.run_explain();
        }
        if !self.case.is_empty() {
            return self.run_cases();
        }
        let inputs = self.change.iter().chain(&self.cluster).filter(|file| file.as_os_str() == "-");
        if inputs.count() > 1 {
            bail!("standard input (`-`) can be read only once; give a file for --change or --cluster");
        }
        let changes = Manifests::read(&self.change)?;
        if changes.objects().is_empty() {
            bail!("there is no object in {} (--change)", names(&self.change));
        }
        if self.cluster.is_empty() {
            bail!(
                "a change cannot be judged without the cluster; give --cluster FILE, such as an export of kubectl \
                 get -o yaml"
            );
        }
        let cluster = Manifests::read(&self.cluster)?;
        let verdicts =
            changes.objects().iter().map(|object| self.judge(object, &cluster)).collect::<anyhow::Result<Vec<_>>>()?;
        print(&verdicts, self.output)?;
        Ok(exit_code(&verdicts))
    }

    fn judge(&self, object: &Manifest, cluster: &Manifests) -> anyhow::Result<Report> {
        let namespace = object.namespace().unwrap_or(&self.namespace);
        let subject = format!("{} {namespace}/{}", object.kind(), object.name());
        let policy = self.settings(namespace, cluster)?;
        let write = if object.is_a("Service", "v1") {
            let mut new = object.service()?;
            namespace.clone_into(&mut new.meta.namespace);
            let Some(old) = cluster.service(namespace, object.name())? else {
                bail!(no_such_service(object.name(), namespace, cluster));
            };
            Write::ServiceUpdate { old: Box::new(old), new: Box::new(new) }
        } else if let Some(kind) = WorkloadKind::ALL.into_iter().find(|kind| object.is_a(kind.name(), "apps/v1")) {
            match cluster.stored(kind, namespace, object.name()) {
                Some(stored) => Write::WorkloadUpdate {
                    old: Box::new(stored.workload(kind, namespace)?),
                    // As with `kubectl apply`, fields that the manifest leaves out stay.
                    new: Box::new(stored.with(object).workload(kind, namespace)?),
                },
                None => Write::WorkloadCreate { new: Box::new(object.workload(kind, namespace)?) },
            }
        } else {
            Write::Other
        };
        let now = Timestamp(OffsetDateTime::now_utc().unix_timestamp());
        let change = Change { write, dry_run: self.dry_run, user: User::default(), manager: String::new() };
        let verdict = rules::decide(&change, &cluster.view(namespace)?, &policy, now);
        Ok(Report::of(subject, &verdict))
    }

    /// The settings that count in a namespace: the flags, and what the given policies say.
    fn settings(&self, namespace: &str, cluster: &Manifests) -> anyhow::Result<Policy> {
        let flags = Policy { enforcement: self.enforcement.into(), ..Policy::default() };
        let given = policies::read(&self.policy)?;
        let policies = Policies::of(given.into_iter().map(|policy| (policy, 0)).collect());
        let labels = cluster.namespace_labels(namespace)?;
        if labels.is_none() && policies.needs_labels(namespace) {
            bail!(
                "a policy (--policy) selects namespaces by labels, and the cluster files hold no Namespace {namespace}; \
                 export it too: kubectl get namespace {namespace} -o yaml"
            );
        }
        Ok(effective(&flags, &policies, namespace, labels.as_ref()))
    }

    /// Explains the namespace of the cluster files, or of each case.
    fn run_explain(&self) -> anyhow::Result<ExitCode> {
        let mut all = Vec::new();
        for file in &self.case {
            all.extend(Case::load(file)?.explain()?);
        }
        if !self.cluster.is_empty() {
            let cluster = Manifests::read(&self.cluster)?;
            let (view, policy) = (cluster.view(&self.namespace)?, self.settings(&self.namespace, &cluster)?);
            if view.services.is_empty() {
                bail!("the cluster files hold no Service in namespace {}; say --namespace", self.namespace);
            }
            all.extend(explain(&view, &policy, Timestamp(OffsetDateTime::now_utc().unix_timestamp())));
        }
        if all.is_empty() {
            bail!("nothing to explain; give --cluster FILE, such as an export of kubectl get -o yaml, or --case FILE");
        }
        print_out(&match self.output {
            Output::Json => format!("{}\n", serde_json::to_string_pretty(&all)?),
            Output::Text => all.iter().map(in_words).collect(),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn run_cases(&self) -> anyhow::Result<ExitCode> {
        let mut verdicts = Vec::new();
        let mut wrong = 0;
        for file in &self.case {
            let case = Case::load(file)?;
            let verdict = case.verdict()?;
            verdicts.push(Report::of(file.display().to_string(), &verdict));
            if let Err(why) = case.compare(&verdict) {
                wrong += 1;
                eprintln!("{}: differs from the expected verdict: {why}", file.display());
            }
        }
        print(&verdicts, self.output)?;
        if wrong > 0 {
            bail!("{wrong} of {} cases differ from their expected verdict", self.case.len());
        }
        Ok(exit_code(&verdicts))
    }
}

/// A verdict in the format that is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    subject: String,
    judged: bool,
    summary: String,
    outcome: &'static str,
    message: String,
    warnings: Vec<String>,
    findings: Vec<FindingReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FindingReport {
    reason: &'static str,
    effect: &'static str,
    message: String,
    remedies: Vec<Remedy>,
    details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_because: Option<String>,
}

impl Report {
    fn of(subject: String, verdict: &Verdict) -> Self {
        Self {
            subject: if verdict.judged { verdict.subject.clone() } else { subject },
            judged: verdict.judged,
            summary: verdict.summary.clone(),
            outcome: verdict.outcome().name(),
            message: message::denial(verdict),
            warnings: message::warnings(verdict),
            findings: verdict
                .findings
                .iter()
                .map(|(finding, effect)| {
                    let Finding { reason, message, remedies, details, allowed_because, .. } = finding.clone();
                    FindingReport {
                        reason: reason.code(),
                        effect: effect.name(),
                        message,
                        remedies,
                        details,
                        allowed_because,
                    }
                })
                .collect(),
        }
    }
}

fn print(reports: &[Report], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return print_out(&format!("{}\n", serde_json::to_string_pretty(reports)?));
    }
    let mut text = String::new();
    for report in reports {
        for warning in &report.warnings {
            let _ = writeln!(text, "Warning: {warning}");
        }
        let summary = if report.summary.is_empty() { String::new() } else { format!(", {}", report.summary) };
        let _ = match (report.judged, report.message.as_str()) {
            (true, "") => writeln!(text, "allowed: {}{summary}", report.subject),
            (false, _) => writeln!(text, "allowed: {}: no rule applies to this change", report.subject),
            (true, message) => writeln!(text, "{}: {message}", report.outcome),
        };
    }
    print_out(&text)
}

/// How one Service is understood, for people.
fn in_words(explanation: &Explanation) -> String {
    let Explanation { service, role, because, app, uses_blue_green, colours } = explanation;
    let mut text = format!("Service {service}: {role}, since {because}\n");
    if !app.is_empty() {
        let word =
            if *uses_blue_green { "blue-green is in use" } else { "blue-green is not in use, so rules only warn" };
        let _ = writeln!(text, "  app {app}: {word}");
    }
    for Colour { workload, state, ready, desired } in colours {
        let _ = writeln!(text, "  {state}: {workload}, {ready} of {desired} pods ready");
    }
    text
}

fn exit_code(reports: &[Report]) -> ExitCode {
    let any = |outcome: Outcome| reports.iter().any(|report| report.outcome == outcome.name());
    ExitCode::from(if any(Outcome::CannotJudge) { 2 } else { u8::from(any(Outcome::Denied)) })
}

/// Explains why a Service is not found. A namespace that was left out is the most likely cause.
fn no_such_service(name: &str, namespace: &str, cluster: &Manifests) -> String {
    match cluster.services_named(name).find_map(Manifest::namespace) {
        Some(other) => format!(
            "the cluster files hold Service {name} in namespace {other}, not in {namespace}; give --namespace {other}"
        ),
        None => format!(
            "the cluster files hold no Service {name} in namespace {namespace} to compare with; \
             export it too: kubectl -n {namespace} get svc,deploy,sts,ds,rs,pods -o yaml"
        ),
    }
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
