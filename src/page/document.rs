//! The whole page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, PreEscaped, html};
use ring::digest::{SHA256, digest};

use super::sections;
use crate::model::{json_with_escapes, shortened};
use crate::report::Report;
use crate::status::shown::MOST;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Loads the page again, and keeps what is opened, filtered and scrolled to.
const REFRESH: &str = include_str!("refresh.js");

/// How the page is shown by `flipguard ui`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The time between two loads, in seconds.
    pub seconds: u32,
    /// Why the report is an older one: all looks after it failed, and this is what the last one met.
    pub stale: Option<String>,
}

/// The page. A page of a file never changes; one of `flipguard ui` loads itself again.
#[must_use]
pub fn page(report: &Report, live: Option<&Live>) -> String {
    let refresh = if live.is_some() { REFRESH } else { "" };
    let script = format!("{SCRIPT}{refresh}");
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(&script)
    );
    let shown = report.shown();
    let title = format!("flipguard · {}", shown.cluster);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body data-seconds=[live.map(|live| live.seconds)] {
                @if let Some(stale) = live.and_then(|live| live.stale.as_deref()) {
                    p.stale role="alert" {
                        "This report is from " time datetime=(report.at) { (report.at) }
                        ". Later looks failed: " (shortened(stale, MOST))
                    }
                }
                (sections::all(&shown))
                script type="application/json" id="report" { (PreEscaped(json(report))) }
                script { (PreEscaped(script)) }
            }
        }
    }
    .into_string()
}

/// The report as JSON that cannot end its element. Its values are those of the report.
fn json(report: &Report) -> String {
    let json = serde_json::to_string(report).unwrap_or_default();
    json_with_escapes(&json).replace('<', "\\u003c")
}

/// A source of the policy of contents, by its hash (W3C, *Content Security Policy Level 3*, 2.3.1).
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}
