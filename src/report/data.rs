//! The report: what was found in all namespaces. Its JSON is an interface, so fields are only added.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::audit::checks::Severity;
use crate::audit::finding::{Finding, State};
use crate::model::Timestamp;
use crate::status::NamespaceStatus;

/// The version of the JSON.
pub const VERSION: &str = "audit.flipguard.dev/v1";

/// What was found in all namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of this format: `audit.flipguard.dev/v1`.
    pub api_version: &'static str,
    /// The version of flipguard that looked.
    pub flipguard_version: &'static str,
    /// The cluster: its name in the kubeconfig, or its address.
    pub cluster: String,
    /// When it was looked at, by the API server's clock.
    pub at: Timestamp,
    /// Whether all that has to be read was read.
    pub complete: bool,
    /// The namespaces, each with what `flipguard status` says about it.
    pub namespaces: Vec<NamespaceStatus>,
    /// The names of all policies.
    pub policies: Vec<String>,
    /// The findings, by namespace and object.
    pub findings: Vec<Finding>,
    /// The ids of findings of the baseline that are gone.
    pub fixed: Vec<String>,
    /// The ids of findings of the baseline that may be there still: their namespace was not looked at, or not all of it
    /// could be read.
    pub not_compared: Vec<String>,
    /// Kinds whose checks were skipped, each with the reason.
    pub skipped: Vec<String>,
    /// What had to be read and could not be, each with the reason.
    pub unread: Vec<String>,
    /// How many findings there are, without accepted ones.
    pub summary: Summary,
}

/// How many findings there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Summary {
    /// Errors.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// Infos.
    pub infos: usize,
    /// Findings that are accepted.
    pub accepted: usize,
    /// Findings that the baseline has, too. They are counted here only.
    pub as_before: usize,
    /// Findings below the wanted severity, which are not shown. They are counted here only.
    pub not_shown: usize,
}

/// What was found in one namespace.
#[derive(Debug, Clone)]
pub struct Looked {
    /// When it was read.
    pub at: Timestamp,
    /// Its Services and colours.
    pub status: NamespaceStatus,
    /// What the checks found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// A report without any namespace. It gets the time of the first that is added.
    #[must_use]
    pub fn new(cluster: String, at: Timestamp, policies: Vec<String>) -> Self {
        Self {
            api_version: VERSION,
            flipguard_version: env!("CARGO_PKG_VERSION"),
            cluster,
            at,
            complete: true,
            namespaces: Vec::new(),
            policies,
            findings: Vec::new(),
            fixed: Vec::new(),
            not_compared: Vec::new(),
            skipped: Vec::new(),
            unread: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// Adds a namespace.
    pub fn add(&mut self, looked: Looked) {
        let Looked { at, status, findings } = looked;
        if self.namespaces.is_empty() {
            self.at = at;
        }
        self.summary.count(&findings);
        self.complete &= status.unread.is_empty();
        self.unread.extend(status.unread.iter().cloned());
        self.skipped.extend(status.skipped.iter().cloned());
        self.findings.extend(findings);
        self.namespaces.push(status);
    }

    /// Adds findings that belong to no namespace.
    pub fn add_findings(&mut self, findings: Vec<Finding>) {
        self.summary.count(&findings);
        self.findings.extend(findings);
    }

    /// The findings of each namespace, in the order of the report. Those of no namespace have an empty one.
    #[must_use]
    pub fn by_namespace(&self) -> BTreeMap<&str, Vec<&Finding>> {
        let mut all: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
        for finding in &self.findings {
            all.entry(&finding.namespace).or_default().push(finding);
        }
        all
    }

    /// Marks what an earlier run had found, and names what is fixed. `earlier` has the namespace of each finding by its
    /// id; `is_all` says whether this run looked at all namespaces.
    pub fn compare(&mut self, earlier: &BTreeMap<String, String>, is_all: bool) {
        for finding in self.findings.iter_mut().filter(|finding| finding.state == State::New) {
            if earlier.contains_key(&finding.id) {
                finding.state = State::Same;
            }
        }
        self.summary = Summary::of(&self.findings);
        let is_there = |id: &str| self.findings.iter().any(|finding| finding.id == id);
        for (id, namespace) in earlier.iter().filter(|(id, _)| !is_there(id)) {
            let into = if self.is_known(namespace, is_all) { &mut self.fixed } else { &mut self.not_compared };
            into.push(id.clone());
        }
    }

    /// Whether all about a namespace was read. One that is not in a run over all has no traffic Service any more.
    fn is_known(&self, namespace: &str, is_all: bool) -> bool {
        match self.namespaces.iter().find(|status| status.namespace == namespace) {
            Some(status) => status.unread.is_empty() && status.skipped.is_empty() && status.without_ledger.is_none(),
            None => is_all && (!namespace.is_empty() || self.skipped.is_empty()),
        }
    }

    /// Leaves out findings below a severity, and counts them.
    pub fn keep(&mut self, least: Severity) {
        let all = self.findings.len();
        self.findings.retain(|finding| finding.severity >= least);
        self.summary = Summary { not_shown: all - self.findings.len(), ..Summary::of(&self.findings) };
    }
}

impl Summary {
    /// How many of these findings there are.
    #[must_use]
    pub fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut summary = Self::default();
        summary.count(findings);
        summary
    }

    fn count<'a>(&mut self, findings: impl IntoIterator<Item = &'a Finding>) {
        for finding in findings {
            let count = match (finding.state, finding.severity) {
                (State::Accepted, _) => &mut self.accepted,
                (State::Same, _) => &mut self.as_before,
                (_, Severity::Error) => &mut self.errors,
                (_, Severity::Warning) => &mut self.warnings,
                (_, Severity::Info) => &mut self.infos,
            };
            *count += 1;
        }
    }
}

/// `1 error, 2 warnings, 0 infos`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errors, warnings, infos, .. } = *self;
        write!(f, "{}, {}, {}", of(errors, "error"), of(warnings, "warning"), of(infos, "info"))?;
        for (count, word) in
            [(self.accepted, "accepted"), (self.as_before, "as before"), (self.not_shown, "not shown (--only)")]
        {
            if count > 0 {
                write!(f, ", {count} {word}")?;
            }
        }
        Ok(())
    }
}

/// `1 error`, `2 errors`.
#[must_use]
pub fn of(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// What is said of a finding beside its severity: that it is accepted, or not new.
#[must_use]
pub fn remark(finding: &Finding) -> Option<String> {
    match finding.state {
        State::Accepted => Some(format!("accepted: {}", finding.accepted.as_deref().unwrap_or_default())),
        State::Same => Some("as before".to_owned()),
        State::New => None,
    }
}
