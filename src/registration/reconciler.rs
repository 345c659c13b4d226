//! Reconciles the two webhook configurations.
//!
//! The manifests create them empty, so an installation blocks nobody. The reconciler fills them in once flipguard can
//! be called, and repairs them when somebody changes them. Of several replicas, only the one that holds the Lease
//! writes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;

use super::configuration::Configuration;
use super::lease::{Holder, LEASE, LeaseCandidate};
use super::self_check::{CallError, call};
use super::stored::{self, Ownership, RENDERED_BY, SUSPEND};
use super::webhooks::{Address, Endpoint, Webhooks};
use crate::certs::TrustBundle;
use crate::certs::rotator::{Registered, RegisteredEndpoints};
use crate::cluster::connect::one_line;
use crate::install::NAME;
use crate::model::ColourScheme;
use crate::telemetry::Metrics;

/// The time between two reconciliations.
const INTERVAL: Duration = Duration::from_secs(3);
/// The time between two reconciliations while flipguard is not registered.
const RETRY_INTERVAL: Duration = Duration::from_millis(300);

/// The field manager of the reconciler's writes.
const FIELD_MANAGER: &str = "flipguard";

/// The content of the registration.
pub struct Config {
    /// The address that the API server calls.
    pub address: Address,
    /// The colours of the filter in the API server.
    pub colours: ColourScheme,
    /// flipguard's own namespace.
    pub own_namespace: String,
    /// Users whose writes of workloads are never judged, besides the controllers of Kubernetes.
    pub exempt_users: Vec<String>,
    /// Whether labels are added. Without, the mutating configuration is not even read.
    pub labels: bool,
    /// The version of this flipguard, such as `0.1.0`.
    pub version: String,
    /// A name that no other replica has.
    pub replica: String,
}

/// Keeps the webhook configurations as its `Config` wants them.
pub struct WebhookReconciler {
    client: Client,
    config: Config,
    lease: LeaseCandidate,
    trust: watch::Receiver<TrustBundle>,
    registered: watch::Sender<Registered>,
    metrics: Arc<Metrics>,
}

/// The state of the registration, or of one of its two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The configuration is as this version renders it.
    InPlace,
    /// A newer version, which is named, has rendered the configuration.
    Newer(String),
    /// The configuration is not in place, for this reason.
    Waiting(String),
    /// The configuration is not as this version renders it, and another replica holds the Lease.
    Standby(String),
    /// An admin has suspended the configuration, for this reason.
    Suspended(String),
    /// The configuration cannot be read, for this reason.
    Unknown(String),
}

/// A configuration as it is stored.
struct StoredConfig<C> {
    stored: C,
    ownership: Ownership,
}

/// A configuration, `None` where there is none, or the state of one that cannot be read.
type ReadConfig<C> = Result<Option<StoredConfig<C>>, State>;

/// What to do about one configuration.
enum Action<W> {
    /// Leaves it alone; it is in this state.
    Leave(State),
    /// Replaces its webhooks; it is in this state afterwards.
    Replace(Vec<W>, State),
}

/// The result for one configuration.
struct Outcome {
    state: State,
    written: bool,
}

/// Why the API server cannot call flipguard yet.
#[derive(Debug, thiserror::Error)]
enum NotCallable {
    #[error("a call to {url} does not pass: {why}")]
    Url { url: String, why: CallError },
    #[error("cannot list the endpoints of Service {namespace}/{NAME}: {}", one_line(.why))]
    Endpoints { namespace: String, why: kube::Error },
    #[error("Service {0}/{NAME} has no ready endpoint yet")]
    NoEndpoint(String),
}

