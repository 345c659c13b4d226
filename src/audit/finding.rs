//! Findings of an audit.

use schemars::JsonSchema;
use serde::Serialize;

use super::checks::{Check, Severity};

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The code of the check.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The namespace.
    pub namespace: String,
    /// The Service that it is about, or another object: `Service`.
    pub kind: String,
    /// The name of the object.
    pub name: String,
    /// The colour that it is about; empty where it is about all.
    pub colour: String,
    /// What was found, in a sentence with its numbers.
    pub message: String,
    /// How to go on.
    pub next_step: String,
    /// Code, kind, namespace, name and colour, without numbers: the same finding has it in every run.
    pub id: String,
    /// Whether it is new, was there before, or is accepted.
    pub state: State,
    /// Why it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}

/// A finding in comparison with an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was not there before.
    New,
    /// It was there before.
    Same,
    /// The Service accepts it, with a reason.
    Accepted,
}

impl Finding {
    /// A finding about an object.
    #[must_use]
    pub fn new(check: &Check, namespace: &str, (kind, name): (&str, &str), colour: &str, message: String) -> Self {
        let id = format!("{}/{kind}/{namespace}/{name}/{colour}", check.code);
        Self {
            code: check.code,
            severity: check.severity,
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            colour: colour.to_owned(),
            message,
            next_step: check.remedy.to_owned(),
            id,
            state: State::New,
            accepted: None,
        }
    }

    /// The same with a next step for this case.
    #[must_use]
    pub fn with_step(self, next_step: String) -> Self {
        Self { next_step, ..self }
    }

    /// Whether it counts for the exit code: it is as bad as asked for, new and not accepted.
    #[must_use]
    pub fn counts(&self, at_least: Severity) -> bool {
        self.severity >= at_least && self.state == State::New
    }
}
