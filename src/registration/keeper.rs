//! Keeps the registration filled in.
//!
//! The manifests create it empty, so installing locks nobody out; it is filled in only once a call to this replica
//! passes, and put back when somebody changes it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ValidatingWebhook, ValidatingWebhookConfiguration,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Config, Resource};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::webhooks::{self, Endpoint, Webhooks};
use crate::cluster::access::NAME;
use crate::cluster::connect::one_line;
use crate::server::Metrics;

/// How soon drift is seen.
const INTERVAL: Duration = Duration::from_secs(3);
/// How soon it is tried again while it does not guard yet.
const IMPATIENT: Duration = Duration::from_millis(300);

/// Who the server says it is in `managedFields`.
const FIELD_MANAGER: &str = "flipguard";

/// Keeps the registration.
pub struct Keeper {
    client: Client,
    validating: Vec<ValidatingWebhook>,
    mutating: Vec<MutatingWebhook>,
    endpoint: Endpoint,
    metrics: Arc<Metrics>,
}

/// Where the registration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// As wanted.
    InPlace,
    /// It is not, for this reason.
    Waiting(String),
    /// Nobody knows, for this reason: what was registered still is.
    Unknown(String),
}

impl Keeper {
    /// A keeper of these webhooks.
    #[must_use]
    pub fn new(client: Client, webhooks: &Webhooks<'_>, metrics: Arc<Metrics>) -> Self {
        let (validating, mutating) = (webhooks::validating(webhooks), webhooks::mutating(webhooks));
        Self { client, validating, mutating, endpoint: webhooks.endpoint.clone(), metrics }
    }

    /// Fills in and repairs, for as long as it is polled. Each change of state is one log line.
    pub async fn keep(self) {
        let mut known: Option<State> = None;
        loop {
            let state = self.fill_in().await.map_or_else(|state| state, |()| State::InPlace);
            let in_place = state == State::InPlace;
            if !matches!(state, State::Unknown(_)) {
                self.metrics.registered(in_place);
            }
            if known.as_ref() != Some(&state) {
                match &state {
                    State::InPlace => tracing::info!(url = self.endpoint.url, "registered: flipguard guards"),
                    State::Waiting(why) => tracing::warn!(why, "not registered: flipguard does not guard yet"),
                    State::Unknown(why) => tracing::warn!(why, "cannot see the registration"),
                }
            }
            known = Some(state);
            tokio::time::sleep(if in_place { INTERVAL } else { IMPATIENT }).await;
        }
    }

    async fn fill_in(&self) -> Result<(), State> {
        // Labels are a convenience; what guards must not wait for them.
        let validating =
            self.fill_in_one::<ValidatingWebhookConfiguration, _>(&self.validating, |stored| stored.webhooks.as_ref());
        let validating = validating.await;
        let mutating =
            self.fill_in_one::<MutatingWebhookConfiguration, _>(&self.mutating, |stored| stored.webhooks.as_ref());
        let mutating = mutating.await;
        validating.and(mutating)
    }

    async fn fill_in_one<C, W>(&self, wanted: &Vec<W>, webhooks: fn(&C) -> Option<&Vec<W>>) -> Result<(), State>
    where
        C: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
        W: PartialEq + Serialize,
    {
        let kind = C::kind(&());
        let configurations: Api<C> = Api::all(self.client.clone());
        let stored = configurations
            .get_opt(NAME)
            .await
            .map_err(|error| State::Unknown(format!("cannot get {kind} {NAME}: {}", one_line(&error))))?
            .ok_or_else(|| {
                State::Waiting(format!("there is no {kind} {NAME}; apply the output of `flipguard manifests`"))
            })?;
        if webhooks(&stored) == Some(wanted) {
            return Ok(());
        }
        let fails = |why: String| State::Waiting(format!("a call to {} does not pass: {why}", self.endpoint.url));
        self.call_itself().await.map_err(fails)?;
        // The resourceVersion keeps two writers from undoing each other unseen.
        let patch = json!({
            "metadata": { "resourceVersion": stored.meta().resource_version },
            "webhooks": wanted,
        });
        configurations
            .patch(NAME, &PatchParams::apply(FIELD_MANAGER), &Patch::Merge(&patch))
            .await
            .map_err(|error| State::Waiting(format!("cannot patch {kind} {NAME}: {}", one_line(&error))))?;
        Ok(())
    }

    /// Sends a review to the address that the API server will use, trusting what it will trust.
    async fn call_itself(&self) -> Result<(), String> {
        let address: http::Uri = self.endpoint.url.parse().map_err(|error| format!("{error}"))?;
        let mut config = Config::new(address);
        let authority =
            CertificateDer::from_pem_slice(self.endpoint.authority.as_bytes()).map_err(|error| error.to_string())?;
        config.root_cert = Some(vec![authority.to_vec()]);
        config.connect_timeout = Some(INTERVAL);
        config.read_timeout = Some(INTERVAL);
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| one_line(&error))?;
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "self-check",
                "kind": { "group": "flipguard.dev", "version": "v1", "kind": "SelfCheck" },
                "resource": { "group": "flipguard.dev", "version": "v1", "resource": "selfchecks" },
                "operation": "CREATE",
            },
        });
        let request = http::Request::post(self.endpoint.validate_path())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(review.to_string().into_bytes())
            .map_err(|error| error.to_string())?;
        let answer: serde_json::Value = client.request(request).await.map_err(|error| one_line(&error))?;
        let uid = answer.pointer("/response/uid").and_then(serde_json::Value::as_str);
        if uid == Some("self-check") { Ok(()) } else { Err("something else answers there".to_owned()) }
    }
}
