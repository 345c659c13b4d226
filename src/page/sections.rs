//! The parts of the page, from top to bottom.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::service;
use crate::audit::checks::{ALL, Check};
use crate::audit::finding::Finding;
use crate::report::Report;
use crate::report::data::{Summary, of};
use crate::status::NamespaceStatus;
use crate::status::tree::in_short;

/// From this number of Services on, those without findings are one line each.
const MANY: usize = 500;

/// What was found about one object.
type ByObject<'a> = BTreeMap<(&'a str, &'a str, &'a str), Vec<&'a Finding>>;

pub(super) fn all(report: &Report) -> Markup {
    let mut by_object = ByObject::new();
    for finding in &report.findings {
        by_object.entry((&finding.namespace, &finding.kind, &finding.name)).or_default().push(finding);
    }
    html! {
        (head(report))
        main {
            (filter())
            (namespaces(report))
            (services(report, &by_object))
            (others(report, &by_object))
            (limits(report))
            (checks(report))
        }
    }
}

fn head(report: &Report) -> Markup {
    let services: usize = report.namespaces.iter().map(|namespace| namespace.services.len()).sum();
    html! {
        header {
            h1 { "flipguard " span.cluster { (report.cluster) } }
            p {
                time datetime=(report.at) { (report.at) }
                " · " @if report.complete { "complete" } @else { strong { "not all could be read" } }
                " · " (of(report.namespaces.len(), "namespace")) ", " (of(services, "Service"))
                " · flipguard " (report.flipguard_version)
            }
            p.totals {
                span.error { "✖ " (of(report.summary.errors, "error")) } " "
                span.warning { "⚠ " (of(report.summary.warnings, "warning")) } " "
                span.info { "ℹ " (of(report.summary.infos, "info")) }
                @if report.summary.accepted > 0 { " " span { "✓ " (report.summary.accepted) " accepted" } }
            }
        }
    }
}

/// The filter does nothing without a script, so the script shows it.
fn filter() -> Markup {
    html! {
        form #filter hidden {
            label { "Filter " input #q type="search" placeholder="namespace or Service" autocomplete="off"; }
            label { input #only type="checkbox"; " only with findings" }
            label {
                "Severity "
                select #severity {
                    option value="" { "all" }
                    option value="warning" { "errors and warnings" }
                    option value="error" { "errors" }
                }
            }
            output #shown {}
        }
    }
}

fn namespaces(report: &Report) -> Markup {
    let found = report.by_namespace();
    let counted = |namespace: &str| Summary::of(found.get(namespace).into_iter().flatten().copied());
    let cell = |count: usize, class: &'static str| {
        html! { td { @if count == 0 { "–" } @else { span class=(class) { (count) } } } }
    };
    html! {
        section #namespaces {
            h2 { "Namespaces" }
            @if report.namespaces.is_empty() { p { "No namespace has a traffic Service." } }
            @else {
                div.wide { table {
                    tr {
                        th { "namespace" } th { "Services" } th { "errors" } th { "warnings" } th { "infos" }
                        th { "enforcement" } th { "last flip" }
                    }
                    @for one in &report.namespaces {
                        @let Summary { errors, warnings, infos, .. } = counted(&one.namespace);
                        tr {
                            th { (one.namespace) }
                            td { (one.services.len()) }
                            (cell(errors, "error")) (cell(warnings, "warning")) (cell(infos, "info"))
                            td { (enforcement(one)) }
                            td { (last_flip(one)) }
                        }
                    }
                } }
            }
        }
    }
}

fn enforcement(namespace: &NamespaceStatus) -> String {
    if let Some(why) = &namespace.unguarded_because {
        return format!("not guarded: {why}");
    }
    let by = namespace.enforcement_by.as_ref().map(|policy| format!(" ({policy})")).unwrap_or_default();
    format!("{}{by}", namespace.enforcement)
}

fn last_flip(namespace: &NamespaceStatus) -> String {
    let last = namespace.services.iter().filter_map(|one| one.last_flip.as_ref()).min_by_key(|flip| flip.seconds_ago);
    last.map_or_else(
        || "–".to_owned(),
        |flip| format!("{} ago, {}", in_short(std::time::Duration::from_secs(flip.seconds_ago)), flip.user),
    )
}

fn services(report: &Report, by_object: &ByObject<'_>) -> Markup {
    let count: usize = report.namespaces.iter().map(|namespace| namespace.services.len()).sum();
    html! {
        section #services {
            h2 { "Services" }
            @for namespace in &report.namespaces { @for one in &namespace.services {
                @let key = (namespace.namespace.as_str(), "Service", one.name.as_str());
                @let found = by_object.get(&key).map(Vec::as_slice).unwrap_or_default();
                (service::service(namespace, one, found, count > MANY && found.is_empty()))
            } }
        }
    }
}

/// Findings about all that is no traffic Service: other Services, workloads, namespaces and policies.
fn others(report: &Report, by_object: &ByObject<'_>) -> Markup {
    let is_shown = |namespace: &str, kind: &str, name: &str| {
        let own = report.namespaces.iter().find(|one| one.namespace == namespace);
        kind == "Service" && own.is_some_and(|own| own.services.iter().any(|service| service.name == name))
    };
    let rest: Vec<_> =
        by_object.iter().filter(|((namespace, kind, name), _)| !is_shown(namespace, kind, name)).collect();
    html! {
        @if !rest.is_empty() {
            section #others {
                h2 { "Other objects" }
                @for ((namespace, kind, name), found) in rest {
                    article data-name=(format!("{namespace} {kind} {name}")) data-worst=[Some(service::worst(found)).filter(|worst| !worst.is_empty())] {
                        h3 { @if !namespace.is_empty() { (namespace) " / " } (kind) " " (name) }
                        (service::findings(found))
                    }
                }
            }
        }
    }
}

/// What the page does not know.
fn limits(report: &Report) -> Markup {
    let notes: Vec<&String> = report.namespaces.iter().flat_map(|namespace| &namespace.notes).collect();
    html! {
        section #limits {
            h2 { "Policies, and what could not be read" }
            p { @if report.policies.is_empty() { "There is no policy." } @else { "Policies: " (report.policies.join(", ")) } }
            ul {
                @for unread in &report.unread { li.error { "✖ cannot read " (unread) } }
                @for skipped in &report.skipped { li { "skipped: " (skipped) } }
                @for note in notes { li { (note) } }
                @for id in &report.not_compared { li { "not compared, since not all there was read: " (id) } }
                @for fixed in &report.fixed { li { "fixed since the baseline: " (fixed) } }
            }
        }
    }
}

/// The checks that have found something.
fn checks(report: &Report) -> Markup {
    let found = |check: &&&Check| report.findings.iter().any(|finding| finding.code == check.code);
    let found: Vec<&&Check> = ALL.iter().filter(found).collect();
    html! {
        @if !found.is_empty() {
            section #checks {
                h2 { "What the checks mean" }
                dl { @for check in found {
                    dt id=(check.code) { code { (check.code) } " " span class=(check.severity.name()) { (check.severity.name()) } }
                    dd { (check.says) " " (check.why) " " strong { "How to go on: " } (check.remedy) }
                } }
            }
        }
    }
}
