//! Keeps the registration filled in.
//!
//! The manifests create it empty, so installing locks nobody out; it is filled in only once flipguard can be called, and
//! put back when somebody changes it. Of several replicas, the one with the Lease does it.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ValidatingWebhook, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Config as ClientConfig, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;

use super::lease::{LEASE, LeaseCandidate};
use super::stored::{self, Ownership, RENDERED_BY, SUSPEND, Webhook};
use super::webhooks::{self, Address, Endpoint, Webhooks};
use crate::certs::TrustBundle;
use crate::certs::pem::certificates;
use crate::certs::rotator::RegisteredBundles;
use crate::cluster::connect::one_line;
use crate::install::NAME;
use crate::model::ColourScheme;
use crate::telemetry::Metrics;

/// How soon drift is seen.
const INTERVAL: Duration = Duration::from_secs(3);
/// How soon it is tried again while it does not guard yet.
const RETRY_INTERVAL: Duration = Duration::from_millis(300);

/// Who the server says it is in `managedFields`.
const FIELD_MANAGER: &str = "flipguard";

/// What is to be registered, and by whom.
pub struct Config {
    /// Where the API server finds flipguard.
    pub address: Address,
    /// The colours that matter.
    pub colours: ColourScheme,
    /// flipguard's own namespace.
    pub own_namespace: String,
    /// Users whose writes of workloads are never judged, besides the controllers of Kubernetes.
    pub exempt_users: Vec<String>,
    /// The version of this flipguard.
    pub version: String,
    /// What no other replica is called.
    pub replica: String,
}

/// Keeps the registration.
pub struct WebhookReconciler {
    client: Client,
    config: Config,
    lease: LeaseCandidate,
    trust: watch::Receiver<TrustBundle>,
    registered: watch::Sender<RegisteredBundles>,
    metrics: Arc<Metrics>,
}

/// Where the registration, or one of its two configurations, stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// As wanted.
    InPlace,
    /// A newer version keeps it.
    Newer(String),
    /// It is not, for this reason.
    Waiting(String),
    /// It is not as this replica would have it, and another one keeps it.
    Standby(String),
    /// An admin has switched it off.
    Suspended(String),
    /// Nobody knows, for this reason: what was registered still is.
    Unknown(String),
}

/// A configuration as it is stored, with what was made of it.
struct StoredConfig<C> {
    stored: C,
    ownership: Ownership,
}

/// The two kinds of configuration.
trait Configuration: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned {
    type Webhook: Webhook + Serialize;

    fn webhooks(&self) -> &[Self::Webhook];

    fn rendered(webhooks: &Webhooks<'_>) -> Vec<Self::Webhook>;
}

impl Configuration for ValidatingWebhookConfiguration {
    type Webhook = ValidatingWebhook;

    fn webhooks(&self) -> &[ValidatingWebhook] {
        self.webhooks.as_deref().unwrap_or_default()
    }

    fn rendered(webhooks: &Webhooks<'_>) -> Vec<ValidatingWebhook> {
        webhooks::validating(webhooks)
    }
}

impl Configuration for MutatingWebhookConfiguration {
    type Webhook = MutatingWebhook;

    fn webhooks(&self) -> &[MutatingWebhook] {
        self.webhooks.as_deref().unwrap_or_default()
    }

    fn rendered(webhooks: &Webhooks<'_>) -> Vec<MutatingWebhook> {
        webhooks::mutating(webhooks)
    }
}

impl WebhookReconciler {
    /// A keeper of the registration. What the API server is to trust comes in by `trust`; what it was told goes out by
    /// `registered`.
    #[must_use]
    pub fn new(
        client: Client,
        config: Config,
        trust: watch::Receiver<TrustBundle>,
        registered: watch::Sender<RegisteredBundles>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let lease = LeaseCandidate::new(&client, &config.own_namespace, config.replica.clone());
        Self { client, config, lease, trust, registered, metrics }
    }

    /// Reconciles for ever. Each change of state is one log line.
    pub async fn run(&mut self) -> Infallible {
        let mut known: Option<State> = None;
        loop {
            let state = self.reconcile().await;
            if !matches!(state, State::Unknown(_)) {
                self.metrics.registered(matches!(state, State::InPlace | State::Newer(_)));
            }
            if known.as_ref() != Some(&state) {
                let address = &self.config.address;
                match &state {
                    State::InPlace => tracing::info!(%address, "registered: flipguard guards"),
                    State::Newer(by) => tracing::info!(
                        by,
                        "registered by a newer flipguard, which is left as it is; to go back to this version, take the \
                         annotation {RENDERED_BY} off both configurations"
                    ),
                    State::Waiting(why) => tracing::warn!(why, "not registered: flipguard does not guard yet"),
                    State::Standby(why) => tracing::info!(why, "another replica keeps the registration"),
                    State::Suspended(why) => tracing::warn!(why, "suspended: flipguard does not guard"),
                    State::Unknown(why) => tracing::warn!(why, "cannot see the registration"),
                }
            }
            let is_settled = !matches!(state, State::Waiting(_));
            known = Some(state);
            tokio::select! {
                () = tokio::time::sleep(if is_settled { INTERVAL } else { RETRY_INTERVAL }) => {}
                Ok(()) = self.trust.changed() => {}
            }
        }
    }

