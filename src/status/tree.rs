//! The status of a namespace as a tree of lines.

use std::fmt::Write as _;
use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use super::report::{
    ColourRole, ColourStatus, FlipStatus, NamespaceStatus, PodStatus, Problem, ServiceStatus, WorkloadStatus,
};
use super::signs::{Sign, Signs};
use crate::model::without_registry;
use crate::policy::explain::Explained;

/// What is printed beyond the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Signs, or letters.
    pub signs: Signs,
    /// Whether revisions and reasons are added.
    pub is_wide: bool,
    /// Whether Pods, last flips and settings are shown.
    pub has_details: bool,
    /// Whether the line with the names of the columns is left out.
    pub no_headers: bool,
}

/// One line of the table.
struct Row {
    cells: [String; 6],
    notes: String,
    sign: Option<Sign>,
    /// Lines below, not in columns.
    below: Vec<String>,
}

/// The most Services that the last line names.
const MOST_NAMED: usize = 5;

const HEADERS: [&str; 6] = ["SERVICE", "COLOUR", "ROLE", "WORKLOAD", "IMAGE", "READY"];

/// A namespace as text.
#[must_use]
pub fn text(status: &NamespaceStatus, style: Style) -> String {
    let status = &status.shown();
    let mut text = heading(status);
    for unread in &status.unread {
        let _ = writeln!(text, "cannot read {unread}");
    }
    text.push_str(&notes_on_rights(status, style));
    if !status.services.is_empty() {
        text.push('\n');
        text.push_str(&table(&status.services.iter().flat_map(|one| rows(one, style)).collect::<Vec<_>>(), style));
    }
    text.push_str(&problems(status));
    if style.has_details {
        text.push_str(&settings(status));
    }
    text.push_str(&end(status));
    style.signs.plain(&text)
}

fn heading(status: &NamespaceStatus) -> String {
    let NamespaceStatus { namespace, enforcement, enforcement_by, unguarded_because, .. } = status;
    if let Some(why) = unguarded_because {
        return format!("⚠ {namespace} · not guarded: {why}\n");
    }
    let by = enforcement_by.as_ref().map(|policy| format!(" (policy {policy})")).unwrap_or_default();
    let condition = if status.guarded.is_none() { ", if flipguard guards" } else { "" };
    format!("{namespace} · enforcement {enforcement}{by}{condition}\n")
}

/// What is unknown. Several missing rights are one line, without the answers of the API server.
fn notes_on_rights(status: &NamespaceStatus, style: Style) -> String {
    let ledger = status.without_ledger.iter().map(|why| format!("holds and last flips are unknown: cannot read {why}"));
    let all = ledger.chain(status.notes.iter().cloned());
    let (of_rights, others): (Vec<_>, Vec<_>) = all.partition(|note| !style.is_wide && note.contains("forbidden"));
    let mut text = String::new();
    for note in others {
        let _ = writeln!(text, "note: {note}");
    }
    if let [one] = of_rights.as_slice() {
        let _ = writeln!(text, "note: {one}");
    } else if !of_rights.is_empty() {
        let short: Vec<&str> = of_rights.iter().map(|note| note.split(": ").next().unwrap_or(note)).collect();
        let _ = writeln!(text, "note: you lack rights to know all (-o wide says which): {}", short.join("; "));
    }
    text
}

/// The most errors of a set-up that are listed.
const MOST_PROBLEMS: usize = 5;

/// The errors of the set-up, and where to read on.
fn problems(status: &NamespaceStatus) -> String {
    let problems = status.problems.as_deref().unwrap_or_default();
    if problems.is_empty() {
        return String::new();
    }
    let mut text =
        format!("\nWrong in the set-up (flipguard audit -n {} lists all, with next steps):\n", status.namespace);
    for Problem { code, object, message } in problems.iter().take(MOST_PROBLEMS) {
        let _ = writeln!(text, "  {object}: {message} ({code})");
    }
    let more = problems.len().saturating_sub(MOST_PROBLEMS);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    text
}

/// The settings that are not the defaults, and where to find all others.
fn settings(status: &NamespaceStatus) -> String {
    let said = |one: &Explained| {
        let by = one.policy.as_ref().map_or_else(|| "flag".to_owned(), |policy| format!("policy {policy}"));
        format!("  {} {} ({by})\n", one.setting, one.value)
    };
    let all: String = status.settings.iter().map(said).collect();
    let explain = format!("flipguard policy explain -n {} SERVICE prints all, with annotations", status.namespace);
    if all.is_empty() {
        return format!("\nSettings of the namespace are the defaults ({explain})\n");
    }
    format!("\nSettings of the namespace that are not the defaults ({explain}):\n{all}")
}

