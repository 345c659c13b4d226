//! SARIF 2.1.0 for code scanning (OASIS, *Static Analysis Results Interchange Format*).
//!
//! Code scanning services want a place in a file for each result. `Places` has the manifests that define the objects; all
//! other objects get a path that stays the same, `cluster/NAMESPACE/KIND/NAME.yaml`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::data::Report;
use crate::audit::checks::{ALL, Check, Severity};
use crate::audit::finding::{Finding, State};

/// The most results that code scanning keeps of one upload (GitHub, *SARIF support for code scanning*).
const MOST: usize = 5000;

/// Where objects are defined: by kind, namespace and name, a path relative to the root of the sources, and a line from 1.
/// The namespace is empty where the manifest names none.
pub type Places = BTreeMap<(String, String, String), (String, u64)>;

/// The report as one run.
#[must_use]
pub fn sarif(report: &Report, places: &Places) -> Value {
    let report = &report.printable();
    let mut kept: Vec<&Finding> = report.findings.iter().collect();
    kept.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let is_compared = !report.fixed.is_empty() || kept.iter().any(|finding| finding.state == State::Same);
    let left_out = kept.len().saturating_sub(MOST);
    kept.truncate(MOST);
    let mut notes: Vec<String> = report.unread.iter().map(|unread| format!("cannot read {unread}")).collect();
    notes.extend(report.skipped.iter().map(|skipped| format!("skipped: {skipped}")));
    if left_out > 0 {
        notes.push(format!("{left_out} findings of the least severity are left out; {MOST} is the most"));
    }
    let notes: Vec<Value> =
        notes.iter().map(|note| json!({ "level": "warning", "message": { "text": note } })).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "flipguard",
                "semanticVersion": report.flipguard_version,
                "rules": ALL.iter().map(|check| rule(check)).collect::<Vec<Value>>(),
            } },
            "automationDetails": { "id": format!("flipguard/{}/", report.cluster) },
            "invocations": [{
                "executionSuccessful": report.complete,
                "endTimeUtc": report.at,
                "toolExecutionNotifications": notes,
            }],
            "results": kept.iter().map(|finding| result(finding, places, is_compared)).collect::<Vec<Value>>(),
        }],
    })
}

fn rule(check: &Check) -> Value {
    json!({
        "id": check.code,
        "shortDescription": { "text": check.says },
        "fullDescription": { "text": check.why },
        "help": {
            "text": format!("{} {}", check.why, check.remedy),
            "markdown": format!("{}\n\n**How to go on.** {}", check.why, check.remedy),
        },
        "defaultConfiguration": { "level": level(check.severity) },
        "properties": { "tags": ["kubernetes", "blue-green"] },
    })
}

fn result(finding: &Finding, places: &Places, is_compared: bool) -> Value {
    let Finding { namespace, kind, name, .. } = finding;
    let text = format!("{}. {}", finding.message, finding.next_step);
    let mut result = json!({
        "ruleId": finding.code,
        "ruleIndex": ALL.iter().position(|check| check.code == finding.code),
        "level": level(finding.severity),
        "message": { "text": text },
        "locations": [{
            "physicalLocation": physical(finding, places),
            "logicalLocations": [{ "fullyQualifiedName": format!("{namespace}/{kind}/{name}"), "kind": "resource" }],
        }],
        "partialFingerprints": { "flipguard/v1": finding.id },
    });
    if let (true, Some(fields)) = (is_compared, result.as_object_mut()) {
        let state = if finding.state == State::Same { "unchanged" } else { "new" };
        fields.insert("baselineState".to_owned(), json!(state));
    }
    if let (Some(reason), Some(fields)) = (&finding.accepted, result.as_object_mut()) {
        let suppression = json!({ "kind": "external", "status": "accepted", "justification": reason });
        fields.insert("suppressions".to_owned(), json!([suppression]));
    }
    result
}

fn physical(finding: &Finding, places: &Places) -> Value {
    let Finding { namespace, kind, name, .. } = finding;
    let place = |namespace: &str| places.get(&(kind.clone(), namespace.to_owned(), name.clone()));
    let (path, line) = place(namespace)
        .or_else(|| place(""))
        .cloned()
        .unwrap_or_else(|| (uri(&["cluster", namespace, kind, name]) + ".yaml", 1));
    json!({ "artifactLocation": { "uri": path }, "region": { "startLine": line } })
}

/// A relative URI of path segments: all but letters, digits, `-`, `.` and `_` is percent-encoded (RFC 3986, 2.3).
fn uri(segments: &[&str]) -> String {
    let encoded = |segment: &&str| -> String {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        segment.bytes().map(byte).collect()
    };
    segments.iter().map(encoded).collect::<Vec<String>>().join("/")
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}