    /// Lets another replica take over at once.
    pub async fn give_up(&mut self) {
        self.lease.give_up().await;
    }

    async fn reconcile(&mut self) -> State {
        let trust = self.trust.borrow_and_update().clone();
        let endpoint = Endpoint { address: self.config.address.clone(), authority: trust.bundle, token: trust.token };
        let validating = self.read::<ValidatingWebhookConfiguration>().await;
        let mutating = self.read::<MutatingWebhookConfiguration>().await;
        self.publish_bundles(&validating, &mutating);
        let lease = self.lease(&[of(&validating), of(&mutating)]).await;
        // Labels are a convenience; what guards must not wait for them.
        let validating = self.reconcile_one(validating, &endpoint, &lease).await;
        let mutating = self.reconcile_one(mutating, &endpoint, &lease).await;
        // Whoever waits for an authority to be out need not wait for the next look.
        let written = [&validating, &mutating].into_iter().any(|(_, written)| *written);
        let (validating, mutating) = (validating.0, mutating.0);
        if written {
            let read = (
                self.read::<ValidatingWebhookConfiguration>().await,
                self.read::<MutatingWebhookConfiguration>().await,
            );
            self.publish_bundles(&read.0, &read.1);
        }
        if matches!(validating, State::InPlace) { mutating } else { validating }
    }

    async fn read<C: Configuration>(&self) -> Result<Option<StoredConfig<C>>, State> {
        let stored = Api::<C>::all(self.client.clone())
            .get_opt(NAME)
            .await
            .map_err(|error| State::Unknown(format!("cannot get {} {NAME}: {}", C::kind(&()), one_line(&error))))?;
        Ok(stored
            .map(|stored| StoredConfig { ownership: stored::ownership(stored.meta(), &self.config.version), stored }))
    }

    /// Tells whom it concerns which authorities are out.
    fn publish_bundles(
        &self,
        validating: &Result<Option<StoredConfig<ValidatingWebhookConfiguration>>, State>,
        mutating: &Result<Option<StoredConfig<MutatingWebhookConfiguration>>, State>,
    ) {
        let (Ok(validating), Ok(mutating)) = (validating, mutating) else {
            self.registered.send_replace(None);
            return;
        };
        let mut bundles = Vec::new();
        if let Some(read) = validating {
            stored::bundles(read.stored.webhooks(), &mut bundles);
        }
        if let Some(read) = mutating {
            stored::bundles(read.stored.webhooks(), &mut bundles);
        }
        self.registered.send_if_modified(|known| {
            let differs = known.as_ref() != Some(&bundles);
            *known = Some(bundles);
            differs
        });
    }

