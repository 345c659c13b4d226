//! What a flip has done, for people and for programs.

use serde::Serialize;

use super::one::{Flight, Outcome};
use crate::cli::{Output, print_out};
use crate::model::{json_with_escapes, printable};
use crate::plugin::series::State;

/// The format of the JSON.
const VERSION: &str = "flip.flipguard.dev/v1";

/// All that was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: &'static str,
    namespace: String,
    dry_run: bool,
    services: Vec<Line>,
}

/// What was done with one Service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    to: String,
    /// `flipped`, `would-flip`, `live-already`, `denied`, `not-asked`, `time-is-up`, `unchanged`, `flipped-back` or `stuck`.
    result: &'static str,
    /// The colour that is live in the end, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
    codes: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    warnings: Vec<String>,
}

impl Report {
    pub(super) fn new(namespace: &str, dry_run: bool) -> Self {
        Self { api_version: VERSION, namespace: namespace.to_owned(), dry_run, services: Vec::new() }
    }

    /// A Service that needs no flip.
    pub(super) fn is_live(&mut self, name: &str, colour: &str, by: &str) {
        self.services.push(Line {
            name: name.to_owned(),
            from: None,
            to: colour.to_owned(),
            result: "live-already",
            now: Some(colour.to_owned()),
            codes: Vec::new(),
            message: by.to_owned(),
            warnings: Vec::new(),
        });
    }

    /// The outcome of a flight. What the API server said is shown at once.
    pub(super) fn add(&mut self, flight: &Flight<'_>, outcome: &Outcome) {
        let planned = &flight.planned;
        let mut line = Line {
            name: flight.name.to_owned(),
            from: Some(planned.from_colour.clone()),
            to: planned.to_colour.clone(),
            result: if flight.dry_run { "would-flip" } else { "flipped" },
            now: None,
            codes: Vec::new(),
            message: String::new(),
            warnings: Vec::new(),
        };
        match outcome {
            Outcome::Flipped { warnings } => {
                for warning in warnings {
                    eprintln!("Warning: {warning}");
                }
                line.warnings.clone_from(warnings);
                line.now = Some(if flight.dry_run { &planned.from_colour } else { &planned.to_colour }.clone());
            }
            Outcome::Already { by } => return self.is_live(flight.name, &planned.to_colour, by),
            Outcome::Stopped { ending, words, codes } => {
                let end = if ending.code() == 124 { "the time is up: " } else { "" };
                eprintln!("flipguard: {end}{words}");
                line.result = ending.name();
                line.codes.clone_from(codes);
                line.message.clone_from(words);
            }
        }
        self.services.push(line);
    }

    /// How a Service of a series is in the end.
    pub(super) fn ends(&mut self, flight: &Flight<'_>, state: &State, now: &str) {
        if let Some(line) = self.services.iter_mut().find(|line| line.name == flight.name) {
            line.now = Some(now.to_owned());
            match state {
                State::Back => line.result = state.name(),
                State::Stuck(why) => {
                    line.result = state.name();
                    line.message.clone_from(why);
                }
                State::Open | State::Flipped | State::Theirs | State::Failed(_) => {}
            }
            return;
        }
        self.services.push(Line {
            name: flight.name.to_owned(),
            from: Some(flight.planned.from_colour.clone()),
            to: flight.planned.to_colour.clone(),
            result: state.name(),
            now: Some(now.to_owned()),
            codes: Vec::new(),
            message: String::new(),
            warnings: Vec::new(),
        });
    }

    /// Prints it. As text, only what is done: the rest was said when it happened.
    pub(super) fn print(&self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Json => {
                let json = serde_json::to_string_pretty(self)?;
                print_out(&(json_with_escapes(&json).into_owned() + "\n"))
            }
            Output::Text => {
                let lines: Vec<String> = self.services.iter().filter_map(Line::text).collect();
                if lines.is_empty() { Ok(()) } else { print_out(&(lines.join("\n") + "\n")) }
            }
        }
    }
}

impl Line {
    fn text(&self) -> Option<String> {
        let Self { name, from, to, message, .. } = self;
        let from = from.as_deref().unwrap_or_default();
        let line = match self.result {
            "flipped" => format!("service/{name} flipped from {from} to {to}"),
            "would-flip" => format!("service/{name} would flip from {from} to {to} (dry run)"),
            "live-already" if message.is_empty() => format!("service/{name}: {to} is live already"),
            "live-already" => format!("service/{name}: {to} is live already, by {message}"),
            "flipped-back" => format!("service/{name} flipped to {to}, and back to {from}"),
            _ => return None,
        };
        Some(printable(&line).into_owned())
    }
}
