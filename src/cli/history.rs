//! `flipguard history`

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::print_out;
use super::target::{Cluster, ClusterArgs, run, unreadable};
use crate::cluster::clock;
use crate::cluster::snapshot::Record;
use crate::history::anchors::{Agreement, Anchors, add_line, compare};
use crate::history::table::{csv, markdown, text};
use crate::history::{Entry, Head, History};
use crate::install::namespaces;
use crate::model::{ColourScheme, printable};

/// The time between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);

/// Show who flipped what, and prove that nothing was changed afterwards.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0, or 1 with --verify when something was changed, or 2 when it could not be read.\n\
    An entry appears a second after the flip. The history keeps 500 entries of a namespace, for 180 days at most."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct HistoryCommand {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Services by name; without one, all of the namespace
    services: Vec<String>,
    /// The namespace; without it, that of the context
    #[arg(long, short, conflicts_with = "all_namespaces", value_parser = namespaces::named)]
    namespace: Option<String>,
    /// All namespaces with a ledger
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Only entries that are younger, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
    /// Look again and again, and print new entries
    #[arg(long, short, conflicts_with = "verify")]
    watch: bool,
    /// Leave out the names of the columns
    #[arg(long)]
    no_headers: bool,
    /// Check that no entry was changed, removed or added
    #[arg(long)]
    verify: bool,
    /// The API server's audit log: what it has on record must agree
    #[arg(long, value_name = "FILE", requires = "verify")]
    audit_log: Vec<PathBuf>,
    /// flipguard's own log, as JSON lines: the same
    #[arg(long, value_name = "FILE", requires = "verify")]
    log: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people
    Text,
    /// One JSON document
    Json,
    /// One JSON line an entry
    Jsonl,
    /// Comma-separated values
    Csv,
    /// A table in Markdown
    Markdown,
}

/// The history of a namespace, with what is shown of it.
struct Shown {
    namespace: String,
    history: History,
    entries: Vec<Entry>,
    colours: ColourScheme,
    /// What `--verify` found.
    verified: Option<Verified>,
}

/// What `--verify` found.
struct Verified {
    problems: Vec<String>,
    agreement: Agreement,
}

impl HistoryCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut anchors = Anchors::new();
        for file in self.audit_log.iter().chain(&self.log) {
            anchors_of(file, &mut anchors)?;
        }
        run(async {
            let cluster = self.cluster.open_to_look().await?;
            let mut known = BTreeSet::new();
            loop {
                let mut all = self.look(&cluster, &anchors).await?;
                for one in &mut all {
                    let namespace = one.namespace.clone();
                    one.entries.retain(|entry| known.insert((namespace.clone(), entry.n)));
                }
                if !self.watch {
                    print_out(&self.written(&all, true)?)?;
                    let is_whole = all.iter().filter_map(|one| one.verified.as_ref()).all(Verified::is_whole);
                    return Ok(ExitCode::from(u8::from(!is_whole)));
                }
                if all.iter().any(|one| !one.entries.is_empty()) {
                    let is_first = known.len() == all.iter().map(|one| one.entries.len()).sum::<usize>();
                    print_out(&self.written(&all, is_first)?)?;
                }
                sleep(PAUSE).await;
            }
        })
    }

    async fn look(&self, cluster: &Cluster, anchors: &Anchors) -> anyhow::Result<Vec<Shown>> {
        let namespaces = if self.all_namespaces {
            cluster.scan.recorded_namespaces().await.map_err(unreadable)?
        } else {
            vec![cluster.namespace(self.namespace.as_deref()).await?]
        };
        let mut all = Vec::new();
        for namespace in namespaces {
            let Record { history, head } = cluster.scan.record(&namespace).await.map_err(unreadable)?;
            let colours = cluster.settings(&namespace).await.colours;
            let verified = self.verify.then(|| Verified::of(&history, head.as_ref(), &namespace, anchors));
            let is_shown = |entry: &&Entry| {
                let is_named = self.services.is_empty() || self.services.contains(&entry.service);
                is_named && self.since.is_none_or(|since| clock::now().since(entry.at) <= since)
            };
            let entries = history.by_time().into_iter().filter(is_shown).cloned().collect();
            all.push(Shown { namespace, history, entries, colours, verified });
        }
        Ok(all)
    }

    fn written(&self, all: &[Shown], is_first: bool) -> anyhow::Result<String> {
        let headers = !self.no_headers && is_first;
        let entries = || all.iter().flat_map(|one| one.entries.iter().map(|entry| (one.namespace.as_str(), entry)));
        let colours = all.first().map(|one| one.colours.clone()).unwrap_or_default();
        Ok(match self.output {
            Format::Text => all.iter().map(|one| self.table(one, headers)).collect::<Vec<_>>().join("\n"),
            Format::Json => serde_json::to_string_pretty(&document(all))? + "\n",
            Format::Jsonl => {
                let mut lines = String::new();
                for (namespace, entry) in entries() {
                    let mut line = serde_json::to_value(entry)?;
                    if let Some(fields) = line.as_object_mut() {
                        fields.insert("namespace".to_owned(), json!(namespace));
                    }
                    lines.push_str(&line.to_string());
                    lines.push('\n');
                }
                lines
            }
            Format::Csv => csv(entries(), &colours, headers),
            Format::Markdown => markdown(entries().map(|(_, entry)| entry), &colours, headers),
        })
    }

    fn table(&self, one: &Shown, headers: bool) -> String {
        let title = if self.all_namespaces { format!("{}\n", printable(&one.namespace)) } else { String::new() };
        if self.watch {
            return if one.entries.is_empty() {
                String::new()
            } else {
                title + &text(one.entries.iter(), &one.colours, headers)
            };
        }
        if let (true, Some(name), None) = (one.entries.is_empty(), self.services.first(), &one.verified) {
            let namespace = printable(&one.namespace);
            return format!("{title}no entry of Service {name} is on record in namespace {namespace}\n");
        }
        if one.history.entries().len() == 0 && one.verified.is_none() {
            return format!("{title}no flip is on record in namespace {}\n", printable(&one.namespace));
        }
        format!("{title}{}{}", text(one.entries.iter(), &one.colours, headers), one.end())
    }
}

