//! `flipguard status`

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anyhow::bail;
use clap::{Args, ValueEnum};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::service_filter::LabelFilter;
use super::target::{Cluster, ClusterArgs, run, unreadable};
use crate::audit::extras::Extras;
use crate::audit::judge::{Options, judge};
use crate::cluster::installation::Installed;
use crate::install::namespaces;
use crate::model::{Service, json_with_escapes, printable, shortened};
use crate::policy::effective::marks;
use crate::status::NamespaceStatus;
use crate::status::goal::{Goal, Progress, progress};
use crate::status::shown::MOST;
use crate::status::signs::Signs;
use crate::status::tree::{Style, text};

/// The time between two looks, so that a namespace is not read all the time.
const PAUSE: Duration = Duration::from_secs(2);
/// The exit code of `timeout(1)`.
const TIME_IS_UP: u8 = 124;
/// The namespaces that are read at the same time.
const WORKERS: usize = 8;

/// Show how flipguard understands Services, and what a flip would meet now.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0, or 1 with --exit-code when a Service needs attention, or 2 when not all could be read.\n\
    With --wait: 0 reached, 1 will not be reached without somebody, 2 not all could be read, 124 the time is up."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Status {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Services by name; without one, all of the namespace
    services: Vec<String>,
    /// The namespace; without it, that of the context
    #[arg(long, short, conflicts_with = "all_namespaces", value_parser = namespaces::named)]
    namespace: Option<String>,
    /// All namespaces with traffic Services
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Only Services with these labels, such as app=shop,tier!=test
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<LabelFilter>,
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
    /// Look again and again, and print what changed
    #[arg(long, short, conflicts_with = "wait")]
    watch: bool,
    /// Wait until --for is reached
    #[arg(long)]
    wait: bool,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value = "ready", requires = "wait")]
    goal: GoalFlag,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Exit with 1 when a Service needs attention
    #[arg(long)]
    exit_code: bool,
    /// Leave out the names of the columns
    #[arg(long)]
    no_headers: bool,
    /// Letters instead of signs
    #[arg(long)]
    ascii: bool,
    /// Whether to colour the text; NO_COLOR and CLICOLOR_FORCE count for auto
    #[arg(long, value_enum, default_value = "auto")]
    color: Colouring,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A tree for people
    Text,
    /// The same, with revisions and reasons
    Wide,
    /// JSON for programs
    Json,
    /// One line a Service, as kubectl takes it
    Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GoalFlag {
    /// Every live colour is fully ready
    Ready,
    /// A flip to another colour passes
    Flippable,
    /// No colour is held any more
    HeldOver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colouring {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        run(async {
            let cluster = self.cluster.open_to_look().await?;
            if self.wait { self.wait(&cluster).await } else { self.show(&cluster).await }
        })
    }

    /// Shows the status once, or again and again.
    async fn show(&self, cluster: &Cluster) -> anyhow::Result<ExitCode> {
        let (mut shown, mut is_bold) = (String::new(), false);
        loop {
            let all = self.look(cluster).await?;
            let text = self.print(cluster, &all)?;
            let is_terminal = self.watch && std::io::stdout().is_terminal();
            // On a terminal, the time that passes is shown as well. Elsewhere, it is no change.
            let is_new =
                if is_terminal { text != shown } else { shown.is_empty() || timeless(&text) != timeless(&shown) };
            if is_new {
                let bold = if is_terminal { with_changes(&text, &shown) } else { text.clone() };
                self.write(&if is_terminal { format!("\u{1b}[H\u{1b}[2J{bold}") } else { bold.clone() })?;
                (shown, is_bold) = (text.clone(), bold != text);
            } else if is_bold && is_terminal {
                // What changed is bold until the next look.
                self.write(&format!("\u{1b}[H\u{1b}[2J{shown}"))?;
                is_bold = false;
            }
            if !self.watch {
                if self.output == Format::Name {
                    tell_what_is_unread(&all);
                }
                return Ok(self.exit_code(&all));
            }
            sleep(PAUSE).await;
        }
    }

    async fn wait(&self, cluster: &Cluster) -> anyhow::Result<ExitCode> {
        let end = Instant::now() + self.timeout;
        let mut said = String::new();
        loop {
            let all = self.look(cluster).await?;
            let reasons = all.iter().map(|one| progress(one, self.goal.into(), &self.services));
            let mut open = reasons.filter(|progress| *progress != Progress::Reached);
            match open.next() {
                None => {
                    self.write(&self.print(cluster, &all)?)?;
                    return Ok(ExitCode::SUCCESS);
                }
                Some(Progress::Never(why)) => {
                    eprintln!("{}", shortened(&why, MOST));
                    return Ok(ExitCode::from(1));
                }
                Some(Progress::Unreadable(why)) => {
                    eprintln!("{}", shortened(&why, MOST));
                    return Ok(ExitCode::from(2));
                }
                Some(Progress::NotYet(why)) if why != said => {
                    eprintln!("waiting: {}", shortened(&why, MOST));
                    said = why;
                }
                Some(Progress::NotYet(_) | Progress::Reached) => {}
            }
            if Instant::now() >= end {
                let is_read = all.iter().all(|one| one.unread.is_empty());
                eprintln!("the time is up ({})", humantime::format_duration(self.timeout));
                return Ok(ExitCode::from(if is_read { TIME_IS_UP } else { 2 }));
            }
            sleep_until((Instant::now() + PAUSE).min(end)).await;
        }
    }

    /// The status of each wanted namespace, in the order of their names.
    async fn look(&self, cluster: &Cluster) -> anyhow::Result<Vec<NamespaceStatus>> {
        let namespaces = if self.all_namespaces {
            let found = cluster.scan.namespaces(&marks(&cluster.flags, &cluster.policies)).await.map_err(unreadable)?;
            found.into_keys().collect()
        } else {
            vec![cluster.namespace(self.namespace.as_deref()).await?]
        };
        let looks = namespaces.iter().map(|namespace| self.look_at(cluster, namespace));
        let all: Vec<NamespaceStatus> = stream::iter(looks).buffered(WORKERS).collect().await;
        let is_there = |name: &String| {
            let traffic = all.iter().flat_map(|one| one.services.iter().map(|service| &service.name));
            traffic.chain(all.iter().flat_map(|one| one.others.iter().map(|other| &other.name))).any(|own| own == name)
        };
        let is_read = all.iter().all(|one| one.unread.is_empty());
        if let Some(missing) = self.services.iter().find(|name| is_read && !is_there(name)) {
            bail!(
                "there is no Service {missing} in {}; flipguard status -n NAMESPACE shows all",
                namespaces.join(", ")
            );
        }
        Ok(all)
    }

    async fn look_at(&self, cluster: &Cluster, namespace: &str) -> NamespaceStatus {
        let policy = cluster.settings(namespace).await;
        // A look that is repeated, or that goes through all namespaces, stays with Services and workloads.
        let is_one_look = !self.watch && !self.wait && !self.all_namespaces;
        let extras =
            async { if is_one_look { Box::pin(cluster.scan.extras(namespace)).await } else { Extras::default() } };
        let policies = [&policy];
        let (snapshot, extras) = tokio::join!(cluster.scan.namespace(namespace, &policies), extras);
        let wanted = |service: &Service| {
            let is_named = self.services.is_empty() || self.services.contains(&service.meta.name);
            is_named && self.selector.as_ref().is_none_or(|filter| filter.matches(&service.meta.labels))
        };
        let mut status = cluster.status(&snapshot, &policy, &wanted);
        status.add_problems(&judge(&snapshot, &extras, &policy, Options::default()));
        if !self.services.is_empty() && !status.services.is_empty() {
            cluster.add_flips(&mut status, &policy).await;
        }
        status
    }

    fn print(&self, cluster: &Cluster, all: &[NamespaceStatus]) -> anyhow::Result<String> {
        let signs = Signs::new(self.ascii || !is_utf8());
        let style = Style {
            signs,
            is_wide: self.output == Format::Wide,
            has_details: !self.services.is_empty(),
            no_headers: self.no_headers,
        };
        Ok(match self.output {
            Format::Text | Format::Wide => {
                let head = cluster.installed.as_ref().map(|own| {
                    let Installed { tag, ready, desired, .. } = own;
                    let tag = if tag.is_empty() { String::new() } else { format!(" {}", shortened(tag, MOST)) };
                    format!("flipguard{tag}: {ready} of {desired} replicas ready\n\n")
                });
                let texts: Vec<String> = all.iter().map(|one| text(one, style)).collect();
                if texts.is_empty() {
                    "no namespace has a traffic Service\n".to_owned()
                } else {
                    head.unwrap_or_default() + &texts.join("\n")
                }
            }
            Format::Json => {
                let complete = all.iter().all(|one| one.unread.is_empty());
                let version = "status.flipguard.dev/v1";
                let own = cluster.installed.as_ref().map(|Installed { tag, ready, desired, .. }| {
                    json!({ "tag": tag, "readyReplicas": ready, "replicas": desired })
                });
                let report =
                    json!({ "apiVersion": version, "complete": complete, "flipguard": own, "namespaces": all });
                json_with_escapes(&serde_json::to_string_pretty(&report)?).into_owned() + "\n"
            }
            Format::Name => {
                let names = all.iter().flat_map(|one| one.services.iter().map(move |service| (one, service)));
                let line = |(one, service): (&NamespaceStatus, &crate::status::report::ServiceStatus)| {
                    let of = if self.all_namespaces { format!("{} ", one.namespace) } else { String::new() };
                    printable(&format!("{of}service/{}", service.name)).into_owned() + "\n"
                };
                names.map(line).collect()
            }
        })
    }

    /// Writes to standard output, with colours where they are wanted.
    fn write(&self, text: &str) -> anyhow::Result<()> {
        let choice = match self.color {
            Colouring::Auto => ColorChoice::Auto,
            Colouring::Always => ColorChoice::Always,
            Colouring::Never => ColorChoice::Never,
        };
        let mut out = AutoStream::new(std::io::stdout().lock(), choice);
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(anyhow::Error::new(error).context("cannot write to standard output"))
            }
            _ => Ok(()),
        }
    }

    fn exit_code(&self, all: &[NamespaceStatus]) -> ExitCode {
        let is_read = all.iter().all(|one| one.unread.is_empty());
        let is_well = all.iter().all(|one| one.attention().next().is_none());
        ExitCode::from(if is_read { u8::from(self.exit_code && !is_well) } else { 2 })
    }
}

