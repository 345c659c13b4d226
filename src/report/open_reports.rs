//! Reports as Kubernetes objects: `openreports.io/v1alpha1`, or the group before it for those that still read that.
//!
//! There is one object for each namespace, so that no object grows with the cluster. It has no time in it: the same
//! findings give the same object.

use serde_json::{Value, json};

use super::data::Report;
use crate::audit::checks::Severity;
use crate::audit::finding::{Finding, State};
use crate::status::NamespaceStatus;

/// The name of each object.
pub const NAME: &str = "flipguard";
/// The most results in an object. An object that is too large cannot be stored (etcd: 1.5 MiB).
const MOST: usize = 500;

/// The API group of the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `openreports.io/v1alpha1`, kind Report.
    OpenReports,
    /// `wgpolicyk8s.io/v1alpha2`, kind PolicyReport.
    PolicyWorkingGroup,
}

impl Group {
    /// `apiVersion`.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::OpenReports => "openreports.io/v1alpha1",
            Self::PolicyWorkingGroup => "wgpolicyk8s.io/v1alpha2",
        }
    }

    /// `kind`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::OpenReports => "Report",
            Self::PolicyWorkingGroup => "PolicyReport",
        }
    }

    /// The resource in paths of the API.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::OpenReports => "reports",
            Self::PolicyWorkingGroup => "policyreports",
        }
    }
}

/// One object for each namespace, also for those without findings.
#[must_use]
pub fn objects(report: &Report, group: Group) -> Vec<Value> {
    let report = &report.printable();
    let found = report.by_namespace();
    let of = |namespace: &NamespaceStatus| found.get(namespace.namespace.as_str()).cloned().unwrap_or_default();
    report.namespaces.iter().map(|namespace| object(namespace, of(namespace), group)).collect()
}

fn object(status: &NamespaceStatus, mut findings: Vec<&Finding>, group: Group) -> Value {
    let mut results: Vec<Value> = status.unread.iter().map(|unread| unread_result(unread)).collect();
    results.extend(status.skipped.iter().map(|skipped| skipped_result(skipped)));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    results.extend(findings.into_iter().map(result));
    results.truncate(MOST);
    let counted = |word: &str| results.iter().filter(|one| one.get("result") == Some(&json!(word))).count();
    let summary = json!({
        "pass": 0, "fail": counted("fail"), "warn": counted("warn"), "error": counted("error"), "skip": counted("skip"),
    });
    let mut object = json!({
        "apiVersion": group.api_version(),
        "kind": group.kind(),
        "metadata": {
            "name": NAME,
            "namespace": status.namespace,
            "labels": { "app.kubernetes.io/managed-by": NAME },
        },
        "configuration": { "limits": { "maxResults": MOST, "statusFilter": ["fail", "warn", "error", "skip"] } },
        "summary": summary,
        "results": results,
    });
    if group == Group::OpenReports
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert("source".to_owned(), json!(NAME));
    }
    object
}

fn result(finding: &Finding) -> Value {
    let is_core = matches!(finding.kind.as_str(), "Service" | "Namespace");
    let api_version = if is_core { "v1" } else { "apps/v1" };
    let mut properties = json!({ "nextStep": finding.next_step, "id": finding.id });
    if let (Some(reason), Some(fields)) = (&finding.accepted, properties.as_object_mut()) {
        fields.insert("accepted".to_owned(), json!(reason));
    }
    json!({
        "source": NAME,
        "policy": "blue-green",
        "rule": finding.code,
        "category": "Deployment safety",
        "severity": match finding.severity {
            Severity::Error => "high",
            Severity::Warning => "medium",
            Severity::Info => "info",
        },
        "result": match (finding.state, finding.severity) {
            (State::Accepted, _) => "skip",
            (_, Severity::Error) => "fail",
            (_, Severity::Warning | Severity::Info) => "warn",
        },
        "message": finding.message,
        "resources": [{
            "apiVersion": api_version, "kind": finding.kind, "namespace": finding.namespace, "name": finding.name,
        }],
        "properties": properties,
    })
}

fn skipped_result(skipped: &str) -> Value {
    json!({
        "source": NAME, "policy": "blue-green", "rule": "kind-unreadable", "severity": "low", "result": "skip",
        "message": format!("skipped: {skipped}"),
    })
}

fn unread_result(unread: &str) -> Value {
    json!({
        "source": NAME, "policy": "blue-green", "rule": "cluster-unreadable", "severity": "high", "result": "error",
        "message": format!("cannot read {unread}"),
    })
}
