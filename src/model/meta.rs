//! `ObjectMeta`, reduced to the fields that rules read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{GATE_PREFIX, Timestamp, WorkloadKind};
use json_skip::Raw;

/// Labels; also used for other maps from string to string.
pub type Labels = BTreeMap<String, String>;

/// The annotations that flipguard reads, besides those of gates ([`GATE_PREFIX`]). All others are dropped
/// while decoding. An annotation may hold a whole manifest
/// (`kubectl.kubernetes.io/last-applied-configuration`).
pub mod annotation {
    /// On a Pod template: the time of a `kubectl rollout restart`.
    pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
    /// On a ReplicaSet's template, a label: the hash of the template (Kubernetes, `apps/v1`).
    pub const TEMPLATE_HASH: &str = "pod-template-hash";

    /// Defines each key, and the list of all decoded keys.
    macro_rules! annotations {
        ($($(#[doc = $doc:literal])+ $name:ident = $key:literal;)+) => {
            $($(#[doc = $doc])+ pub const $name: &str = $key;)+

            /// All decoded keys.
            pub const READ: &[&str] = &[$($name),+];
        };
    }

    annotations! {
        /// On a Service: `"false"` opts the Service out of flipguard.
        GUARD = "flipguard.dev/guard";
        /// On a Service: `traffic` or `preview`, where name and selector do not show the role.
        ROLE = "flipguard.dev/role";
        /// On a Service that Argo Rollouts routes: the name of its Rollout (Argo Rollouts, `utils/defaults`).
        ARGO_ROLLOUTS = "argo-rollouts.argoproj.io/managed-by-rollouts";
        /// The revision number of a Deployment's template. The controller sets it on the Deployment and on its
        /// ReplicaSets (Kubernetes, `pkg/controller/deployment/util`).
        REVISION = "deployment.kubernetes.io/revision";
        /// The name of the main container, by default that of `kubectl logs` and `exec` (Kubernetes, well-known
        /// annotations).
        DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container";
        /// The labels that flipguard added to a Deployment: `metadata/version,template/version`.
        ADDED_LABELS = "flipguard.dev/added-labels";
        /// On a Service: the number of Pods of its live colour that must stay ready.
        MIN_REPLICAS = "flipguard.dev/min-replicas";
        /// On a Service: the time for which the previous colour is kept after a flip, such as `10m`.
        HOLD = "flipguard.dev/hold";
        /// On a Service: the image or label that the target of a flip has to run, such as `app:2.0` or `version=2.0`.
        EXPECT = "flipguard.dev/expect";
        /// On a Service: how long after a rollback the version that it left is denied, such as `1h`.
        QUARANTINE = "flipguard.dev/quarantine";
        /// On a Service: findings of `flipguard audit` that are accepted, each with a reason: `no-pdb: one node only`.
        ACCEPT = "flipguard.dev/accept";
        /// On a Service or a workload: `<RFC 3339 time> <reason>`. Until that time, denied changes are allowed.
        OVERRIDE = "flipguard.dev/override";
        /// On a Job with the label of a gate: the workload that it tests, such as `deployment/app-green`.
        TARGET = "flipguard.dev/target";
        /// On such a Job, written by flipguard: the hashes of what it tests.
        TESTED = "flipguard.dev/tested";
        /// On a Deployment: the revision to undo to. Deprecated, but still obeyed (Kubernetes,
        /// `pkg/controller/deployment/rollback.go`).
        ROLLBACK = "deprecated.deployment.rollback.to";
    }
}

/// The `ObjectMeta` of an object, reduced to the fields that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// `metadata.namespace`; empty in manifests that name none.
    pub namespace: String,
    /// `metadata.name`; empty on `deletecollection`.
    pub name: String,
    /// `metadata.uid`; empty on objects that were never stored.
    pub uid: String,
    /// `metadata.resourceVersion`: opaque; two values may only be compared for equality (API concepts, "Resource
    /// versions").
    pub resource_version: String,
    /// `metadata.creationTimestamp`; `None` on objects that were never stored.
    pub created: Option<Timestamp>,
    /// `metadata.generation`, which the API server increments with each change of `spec`.
    pub generation: i64,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `metadata.labels`, complete.
    pub labels: Labels,
    /// The annotations that flipguard reads (see [`annotation`]).
    pub annotations: Labels,
    /// Whether the object has any annotation, read or not.
    pub is_annotated: bool,
    /// The `ownerReference` with `controller: true`.
    pub controller: Option<Owner>,
    /// All `ownerReferences`, the controller included. Once no owner exists, the garbage collector deletes the object.
    pub owners: Vec<Owner>,
}

/// An `ownerReference`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Owner {
    /// `apiVersion`, such as `apps/v1`.
    pub api_version: String,
    /// `kind`, such as `ReplicaSet`.
    pub kind: String,
    /// `name` of the owner, in the same namespace.
    pub name: String,
    /// `uid` of the owner.
    pub uid: String,
}

/// Writes the kind and the name: `Deployment app`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Owner {
    /// The kind of the owning workload; `None` outside the API group `apps`. Every version of the group counts.
    #[must_use]
    pub fn workload_kind(&self) -> Option<WorkloadKind> {
        let is_apps = self.api_version.split_once('/').is_some_and(|(group, _)| group == "apps");
        WorkloadKind::ALL.into_iter().find(|kind| is_apps && kind.name() == self.kind)
    }
}

impl Meta {
    /// The value of a read annotation. An empty value counts as absent.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The gates with an annotation, each with its value. An empty value counts as absent.
    pub fn gates(&self) -> impl Iterator<Item = (&str, &str)> {
        self.annotations
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(key, value)| Some((key.strip_prefix(GATE_PREFIX)?, value.as_str())))
    }

