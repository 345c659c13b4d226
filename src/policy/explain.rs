//! Each setting, its value, and who says it. It reads what the rules use, so the two never differ.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::{Enforcement, Gate, Policy, ReadinessBasis, setting};
use crate::rules::{Reason, in_words};

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explained {
    /// Its path in a policy: `live.floor`.
    pub setting: String,
    /// Its value.
    pub value: String,
    /// The policy that says it; `None` for the default or the flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.setting, self.value, self.policy.as_deref().unwrap_or("default"))
    }
}

/// All settings except actions, in a fixed order; then the actions that are said.
#[must_use]
pub fn explain(policy: &Policy) -> Vec<Explained> {
    let mut all: Vec<Explained> = values(policy)
        .into_iter()
        .map(|(path, value)| Explained {
            setting: path.to_owned(),
            value,
            policy: policy.source(path).map(str::to_owned),
        })
        .collect();
    for reason in Reason::ALL {
        let path = setting::rule(reason.code());
        let source = policy.source(&path).map(str::to_owned);
        if let Some(action) = policy.actions.get(reason.code()).filter(|_| source.is_some()) {
            all.push(Explained { setting: path, value: format!("{action:?}"), policy: source });
        }
    }
    all
}

/// The gates: `smoke (Job, 24 h), release (Approval, 4 h)`.
fn gates(gates: &[Gate]) -> String {
    let one = |gate: &Gate| {
        let images = if gate.images.is_empty() { String::new() } else { format!(", {}", gate.images.join(" or ")) };
        format!("{} ({}, {}{images})", gate.name, gate.kind.name(), in_words(gate.max_age))
    };
    let all: Vec<String> = gates.iter().map(one).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn values(policy: &Policy) -> Vec<(&'static str, String)> {
    let list = |words: &[String]| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
    let enforcement = |value: Enforcement| if value == Enforcement::Deny { "Deny" } else { "Warn" }.to_owned();
    let colours = &policy.colours;
    let mut keys = colours.keys.clone();
    keys.extend(colours.pins_version.then(|| colours.version_key.clone()));
    let labels = &policy.labels;
    vec![
        (setting::ENFORCEMENT, enforcement(policy.enforcement)),
        (setting::DRY_RUN, enforcement(policy.dry_run)),
        (setting::COLOUR_KEYS, list(&keys)),
        (setting::COLOUR_NAMES, list(&colours.names)),
        (setting::PREVIEW_WORDS, list(&colours.preview_words)),
        (setting::READY_PERCENT, policy.ready_percent.to_string()),
        (setting::BASIS, if policy.basis == ReadinessBasis::Ready { "Ready" } else { "Available" }.to_owned()),
        (setting::PARITY_PERCENT, policy.parity_percent.to_string()),
        (setting::SOAK, in_words(policy.soak)),
        (setting::GATES, gates(&policy.gates)),
        (setting::FLOOR, policy.floor.unwrap_or(1).to_string()),
        (setting::SHRINK_PERCENT, policy.shrink_percent.to_string()),
        (setting::HOLD, in_words(policy.hold)),
        (setting::QUARANTINE, in_words(policy.quarantine)),
        (setting::ROLLBACK_PERCENT, policy.rollback_percent.to_string()),
        (setting::MAX_OVERRIDE, in_words(policy.max_override)),
        (setting::LABELS_MODE, if labels.is_on { "Add" } else { "Off" }.to_owned()),
        (setting::LABELS_POD_TEMPLATE, if labels.on_pod_template { "OnChange" } else { "Never" }.to_owned()),
        (setting::LABELS_COLOUR_KEY, labels.colour_key.clone()),
        (setting::LABELS_VERSION_KEY, labels.version_key.clone()),
    ]
}