fn end(status: &NamespaceStatus) -> String {
    let mut text = String::new();
    if !status.others.is_empty() {
        let other =
            |one: &super::report::OtherService| format!("  {} ({}, since {})\n", one.name, one.role, one.because);
        let _ = write!(text, "\nNot guarded as traffic:\n{}", status.others.iter().map(other).collect::<String>());
    }
    let attention: Vec<String> = status.attention().map(|(service, why)| format!("{service}: {why}")).collect();
    let all = status.services.len();
    let services = if all == 1 { "Service" } else { "Services" };
    let needs = if attention.len() == 1 { "needs" } else { "need" };
    let _ = match (all, attention.len()) {
        (0, _) if !status.unread.is_empty() => Ok(()),
        (0, _) => writeln!(text, "\nno traffic Service here"),
        (_, 0) => writeln!(text, "\n{all} {services}, none needs attention"),
        (_, some) => {
            let named = attention.get(..MOST_NAMED.min(some)).unwrap_or_default().join("; ");
            let more = some.saturating_sub(MOST_NAMED);
            let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
            writeln!(text, "\n⚠ {some} of {all} {services} {needs} attention: {named}{rest}")
        }
    };
    text
}

fn rows(service: &ServiceStatus, style: Style) -> Vec<Row> {
    let mut first = vec![];
    if let Some(active) = &service.active_override {
        first.push(format!("⚠ override until {}: {}", active.until, active.reason));
    }
    if let Some(flip) = &service.last_flip {
        let ago = in_short(Duration::from_secs(flip.seconds_ago));
        let with = if flip.manager.is_empty() { String::new() } else { format!(" ({})", flip.manager) };
        first.push(format!("flipped {ago} ago by {}{with}", flip.user));
    }
    if !service.uses_blue_green {
        first.push("blue-green is not in use, so rules only warn".to_owned());
    }
    if style.is_wide {
        first.push(format!("traffic, since {}", service.because));
    }
    let mut all = vec![Row {
        cells: [service.name.clone(), String::new(), String::new(), String::new(), String::new(), String::new()],
        notes: first.join(" · "),
        sign: None,
        below: Vec::new(),
    }];
    let count = service.colours.iter().map(|colour| colour.workloads.len().max(1)).sum::<usize>();
    for colour in &service.colours {
        let lines = lines(colour, service, style);
        for row in lines {
            let is_last = all.len() == count;
            all.push(with_branch(row, style.signs.branch(is_last)));
        }
    }
    if let (Some(last), true) = (all.last_mut(), style.has_details && !service.flips.is_empty()) {
        last.below.push("last flips:".to_owned());
        last.below.extend(service.flips.iter().map(|flip| format!("  {}", flip.line())));
    }
    all
}

fn with_branch(mut row: Row, branch: &str) -> Row {
    if let Some(first) = row.cells.first_mut() {
        branch.clone_into(first);
    }
    row
}

/// One line for each workload of a colour.
fn lines(colour: &ColourStatus, service: &ServiceStatus, style: Style) -> Vec<Row> {
    let role = match colour.role {
        ColourRole::Live => "live",
        ColourRole::Held => "held",
        ColourRole::Idle => "idle",
    };
    let mut rows: Vec<Row> = colour
        .workloads
        .iter()
        .map(|workload| Row {
            cells: [
                String::new(),
                colour.colour.clone(),
                role.to_owned(),
                workload.workload.clone(),
                without_registry(&workload.image).to_owned(),
                format!("{}/{}", workload.ready, workload.desired),
            ],
            notes: notes(workload, style),
            sign: Some(sign(workload)),
            below: if style.has_details { pods(workload, style) } else { Vec::new() },
        })
        .collect();
    if rows.is_empty() {
        let nothing = String::new;
        let cells = [nothing(), colour.colour.clone(), role.to_owned(), "-".to_owned(), nothing(), "0/0".to_owned()];
        rows.push(Row { cells, notes: "nothing runs".to_owned(), sign: Some(Sign::Wrong), below: Vec::new() });
    }
    if let (Some(first), Some(seconds)) = (rows.first_mut(), colour.held_seconds) {
        add(&mut first.notes, &format!("held for another {}", in_short(Duration::from_secs(seconds))));
    }
    if let (Some(first), ColourRole::Live, Some(_)) = (rows.first_mut(), colour.role, &service.attention) {
        add(&mut first.notes, &format!("needs {}", service.floor));
    }
    if let (Some(last), Some(flip)) = (rows.last_mut(), &colour.flip) {
        last.below.extend(flip_lines(&colour.colour, flip, style));
    }
    rows
}