    /// The value of `flipguard.dev/role`, if there is no such role.
    #[must_use]
    pub fn unknown_role(&self) -> Option<&str> {
        self.annotation(annotation::ROLE).filter(|role| !["traffic", "preview"].contains(role))
    }

    /// Whether the controlling owner is the object with this uid.
    #[must_use]
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller.as_ref().is_some_and(|owner| owner.uid == uid)
    }
}

/// An undecoded `ObjectMeta`. The texts of two states are compared before any field is decoded.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetaManifest<'a> {
    #[serde(borrow)]
    name: Option<Raw<'a>>,
    #[serde(borrow)]
    namespace: Option<Raw<'a>>,
    #[serde(borrow)]
    uid: Option<Raw<'a>>,
    #[serde(borrow)]
    resource_version: Option<Raw<'a>>,
    #[serde(borrow)]
    creation_timestamp: Option<Raw<'a>>,
    #[serde(borrow)]
    generation: Option<Raw<'a>>,
    #[serde(borrow)]
    deletion_timestamp: Option<Raw<'a>>,
    #[serde(borrow)]
    labels: Option<Raw<'a>>,
    #[serde(borrow)]
    annotations: Option<Annotations<'a>>,
    #[serde(borrow)]
    owner_references: Option<Raw<'a>>,
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

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MetaManifest::deserialize(deserializer)?.meta().map_err(D::Error::custom)
    }
}

impl MetaManifest<'_> {
    /// Whether two states have the same owners and the same read annotations. The undecoded texts are compared.
    #[must_use]
    pub fn looks_like(&self, other: &Self) -> bool {
        self.owner_references == other.owner_references && self.read() == other.read()
    }

    fn read(&self) -> &[(Cow<'static, str>, Raw<'_>)] {
        self.annotations.as_ref().map_or(&[], |annotations| &annotations.0)
    }

    /// Decodes the metadata.
    ///
    /// # Errors
    /// When a field has the wrong type; the message names the field.
    pub fn meta(self) -> Result<Meta, String> {
        let mut controller = None;
        let mut owners = Vec::new();
        for reference in decoded::<Vec<OwnerReference>>("ownerReferences", self.owner_references)? {
            let controls = reference.controller == Some(true);
            let owner = Owner::from(reference);
            if controls && controller.is_none() {
                controller = Some(owner.clone());
            }
            owners.push(owner);
        }
        let is_annotated = self.annotations.is_some();
        let mut annotations = Labels::new();
        for (key, value) in self.annotations.map(|annotations| annotations.0).unwrap_or_default() {
            let value = decoded(&key, Some(value))?;
            annotations.insert(key.into_owned(), value);
        }
        Ok(Meta {
            namespace: decoded("namespace", self.namespace)?,
            name: decoded("name", self.name)?,
            uid: decoded("uid", self.uid)?,
            resource_version: decoded("resourceVersion", self.resource_version)?,
            created: decoded("creationTimestamp", self.creation_timestamp)?,
            generation: decoded("generation", self.generation)?,
            deleting: decoded::<Option<String>>("deletionTimestamp", self.deletion_timestamp)?.is_some(),
            labels: decoded("labels", self.labels)?,
            is_annotated,
            annotations,
            controller,
            owners,
        })
    }
}

fn decoded<T: DeserializeOwned + Default>(field: &str, raw: Option<Raw<'_>>) -> Result<T, String> {
    let Some(raw) = raw else { return Ok(T::default()) };
    json_skip::from_str(&raw).map_err(|error| format!("`{field}`: {error}"))
}

/// The read annotations. The others are skipped while decoding and never held.
#[derive(Debug)]
struct Annotations<'a>(Vec<(Cow<'static, str>, Raw<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keep;
        impl<'de> Visitor<'de> for Keep {
            type Value = Annotations<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations<'de>, A::Error> {
                let mut kept = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    match key {
                        Some(key) => kept.push((key, map.next_value()?)),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Annotations(kept))
            }
        }
        deserializer.deserialize_map(Keep)
    }
}

/// The key of an annotation; `None` if flipguard does not read it.
struct Key(Option<Cow<'static, str>>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Known;
        impl Visitor<'_> for Known {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the key of an annotation")
            }

            fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
                let known = annotation::READ.iter().copied().find(|read| *read == key).map(Cow::Borrowed);
                Ok(Key(known.or_else(|| key.starts_with(GATE_PREFIX).then(|| Cow::Owned(key.to_owned())))))
            }
        }
        deserializer.deserialize_str(Known)
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
