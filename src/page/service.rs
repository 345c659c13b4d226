//! One traffic Service: its colours, what a flip would meet, and its findings.

use std::time::Duration;

use maud::{Markup, html};

use super::picture;
use crate::audit::checks::Severity;
use crate::audit::finding::{Finding, State};
use crate::report::data::{Summary, remark};
use crate::status::NamespaceStatus;
use crate::status::past::PastFlip;
use crate::status::report::{ColourRole, ColourStatus, ServiceStatus, WorkloadStatus};
use crate::status::tree::in_short;

pub(super) fn service(namespace: &NamespaceStatus, one: &ServiceStatus, found: &[&Finding], is_short: bool) -> Markup {
    let name = format!("{} / {}", namespace.namespace, one.name);
    let opens = one.attention.is_some() || worst(found) == "error" || worst(found) == "warning";
    html! {
        article data-name=(format!("{} {}", namespace.namespace, one.name)) data-worst=[Some(worst(found)).filter(|worst| !worst.is_empty())] {
            @if is_short {
                h3 { (name) " " span.soft { (glance(one)) } }
            } @else {
                details open[opens] {
                    summary { h3 { (name) } " " span.soft { (glance(one)) } " " (counts(found)) }
                    (body(one, found))
                }
            }
        }
    }
}

fn body(one: &ServiceStatus, found: &[&Finding]) -> Markup {
    html! {
        @if let Some(why) = &one.attention { p.error { "✖ needs attention: " (why) } }
        @if let Some(active) = &one.active_override {
            p.warning { "⚠ override until " (active.until) ": " (active.reason) }
        }
        div.wide {
            (picture::svg(one))
            table {
                tr { th { "colour" } th { "role" } th { "workload" } th { "image" } th { "ready" } th { "notes" } }
                @for colour in &one.colours { (rows(colour)) }
            }
        }
        @for colour in &one.colours { @if let Some(flip) = &colour.flip {
            p {
                "A flip to " strong { (colour.colour) } ": "
                span class=(if flip.passes() { "well" } else { "warning" }) { (flip.words) }
                @if !flip.passes() && !flip.because.is_empty() { ". " (flip.because) }
            }
        } }
        @if let Some(flip) = &one.last_flip {
            p.soft {
                "Last flip: " time datetime=(flip.at) { (in_short(Duration::from_secs(flip.seconds_ago))) " ago" }
                " from " (flip.from) ", by " (flip.user)
                @if !flip.manager.is_empty() { " (" (flip.manager) ")" }
            }
        }
        (past(&one.flips))
        p.soft {
            "A traffic Service, since " (one.because)
            @if !one.uses_blue_green { ". Blue-green is not in use, so rules only warn" }
            ". A change has to leave " (one.floor) " ready."
        }
        (findings(found))
    }
}

/// The last flips.
fn past(flips: &[PastFlip]) -> Markup {
    html! {
        @if !flips.is_empty() {
            div.wide { table.flips {
                tr { th { "when" } th { "act" } th { "colour" } th { "image" } th { "by" } th { "with" } th { "notes" } }
                @for flip in flips {
                    tr {
                        td { time datetime=(flip.at) { (flip.at) } }
                        td { (flip.act) } td { (flip.colour) } td { code { (flip.image) } }
                        td { (flip.user) } td { (flip.with) } td { (flip.notes) }
                    }
                }
            } }
        }
    }
}

/// One row for each workload of a colour.
fn rows(colour: &ColourStatus) -> Markup {
    let held =
        colour.held_seconds.map(|seconds| format!("held for another {}", in_short(Duration::from_secs(seconds))));
    let notes = |workload: &WorkloadStatus| {
        let all = [workload.trouble.clone(), held.clone()];
        all.into_iter().flatten().collect::<Vec<String>>().join(" · ")
    };
    html! {
        @if colour.workloads.is_empty() {
            tr { th { (colour.colour) } td { (role(colour.role)) } td { "–" } td {} td { "0/0" } td { "nothing runs" } }
        }
        @for workload in &colour.workloads {
            tr {
                th { (colour.colour) }
                td { (role(colour.role)) }
                td { code { (workload.workload) } }
                td { code { (workload.image) } }
                td { (workload.ready) "/" (workload.desired) }
                td { (notes(workload)) }
            }
        }
    }
}

pub(super) fn role(role: ColourRole) -> &'static str {
    match role {
        ColourRole::Live => "live",
        ColourRole::Held => "held",
        ColourRole::Idle => "idle",
    }
}

/// `blue live 3/3 · green idle 2/3`.
fn glance(one: &ServiceStatus) -> String {
    let of = |colour: &ColourStatus| {
        let ready: usize = colour.workloads.iter().map(|workload| workload.ready).sum();
        let desired: u64 = colour.workloads.iter().map(|workload| u64::from(workload.desired)).sum();
        format!("{} {} {ready}/{desired}", colour.colour, role(colour.role))
    };
    one.colours.iter().map(of).collect::<Vec<String>>().join(" · ")
}

fn counts(found: &[&Finding]) -> Markup {
    let Summary { errors, warnings, infos, .. } = Summary::of(found.iter().copied());
    let all = [(Severity::Error, errors), (Severity::Warning, warnings), (Severity::Info, infos)];
    html! {
        span.counts {
            @for (severity, count) in all.into_iter().filter(|(_, count)| *count > 0) {
                span class=(severity.name()) title=(severity.name()) { (sign(severity)) " " (count) } " "
            }
            @if errors + warnings + infos == 0 { span.well { "✓ nothing" } }
        }
    }
}

pub(super) fn findings(found: &[&Finding]) -> Markup {
    html! {
        @if !found.is_empty() {
            ul.findings { @for one in found {
                li class=(one.severity.name()) {
                    b { (sign(one.severity)) " " (one.severity.name()) } " "
                    a href=(format!("#{}", one.code)) { (one.code) }
                    @if !one.colour.is_empty() { " " (one.colour) }
                    ": " (one.message)
                    @match remark(one) {
                        Some(remark) => div { (remark) },
                        None => div { (one.next_step) },
                    }
                }
            } }
        }
    }
}

/// The worst severity that is not accepted; empty without any.
pub(super) fn worst(found: &[&Finding]) -> &'static str {
    let open = found.iter().filter(|one| one.state != State::Accepted);
    open.map(|one| one.severity).max().map_or("", Severity::name)
}

fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "✖",
        Severity::Warning => "⚠",
        Severity::Info => "ℹ",
    }
}