fn flip_lines(colour: &str, flip: &FlipStatus, style: Style) -> Vec<String> {
    let mut lines = vec![format!("flip to {colour}: {}", flip.words)];
    if !flip.because.is_empty() && (style.is_wide || !flip.passes()) {
        lines.push(format!("  {}", flip.because));
    }
    lines
}

/// One line for each Pod that is named, and one for all others.
fn pods(workload: &WorkloadStatus, style: Style) -> Vec<String> {
    let line = |pod: &PodStatus| {
        let sign = if pod.ready { Sign::Well } else { Sign::Waits };
        let because = pod.because.as_deref().unwrap_or("ready");
        format!("{} pod {}: {because}", sign.paint(style.signs.sign(sign)), pod.name)
    };
    let mut lines: Vec<String> = workload.pods.iter().map(line).collect();
    let more = workload.ready.saturating_sub(workload.pods.iter().filter(|pod| pod.ready).count());
    if more > 0 {
        lines.push(format!("and {more} more that are ready"));
    }
    lines
}

fn notes(workload: &WorkloadStatus, style: Style) -> String {
    let mut notes = workload.trouble.as_deref().unwrap_or_default().to_owned();
    if let Some(revision) = workload.revision.as_ref().filter(|_| style.is_wide) {
        add(&mut notes, &format!("revision {revision}"));
    }
    notes
}

fn add(notes: &mut String, more: &str) {
    if !notes.is_empty() {
        notes.push_str(" · ");
    }
    notes.push_str(more);
}

fn sign(workload: &WorkloadStatus) -> Sign {
    let is_whole = usize::try_from(workload.desired).is_ok_and(|desired| workload.ready >= desired);
    match (workload.desired, is_whole) {
        (0, _) => Sign::Empty,
        (_, true) if workload.trouble.is_none() => Sign::Well,
        _ if workload.broken => Sign::Wrong,
        _ => Sign::Waits,
    }
}

/// The rows in columns, each as wide as its widest cell.
fn table(rows: &[Row], style: Style) -> String {
    let head = Row { cells: HEADERS.map(str::to_owned), notes: "NOTES".to_owned(), sign: None, below: Vec::new() };
    let head = (!style.no_headers).then_some(head);
    let all: Vec<&Row> = head.iter().chain(rows).collect();
    let widths: Vec<usize> = (0..HEADERS.len())
        .map(|at| all.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.width()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in all {
        let mut line = String::new();
        for (at, (cell, width)) in row.cells.iter().zip(&widths).enumerate() {
            let painted = match (at, row.sign) {
                (0, Some(sign)) => format!("{cell} {}", sign.paint(style.signs.sign(sign))),
                (2, Some(sign)) => sign.paint(cell),
                _ => cell.clone(),
            };
            let taken = if at == 0 && row.sign.is_some() { cell.width() + 2 } else { cell.width() };
            line.push_str(&painted);
            // The sign may stand beyond a short name of a Service.
            let width = if at == 0 { (*width).max(4) } else { *width };
            line.push_str(&" ".repeat(width.saturating_sub(taken) + 2));
        }
        line.push_str(&row.notes);
        let _ = writeln!(text, "{}", line.trim_end());
        for below in &row.below {
            let _ = writeln!(text, "     {below}");
        }
    }
    text
}

/// A length of time with its two largest units: `2h5m`, `1m20s`.
#[must_use]
pub fn in_short(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) if !seconds.is_multiple_of(60) => format!("{minutes}m{}s", seconds % 60),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, 0) => format!("{hours}h"),
        (0, ..) => format!("{hours}h{minutes}m"),
        (_, 0, _) => format!("{days}d"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let short = [0, 59, 60, 80, 3600, 7500, 86_400, 90_000].map(|seconds| in_short(Duration::from_secs(seconds)));
        assert_eq!(short, ["0s", "59s", "1m", "1m20s", "1h", "2h5m", "1d", "1d1h"]);
        assert_eq!(without_registry("registry.example:5000/team/app:1.4"), "app:1.4");
    }
}
