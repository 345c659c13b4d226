//! One look at a cluster: the report of all namespaces, or of one.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::target::{Cluster, unreadable};
use crate::audit::guarding::of_cluster;
use crate::audit::judge::{Options, judge};
use crate::audit::policies;
use crate::cluster::clock;
use crate::policy::effective::marks;
use crate::report::{Looked, Report};

/// What to look at.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// One namespace; without it, all namespaces with traffic Services.
    pub(super) namespace: Option<String>,
    /// How many namespaces are read at the same time.
    pub(super) workers: u16,
    /// Whether the last flips are read as well.
    pub(super) flips: bool,
    /// What is looked for beyond the usual.
    pub(super) options: Options,
}

/// Looks at each namespace, and lets go of it before more are read.
pub(super) async fn look(cluster: &Cluster, scope: &Scope, progress: &ProgressBar) -> anyhow::Result<Report> {
    let namespaces: Vec<String> = if let Some(given) = &scope.namespace {
        vec![cluster.namespace(Some(given)).await?]
    } else {
        let marks = marks(&cluster.flags, &cluster.policies);
        let found = cluster.scan.namespaces(&marks).await.map_err(unreadable)?;
        found.into_keys().filter(|name| !cluster.exempt.contains(name)).collect()
    };
    let names = cluster.policies.all.iter().map(|policy| policy.name.clone()).collect();
    let mut report = Report::new(cluster.name.clone(), clock::now(), names);
    report.skipped.extend(cluster.unread_policies());
    progress.set_length(u64::try_from(namespaces.len()).unwrap_or(u64::MAX));
    let looks = stream::iter(namespaces).map(|namespace| look_at(cluster, namespace, scope));
    let mut looks = looks.buffered(usize::from(scope.workers));
    while let Some(one) = looks.next().await {
        progress.set_message(one.status.namespace.clone());
        report.add(one);
        progress.inc(1);
    }
    let at = report.at;
    report.add_findings(policies::findings(&cluster.policies, at));
    report.add_findings(of_cluster(&cluster.guarding).into_iter().collect());
    if cluster.guarding.is_known().is_none() {
        report.skipped.extend(cluster.guarding.why_not().map(|why| format!("whether flipguard guards: {why}")));
    }
    progress.finish_and_clear();
    Ok(report)
}

/// Judges one namespace.
async fn look_at(cluster: &Cluster, namespace: String, scope: &Scope) -> Looked {
    let namespace = namespace.as_str();
    let policy = cluster.settings(namespace).await;
    let policies = [&policy];
    let (snapshot, extras) = tokio::join!(cluster.scan.namespace(namespace, &policies), cluster.scan.extras(namespace));
    let mut status = cluster.status(&snapshot, &policy, &|_| true);
    if scope.flips && !status.services.is_empty() {
        cluster.add_flips(&mut status, &policy).await;
    }
    status.skipped.clone_from(&extras.skipped);
    status.skipped.extend(status.without_ledger.clone());
    Looked { at: snapshot.at, status, findings: judge(&snapshot, &extras, &policy, scope.options) }
}

/// A line on standard error that tells how far the look is. Where that is no terminal, nothing is shown.
pub(super) fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{pos} of {len} namespaces  {wide_msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The findings of an earlier run: the namespace of each, by its id.
pub(super) fn earlier(file: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{name}` (--baseline)"))?;
    let report: Value = serde_json::from_str(&text).with_context(|| format!("`{name}` (--baseline) is no JSON"))?;
    let findings = report.get("findings").and_then(Value::as_array);
    let findings = findings.with_context(|| {
        format!("`{name}` (--baseline) has no findings; it must be the output of flipguard audit -o json")
    })?;
    let text = |finding: &Value, field: &str| finding.get(field).and_then(Value::as_str).map(str::to_owned);
    Ok(findings.iter().filter_map(|one| Some((text(one, "id")?, text(one, "namespace")?))).collect())
}