impl Shown {
    /// How many entries there are, and how they were found.
    fn end(&self) -> String {
        let (shown, base) = (self.entries.len(), self.history.base().n);
        let entries = if shown == 1 { "entry" } else { "entries" };
        let Some(Verified { problems, agreement }) = &self.verified else {
            return format!("{shown} {entries}; --verify checks that none was changed\n");
        };
        let problems_in_all = problems.iter().chain(&agreement.problems);
        let lines: String =
            problems_in_all.flat_map(|problem| ["✖ ".into(), printable(problem), "\n".into()]).collect();
        let chain = match (problems.is_empty(), self.history.entries().len()) {
            (true, 0) => "the history is empty".to_owned(),
            (true, _) => format!("chain intact from n={}", base + 1),
            (false, _) => "the chain is broken".to_owned(),
        };
        let Agreement { agree, last, dropped, problems: against } = agreement;
        let heads = agree + dropped + against.len();
        let in_logs = match (heads, against.len()) {
            (0, _) => "no head was found in a log, so the last entries are not proven".to_owned(),
            (1, 0) => "1 head found in the logs, and it agrees".to_owned(),
            (_, 0) => format!("{heads} heads found in the logs, all agree"),
            (_, some) => format!("{heads} heads found in the logs, {some} do not agree"),
        };
        let unproven = match self.history.head().n.saturating_sub((*last).max(base)) {
            0 => String::new(),
            _ if heads == 0 || !against.is_empty() => String::new(),
            1 => "; the last entry is in no log yet".to_owned(),
            more => format!("; the last {more} entries are in no log yet"),
        };
        let old = if *dropped > 0 { format!(" ({dropped} of entries that were dropped since)") } else { String::new() };
        lines + &format!("{shown} {entries}, {chain}; {in_logs}{old}{unproven}\n")
    }
}

impl Verified {
    fn of(history: &History, known: Option<&Head>, namespace: &str, anchors: &Anchors) -> Self {
        let now = clock::now();
        let mut problems = history.problems();
        problems.extend(history.dropped_early(now));
        // The ledger knows the last entry that it gave away.
        if let Some(Head { n, hash }) = known
            && *n > 0
            && *n >= history.base().n
            && history.hash_of(*n).as_ref() != Some(hash)
        {
            problems.push(format!("the ledger knows entry {n}, and it is missing here or another one"));
        }
        Self { problems, agreement: compare(history, namespace, anchors, now) }
    }

    fn is_whole(&self) -> bool {
        self.problems.is_empty() && self.agreement.problems.is_empty()
    }
}

fn document(all: &[Shown]) -> Value {
    let head = |head: &Head| json!({ "n": head.n, "hash": head.hash });
    let namespaces: Vec<Value> = all
        .iter()
        .map(|one| {
            let verified = one.verified.as_ref().map(|verified| {
                let Agreement { agree, last, dropped, problems } = &verified.agreement;
                json!({
                    "intact": verified.is_whole(),
                    "problems": verified.problems.iter().chain(problems).collect::<Vec<_>>(),
                    "headsThatAgree": agree, "lastThatAgrees": last, "headsOfDroppedEntries": dropped,
                })
            });
            json!({
                "namespace": one.namespace, "base": head(one.history.base()), "head": head(&one.history.head()),
                "entries": one.entries, "verified": verified,
            })
        })
        .collect();
    json!({ "apiVersion": "history.flipguard.dev/v1", "namespaces": namespaces })
}

/// Adds the heads in a log. Lines of anything else are passed over.
fn anchors_of(file: &Path, into: &mut Anchors) -> anyhow::Result<()> {
    let name = file.display();
    let mut reader = BufReader::new(File::open(file).with_context(|| format!("cannot read `{name}`"))?);
    let mut line = Vec::new();
    let mut lines = 0_usize;
    while reader.read_until(b'\n', &mut line).with_context(|| format!("cannot read `{name}`"))? > 0 {
        let text = String::from_utf8_lossy(&line);
        if text.contains("history") {
            add_line(&text, into);
        }
        lines += usize::from(text.trim_start().starts_with('{'));
        line.clear();
    }
    if lines == 0 {
        bail!("`{name}` has no line of JSON; give an audit log of the API server, or a log of flipguard");
    }
    Ok(())
}