impl From<GoalFlag> for Goal {
    fn from(flag: GoalFlag) -> Self {
        match flag {
            GoalFlag::Ready => Self::Ready,
            GoalFlag::Flippable => Self::Flippable,
            GoalFlag::HeldOver => Self::HeldOver,
        }
    }
}

/// Says on standard error why names are missing.
fn tell_what_is_unread(all: &[NamespaceStatus]) {
    for status in all {
        for unread in &status.unread {
            eprintln!("{}: cannot read {}", status.namespace, shortened(unread, MOST));
        }
    }
}

/// A text without the times that pass: `40s`, and the fields of JSON with seconds. The width of a column may follow them.
fn timeless(text: &str) -> String {
    let is_time = |word: &&str| {
        word.starts_with(|letter: char| letter.is_ascii_digit())
            && word.ends_with(['s', 'm', 'h', 'd'])
            && word.chars().all(|letter| letter.is_ascii_digit() || "smhd".contains(letter))
    };
    let is_field = |line: &&str| line.contains("\"secondsAgo\":") || line.contains("\"heldSeconds\":");
    let words =
        |line: &str| line.split(' ').filter(|word| !word.is_empty() && !is_time(word)).collect::<Vec<_>>().join(" ");
    text.lines().filter(|line| !is_field(line)).map(words).collect::<Vec<_>>().join("\n")
}

