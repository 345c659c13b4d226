//! What a request would do to an object.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{Change, Kind, Labels, Selector, Service, Strategy, Timestamp, Workload, Write};

/// An object of the ledger's namespace: `service/app`, `deployment/app-green`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// What one or several requests would do to one state of an object. Only one of them can: the API server commits by
/// compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// Which attempts: random, one for each that would do the same.
    pub ids: Vec<String>,
    /// The object.
    pub object: ObjectRef,
    /// Its uid, also of one that is to be created.
    pub uid: String,
    /// The `resourceVersion` that the attempts start from; empty for an object that is to be created.
    pub base: String,
    /// What would become of it.
    pub effect: IntendedChange,
    /// Who asked first.
    pub user: String,
    /// The field manager that asked first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
    /// When, by the API server's clock; 0 until it has answered.
    pub at: Timestamp,
}

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IntendedChange {
    /// It goes; of a Service, with what it selects.
    #[serde(rename_all = "camelCase")]
    Gone {
        /// What the Service selected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selector: Option<Selector>,
    },
    /// It wants another number of Pods.
    Scaled {
        /// How many.
        to: u32,
    },
    /// A Service after its change, or a new one.
    Service(ServiceAfter),
    /// A workload after its change, not yet seen by its controller.
    Workload(WorkloadAfter),
}

/// What the rules read of a Service that is changed or created.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAfter {
    /// What it selected before.
    pub from: Selector,
    /// What it would select; nothing for a DNS alias.
    pub to: Selector,
    /// The annotations that flipguard reads.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
}

/// What the rules read of a workload that is changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadAfter {
    /// How many Pods it would want.
    pub desired: u32,
    /// Whether its rollout would be paused.
    pub paused: bool,
    /// The labels of its Pod template.
    pub labels: Labels,
    /// Whether anything else of the template would be another.
    pub template_changes: bool,
    /// How the template would reach its Pods.
    pub strategy: Strategy,
    /// The ordinal of a StatefulSet's first Pod.
    pub first_ordinal: u32,
    /// Whether it would have other owners: one that does not exist would take it along.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owners_change: bool,
    /// The annotations that flipguard reads.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
}

impl Intent {
    /// What a change would do; `None` for one that can take nothing away.
    #[must_use]
    pub fn of(change: &Change, id: String) -> Option<Self> {
        let routed = |service: &Service| service.routed().clone();
        let (object, uid, base, effect) = match &change.write {
            Write::ServiceUpdate { old, new } => {
                let after =
                    ServiceAfter { from: routed(old), to: routed(new), annotations: new.meta.annotations.clone() };
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
                };
                // It has its uid already (Kubernetes, `registry/rest`, `FillObjectMetaSystemFields`), and no version yet.
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
            Write::WorkloadCreate { .. } | Write::Other => return None,
        };
        let (uid, base, user) = (uid.clone(), base.clone(), change.user.name.clone());
        let manager = change.manager.clone();
        Some(Self { ids: vec![id], object, uid, base, effect, user, manager, at: Timestamp(0) })
    }

    /// Whether two intents are about the same state of the same object, so that at most one of them happens.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        self.object == other.object && self.uid == other.uid && self.base == other.base
    }

    /// Whether it creates its object.
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
            first_ordinal: new.first_ordinal,
            owners_change: new.meta.owners != old.meta.owners,
            annotations: new.meta.annotations.clone(),
        }
    }
}

impl ObjectRef {
    /// A Service.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self { kind: Kind::Service, name: name.to_owned() }
    }

    fn of(workload: &Workload) -> Self {
        Self { kind: Kind::Workload(workload.kind), name: workload.meta.name.clone() }
    }
}

/// As `kubectl` takes it.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.singular(), self.name)
    }
}

/// What it does, in the rules' words: `the scaling of deployment/app-green to 0`.
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
