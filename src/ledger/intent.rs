//! Intents: the change that a request would make to an object.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{Change, Kind, Labels, Selector, Service, Strategy, Timestamp, Workload, Write};

/// An object of the ledger's namespace: `service/app`, `deployment/app-green`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// The kind: Service, or one of the four workload kinds.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: String,
}

/// The change that one or several requests would make to one state of an object. Only one of them can commit, because
/// the API server commits by compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The random ids of the attempts: one for each request with the same change.
    pub ids: Vec<String>,
    /// The object that would change.
    pub object: ObjectRef,
    /// `metadata.uid` of the object, set also on one that is to be created.
    pub uid: String,
    /// `metadata.resourceVersion` from which the attempts start; empty for an object that is to be created.
    pub base: String,
    /// The change itself.
    pub effect: IntendedChange,
    /// The name of the user whose request came last.
    pub user: String,
    /// The field manager that asked last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
    /// When it was last asked for, by the API server's clock; 0 until it has answered.
    pub at: Timestamp,
    /// Whether there were more attempts than are known by their ids. The intent then stays until its object changes, or
    /// until its newest attempt expires.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_crowded: bool,
}

/// The change of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IntendedChange {
    /// The object is deleted.
    #[serde(rename_all = "camelCase")]
    Gone {
        /// The selector of a deleted Service; `None` for a workload.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selector: Option<Selector>,
    },
    /// The number of desired Pods changes, and nothing else.
    Scaled {
        /// `spec.replicas` after the change.
        to: u32,
    },
    /// A Service is changed or created.
    Service(ServiceAfter),
    /// A workload is changed; its controller has not seen the change yet.
    Workload(WorkloadAfter),
}

/// The parts of a changed or new Service that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAfter {
    /// The selector before the change; empty for a new Service.
    pub from: Selector,
    /// The selector after the change; empty for a DNS alias.
    pub to: Selector,
    /// The read annotations after the change.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
    /// Whether the annotations set the Service aside from now on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opts_out: bool,
}

/// The parts of a changed workload that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadAfter {
    /// `spec.replicas` after the change.
    pub desired: u32,
    /// `spec.paused` after the change.
    pub paused: bool,
    /// The labels of the Pod template after the change.
    pub labels: Labels,
    /// Whether anything else in the template changes.
    pub template_changes: bool,
    /// The update strategy after the change.
    pub strategy: Strategy,
    /// `updateStrategy.rollingUpdate.partition` of a StatefulSet.
    #[serde(default)]
    pub partition: u32,
    /// `spec.ordinals.start` after the change; 0 by default.
    pub first_ordinal: u32,
    /// Whether the owners change. If no new owner exists, the garbage collector deletes the workload.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owners_change: bool,
    /// The read annotations after the change.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
}

impl Intent {
    /// The intent of a change; `None` if the change can take nothing away.
    #[must_use]
    pub fn of(change: &Change, id: String) -> Option<Self> {
        let routed = |service: &Service| service.routed().clone();
        let (object, uid, base, effect) = match &change.write {
            Write::ServiceUpdate { old, new } => {
                let after = ServiceAfter {
                    from: routed(old),
                    to: routed(new),
                    annotations: new.meta.annotations.clone(),
                    opts_out: new.is_set_aside() && !old.is_set_aside(),
                };
                (
                    ObjectRef::service(&old.meta.name),
                    &old.meta.uid,
                    &old.meta.resource_version,
                    IntendedChange::Service(after),
                )
            }
            Write::ServiceCreate { new } => {
                let after = ServiceAfter {
                    from: Selector::nothing(),
                    to: routed(new),
                    annotations: new.meta.annotations.clone(),
                    opts_out: false,
                };
                // A new object already has its uid (Kubernetes, `registry/rest`, `FillObjectMetaSystemFields`), but no
                // version yet.
                (
                    ObjectRef::service(&new.meta.name),
                    &new.meta.uid,
                    const { &String::new() },
                    IntendedChange::Service(after),
                )
            }
            Write::ServiceDelete { old } => {
                let effect = IntendedChange::Gone { selector: Some(routed(old)) };
                (ObjectRef::service(&old.meta.name), &old.meta.uid, &old.meta.resource_version, effect)
            }
            Write::WorkloadUpdate { old, new } => (
                ObjectRef::of(old),
                &old.meta.uid,
                &old.meta.resource_version,
                IntendedChange::Workload(WorkloadAfter::of(old, new)),
            ),
            Write::WorkloadDelete { old } => {
                (ObjectRef::of(old), &old.meta.uid, &old.meta.resource_version, IntendedChange::Gone { selector: None })
            }
            Write::Scale { kind, name, uid, resource_version: version, to, .. } => (
                ObjectRef { kind: Kind::Workload(*kind), name: name.clone() },
                uid,
                version,
                IntendedChange::Scaled { to: *to },
            ),
            Write::WorkloadCreate { .. }
            | Write::JobCreate { .. }
            | Write::JobUpdate { .. }
            | Write::JobDelete { .. }
            | Write::Other => return None,
        };
        let (uid, base, user) = (uid.clone(), base.clone(), change.user.name.clone());
        let manager = change.manager.clone();
        Some(Self { ids: vec![id], object, uid, base, effect, user, manager, at: Timestamp(0), is_crowded: false })
    }

    /// Whether two intents start from the same state of the same object, so that at most one can commit.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        self.object == other.object && self.uid == other.uid && self.base == other.base
    }

    /// Whether the intent creates its object.
    #[must_use]
    pub fn creates(&self) -> bool {
        self.base.is_empty()
    }
}

impl WorkloadAfter {
    fn of(old: &Workload, new: &Workload) -> Self {
        Self {
            desired: new.desired,
            paused: new.paused,
            labels: new.template.labels.clone(),
            template_changes: new.template != old.template,
            strategy: new.strategy,
            partition: new.partition,
            first_ordinal: new.first_ordinal,
            owners_change: new.meta.owners != old.meta.owners,
            annotations: new.meta.annotations.clone(),
        }
    }
}

impl ObjectRef {
    /// The Service with this name.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self { kind: Kind::Service, name: name.to_owned() }
    }

    fn of(workload: &Workload) -> Self {
        Self { kind: Kind::Workload(workload.kind), name: workload.meta.name.clone() }
    }
}

/// Writes the object as `kubectl` takes it: `service/app`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.singular(), self.name)
    }
}

/// Writes the change in the rules' words: `the scaling of deployment/app-green to 0`.
impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = &self.object;
        match &self.effect {
            IntendedChange::Gone { .. } => write!(f, "the deletion of {object}"),
            IntendedChange::Scaled { to } => write!(f, "the scaling of {object} to {to}"),
            IntendedChange::Service(after) if self.creates() => write!(f, "the creation of {object} for {}", after.to),
            IntendedChange::Service(after) if after.from != after.to => {
                write!(f, "the flip of {object} to {}", after.to)
            }
            IntendedChange::Service(_) | IntendedChange::Workload(_) => write!(f, "a change of {object}"),
        }
    }
}

impl Serialize for ObjectRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let unknown = || D::Error::custom(format!("`{text}` is not like service/app or deployment/app-green"));
        let (kind, name) = text.split_once('/').ok_or_else(unknown)?;
        Ok(Self { kind: Kind::of_singular(kind).ok_or_else(unknown)?, name: name.to_owned() })
    }
}
