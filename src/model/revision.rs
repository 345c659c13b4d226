//! Revisions: the earlier templates of StatefulSets and DaemonSets. Those of Deployments are ReplicaSets.

use serde::Deserialize;
use serde_json::Value;

use super::{Meta, Workload};
use json_skip::Raw;

/// An `apps/v1` ControllerRevision, reduced to the fields that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Manifest<'_>")]
pub struct Revision {
    /// `metadata`; its controller is the StatefulSet or DaemonSet.
    pub meta: Meta,
    /// `data.spec.template.spec` as JSON; empty where `data` holds something else.
    pub template_spec: Box<str>,
}

impl Revision {
    /// Whether this revision has the current template of a workload. Values are compared, not texts: the keys of a
    /// revision stand in another order (Kubernetes, `pkg/controller/history`).
    #[must_use]
    pub fn matches_template(&self, workload: &Workload) -> bool {
        let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
        parse(&self.template_spec).is_some_and(|kept| parse(&workload.template.spec).as_ref() == Some(&kept))
    }
}

#[derive(Deserialize)]
struct Manifest<'a> {
    metadata: Meta,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Default, Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
}

#[derive(Default, Deserialize)]
struct Spec<'a> {
    #[serde(borrow)]
    template: Option<Template<'a>>,
}

#[derive(Default, Deserialize)]
struct Template<'a> {
    #[serde(borrow)]
    spec: Option<Raw<'a>>,
}

impl From<Manifest<'_>> for Revision {
    fn from(manifest: Manifest<'_>) -> Self {
        let spec = manifest.data.unwrap_or_default().spec.unwrap_or_default();
        let template_spec = spec.template.unwrap_or_default().spec;
        Self { meta: manifest.metadata, template_spec: template_spec.map(Raw::into).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{WorkloadKind, WorkloadManifest};

    #[test]
    fn keys_may_stand_in_another_order() {
        let revision: Revision = serde_json::from_str(
            r#"{"metadata":{},"data":{"spec":{"template":{"$patch":"replace","spec":{"a":1,"containers":[]}}}}}"#,
        )
        .unwrap();
        let with = |spec: &str| {
            let manifest = format!(r#"{{"metadata":{{}},"spec":{{"template":{{"spec":{spec}}}}}}}"#);
            let manifest: WorkloadManifest = serde_json::from_str(&manifest).unwrap();
            manifest.into_workload(WorkloadKind::StatefulSet)
        };
        assert!(revision.matches_template(&with(r#"{"containers":[],"a":1}"#)));
        assert!(!revision.matches_template(&with(r#"{"containers":[],"a":2}"#)));
        let other: Revision = serde_json::from_str(r#"{"metadata":{},"data":{"x":1}}"#).unwrap();
        assert!(!other.matches_template(&with(r#"{"containers":[],"a":1}"#)));
    }
}