impl WebhookReconciler {
    /// A reconciler that has not read anything yet. It registers the bundle that arrives by `trust`, and reports all
    /// registered bundles by `registered`.
    #[must_use]
    pub fn new(
        client: Client,
        config: Config,
        trust: watch::Receiver<TrustBundle>,
        registered: watch::Sender<Registered>,
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
                self.log(&state);
            }
            let interval = if matches!(state, State::Waiting(_)) { RETRY_INTERVAL } else { INTERVAL };
            known = Some(state);
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                Ok(()) = self.trust.changed() => {}
            }
        }
    }

    /// Releases the Lease, so that another replica takes over at once.
    pub async fn give_up(&mut self) {
        self.lease.give_up().await;
    }

    fn log(&self, state: &State) {
        let address = &self.config.address;
        match state {
            State::InPlace => tracing::info!(%address, "registered: flipguard guards"),
            State::Newer(by) => tracing::info!(
                by,
                "registered by a newer flipguard, which is left as it is; to go back to this version, remove the \
                 annotation {RENDERED_BY} from both configurations"
            ),
            State::Waiting(why) => tracing::warn!(why, "not registered: flipguard does not guard yet"),
            State::Standby(why) => tracing::info!(why, "another replica keeps the registration"),
            State::Suspended(why) => tracing::warn!(why, "suspended: flipguard does not guard"),
            State::Unknown(why) => tracing::warn!(why, "cannot read the registration"),
        }
    }

    async fn reconcile(&mut self) -> State {
        let trust = self.trust.borrow_and_update().clone();
        let endpoint = Endpoint { address: self.config.address.clone(), authority: trust.bundle, token: trust.token };
        let (validating, mutating) = self.read_and_publish().await;
        let lease = self.hold_lease(&[ownership(&validating), ownership(&mutating)]).await;
        // Labels are a convenience: the validating configuration does not wait for the mutating one.
        let validating = self.reconcile_one(validating, &endpoint, &lease).await;
        let mutating = if self.config.labels {
            self.reconcile_one(mutating, &endpoint, &lease).await
        } else {
            Outcome { state: State::InPlace, written: false }
        };
        if validating.written || mutating.written {
            // The rotator waits for a bundle to be registered, and need not wait for the next reconciliation.
            let _ = self.read_and_publish().await;
        }
        if validating.state == State::InPlace { mutating.state } else { validating.state }
    }

    /// Reads both configurations, and publishes their endpoints to the certificate rotator.
    async fn read_and_publish(
        &self,
    ) -> (ReadConfig<ValidatingWebhookConfiguration>, ReadConfig<MutatingWebhookConfiguration>) {
        let validating = self.read().await;
        let mutating = if self.config.labels { self.read().await } else { Ok(None) };
        self.publish_bundles(&validating, &mutating);
        (validating, mutating)
    }

    async fn read<C: Configuration>(&self) -> ReadConfig<C> {
        let stored = Api::<C>::all(self.client.clone()).get_opt(NAME).await;
        let stored = stored
            .map_err(|error| State::Unknown(format!("cannot get {} {NAME}: {}", C::kind(&()), one_line(&error))))?;
        Ok(stored
            .map(|stored| StoredConfig { ownership: stored::ownership(stored.meta(), &self.config.version), stored }))
    }

    /// Publishes the registered endpoints to the certificate rotator; `None` where a configuration cannot be read.
    fn publish_bundles(
        &self,
        validating: &ReadConfig<ValidatingWebhookConfiguration>,
        mutating: &ReadConfig<MutatingWebhookConfiguration>,
    ) {
        let (Ok(validating), Ok(mutating)) = (validating, mutating) else {
            self.registered.send_replace(None);
            return;
        };
        let mut endpoints = RegisteredEndpoints::default();
        if let Some(read) = validating {
            stored::bundles(read.stored.webhooks(), &mut endpoints.bundles);
            stored::tokens(read.stored.webhooks(), &mut endpoints.tokens);
        }
        if let Some(read) = mutating {
            stored::bundles(read.stored.webhooks(), &mut endpoints.bundles);
            stored::tokens(read.stored.webhooks(), &mut endpoints.tokens);
        }
        self.registered.send_if_modified(|known| {
            let differs = known.as_ref() != Some(&endpoints);
            *known = Some(endpoints);
            differs
        });
    }

    /// Takes or renews the Lease. Without it, `Err` is the state of a configuration that differs.
    async fn hold_lease(&mut self, ownership: &[Option<&Ownership>]) -> Result<(), State> {
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
            Ok(Holder::Me) => Ok(()),
            Ok(Holder::Other(holder)) => Err(State::Standby(format!("replica `{holder}` keeps it (Lease {LEASE})"))),
            Err(error) => Err(State::Waiting(format!("Lease {LEASE} cannot be held: {}", one_line(&error)))),
        }
    }

    async fn reconcile_one<C: Configuration>(
        &self,
        read: ReadConfig<C>,
        endpoint: &Endpoint,
        lease: &Result<(), State>,
    ) -> Outcome {
        let unwritten = |state| Outcome { state, written: false };
        let read = match read {
            Ok(Some(read)) => read,
            Ok(None) => {
                let kind = C::kind(&());
                let missing = format!("there is no {kind} {NAME}; apply the output of `flipguard manifests`");
                return unwritten(State::Waiting(missing));
            }
            Err(state) => return unwritten(state),
        };
        match self.action(&read, endpoint) {
            Action::Leave(state) => unwritten(state),
            Action::Replace(webhooks, state) => {
                match self.replace(&read.stored, &webhooks, &state, endpoint, lease).await {
                    Ok(()) => Outcome { state, written: true },
                    Err(state) => unwritten(state),
                }
            }
        }
    }

    /// What has to be done about a configuration. Pure.
    fn action<C: Configuration>(&self, read: &StoredConfig<C>, endpoint: &Endpoint) -> Action<C::Webhook> {
        let StoredConfig { stored, ownership } = read;
        let kind = C::kind(&());
        match ownership {
            Ownership::Newer(by) if stored.webhooks().is_empty() => {
                Action::Leave(State::Waiting(format!("{kind} {NAME} is empty, and version {by} is to fill it in")))
            }
            Ownership::Newer(by) => Action::Leave(State::Newer(by.clone())),
            Ownership::Suspended(why) => {
                let state = State::Suspended(format!("{SUSPEND} on {kind} {NAME}: {why}"));
                if stored.webhooks().is_empty() { Action::Leave(state) } else { Action::Replace(Vec::new(), state) }
            }
            Ownership::Free => {
                let Config { colours, own_namespace, exempt_users, version, .. } = &self.config;
                let rendered = C::rendered(&Webhooks { endpoint, colours, own_namespace, exempt_users });
                let wanted = stored::with_additions(&rendered, stored.webhooks(), own_namespace);
                if stored.webhooks() == wanted && stored::is_rendered_by(stored.meta(), version) {
                    Action::Leave(State::InPlace)
                } else {
                    Action::Replace(wanted, State::InPlace)
                }
            }
        }
    }

    /// Writes a configuration, if this replica holds the Lease and the API server can call flipguard.
    async fn replace<C: Configuration>(
        &self,
        stored: &C,
        webhooks: &[C::Webhook],
        state: &State,
        endpoint: &Endpoint,
        lease: &Result<(), State>,
    ) -> Result<(), State> {
        let kind = C::kind(&());
        let differs = |why: &str| format!("{kind} {NAME} is not as this replica would have it, and {why}");
        match (lease, state) {
            (Ok(()), State::InPlace) => {
                self.can_be_called(endpoint).await.map_err(|why| State::Waiting(why.to_string()))?;
            }
            (Ok(()), _) => {}
            (Err(State::Standby(why)), State::InPlace) => return Err(State::Standby(differs(why))),
            (Err(State::Waiting(why)), State::InPlace) => return Err(State::Waiting(differs(why))),
            (Err(_), state) => return Err(state.clone()),
        }
        self.write(stored, webhooks)
            .await
            .map_err(|error| State::Waiting(format!("cannot patch {kind} {NAME}: {}", one_line(&error))))
    }

    async fn write<C: Configuration>(&self, stored: &C, webhooks: &[C::Webhook]) -> kube::Result<()> {
        // With the resourceVersion, the patch fails where another writer was faster.
        let patch = json!({
            "metadata": {
                "resourceVersion": stored.meta().resource_version,
                "annotations": { RENDERED_BY: self.config.version },
            },
            "webhooks": webhooks,
        });
        let configurations = Api::<C>::all(self.client.clone());
        configurations.patch(NAME, &PatchParams::apply(FIELD_MANAGER), &Patch::Merge(&patch)).await.map(drop)
    }

    /// Checks that the API server would reach flipguard: by a call to its URL, or by a ready endpoint of its Service.
    async fn can_be_called(&self, endpoint: &Endpoint) -> Result<(), NotCallable> {
        match &self.config.address {
            Address::Url(url) => call(url, endpoint).await.map_err(|why| NotCallable::Url { url: url.clone(), why }),
            Address::Service { namespace } => self.has_a_ready_endpoint(namespace).await,
        }
    }

    async fn has_a_ready_endpoint(&self, namespace: &str) -> Result<(), NotCallable> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={NAME}"));
        let slices = slices
            .list(&of_service)
            .await
            .map_err(|why| NotCallable::Endpoints { namespace: namespace.to_owned(), why })?;
        let ready = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
            endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false))
        };
        if slices.items.iter().any(|slice| slice.endpoints.iter().any(ready)) {
            Ok(())
        } else {
            Err(NotCallable::NoEndpoint(namespace.to_owned()))
        }
    }
}

fn ownership<C>(read: &ReadConfig<C>) -> Option<&Ownership> {
    read.as_ref().ok().and_then(Option::as_ref).map(|read| &read.ownership)
}