/// A text in which the lines that an earlier one did not have are bold. At first, none is. Time that passes is no change.
fn with_changes(text: &str, earlier: &str) -> String {
    let known: BTreeSet<String> = earlier.lines().map(timeless).collect();
    let line = |line: &str| {
        if earlier.is_empty() || known.contains(&timeless(line)) {
            return format!("{line}\n");
        }
        // A colour within the line ends the bold as well, so it begins again.
        format!("\u{1b}[1m{}\u{1b}[0m\n", line.replace("\u{1b}[0m", "\u{1b}[0m\u{1b}[1m"))
    };
    text.lines().map(line).collect()
}

/// Whether the locale says that the terminal shows UTF-8. Without a locale, it does.
fn is_utf8() -> bool {
    let set =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|set| !set.is_empty()));
    set.is_none_or(|locale| {
        let locale = locale.to_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_bold() {
        let before = "app blue 3/3\napp green 2/3\n";
        assert_eq!(with_changes(before, ""), before);
        assert_eq!(with_changes(before, before), before);
        assert_eq!(timeless("a 5s  b\n\"secondsAgo\": 5,\n"), timeless("a  1m7s b\n\"secondsAgo\": 67,\n"));
        assert_eq!(with_changes("flipped 1m5s ago by me\n", "flipped 1m3s ago by me\n"), "flipped 1m5s ago by me\n");
        let after = "app blue 3/3\napp \u{1b}[32mgreen\u{1b}[0m 3/3\n";
        let bold = "app blue 3/3\n\u{1b}[1mapp \u{1b}[32mgreen\u{1b}[0m\u{1b}[1m 3/3\u{1b}[0m\n";
        assert_eq!(with_changes(after, before), bold);
    }
}
