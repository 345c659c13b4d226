//! Reads of the objects that only the audit looks at. Each kind may be missing: its checks are skipped.

use kube::core::params::ListParams;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::pages::each;
use super::request::{Answer, Anything, RequestError, ask};
use super::snapshot::{Scan, TIME};
use crate::audit::extras::Extras;

impl Scan {
    /// Reads the objects of a namespace that only the audit looks at.
    pub async fn extras(&self, namespace: &str) -> Extras {
        let deadline = Instant::now() + TIME;
        let (
            budgets,
            autoscalers,
            claims,
            jobs,
            ingresses,
            reaches,
            slices,
            stateful_sets,
            http_routes,
            routes,
            rollouts,
        ) = tokio::join!(
            self.list("/apis/policy/v1", namespace, "poddisruptionbudgets", deadline),
            self.list("/apis/autoscaling/v2", namespace, "horizontalpodautoscalers", deadline),
            self.list("/api/v1", namespace, "persistentvolumeclaims", deadline),
            self.list("/apis/batch/v1", namespace, "jobs", deadline),
            self.list("/apis/networking.k8s.io/v1", namespace, "ingresses", deadline),
            self.list("/api/v1", namespace, "services", deadline),
            self.list("/apis/discovery.k8s.io/v1", namespace, "endpointslices", deadline),
            self.list("/apis/apps/v1", namespace, "statefulsets", deadline),
            self.list_if_served("/apis/gateway.networking.k8s.io/v1", namespace, "httproutes", deadline),
            self.list_if_served("/apis/route.openshift.io/v1", namespace, "routes", deadline),
            self.list_if_served("/apis/argoproj.io/v1alpha1", namespace, "rollouts", deadline),
        );
        let mut skipped = Vec::new();
        Extras {
            budgets: kept(budgets, &mut skipped),
            autoscalers: kept(autoscalers, &mut skipped),
            claims: kept(claims, &mut skipped),
            jobs: kept(jobs, &mut skipped),
            ingresses: kept(ingresses, &mut skipped),
            reaches: kept(reaches, &mut skipped),
            slices: kept(slices, &mut skipped),
            stateful_sets: kept(stateful_sets, &mut skipped),
            http_routes: kept(http_routes, &mut skipped),
            routes: kept(routes, &mut skipped),
            rollouts: kept(rollouts, &mut skipped),
            skipped,
        }
    }

    async fn list<T: DeserializeOwned>(
        &self,
        api: &str,
        namespace: &str,
        resource: &str,
        deadline: Instant,
    ) -> Result<Vec<T>, String> {
        let read = self.pages(&format!("{api}/namespaces/{namespace}/{resource}"), deadline).await;
        read.map_err(|error| format!("{resource} in namespace {namespace}: {error}"))
    }

    /// The same for a kind that not every cluster serves: there is none where it is not served.
    async fn list_if_served<T: DeserializeOwned>(
        &self,
        api: &str,
        namespace: &str,
        resource: &str,
        deadline: Instant,
    ) -> Result<Vec<T>, String> {
        match self.pages(&format!("{api}/namespaces/{namespace}/{resource}"), deadline).await {
            Err(RequestError::Api(kube::Error::Api(status))) if status.code == 404 => Ok(Vec::new()),
            // RBAC answers before it is known whether the kind is served.
            Err(RequestError::Api(kube::Error::Api(status)))
                if status.code == 403 && self.is_served(api, deadline).await == Some(false) =>
            {
                Ok(Vec::new())
            }
            read => read.map_err(|error| format!("{resource} in namespace {namespace}: {error}")),
        }
    }

    /// Whether a version of an API group is served, which everybody may ask (ClusterRole `system:discovery`); `None` where
    /// that cannot be read.
    async fn is_served(&self, api: &str, deadline: Instant) -> Option<bool> {
        let request = http::Request::get(api).body(Vec::new()).ok()?;
        match ask::<Anything>(&self.client, request, deadline).await.ok()? {
            Answer::Is(_) => Some(true),
            Answer::NotFound | Answer::NoPage(_) => Some(false),
            Answer::Forbidden(_) => None,
        }
    }

    async fn pages<T: DeserializeOwned>(&self, path: &str, deadline: Instant) -> Result<Vec<T>, RequestError> {
        let mut items = Vec::new();
        each(&self.client, path, ListParams::default(), deadline, |item| items.push(item)).await?;
        Ok(items)
    }
}

fn kept<T>(read: Result<Vec<T>, String>, skipped: &mut Vec<String>) -> Option<Vec<T>> {
    read.map_err(|why| skipped.push(why)).ok()
}
