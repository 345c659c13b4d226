//! One requested write, with its user and its tool.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::Write;

/// A write, and the circumstances of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The old and the new object.
    pub write: Write,
    /// Whether the API server only simulates the write (`--dry-run=server`) and stores nothing.
    pub dry_run: bool,
    /// The authenticated user.
    pub user: User,
    /// The field manager that asks (`fieldManager` of the options); empty where none is told.
    pub manager: String,
}

/// The authenticated user (`authentication/v1` UserInfo).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct User {
    /// `userInfo.username`, such as `system:serviceaccount:ci:deployer`.
    #[serde(rename = "username")]
    pub name: String,
    /// `userInfo.uid`; empty where authentication gives none.
    #[serde(deserialize_with = "or_nothing")]
    pub uid: String,
    /// `userInfo.groups`, such as `system:authenticated`.
    #[serde(deserialize_with = "or_nothing")]
    pub groups: Vec<String>,
    /// `userInfo.extra`: further facts from authentication, which authorisers may use.
    #[serde(deserialize_with = "or_nothing")]
    pub extra: BTreeMap<String, Vec<String>>,
}

fn or_nothing<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A deployment tool with a hint of its own in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Argo CD.
    ArgoCd,
    /// Flux: its kustomize-controller or helm-controller.
    Flux,
    /// Helm.
    Helm,
}

impl Change {
    /// The deployment tool that asks, where its field manager is known.
    #[must_use]
    pub fn tool(&self) -> Option<Tool> {
        Tool::of_field_manager(&self.manager)
    }
}

impl Tool {
    /// The word in the audit log and the history: `argo-cd`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ArgoCd => "argo-cd",
            Self::Flux => "flux",
            Self::Helm => "helm",
        }
    }

    /// The tool with this field manager; `None` for any other manager, `kubectl` included.
    #[must_use]
    pub fn of_field_manager(manager: &str) -> Option<Self> {
        match manager {
            "helm" => Some(Self::Helm),
            "kustomize-controller" | "helm-controller" => Some(Self::Flux),
            "argocd-controller" | "argocd-application-controller" | "argocd" => Some(Self::ArgoCd),
            _ => None,
        }
    }
}
