//! Reads of the objects that only the audit looks at. Each kind may be missing: its checks are skipped.

use kube::core::Request;
use kube::core::params::ListParams;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::connect::causes;
use super::namespace::Page;
use super::request::within;
use super::snapshot::{PAGE, Scan, TIME};
use crate::audit::extras::Extras;

impl Scan {
    /// Reads the objects of a namespace that only the audit looks at.
    pub async fn extras(&self, namespace: &str) -> Extras {
        let deadline = Instant::now() + TIME;
        let (budgets, autoscalers, claims, jobs, ingresses, affinities) = tokio::join!(
            self.list("/apis/policy/v1", namespace, "poddisruptionbudgets", deadline),
            self.list("/apis/autoscaling/v2", namespace, "horizontalpodautoscalers", deadline),
            self.list("/api/v1", namespace, "persistentvolumeclaims", deadline),
            self.list("/apis/batch/v1", namespace, "jobs", deadline),
            self.list("/apis/networking.k8s.io/v1", namespace, "ingresses", deadline),
            self.list("/api/v1", namespace, "services", deadline),
        );
        let mut skipped = Vec::new();
        Extras {
            budgets: kept(budgets, &mut skipped),
            autoscalers: kept(autoscalers, &mut skipped),
            claims: kept(claims, &mut skipped),
            jobs: kept(jobs, &mut skipped),
            ingresses: kept(ingresses, &mut skipped),
            affinities: kept(affinities, &mut skipped),
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
        let unread = |why: String| format!("{resource} in namespace {namespace}: {why}");
        let path = format!("{api}/namespaces/{namespace}/{resource}");
        let mut params = ListParams::default().limit(PAGE);
        let mut items = Vec::new();
        loop {
            let request = Request::new(path.clone()).list(&params).map_err(|error| unread(causes(&error)))?;
            let text = within(deadline, self.client.request_text(request)).await;
            let text = text.map_err(|error| unread(error.to_string()))?;
            let page: Page<T> = serde_json::from_str(&text).map_err(|error| unread(error.to_string()))?;
            items.extend(page.items.into_iter().flatten());
            match page.metadata.unwrap_or_default().more.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(items),
            }
        }
    }
}

fn kept<T>(read: Result<Vec<T>, String>, skipped: &mut Vec<String>) -> Option<Vec<T>> {
    read.map_err(|why| skipped.push(why)).ok()
}
