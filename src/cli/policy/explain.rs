//! `flipguard policy explain`

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use crate::cli::target::{Cluster, ClusterArgs, run, unreadable};
use crate::cli::{Output, print_out};
use crate::install::namespaces;
use crate::model::{Exemption, Labels, Policy, Service, annotation, setting};
use crate::policy::explain::{Explained, explain};
use crate::policy::merge::{Named, merge};
use crate::policy::{Stored, effective};
use crate::rules::in_words;

/// Print each setting, its value, and who says it.
#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The namespace; without it, that of the context
    #[arg(long, short, value_parser = namespaces::named)]
    namespace: Option<String>,
    /// A Service, whose annotations count too
    service: Option<String>,
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

/// All settings of a namespace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    guarded: bool,
    flags: String,
    policies: Vec<PolicyReport>,
    settings: Vec<Setting>,
    exemptions: Vec<ExemptionReport>,
    notes: Vec<String>,
}

/// A policy that selects the namespace, or may do so.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyReport {
    name: String,
    /// What flipguard last said about it.
    accepted: String,
    programmed: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Setting {
    #[serde(rename = "setting")]
    path: String,
    value: String,
    said_by: String,
    /// What other policies say that does not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<Explained>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExemptionReport {
    name: String,
    policy: String,
    rules: Vec<String>,
    services: Vec<String>,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let report = run(self.report())?;
        print_out(&match self.output {
            Output::Text => report.text(),
            Output::Json => serde_json::to_string_pretty(&report)? + "\n",
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn report(&self) -> anyhow::Result<Report> {
        let cluster = self.cluster.open().await?;
        let namespace = cluster.namespace(self.namespace.as_deref()).await?;
        let service = match &self.service {
            Some(name) => Some(service(&cluster, &namespace, name).await?),
            None => None,
        };
        let labels = cluster.labels(&namespace, &cluster.policies).await;
        let policy = effective(&cluster.flags, &cluster.policies, &namespace, labels.as_ref());
        let selecting = selecting(&cluster, &namespace, labels.as_ref());
        let mut settings = settings(&cluster, &policy, &selecting);
        let mut notes = policy.notes.clone();
        if let Some(service) = &service {
            notes.extend(with_annotations(&mut settings, service, &policy));
        }
        let guarded = !cluster.exempt.contains(&namespace);
        if !guarded {
            notes.push(format!("flipguard does not guard namespace {namespace}, so nothing of this counts"));
        }
        if !selecting.is_empty() && cluster.is_kept().await == Some(false) {
            let nobody = "no replica keeps the statuses of policies, so what they say may be old; run flipguard doctor";
            notes.push(nobody.to_owned());
        }
        if !cluster.is_installed {
            notes.push("the CRD bluegreenpolicies.flipguard.dev is not installed, so there are no policies".to_owned());
        }
        Ok(Report {
            service: service.map(|service| service.meta.name),
            guarded,
            flags: cluster.flags_from.clone(),
            policies: selecting.iter().map(|stored| PolicyReport::of(stored)).collect(),
            settings,
            exemptions: policy.exemptions.iter().map(ExemptionReport::of).collect(),
            notes,
            namespace,
        })
    }
}

async fn service(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Service> {
    let found = cluster.scan.services(namespace).await.map_err(unreadable)?;
    let names: Vec<String> = found.iter().map(|service| service.meta.name.clone()).collect();
    match found.into_iter().find(|service| service.meta.name == name) {
        Some(service) => Ok(service),
        None if names.is_empty() => bail!("namespace {namespace} has no Service; name another with -n"),
        None => bail!("there is no Service {name} in namespace {namespace}; there are {}", names.join(", ")),
    }
}

/// The policies that select the namespace, or may do so.
fn selecting<'a>(cluster: &'a Cluster, namespace: &str, labels: Option<&Labels>) -> Vec<&'a Stored> {
    let all = cluster.policies.all.iter();
    all.filter(|stored| {
        let selector = match &stored.content {
            Ok(spec) => Some(&spec.namespace_selector),
            Err(unread) => unread.selector.as_ref(),
        };
        selector.is_none_or(|selector| selector.selects(namespace, labels) != Some(false))
    })
    .collect()
}

/// Each setting, with what other policies say about it.
fn settings(cluster: &Cluster, policy: &Policy, selecting: &[&Stored]) -> Vec<Setting> {
    let alone: Vec<Vec<Explained>> = selecting
        .iter()
        .filter_map(|stored| Some(Named { name: &stored.name, spec: stored.content.as_ref().ok()? }))
        .map(|named| explain(&merge(&cluster.flags, &[named])))
        .collect();
    let flagged = explain(&cluster.flags);
    let defaults = explain(&Policy::default());
    explain(policy)
        .into_iter()
        .map(|Explained { setting, value, policy }| {
            let of = |all: &[Explained]| all.iter().find(|one| one.setting == setting).map(|one| one.value.clone());
            let by_flag = of(&flagged) != of(&defaults);
            let said = alone.iter().flatten().filter(|said| said.setting == setting && said.policy.is_some());
            let others = said.filter(|said| said.policy != policy).cloned().collect();
            let said_by = match policy {
                Some(name) => format!("policy {name}"),
                None if by_flag => "flag".to_owned(),
                None => "default".to_owned(),
            };
            Setting { path: setting, value, said_by, others }
        })
        .collect()
}

/// Replaces what the annotations of a Service make stricter, and returns what cannot be read of them.
fn with_annotations(settings: &mut [Setting], service: &Service, policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    let mut say = |path: &str, value: String, key: &str| {
        if let Some(setting) = settings.iter_mut().find(|setting| setting.path == path) {
            setting.value = value;
            setting.said_by = format!("annotation {key}");
        }
    };
    match service.hold() {
        Ok(Some(hold)) if hold > policy.hold => say(setting::HOLD, in_words(hold), annotation::HOLD),
        Ok(_) => {}
        Err(why) => notes.push(format!("{} of Service {} does not count: {why}", annotation::HOLD, service.meta.name)),
    }
    match service.quarantine() {
        Ok(Some(time)) if time > policy.quarantine => say(setting::QUARANTINE, in_words(time), annotation::QUARANTINE),
        Ok(_) => {}
        Err(why) => {
            notes.push(format!("{} of Service {} does not count: {why}", annotation::QUARANTINE, service.meta.name));
        }
    }
    let said = policy.floor.unwrap_or(1);
    match service.minimum_replicas() {
        Ok(Some(0)) if policy.floor.is_none() => {
            say(setting::FLOOR, "1, and 0 for a live colour that sleeps".to_owned(), annotation::MIN_REPLICAS);
        }
        Ok(Some(floor)) if floor > usize::try_from(said).unwrap_or(usize::MAX) => {
            say(setting::FLOOR, floor.to_string(), annotation::MIN_REPLICAS);
        }
        Ok(_) => {}
        Err(why) => {
            notes.push(format!("{} of Service {} does not count: {why}", annotation::MIN_REPLICAS, service.meta.name));
        }
    }
    notes
}

impl PolicyReport {
    fn of(stored: &Stored) -> Self {
        let condition = |kind: &str| {
            let found = stored.status.conditions.iter().find(|condition| condition.kind == kind);
            let current = found.filter(|_| stored.status.observed_generation == Some(stored.generation));
            current.map_or_else(|| "Unknown".to_owned(), |condition| condition.status.clone())
        };
        Self { name: stored.name.clone(), accepted: condition("Accepted"), programmed: condition("Programmed") }
    }
}

impl ExemptionReport {
    fn of(exemption: &Exemption) -> Self {
        Self {
            name: exemption.name.clone(),
            policy: exemption.policy.clone(),
            rules: exemption.rules.iter().cloned().collect(),
            services: exemption.services.clone(),
            reason: exemption.reason.clone(),
            expires: exemption.expires.map(|end| end.to_string()),
        }
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("namespace {}", self.namespace);
        if let Some(service) = &self.service {
            let _ = write!(text, ", Service {service}");
        }
        let policies: Vec<String> = self
            .policies
            .iter()
            .map(|PolicyReport { name, accepted, programmed }| match (accepted.as_str(), programmed.as_str()) {
                ("True", "True") => name.clone(),
                _ => format!("{name} (Accepted: {accepted}, Programmed: {programmed})"),
            })
            .collect();
        let _ = match policies.as_slice() {
            [] => writeln!(text, "\npolicies: none\nflags: {}\n", self.flags),
            all => writeln!(text, "\npolicies: {}\nflags: {}\n", all.join(", "), self.flags),
        };
        let width =
            |of: fn(&Setting) -> &str| self.settings.iter().map(|one| of(one).chars().count()).max().unwrap_or(0);
        let (first, second) = (width(|one| &one.path).max(7), width(|one| &one.value).clamp(5, 40));
        let _ = writeln!(text, "{:first$}  {:second$}  SAID BY", "SETTING", "VALUE");
        for Setting { path, value, said_by, others } in &self.settings {
            let others: Vec<String> = others
                .iter()
                .map(|other| format!("; {} says {}", other.policy.as_deref().unwrap_or_default(), other.value))
                .collect();
            let _ = writeln!(text, "{path:first$}  {value:second$}  {said_by}{}", others.concat());
        }
        for ExemptionReport { name, policy, rules, services, reason, expires } in &self.exemptions {
            let until = expires.as_ref().map(|end| format!(" until {end}")).unwrap_or_default();
            let (rules, services) = (rules.join(", "), services.join(", "));
            let _ =
                writeln!(text, "\nexemption {name} (policy {policy}) lifts {rules} for {services}{until}: {reason}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "\nnote: {note}");
        }
        text
    }
}
