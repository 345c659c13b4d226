//! What every object carries: `ObjectMeta`, trimmed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Timestamp;

/// Labels, and anything else that maps a string to a string.
pub type Labels = BTreeMap<String, String>;

/// The annotations that flipguard reads. All others are dropped while decoding: an annotation may hold a whole
/// manifest (`kubectl.kubernetes.io/last-applied-configuration`).
pub mod annotation {
    /// `"false"` takes a Service out of flipguard's care.
    pub const GUARD: &str = "flipguard.dev/guard";
    /// `traffic` or `preview`: says what a Service is for, where its name and selector do not.
    pub const ROLE: &str = "flipguard.dev/role";
    /// Set by Argo Rollouts on the Services that it routes itself (Argo Rollouts, `utils/defaults`).
    pub const ARGO_ROLLOUTS: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";
    /// The Deployment controller's number for a template, on the Deployment and on its ReplicaSets
    /// (Kubernetes, `pkg/controller/deployment/util`).
    pub const REVISION: &str = "deployment.kubernetes.io/revision";

    /// The container that `kubectl` takes for the main one (Kubernetes, well-known annotations).
    pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
    /// The labels that flipguard added to a Deployment: `metadata/version,template/version`.
    pub const ADDED_LABELS: &str = "flipguard.dev/added-labels";

    /// On a Service: how many ready Pods its live colour must keep.
    pub const MIN_REPLICAS: &str = "flipguard.dev/min-replicas";

    /// On a Service: for how long the colour before the last flip is kept, such as `10m`.
    pub const HOLD: &str = "flipguard.dev/hold";

    /// On a Service or a workload: `<RFC 3339 time> <reason>`, a permission to do what would be refused.
    pub const OVERRIDE: &str = "flipguard.dev/override";

    /// On a Deployment: go back to this revision. Deprecated, and still obeyed (Kubernetes,
    /// `pkg/controller/deployment/rollback.go`).
    pub const ROLLBACK: &str = "deprecated.deployment.rollback.to";

    pub(super) const READ: [&str; 10] =
        [GUARD, ROLE, ARGO_ROLLOUTS, REVISION, DEFAULT_CONTAINER, ADDED_LABELS, MIN_REPLICAS, HOLD, OVERRIDE, ROLLBACK];
}

/// The trimmed `ObjectMeta` of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Manifest")]
pub struct Meta {
    /// The namespace; empty where a file does not say.
    pub namespace: String,
    /// The name; empty on a `deletecollection`.
    pub name: String,
    /// The uid; empty on objects that were never stored.
    pub uid: String,
    /// `resourceVersion`: which state of the object this is. Opaque, equal or not (API concepts, "Resource versions").
    pub version: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Counts the changes of `spec`.
    pub generation: i64,
    /// Whether `deletionTimestamp` is set.
    pub deleting: bool,
    /// All labels.
    pub labels: Labels,
    /// The annotations that flipguard reads (see [`annotation`]).
    pub annotations: Labels,
    /// Whether it has any annotation at all.
    pub is_annotated: bool,
    /// The owner that has `controller: true`.
    pub controller: Option<Owner>,
    /// All owners, that one included. Once none of them exists, the garbage collector deletes the object.
    pub owners: Vec<Owner>,
}

/// An owner of an object: what an `ownerReference` says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Owner {
    /// Its API group and version, such as `apps/v1`.
    pub api_version: String,
    /// Its kind, such as `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// The kind and the name: `Deployment app`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Meta {
    /// The value of an annotation that flipguard reads. An empty one says nothing, as if it were not there.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether the controlling owner is the object with this uid.
    #[must_use]
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller.as_ref().is_some_and(|owner| owner.uid == uid)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Timestamp>,
    generation: Option<i64>,
    deletion_timestamp: Option<String>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerReference {
    api_version: Option<String>,
    kind: String,
    name: Option<String>,
    uid: String,
    controller: Option<bool>,
}

impl From<OwnerReference> for Owner {
    fn from(reference: OwnerReference) -> Self {
        Self {
            api_version: reference.api_version.unwrap_or_default(),
            kind: reference.kind,
            name: reference.name.unwrap_or_default(),
            uid: reference.uid,
        }
    }
}

impl From<Manifest> for Meta {
    fn from(manifest: Manifest) -> Self {
        let mut controller = None;
        let mut owners = Vec::new();
        for reference in manifest.owner_references.into_iter().flatten() {
            let controls = reference.controller == Some(true);
            let owner = Owner::from(reference);
            if controls && controller.is_none() {
                controller = Some(owner.clone());
            }
            owners.push(owner);
        }
        Self {
            namespace: manifest.namespace.unwrap_or_default(),
            name: manifest.name.unwrap_or_default(),
            uid: manifest.uid.unwrap_or_default(),
            version: manifest.resource_version.unwrap_or_default(),
            created: manifest.creation_timestamp,
            generation: manifest.generation.unwrap_or_default(),
            deleting: manifest.deletion_timestamp.is_some(),
            labels: manifest.labels.unwrap_or_default(),
            is_annotated: manifest.annotations.is_some(),
            annotations: manifest.annotations.map(|read| read.0).unwrap_or_default(),
            controller,
            owners,
        }
    }
}

/// Only the annotations that are read, without ever holding the others.
struct Annotations(Labels);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keep;
        impl<'de> Visitor<'de> for Keep {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut kept = Labels::new();
                while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    if annotation::READ.contains(&key.as_ref()) {
                        kept.insert(key.into_owned(), map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Annotations(kept))
            }
        }
        deserializer.deserialize_map(Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_rules_read_and_drops_the_rest() {
        let meta: Meta = serde_json::from_str(
            r#"{"name":"app","annotations":{"flipguard.dev/role":"traffic","big":"manifest"},
                "ownerReferences":[{"kind":"A","uid":"1"},{"kind":"B","uid":"2","controller":true}],
                "labels":null,"deletionTimestamp":"2026-01-01T00:00:00Z"}"#,
        )
        .unwrap();
        assert_eq!(meta.annotations.len(), 1);
        assert_eq!(meta.annotation(annotation::ROLE), Some("traffic"));
        assert!(meta.is_controlled_by("2") && !meta.is_controlled_by("1"));
        assert_eq!(meta.owners.len(), 2);
        assert!(meta.deleting);
    }
}
