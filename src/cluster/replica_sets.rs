//! The ReplicaSets of large namespaces.
//!
//! Most of them are old revisions of the Deployments of other apps, and no rule about a Service looks at those. So where
//! there are many, two lists take the place of one: the ReplicaSets of Deployments that have the labels of the Service's
//! Pods, and all that belong to no Deployment. `are_all` says whether that was enough. If not, all are listed.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Pod, Selector, Workload, WorkloadKind, annotation};

/// So many take longer to list than one more list.
const MANY: usize = 100;
/// The most namespaces that are known to be large.
const MOST_KNOWN: usize = 1024;

/// The namespaces that had many ReplicaSets when this replica last listed all of them. Losing it costs time, never safety.
#[derive(Debug, Default)]
pub struct LargeNamespaces(Mutex<BTreeSet<String>>);

impl LargeNamespaces {
    /// Whether a namespace had many.
    pub(super) fn contains(&self, namespace: &str) -> bool {
        self.known().contains(namespace)
    }

    /// Notes how many a namespace has.
    pub(super) fn saw(&self, namespace: &str, replica_sets: usize) {
        let mut known = self.known();
        if replica_sets < MANY {
            known.remove(namespace);
        } else if known.len() < MOST_KNOWN && !known.contains(namespace) {
            known.insert(namespace.to_owned());
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The label selectors of the two lists. The Deployment controller gives each ReplicaSet that it creates the labels of its
/// template, and the hash of the template (Kubernetes, `pkg/controller/deployment/sync.go`, `getNewReplicaSet`).
pub(super) fn selectors(labels: &Selector) -> [String; 2] {
    let hash = annotation::TEMPLATE_HASH;
    [format!("{labels},{hash}"), format!("!{hash}")]
}

/// Whether the listed ReplicaSets are all that belong to Deployments with these labels, and all that own these Pods.
///
/// A Deployment releases each ReplicaSet that its own selector does not match (Kubernetes, `controller_ref_manager.go`). So
/// where that selector has all the labels, its ReplicaSets have them too, whatever their templates were. An expression may
/// match several values of a label.
pub(super) fn are_all(listed: &[Workload], labels: &Selector, deployments: &[Workload], pods: &[Pod]) -> bool {
    let selects_by_all = |deployment: &Workload| {
        let mut keys = labels.pairs().map(|(key, _)| key);
        !deployment.selects_by_expressions && keys.all(|key| deployment.selector_keys.iter().any(|own| own == key))
    };
    let mut with_labels = deployments.iter().filter(|deployment| labels.matches(&deployment.template.labels));
    let owners = pods.iter().filter_map(|pod| pod.meta.controller.as_ref());
    let mut owners = owners.filter(|owner| owner.workload_kind() == Some(WorkloadKind::ReplicaSet));
    with_labels.all(selects_by_all) && owners.all(|owner| listed.iter().any(|one| one.meta.uid == owner.uid))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::cluster::fake::{FakeApi, read_shop};
    use crate::model::WorkloadManifest;

    fn labels() -> Selector {
        Selector::new([("app".to_owned(), "shop".to_owned())].into())
    }

    fn workload(kind: WorkloadKind, json: &str) -> Workload {
        serde_json::from_str::<WorkloadManifest>(json).unwrap().into_workload(kind)
    }

    fn deployment(selector: &str, app: &str) -> Workload {
        let json = format!(
            r#"{{"metadata":{{"name":"a","uid":"d"}},"spec":{{"selector":{selector},
                "template":{{"metadata":{{"labels":{{"app":"{app}","name":"a"}}}}}}}}}}"#
        );
        workload(WorkloadKind::Deployment, &json)
    }

    fn pod(owner: &str) -> Pod {
        let json = format!(
            r#"{{"metadata":{{"name":"p","labels":{{"app":"shop"}},"ownerReferences":[{{"apiVersion":"apps/v1",
                "kind":"ReplicaSet","name":"r","uid":"{owner}","controller":true}}]}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_deployment_that_selects_by_other_labels_may_have_others() {
        let is_enough = |deployment: Workload| are_all(&[], &labels(), &[deployment], &[]);
        let by_name = r#"{"matchLabels":{"name":"a"}}"#;
        let by_one_of_two = r#"{"matchLabels":{"name":"a"},
            "matchExpressions":[{"key":"app","operator":"In","values":["shop","store"]}]}"#;
        assert!(is_enough(deployment(r#"{"matchLabels":{"app":"shop","name":"a"}}"#, "shop")));
        assert!(!is_enough(deployment(by_name, "shop")), "its old templates may have had another app");
        assert!(!is_enough(deployment(by_one_of_two, "shop")), "its old templates may have been of the store");
        assert!(is_enough(deployment(by_name, "other")), "no rule looks at it");
    }

    #[test]
    fn a_pod_whose_owner_is_not_listed_shows_that_some_are_missing() {
        let listed = [workload(WorkloadKind::ReplicaSet, r#"{"metadata":{"name":"r","uid":"r1"}}"#)];
        assert!(are_all(&listed, &labels(), &[], &[pod("r1")]));
        assert!(!are_all(&listed, &labels(), &[], &[pod("r1"), pod("r2")]));
    }

    #[test]
    fn a_namespace_is_large_as_long_as_it_has_many() {
        let large = LargeNamespaces::default();
        large.saw("shop", MANY);
        assert!(large.contains("shop") && !large.contains("stage"));
        large.saw("shop", MANY - 1);
        assert!(!large.contains("shop"));
    }

    const APPS: &str = "/apis/apps/v1/namespaces/shop";

    /// The names of the ReplicaSets that are read for Pods with some labels, and the number of lists of ReplicaSets.
    async fn read(api: &FakeApi, large: &LargeNamespaces, labels: Selector) -> (Vec<String>, usize) {
        let path = format!("{APPS}/replicasets");
        let before = api.asked(&Method::GET, &path);
        let view = read_shop(&api.client(), large, labels).await;
        assert!(view.failures.is_empty(), "{:?}", view.failures);
        let is_replica_set = |workload: &&Workload| workload.kind == WorkloadKind::ReplicaSet;
        let names = view.workloads.iter().filter(is_replica_set).map(|one| one.meta.name.clone()).collect();
        (names, api.asked(&Method::GET, &path) - before)
    }

    #[tokio::test]
    async fn a_large_namespace_is_read_without_the_replica_sets_of_other_apps() {
        let (api, large) = (FakeApi::default(), LargeNamespaces::default());
        let put = |name: &str, labels: serde_json::Value| {
            let metadata = json!({ "name": name, "namespace": "shop", "labels": labels });
            api.put(&format!("{APPS}/replicasets/{name}"), json!({ "metadata": metadata }));
        };
        for number in 0..MANY {
            put(&format!("other-{number}"), json!({ "app": "other", "pod-template-hash": "h" }));
        }
        put("app-blue", json!({ "app": "shop", "color": "blue", "pod-template-hash": "h" }));
        put("standalone", json!({}));
        assert_eq!(read(&api, &large, labels()).await.1, 1, "its size is not known yet");
        let some = vec!["app-blue".to_owned(), "standalone".to_owned()];
        assert_eq!(read(&api, &large, labels()).await, (some, 2));
        let (all, lists) = read(&api, &large, Selector::nothing()).await;
        assert_eq!((all.len(), lists), (MANY + 2, 1), "a change of a workload looks at all");

        let metadata = json!({ "labels": { "app": "shop", "name": "app" } });
        let spec = json!({ "selector": { "matchLabels": { "name": "app" } }, "template": { "metadata": metadata } });
        api.put(&format!("{APPS}/deployments/app"), json!({ "metadata": { "name": "app" }, "spec": spec }));
        let (all, lists) = read(&api, &large, labels()).await;
        assert_eq!((all.len(), lists), (MANY + 2, 3), "its old ReplicaSets may have other labels");
    }
}
