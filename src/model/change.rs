//! One write that somebody asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::Write;

/// A write, and how it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The write itself.
    pub write: Write,
    /// Whether nothing is to be stored (`--dry-run=server`).
    pub dry_run: bool,
    /// Who asks.
    pub user: User,
    /// The field manager that asks (`fieldManager` of the options); empty where none is told.
    pub manager: String,
}

/// Who asks, as authentication said (`authentication/v1` UserInfo).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct User {
    /// The name.
    #[serde(rename = "username")]
    pub name: String,
    /// The uid, where there is one.
    #[serde(deserialize_with = "or_nothing")]
    pub uid: String,
    /// The groups.
    #[serde(deserialize_with = "or_nothing")]
    pub groups: Vec<String>,
    /// What else authentication said; authorisers may use it.
    #[serde(deserialize_with = "or_nothing")]
    pub extra: BTreeMap<String, Vec<String>>,
}

fn or_nothing<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A deployment tool.
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
    /// The tool behind a field manager.
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
