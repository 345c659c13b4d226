//! One write that somebody asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{Service, Workload, WorkloadKind};

/// A write, and how it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The write itself.
    pub write: Write,
    /// Whether nothing is to be stored (`--dry-run=server`).
    pub dry_run: bool,
    /// Who asks.
    pub user: User,
    /// The deployment tool that asks, where its field manager is known.
    pub tool: Option<Tool>,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A Service is changed.
    ServiceUpdate {
        /// As it is stored.
        old: Box<Service>,
        /// As it would be.
        new: Box<Service>,
    },
    /// A Service is created.
    ServiceCreate {
        /// As it would be.
        new: Box<Service>,
    },
    /// A Service is deleted.
    ServiceDelete {
        /// As it is stored.
        old: Box<Service>,
    },
    /// A workload is created.
    WorkloadCreate {
        /// As it would be.
        new: Box<Workload>,
    },
    /// A workload is changed.
    WorkloadUpdate {
        /// As it is stored.
        old: Box<Workload>,
        /// As it would be.
        new: Box<Workload>,
    },
    /// A workload is deleted, by whatever propagation policy.
    WorkloadDelete {
        /// As it is stored.
        old: Box<Workload>,
    },
    /// A workload is scaled by its subresource, which says neither labels nor status.
    Scale {
        /// What is scaled.
        kind: WorkloadKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// Its `resourceVersion`: a Scale has that of its workload.
        version: String,
        /// How many Pods it wanted.
        from: u32,
        /// How many it would want.
        to: u32,
    },
    /// Something that no rule speaks on.
    Other,
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

    /// How it goes on when the live colour may not get a new version: most likely the flip to it was a part of the same
    /// release, and came first.
    #[must_use]
    pub fn hint_on_redeploy(self) -> &'static str {
        match self {
            Self::ArgoCd => {
                "if the same commit flips to this colour: revert it, and put the Service into a later sync wave, so that \
                 the flip comes last"
            }
            Self::Flux => {
                "if the same commit flips to this colour: revert all of it, and put the Service into a Kustomization of \
                 its own with dependsOn and wait: true, so that the flip comes last"
            }
            Self::Helm => {
                "if the same release flips to this colour: helm rollback; then deploy in one release (with --wait) and \
                 flip in the next"
            }
        }
    }

    /// How it goes on after a refusal that waiting mends.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::ArgoCd => {
                "Argo CD tries again by itself where syncPolicy.retry is set; a later sync wave for the Service makes it \
                 wait for the new colour"
            }
            Self::Flux => {
                "Flux tries again at its next interval; to wait in order, put the Service into a Kustomization of its own \
                 with dependsOn and wait: true"
            }
            Self::Helm => {
                "run the same helm upgrade again once the new colour is ready; to do it in one go, deploy the colour in \
                 one release (with --wait) and flip in the next"
            }
        }
    }
}
