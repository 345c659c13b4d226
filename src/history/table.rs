//! The entries as text for people, CSV and Markdown.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::{Act, Entry, Facts};
use crate::model::{ColourScheme, markdown_text, printable, without_registry};

/// The columns of an entry.
const HEADERS: [&str; 8] = ["WHEN", "SERVICE", "ACT", "COLOUR", "IMAGE", "BY", "WITH", "NOTES"];

/// One entry in words, in the order of the columns: when, Service, act, colour, image, by, with, notes.
#[must_use]
pub fn cells(entry: &Entry, colours: &ColourScheme) -> [String; 8] {
    let Entry { at, act, service, user, manager, from, to, .. } = entry;
    let facts = entry.facts.clone().unwrap_or_default();
    let colour = match (&entry.facts, act) {
        (_, Act::OptedOut) if from == to => colours.colour_of(to),
        (_, Act::Created) => colours.colour_of(to),
        (_, Act::Deleted) => colours.colour_of(from),
        (Some(facts), _) if !facts.from.is_empty() => format!("{} → {}", facts.from, facts.to),
        _ => format!("{} → {}", colours.colour_of(from), colours.colour_of(to)),
    };
    let (old, new) = (without_registry(&facts.from_image), without_registry(&facts.to_image));
    let image = match (old.is_empty() || old == new, new.is_empty()) {
        (_, true) => old.to_owned(),
        (true, false) => new.to_owned(),
        (false, false) => format!("{old} → {new}"),
    };
    let with = if facts.tool.is_empty() { manager.clone() } else { facts.tool.clone() };
    let cells = [
        at.to_string(),
        service.clone(),
        act.name().to_owned(),
        colour,
        image,
        user.clone(),
        with,
        notes(entry, &facts),
    ];
    cells.map(|cell| printable(&cell).into_owned())
}

fn notes(entry: &Entry, facts: &Facts) -> String {
    let mut notes = Vec::new();
    if entry.missed > 0 {
        notes.push(format!("{} before it are not known", entry.missed));
    }
    if let Some(reason) = &facts.overridden {
        notes.push(format!("by the override: {reason}"));
    }
    if !facts.exemptions.is_empty() {
        notes.push(format!("by exemption {}", facts.exemptions.join(", ")));
    }
    if !facts.ready.is_empty() {
        notes.push(format!("{} ready", facts.ready));
    }
    notes.extend(facts.gates.iter().cloned());
    if !facts.warnings.is_empty() {
        notes.push(facts.warnings.join(", "));
    }
    if entry.facts.is_none() {
        notes.push("facts: lost".to_owned());
    }
    notes.join("; ")
}

/// The entries in columns, each as wide as its widest cell.
#[must_use]
pub fn text<'a>(entries: impl Iterator<Item = &'a Entry>, colours: &ColourScheme, headers: bool) -> String {
    let rows: Vec<[String; 8]> = entries.map(|entry| cells(entry, colours)).collect();
    let head = HEADERS.map(str::to_owned);
    let all: Vec<&[String; 8]> = headers.then_some(&head).into_iter().chain(&rows).collect();
    let mut widths = [0; 8];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row.iter()) {
            *width = cell.width().max(*width);
        }
    }
    let mut text = String::new();
    for row in all {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell}{}", " ".repeat(width.saturating_sub(cell.width()) + 2));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The entries as comma-separated values (RFC 4180), with a line of headers. No cell begins as a formula does.
#[must_use]
pub fn csv<'a>(entries: impl Iterator<Item = (&'a str, &'a Entry)>, colours: &ColourScheme, headers: bool) -> String {
    let quoted = |cell: &str| {
        let formula = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        format!("\"{formula}{}\"", cell.replace('"', "\"\""))
    };
    let head = "namespace,n,when,service,act,colour,image,by,with,notes\r\n";
    let mut text = String::from(if headers { head } else { "" });
    for (namespace, entry) in entries {
        let cells = cells(entry, colours);
        let row: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        let _ = write!(text, "{},{},{}\r\n", quoted(namespace), entry.n, row.join(","));
    }
    text
}

/// The entries as a table in Markdown.
#[must_use]
pub fn markdown<'a>(entries: impl Iterator<Item = &'a Entry>, colours: &ColourScheme, headers: bool) -> String {
    let head = "| when | service | act | colour | image | by | with | notes |\n|---|---|---|---|---|---|---|---|\n";
    let mut text = String::from(if headers { head } else { "" });
    for entry in entries {
        let cells = cells(entry, colours).map(|cell| markdown_text(&cell));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}
