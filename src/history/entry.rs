//! One entry of the history.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Head;
use crate::ledger::{Settled, SettledAct};
use crate::model::{Change, Selector, Template, Timestamp};
use crate::rules::gates::template_hash;
use crate::rules::{Effect, Moved, Verdict};

/// A change of a Service that has committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its number in the namespace, from 1 on.
    pub n: u64,
    /// The time of the request, by the API server's clock.
    pub at: Timestamp,
    /// What it did.
    pub act: Act,
    /// `metadata.name` of the Service.
    pub service: String,
    /// `metadata.uid` of the Service.
    pub uid: String,
    /// `metadata.resourceVersion` that the change started from; empty for a creation.
    pub base: String,
    /// The selector before.
    pub from: Selector,
    /// The selector after.
    pub to: Selector,
    /// Who asked for it.
    pub user: String,
    /// The field manager that asked for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
    /// What the deciding replica knew; `None` where it ended before it could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// How many changes of this Service before it are not in the history.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u32,
    /// When the entry before was made; `None` for the first one, and where that one was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
    /// The hash of the entry before: SHA-256 of its line, in hexadecimal.
    pub prev: String,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The Service routes to another colour.
    Flip,
    /// The Service routes to the colour that served before.
    Rollback,
    /// The Service was created.
    Created,
    /// The Service was deleted.
    Deleted,
    /// The Service is no longer guarded as traffic, by its annotations.
    OptedOut,
}

impl Act {
    /// The word: `flip`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Rollback => "rollback",
            Self::Created => "created",
            Self::Deleted => "deleted",
            Self::OptedOut => "opted-out",
        }
    }
}

/// What the replica that allowed a change knew about it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// Whether the change was a rollback.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
    /// The colour before and after, by the settings of that time.
    pub from: String,
    /// The colour after.
    pub to: String,
    /// The image of the main container before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from_image: String,
    /// The image of the main container after.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub to_image: String,
    /// How many Pods of the new colour were ready, of how many.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ready: String,
    /// The workloads of the new colour, each with the SHA-256 of its Pod template, as gates compute it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
    /// The image IDs that the Pods of the new colour ran, in order; at most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// The groups of the user that say who it is: `system:masters`, `system:serviceaccounts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The deployment tool, where its field manager is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tool: String,
    /// The policies, each as `NAME@GENERATION`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The gates, each with its proof, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<String>,
    /// The codes of rules that warned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The reason of the override without which the change would have been denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden: Option<String>,
    /// The exemptions without which it would have been denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exemptions: Vec<String>,
}

/// The most image IDs of an entry.
const MOST_IMAGES: usize = 8;

/// Groups that tell who asks. Everybody is in `system:authenticated`.
const GROUPS: [&str; 2] = ["system:masters", "system:serviceaccounts"];
/// The longest text in a fact, in characters. Reasons are written by users.
const MAX_TEXT: usize = 256;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Entry {
    /// The entry of a settled change, after another one and its time.
    #[must_use]
    pub fn new(settled: &Settled, facts: Option<Facts>, before: &Head, after: Option<Timestamp>) -> Self {
        let Settled { service, uid, base, from, to, user, manager, at, missed, .. } = settled.clone();
        let act = match settled.act {
            SettledAct::Created => Act::Created,
            SettledAct::Deleted => Act::Deleted,
            SettledAct::Flip if facts.as_ref().is_some_and(|facts| facts.rollback) => Act::Rollback,
            SettledAct::Flip => Act::Flip,
            SettledAct::OptedOut => Act::OptedOut,
        };
        let (n, prev) = (before.n.saturating_add(1), before.hash.clone());
        Self { n, at, act, service, uid, base, from, to, user, manager, facts, missed, after, prev }
    }
}

impl Facts {
    /// The same with the templates of the new colour. They are hashed after the answer.
    #[must_use]
    pub fn with_templates(self, templates: &[(String, Arc<Template>)]) -> Self {
        let hashed = |(workload, template): &(String, Arc<Template>)| format!("{workload} {}", template_hash(template));
        Self { templates: templates.iter().map(hashed).collect(), ..self }
    }

    /// The facts about an allowed change.
    #[must_use]
    pub fn of(change: &Change, verdict: &Verdict) -> Self {
        let Moved { from, to, from_image, to_image, ready, image_ids, .. } = verdict.moved.clone().unwrap_or_default();
        let short = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
        let warns = |effect: &Effect| *effect != Effect::Logs;
        let warnings = verdict.findings.iter().filter(|(_, effect)| warns(effect));
        let groups = change.user.groups.iter().filter(|group| GROUPS.contains(&group.as_str()));
        let overriding = verdict.active_override.as_ref().filter(|_| verdict.is_overridden());
        Self {
            rollback: verdict.act == "rollback",
            from: short(&from),
            to: short(&to),
            from_image: short(&from_image),
            to_image: short(&to_image),
            ready,
            templates: Vec::new(),
            images: image_ids.iter().take(MOST_IMAGES).map(|id| short(id)).collect(),
            groups: groups.cloned().collect(),
            tool: verdict.tool.map_or("", crate::model::Tool::name).to_owned(),
            policies: verdict.policies.clone(),
            gates: verdict.gates.iter().map(|gate| short(gate)).collect(),
            warnings: warnings.map(|(finding, _)| finding.reason.code().to_owned()).collect(),
            overridden: overriding.map(|active| short(&active.reason)),
            exemptions: verdict.exempted().into_iter().map(str::to_owned).collect(),
        }
    }
}
