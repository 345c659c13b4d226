//! The report for people, and one line a finding for grep.

use std::fmt::Write as _;

use super::data::{Report, Summary, of, remark};
use crate::audit::finding::{Finding, State};

/// By namespace and object. Of findings that were there before, only their number is told.
#[must_use]
pub fn text(report: &Report) -> String {
    let report = &report.shown();
    let mut text = table(report);
    let mut place = ("", "", "");
    let is_new = |finding: &&Finding| finding.state != State::Same;
    for finding in report.findings.iter().filter(is_new) {
        let here = (finding.namespace.as_str(), finding.kind.as_str(), finding.name.as_str());
        if here.0 != place.0 {
            let _ = match here.0 {
                "" => writeln!(text, "cluster"),
                name => writeln!(text, "namespace {name}"),
            };
        }
        if here != place {
            let _ = writeln!(text, "  {} {}", here.1, here.2);
        }
        place = here;
        let severity = finding.severity.name();
        let _ = writeln!(text, "    {severity:<8} {:<26}{}", finding.code, finding.message);
        let more = remark(finding).unwrap_or_else(|| finding.next_step.clone());
        let _ = writeln!(text, "    {:8} {:26}{more}", "", "");
    }
    let before = report.findings.iter().filter(|finding| !is_new(finding)).count();
    if before > 0 {
        let _ = writeln!(
            text,
            "{} as before: -o wide lists them, and a run without --baseline explains them",
            of(before, "finding")
        );
    }
    for id in &report.fixed {
        let _ = writeln!(text, "fixed: {id}");
    }
    text.push_str(&limits(report));
    let incomplete = if report.unread.is_empty() { "" } else { "; incomplete, since not all could be read" };
    let _ = writeln!(text, "{} in {}{incomplete}", report.summary, of(report.namespaces.len(), "namespace"));
    text
}

/// What the report does not know.
fn limits(report: &Report) -> String {
    let mut text = String::new();
    for skipped in &report.skipped {
        let _ = writeln!(text, "skipped: {skipped}");
    }
    for unread in &report.unread {
        let _ = writeln!(text, "cannot read {unread}");
    }
    for id in &report.not_compared {
        let _ = writeln!(text, "not compared, since not all there was read: {id}");
    }
    text
}

/// The namespaces with findings, where there is more than one.
fn table(report: &Report) -> String {
    let by_namespace = report.by_namespace();
    if by_namespace.len() < 2 {
        return String::new();
    }
    let width = by_namespace.keys().map(|name| name.len()).max().unwrap_or(0).max("NAMESPACE".len());
    let mut text = format!("{:<width$}  ERRORS  WARNINGS  INFOS\n", "NAMESPACE");
    for (name, findings) in by_namespace {
        let Summary { errors, warnings, infos, .. } = Summary::of(findings);
        let _ = writeln!(text, "{name:<width$}  {errors:>6}  {warnings:>8}  {infos:>5}");
    }
    text.push('\n');
    text
}

/// One line a finding.
#[must_use]
pub fn wide(report: &Report) -> String {
    let report = &report.shown();
    let mut text = String::new();
    for finding in &report.findings {
        let Finding { namespace, kind, name, code, message, .. } = finding;
        let remark = remark(finding).map(|remark| format!(" ({remark})")).unwrap_or_default();
        let severity = finding.severity.name();
        let _ = writeln!(text, "{severity} {code} {namespace}/{kind}/{name}: {message}{remark}");
    }
    text.push_str(&limits(report));
    text
}
