//! `flipguard policy test`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Value, json};

use crate::audit::compare::{Difference, What, compare};
use crate::audit::whatif::Answer;
use crate::cli::target::{Cluster, ClusterArgs, run, unreadable};
use crate::cli::{Output, print_out};
use crate::install::namespaces;
use crate::model::ReadFailure;
use crate::offline::policies;
use crate::policy::{Policies, effective};

/// Print what would change for the cluster as it is.
#[derive(Debug, Args)]
#[command(
    after_help = "Each traffic Service is asked: what if it flipped to another colour, and what if its live colour \
    were deleted or scaled below its floor? Nothing is written.\n\
    Exit code: 0 nothing more is denied, 1 something that passes today would be denied, 2 not all could be looked at."
)]
pub(super) struct Test {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The policies to apply, as YAML or JSON; `-` is standard input
    #[arg(long, short = 'f', value_name = "FILE", required_unless_present = "prune")]
    filename: Vec<PathBuf>,
    /// Policies to delete, by name
    #[arg(long, value_name = "NAME")]
    prune: Vec<String>,
    /// Look at one namespace only
    #[arg(long, short, value_parser = namespaces::named)]
    namespace: Option<String>,
    /// How many namespaces are read at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

/// What was found in all namespaces.
#[derive(Default)]
struct Report {
    namespaces: usize,
    differences: Vec<Difference>,
    unread: Vec<ReadFailure>,
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // A bad file is found before anything is asked.
        let applied = policies::read(&self.filename)?;
        let report = run(self.report(applied))?;
        print_out(&match self.output {
            Output::Text => report.text(),
            Output::Json => serde_json::to_string_pretty(&report.json())? + "\n",
        })?;
        Ok(report.exit_code())
    }

    async fn report(&self, applied: Vec<Value>) -> anyhow::Result<Report> {
        let cluster = self.cluster.open().await?;
        if let Some(missing) = self.prune.iter().find(|name| !cluster.policies.all.iter().any(|p| p.name == **name)) {
            let names: Vec<&str> = cluster.policies.all.iter().map(|policy| policy.name.as_str()).collect();
            let names =
                if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
            bail!("there is no policy {missing} to delete (--prune); {names}");
        }
        let applied = Policies::of(applied.into_iter().map(|policy| (policy, 0)).collect());
        let proposed = cluster.policies.clone().after(applied, &self.prune);
        let namespaces = self.namespaces(&cluster, &proposed).await?;
        let mut report = Report { namespaces: namespaces.len(), ..Report::default() };
        let looks = namespaces.iter().map(|namespace| look(&cluster, &proposed, namespace));
        let mut looks = stream::iter(looks).buffer_unordered(usize::from(self.workers));
        while let Some((differences, unread)) = looks.next().await {
            report.differences.extend(differences);
            report.unread.extend(unread);
        }
        report.differences.sort_by(|a, b| (&a.namespace, &a.service).cmp(&(&b.namespace, &b.service)));
        Ok(report)
    }

    /// The namespaces with Services that are guarded now or would be.
    async fn namespaces(&self, cluster: &Cluster, proposed: &Policies) -> anyhow::Result<Vec<String>> {
        if self.namespace.is_some() {
            return Ok(vec![cluster.namespace(self.namespace.as_deref()).await?]);
        }
        let both = cluster.policies.clone().with_all(proposed);
        let marks = crate::policy::effective::marks(&cluster.flags, &both);
        let found = cluster.scan.namespaces(&marks).await.map_err(unreadable)?;
        Ok(found.into_keys().filter(|namespace| !cluster.exempt.contains(namespace)).collect())
    }
}

/// What would change in one namespace, and what of it could not be read.
async fn look(cluster: &Cluster, proposed: &Policies, namespace: &str) -> (Vec<Difference>, Vec<ReadFailure>) {
    let both = cluster.policies.clone().with_all(proposed);
    let labels = cluster.labels(namespace, &both).await;
    let before = effective(&cluster.flags, &cluster.policies, namespace, labels.as_ref());
    let after = effective(&cluster.flags, proposed, namespace, labels.as_ref());
    let mut unread = Vec::new();
    if both.needs_labels(namespace) && labels.is_none() {
        let why = "a policy selects by them; use credentials that may get namespaces".to_owned();
        unread.push(ReadFailure::online(format!("the labels of namespace {namespace}"), why));
    }
    if before == after {
        return (Vec::new(), unread);
    }
    let snapshot = cluster.scan.namespace(namespace, &[&before, &after]).await;
    unread.extend(snapshot.failures().iter().cloned());
    unread.extend(snapshot.without_ledger().cloned());
    if snapshot.failures().is_empty() { (compare(&snapshot, &before, &after), unread) } else { (Vec::new(), unread) }
}

impl Report {
    fn exit_code(&self) -> ExitCode {
        let denies_more = self.differences.iter().any(Difference::denies_more);
        ExitCode::from(if self.unread.is_empty() { u8::from(denies_more) } else { 2 })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for difference in &self.differences {
            let _ = writeln!(text, "{difference}");
            if let What::Answer { after, .. } = &difference.what
                && !after.because.is_empty()
            {
                let _ = writeln!(text, "  {}", crate::model::printable(&after.because));
            }
        }
        for ReadFailure { what, why, .. } in &self.unread {
            let _ = writeln!(text, "cannot read {what}: {why}");
        }
        let denied = self.differences.iter().filter(|difference| difference.denies_more()).count();
        let namespaces = match self.namespaces {
            1 => "1 namespace".to_owned(),
            count => format!("{count} namespaces"),
        };
        let _ = match (self.differences.len(), denied) {
            (0, _) => writeln!(text, "nothing changes in {namespaces}"),
            (all, 1) => writeln!(text, "{all} changes in {namespaces}; 1 denied that passes today"),
            (all, denied) => writeln!(text, "{all} changes in {namespaces}; {denied} denied that pass today"),
        };
        text
    }

    fn json(&self) -> Value {
        let answer = |answer: &Answer| {
            json!({
                "decision": answer.decision.name(), "denies": answer.denies, "warns": answer.warns,
                "because": answer.because, "policies": answer.policies,
            })
        };
        let difference = |difference: &Difference| {
            let Difference { namespace, service, what } = difference;
            match what {
                What::Guarded { now } => json!({ "namespace": namespace, "service": service, "guarded": now }),
                What::Answer { change, before, after } => json!({
                    "namespace": namespace, "service": service, "change": change, "before": answer(before),
                    "after": answer(after), "deniesMore": difference.denies_more(),
                }),
            }
        };
        json!({
            "complete": self.unread.is_empty(),
            "namespaces": self.namespaces,
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
            "unread": self.unread.iter().map(|failure| json!({ "what": failure.what, "why": failure.why })).collect::<Vec<_>>(),
        })
    }
}