    /// Whether this replica may write; if not, why.
    async fn lease(&mut self, ownership: &[Option<&Ownership>]) -> Result<(), State> {
        let newer = ownership.iter().flatten().find_map(|ownership| match ownership {
            Ownership::Newer(by) => Some(by),
            _ => None,
        });
        if let Some(by) = newer {
            // A replica of the newer version is to hold the Lease.
            self.lease.give_up().await;
            return Err(State::Standby(format!("version {by} keeps it")));
        }
        match self.lease.hold().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(holder)) => Err(State::Standby(format!("replica `{holder}` keeps it (Lease {LEASE})"))),
            Err(error) => Err(State::Waiting(format!("Lease {LEASE} cannot be held: {}", one_line(&error)))),
        }
    }

    async fn reconcile_one<C: Configuration>(
        &self,
        read: Result<Option<StoredConfig<C>>, State>,
        endpoint: &Endpoint,
        lease: &Result<(), State>,
    ) -> (State, bool) {
        let kind = C::kind(&());
        let read = match read {
            Ok(Some(read)) => read,
            Ok(None) => {
                let missing = format!("there is no {kind} {NAME}; apply the output of `flipguard manifests`");
                return (State::Waiting(missing), false);
            }
            Err(state) => return (state, false),
        };
        let stored = &read.stored;
        let (state, webhooks) = match read.ownership {
            Ownership::Newer(by) if stored.webhooks().is_empty() => {
                return (State::Waiting(format!("{kind} {NAME} is empty, and version {by} is to fill it in")), false);
            }
            Ownership::Newer(by) => return (State::Newer(by), false),
            Ownership::Suspended(why) => {
                let state = State::Suspended(format!("{SUSPEND} on {kind} {NAME}: {why}"));
                if stored.webhooks().is_empty() {
                    return (state, false);
                }
                (state, Vec::new())
            }
            Ownership::Free => {
                let rendered = C::rendered(&Webhooks {
                    endpoint,
                    colours: &self.config.colours,
                    own_namespace: &self.config.own_namespace,
                    exempt_users: &self.config.exempt_users,
                });
                let wanted = stored::with_additions(&rendered, stored.webhooks(), &self.config.own_namespace);
                if stored.webhooks() == wanted && stored::is_rendered_by(stored.meta(), &self.config.version) {
                    return (State::InPlace, false);
                }
                (State::InPlace, wanted)
            }
        };
        if let Err(lease) = lease {
            let differs = format!("{kind} {NAME} is not as this replica would have it");
            let state = match (state, lease) {
                (State::InPlace, State::Standby(why)) => State::Standby(format!("{differs}, and {why}")),
                (State::InPlace, State::Waiting(why)) => State::Waiting(format!("{differs}, and {why}")),
                (state, _) => state,
            };
            return (state, false);
        }
        if state == State::InPlace
            && let Err(why) = self.can_be_called(endpoint).await
        {
            return (State::Waiting(why), false);
        }
        match self.write(stored, &webhooks).await {
            Ok(()) => (state, true),
            Err(why) => (State::Waiting(why), false),
        }
    }

    async fn write<C: Configuration>(&self, stored: &C, webhooks: &[C::Webhook]) -> Result<(), String> {
        // The resourceVersion keeps two writers from undoing each other unseen.
        let patch = json!({
            "metadata": {
                "resourceVersion": stored.meta().resource_version,
                "annotations": { RENDERED_BY: self.config.version },
            },
            "webhooks": webhooks,
        });
        Api::<C>::all(self.client.clone())
            .patch(NAME, &PatchParams::apply(FIELD_MANAGER), &Patch::Merge(&patch))
            .await
            .map(drop)
            .map_err(|error| format!("cannot patch {} {NAME}: {}", C::kind(&()), one_line(&error)))
    }

    /// Whether the API server can be told to call; if not, why.
    async fn can_be_called(&self, endpoint: &Endpoint) -> Result<(), String> {
        match &self.config.address {
            Address::Url(url) => {
                call(url, endpoint).await.map_err(|why| format!("a call to {url} does not pass: {why}"))
            }
            Address::Service { namespace } => self.has_a_ready_endpoint(namespace).await,
        }
    }

    async fn has_a_ready_endpoint(&self, namespace: &str) -> Result<(), String> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let slices =
            slices.list(&ListParams::default().labels(&format!("kubernetes.io/service-name={NAME}"))).await.map_err(
                |error| format!("cannot list the endpoints of Service {namespace}/{NAME}: {}", one_line(&error)),
            )?;
        let ready = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
            endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false))
        };
        if slices.items.iter().any(|slice| slice.endpoints.iter().any(ready)) {
            Ok(())
        } else {
            Err(format!("Service {namespace}/{NAME} has no ready endpoint yet"))
        }
    }
}

fn of<C>(read: &Result<Option<StoredConfig<C>>, State>) -> Option<&Ownership> {
    read.as_ref().ok().and_then(Option::as_ref).map(|read| &read.ownership)
}

/// Sends a review to the address that the API server will use, trusting what it will trust.
///
/// # Errors
/// When no answer comes, or not flipguard's.
pub async fn call(url: &str, endpoint: &Endpoint) -> Result<(), String> {
    let address: http::Uri = url.parse().map_err(|error| format!("{error}"))?;
    let mut config = ClientConfig::new(address);
    let authorities = certificates(&endpoint.authority).map_err(|error| error.to_string())?;
    config.root_cert = Some(authorities.iter().map(|authority| authority.to_vec()).collect());
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
    let request = http::Request::post(endpoint.validate_path())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(review.to_string().into_bytes())
        .map_err(|error| error.to_string())?;
    let answer: serde_json::Value = client.request(request).await.map_err(|error| one_line(&error))?;
    let uid = answer.pointer("/response/uid").and_then(serde_json::Value::as_str);
    if uid == Some("self-check") { Ok(()) } else { Err("something else answers there".to_owned()) }
}
