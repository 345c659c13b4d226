//! Reconciles the two webhook configurations.
//!
//! The manifests create them empty, so an installation blocks nobody. The reconciler first registers a probe that sees
//! no write of anybody else. Once the API server was seen to reach flipguard by it, the reconciler fills in the rest. It
//! repairs them when somebody changes them. Of several replicas, only the one that holds the Lease writes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ValidatingWebhook, ValidatingWebhookConfiguration,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::compare::differences;
use super::configuration::Configuration;
use super::endpoint::{Address, Endpoint};
use super::lease::{Holder, LEASE, LeaseCandidate, Vacancy};
use super::plan::Rendering;
use super::policies::PolicyKeeper;
use super::probe::{self, NotReached};
use super::reach::{Reach, Turn};
use super::repairs::Memory;
use super::selector::{additions, with_additions};
use super::state::State;
use super::stored::{self, OWNER, Ownership, RENDERED_BY};
use super::webhooks::Webhooks;
use crate::certs::TrustBundle;
use crate::certs::rotator::{Registered, RegisteredEndpoints};
use crate::cluster::connect::one_line;
use crate::cluster::events::Events;
use crate::cluster::policies::PolicyStore;
use crate::install::{NAME, manifests_command};
use crate::model::{ColourScheme, Enforcement};
use crate::server::Readiness;
use crate::telemetry::Metrics;

/// The time between two reconciliations.
const INTERVAL: Duration = Duration::from_secs(3);
/// The time between two reconciliations while flipguard is to be registered soon.
const RETRY_INTERVAL: Duration = Duration::from_millis(300);
/// The time between two reconciliations while a policy is not programmed yet.
const POLICY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the reconciler hurries. Then the cause is one that an admin has to remove.
const HURRY: Duration = Duration::from_secs(60);
/// How long the API server may take to call a new webhook before a log line says that it does not.
const FIRST_CALL: Duration = Duration::from_secs(2);
/// How long nobody of a newer version may hold the Lease before an older version takes the registration over.
pub const TAKEOVER: Duration = Duration::from_secs(120);

/// The field manager of the reconciler's writes.
const FIELD_MANAGER: &str = "flipguard";

/// The content of the registration.
pub struct Config {
    /// The address that the API server calls.
    pub address: Address,
    /// The colours of the filter in the API server.
    pub colours: ColourScheme,
    /// Whether a write fails when flipguard does not answer.
    pub enforcement: Enforcement,
    /// flipguard's own namespace.
    pub own_namespace: String,
    /// Users whose writes of workloads are never judged, besides the controllers of Kubernetes.
    pub exempt_users: Vec<String>,
    /// Namespaces that are not guarded, besides those of Kubernetes and flipguard itself.
    pub exempt_namespaces: Vec<String>,
    /// Whether labels are added. Without, the mutating configuration is not even read.
    pub labels: bool,
    /// The version of this flipguard, such as `0.1.0`.
    pub version: String,
    /// A name that no other replica has.
    pub replica: String,
    /// How long nobody of a newer version may hold the Lease before this version takes over; [`TAKEOVER`] except in
    /// tests.
    pub takeover: Duration,
}

/// Keeps the webhook configurations as its `Config` wants them.
pub struct WebhookReconciler {
    client: Client,
    config: Config,
    lease: LeaseCandidate,
    trust: watch::Receiver<TrustBundle>,
    registered: watch::Sender<Registered>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    /// The moment from which the times below count.
    started: Instant,
    reach: Reach,
    validating: Memory<ValidatingWebhook>,
    mutating: Memory<MutatingWebhook>,
    /// A newer version whose registration nobody keeps, and which this replica takes over.
    abandoned: Option<String>,
    policies: Option<PolicyKeeper>,
}

/// A configuration as it is stored.
struct StoredConfig<C> {
    stored: C,
    ownership: Ownership,
    /// Whether a newer version has rendered it, and this replica takes it over.
    taken_over: bool,
}

/// A configuration, `None` where there is none, or the state of one that cannot be read.
type ReadConfig<C> = Result<Option<StoredConfig<C>>, State>;

/// Whether webhooks may be registered that others' writes depend on, or why not.
type Proof = Result<(), String>;

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

/// What one reconciliation works with.
struct Round {
    endpoint: Endpoint,
    /// Without the Lease, the state of a configuration that differs.
    lease: Result<(), State>,
    proof: Proof,
    now: Instant,
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
        readiness: Arc<Readiness>,
    ) -> Self {
        let lease = LeaseCandidate::new(&client, &config.own_namespace, config.replica.clone());
        Self {
            client,
            config,
            lease,
            trust,
            registered,
            metrics,
            readiness,
            started: Instant::now(),
            reach: Reach::default(),
            validating: Memory::default(),
            mutating: Memory::default(),
            abandoned: None,
            policies: None,
        }
    }

    /// Renders the registration from the policies, too, and keeps their statuses.
    #[must_use]
    pub fn with_policies(self, store: Arc<PolicyStore>, events: Events) -> Self {
        let own_namespace = self.config.own_namespace.clone();
        let policies = PolicyKeeper::new(self.client.clone(), store, self.metrics.clone(), events, own_namespace);
        let policies = Some(policies);
        Self { policies, ..self }
    }

    /// Reconciles for ever. Each change of state is one log line.
    pub async fn run(&mut self) -> Infallible {
        let mut logged: Option<State> = None;
        let mut since = Instant::now();
        loop {
            let state = self.reconcile(Instant::now()).await;
            self.report(&state);
            if !state.passes_soon() {
                since = Instant::now();
            }
            // The API server needs a moment to see a new webhook.
            let expected = matches!(state, State::Unreached(_)) && since.elapsed() < FIRST_CALL;
            if logged.as_ref() != Some(&state) && !expected {
                state.log(&self.config);
                logged = Some(state.clone());
            }
            let hurries = state.passes_soon() && since.elapsed() < HURRY;
            let waits = self.policies.as_ref().is_some_and(|policies| policies.is_waiting);
            let pause = if hurries {
                RETRY_INTERVAL
            } else if waits {
                POLICY_INTERVAL
            } else {
                INTERVAL
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = self.trust.changed() => {}
            }
        }
    }

    /// Releases the Lease, so that another replica takes over at once.
    pub async fn give_up(&mut self) {
        self.lease.give_up().await;
    }

    fn report(&self, state: &State) {
        if let Some(registered) = state.is_registered() {
            self.metrics.registered(registered);
        }
        self.metrics.suspended(matches!(state, State::Suspended(_)));
        let mut why = state.why_not();
        if let State::InPlace(additions) = state {
            self.metrics.selector_additions(additions.len());
            why = self.reach.trouble().map(|why| format!("the API server does not reach flipguard any more: {why}"));
        }
        self.readiness.registration(why);
    }

    async fn reconcile(&mut self, now: Instant) -> State {
        let trust = self.trust.borrow_and_update().clone();
        if let Some(policies) = &mut self.policies {
            // Policies that cannot be read leave the registration as it is.
            self.config.colours = policies.marks().await.unwrap_or_else(|| self.config.colours.clone());
            self.lease.note_policies(policies.to_note());
        }
        let endpoint = Endpoint { address: self.config.address.clone(), authority: trust.bundle, token: trust.token };
        let (validating, mut mutating) = self.read_and_publish().await;
        if !is_taken_over(&validating) && !is_taken_over(&mutating) {
            self.abandoned = None;
        }
        if let (Some(Ownership::Another(owner)), Ok(Some(mutating))) = (ownership(&validating), &mut mutating) {
            // Labels belong to the installation that guards.
            mutating.ownership = Ownership::Another(owner.clone());
        }
        let lease = self.hold_lease(&[ownership(&validating), ownership(&mutating)], now).await;
        let proof = self.prove(&validating, &endpoint, &lease, now).await;
        let keeps = lease.is_ok();
        let round = Round { endpoint, lease, proof, now };
        // Labels are a convenience: the validating configuration does not wait for the mutating one.
        let mut memory = std::mem::take(&mut self.validating);
        let validating = self.reconcile_one(validating, &round, &mut memory).await;
        self.validating = memory;
        let mutating = if self.config.labels {
            let mut memory = std::mem::take(&mut self.mutating);
            let outcome = self.reconcile_one(mutating, &round, &mut memory).await;
            self.mutating = memory;
            outcome
        } else {
            Outcome { state: State::InPlace(Vec::new()), written: false }
        };
        if validating.written || mutating.written {
            // The rotator waits for a bundle to be registered, and need not wait for the next reconciliation.
            let _ = self.read_and_publish().await;
        }
        if let Some(policies) = &mut self.policies {
            let is_in_place = |outcome: &Outcome| !outcome.written && matches!(outcome.state, State::InPlace(_));
            policies.report(self.lease.noted_policies());
            let since = self.started.elapsed();
            policies.reconciled(keeps && is_in_place(&validating) && is_in_place(&mutating), since).await;
        }
        State::of_both(validating.state, mutating.state)
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
        let Config { version, own_namespace, .. } = &self.config;
        Ok(stored.map(|stored| {
            let ownership = stored::ownership(stored.meta(), version, own_namespace);
            let taken_over = matches!(&ownership, Ownership::Newer(by) if self.abandoned.as_ref() == Some(by));
            StoredConfig { ownership: if taken_over { Ownership::Free } else { ownership }, taken_over, stored }
        }))
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
    async fn hold_lease(&mut self, ownership: &[Option<&Ownership>], now: Instant) -> Result<(), State> {
        let newer = ownership.iter().flatten().find_map(|ownership| match ownership {
            Ownership::Newer(by) => Some(by),
            _ => None,
        });
        if let Some(by) = newer {
            return Err(self.leave_to(by, now).await);
        }
        match self.lease.hold(now).await {
            Ok(Holder::Me) => Ok(()),
            Ok(Holder::Other(holder)) => {
                self.abandoned = None;
                Err(State::Standby(format!("replica `{holder}` keeps it (Lease {LEASE})")))
            }
            Err(error) => Err(State::Waiting(format!("Lease {LEASE} cannot be held: {}", one_line(&error)))),
        }
    }

    /// Leaves the Lease to a replica of a newer version, unless none has held it for long.
    async fn leave_to(&mut self, by: &str, now: Instant) -> State {
        match self.lease.step_back(now).await {
            Ok(Vacancy::Held) => State::Newer(by.to_owned()),
            Ok(Vacancy::Vacant(time)) => {
                if time >= self.config.takeover {
                    // From the next reconciliation on, the configuration is as free as one of an older version.
                    tracing::warn!(by, "taking over the registration of a newer flipguard, which nobody keeps");
                    self.abandoned = Some(by.to_owned());
                }
                State::Abandoned(by.to_owned())
            }
            Err(error) => State::Unknown(format!("cannot get Lease {LEASE}: {}", one_line(&error))),
        }
    }

    /// Whether the API server reaches flipguard. An established registration is proof of it. For any other, and from
    /// time to time, the holder of the Lease sends a probe.
    async fn prove(
        &mut self,
        validating: &ReadConfig<ValidatingWebhookConfiguration>,
        endpoint: &Endpoint,
        lease: &Result<(), State>,
        now: Instant,
    ) -> Proof {
        let not_yet = |why: &str| Err(why.to_owned());
        let Ok(Some(StoredConfig { stored, ownership: Ownership::Free, .. })) = validating else {
            return not_yet("the probe needs the validating configuration");
        };
        let rendering = self.rendering::<ValidatingWebhookConfiguration>(endpoint);
        let established = rendering.is_established(stored.webhooks(), endpoint);
        let established_or = |why: &str| if established { Ok(()) } else { not_yet(why) };
        if lease.is_err() {
            self.reach = Reach::default();
            return established_or(
                "the replica that holds Lease flipguard-keeper sends the probe, and its log says why it fails",
            );
        }
        if !rendering.is_probed(stored.webhooks()) {
            return established_or(&NotReached::Unanswered.to_string());
        }
        if established && !self.reach.is_due(self.since_start(now)) {
            return Ok(());
        }
        let sent = probe::send(&self.client, &self.config.own_namespace).await;
        if sent.is_ok() {
            self.metrics.reached(OffsetDateTime::now_utc().unix_timestamp());
        }
        let proof = sent.as_ref().map_err(ToString::to_string).copied();
        if established || proof.is_ok() {
            self.note(sent, now);
            return Ok(());
        }
        proof
    }

    fn note(&mut self, sent: Result<(), NotReached>, now: Instant) {
        let consequence = match self.config.enforcement {
            Enforcement::Deny => "guarded changes fail until it does, and the registration stays",
            Enforcement::Warn => "nothing is judged until it does",
        };
        match self.reach.note(sent, self.since_start(now)) {
            Some(Turn::Lost(why)) => {
                tracing::warn!(why, "the API server does not reach flipguard any more: {consequence}");
            }
            Some(Turn::Back) => tracing::info!("the API server reaches flipguard again"),
            None => {}
        }
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    async fn reconcile_one<C: Configuration>(
        &self,
        read: ReadConfig<C>,
        round: &Round,
        memory: &mut Memory<C::Webhook>,
    ) -> Outcome {
        let rendering = self.rendering::<C>(&round.endpoint);
        let outcome = self.outcome(read, round, &rendering, memory).await;
        match outcome.state {
            State::InPlace(_) => memory.settle(Some(rendering.whole)),
            State::Standby(_) | State::Unknown(_) => {}
            _ => memory.settle(None),
        }
        outcome
    }

    async fn outcome<C: Configuration>(
        &self,
        read: ReadConfig<C>,
        round: &Round,
        rendering: &Rendering<C::Webhook>,
        memory: &mut Memory<C::Webhook>,
    ) -> Outcome {
        let unwritten = |state| Outcome { state, written: false };
        let read = match read {
            Ok(Some(read)) => read,
            Ok(None) => {
                let kind = C::kind(&());
                let Config { own_namespace, address, .. } = &self.config;
                let command = manifests_command(own_namespace, address.url());
                let missing = format!("there is no {kind} {NAME}; apply the output of `{command}`");
                return unwritten(State::Waiting(missing));
            }
            Err(state) => return unwritten(state),
        };
        match self.action(&read, round, rendering) {
            Action::Leave(state) => unwritten(state),
            Action::Replace(webhooks, state) => match self.replace(&read.stored, &webhooks, &state, round).await {
                Ok(()) => {
                    self.log_repair(&read.stored, rendering, memory, round.now);
                    Outcome { state, written: true }
                }
                Err(state) => unwritten(state),
            },
        }
    }

    /// What has to be done about a configuration. Pure.
    fn action<C: Configuration>(
        &self,
        read: &StoredConfig<C>,
        round: &Round,
        rendering: &Rendering<C::Webhook>,
    ) -> Action<C::Webhook> {
        let StoredConfig { stored, ownership, .. } = read;
        let kind = C::kind(&());
        match ownership {
            Ownership::Another(owner) => {
                let address = stored.webhooks().first().and_then(stored::address_of);
                let address = address.map(|address| format!(", called at {address}")).unwrap_or_default();
                Action::Leave(State::Another(format!("namespace {owner} owns {kind} {NAME}{address}")))
            }
            Ownership::Newer(by) if stored.webhooks().is_empty() => {
                Action::Leave(State::Waiting(format!("{kind} {NAME} is empty, and version {by} is to fill it in")))
            }
            Ownership::Newer(by) => {
                Action::Leave(round.lease.as_ref().err().cloned().unwrap_or_else(|| State::Newer(by.clone())))
            }
            Ownership::Suspended(why) => {
                let state = State::suspended(&kind, NAME, why);
                if stored.webhooks().is_empty() { Action::Leave(state) } else { Action::Replace(Vec::new(), state) }
            }
            Ownership::Free => self.filled_in(stored, round, rendering),
        }
    }

    fn filled_in<C: Configuration>(
        &self,
        stored: &C,
        round: &Round,
        rendering: &Rendering<C::Webhook>,
    ) -> Action<C::Webhook> {
        let Config { own_namespace, version, .. } = &self.config;
        let webhooks = stored.webhooks();
        let (wanted, state) = match &round.proof {
            Err(why) if !rendering.is_established(webhooks, &round.endpoint) => {
                (rendering.held_back(webhooks, &round.endpoint), State::Unreached(why.clone()))
            }
            _ => {
                let additions = additions(&rendering.whole, webhooks, own_namespace);
                (rendering.whole.clone(), State::InPlace(additions))
            }
        };
        let wanted = with_additions(&wanted, webhooks, own_namespace);
        let is_ours = stored::wrong_annotations(stored.meta(), version, own_namespace).is_empty();
        let is_nothing = wanted.is_empty() && webhooks.is_empty();
        if (is_ours || is_nothing) && differences(&wanted, webhooks).is_empty() {
            Action::Leave(state)
        } else {
            Action::Replace(wanted, state)
        }
    }

    fn rendering<C: Configuration>(&self, endpoint: &Endpoint) -> Rendering<C::Webhook> {
        let Config { colours, own_namespace, exempt_users, exempt_namespaces, enforcement, .. } = &self.config;
        let webhooks =
            Webhooks { endpoint, colours, own_namespace, exempt_users, exempt_namespaces, enforcement: *enforcement };
        Rendering {
            whole: C::rendered(&webhooks),
            trial: C::rendered(&Webhooks { enforcement: Enforcement::Warn, ..webhooks }),
            probe: C::probe(&webhooks),
        }
    }

    /// Writes a configuration, if this replica holds the Lease.
    async fn replace<C: Configuration>(
        &self,
        stored: &C,
        webhooks: &[C::Webhook],
        state: &State,
        round: &Round,
    ) -> Result<(), State> {
        let kind = C::kind(&());
        let differs = |why: &str| format!("{kind} {NAME} is not as this replica would have it, and {why}");
        match (&round.lease, state) {
            (Ok(()), _) => {}
            (Err(State::Standby(why)), State::InPlace(_) | State::Unreached(_)) => {
                return Err(State::Standby(differs(why)));
            }
            (Err(State::Newer(by) | State::Abandoned(by)), State::InPlace(_)) => {
                return Err(State::Standby(differs(&format!("version {by} keeps the other one"))));
            }
            (Err(State::Waiting(why) | State::Unknown(why)), State::InPlace(_)) => {
                return Err(State::Waiting(differs(why)));
            }
            (Err(_), state) => return Err(state.clone()),
        }
        self.write(stored, webhooks)
            .await
            .map_err(|error| State::Waiting(format!("cannot patch {kind} {NAME}: {}", one_line(&error))))
    }

    /// Logs and counts a write that has undone what another client had changed.
    fn log_repair<C: Configuration>(
        &self,
        stored: &C,
        rendering: &Rendering<C::Webhook>,
        memory: &mut Memory<C::Webhook>,
        now: Instant,
    ) {
        let Config { own_namespace, version, .. } = &self.config;
        let annotations = stored::wrong_annotations(stored.meta(), version, own_namespace);
        let drift = memory.drift(&rendering.whole, stored.webhooks(), own_namespace, annotations);
        if drift.is_empty() {
            return;
        }
        self.metrics.registration_repaired();
        let advice = memory.repaired(&drift, self.since_start(now));
        tracing::warn!(
            configuration = %C::kind(&()),
            found = drift.join("; "),
            by = stored::last_writer(stored.meta(), FIELD_MANAGER),
            "repaired the registration: {advice}"
        );
    }

    async fn write<C: Configuration>(&self, stored: &C, webhooks: &[C::Webhook]) -> kube::Result<()> {
        // With the resourceVersion, the patch fails where another writer was faster.
        let patch = json!({
            "metadata": {
                "resourceVersion": stored.meta().resource_version,
                "annotations": { RENDERED_BY: self.config.version, OWNER: self.config.own_namespace },
            },
            "webhooks": webhooks,
        });
        let configurations = Api::<C>::all(self.client.clone());
        configurations.patch(NAME, &PatchParams::apply(FIELD_MANAGER), &Patch::Merge(&patch)).await.map(drop)
    }
}

fn ownership<C>(read: &ReadConfig<C>) -> Option<&Ownership> {
    read.as_ref().ok().and_then(Option::as_ref).map(|read| &read.ownership)
}

fn is_taken_over<C>(read: &ReadConfig<C>) -> bool {
    read.as_ref().ok().and_then(Option::as_ref).is_some_and(|read| read.taken_over)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cluster::fake::FakeApi;

    const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/flipguard";
    const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/flipguard";
    const TIMEOUT: &str = "Post \"https://guard.example/probe/t0ken?timeout=2s\": context deadline exceeded";

    /// A reconciler of an API server in memory, at a time that the test sets.
    struct Scene {
        api: FakeApi,
        reconciler: WebhookReconciler,
        start: Instant,
        trust: watch::Sender<TrustBundle>,
    }

    impl Scene {
        fn new() -> Self {
            let api = FakeApi::default();
            for path in [VALIDATING, MUTATING] {
                api.put(path, json!({ "metadata": { "name": NAME } }));
            }
            Self::of(&api, "own", "1.0.0")
        }

        fn of(api: &FakeApi, namespace: &str, version: &str) -> Self {
            Self::with(api, namespace, version, Enforcement::Deny)
        }

        fn with(api: &FakeApi, namespace: &str, version: &str, enforcement: Enforcement) -> Self {
            let config = Config {
                address: Address::Url(format!("https://guard.example/{namespace}")),
                colours: ColourScheme::default(),
                enforcement,
                own_namespace: namespace.to_owned(),
                exempt_users: Vec::new(),
                exempt_namespaces: Vec::new(),
                labels: true,
                version: version.to_owned(),
                replica: format!("{namespace}-{version}"),
                takeover: TAKEOVER,
            };
            let (sender, trust) = watch::channel(TrustBundle { bundle: "ca".to_owned(), token: "t0ken".to_owned() });
            let (registered, _) = watch::channel(None);
            let (metrics, readiness) = (Arc::new(Metrics::default()), Arc::new(Readiness::default()));
            let reconciler = WebhookReconciler::new(api.client(), config, trust, registered, metrics, readiness);
            Self { api: api.clone(), start: reconciler.started, reconciler, trust: sender }
        }

        /// Reconciles at a second of the test.
        async fn at(&mut self, second: u64) -> State {
            let state = self.reconciler.reconcile(self.start + Duration::from_secs(second)).await;
            self.reconciler.report(&state);
            state
        }

        /// Each webhook by its name, with its failurePolicy.
        fn webhooks(&self, path: &str) -> Vec<(String, String)> {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let stored = self.api.get(path).unwrap()["webhooks"].as_array().cloned().unwrap_or_default();
            stored.iter().map(|webhook| (text(&webhook["name"]), text(&webhook["failurePolicy"]))).collect()
        }

        fn policy_of(&self, name: &str) -> String {
            self.webhooks(VALIDATING)
                .into_iter()
                .find(|(of, _)| of == name)
                .map_or_else(String::new, |(_, policy)| policy)
        }

        fn edit(&self, path: &str, with: impl FnOnce(&mut Value)) {
            let mut object = self.api.get(path).unwrap();
            with(&mut object);
            self.api.put(path, object);
        }

        fn shows(&self, metric: &str) -> bool {
            self.reconciler.metrics.text().contains(&format!("flipguard_{metric}\n"))
        }
    }

    #[tokio::test]
    async fn nothing_depends_on_an_address_that_the_api_server_does_not_reach() {
        let mut scene = Scene::new();
        scene.api.unreachable(Some(TIMEOUT));
        assert_eq!(scene.at(0).await, State::Unreached(NotReached::Unanswered.to_string()));
        for second in [1, 60, 600] {
            assert_eq!(scene.at(second).await, State::Unreached("context deadline exceeded".to_owned()));
            assert_eq!(scene.webhooks(VALIDATING), [("probe.flipguard.dev".to_owned(), "Fail".to_owned())]);
            assert!(scene.webhooks(MUTATING).is_empty());
            assert!(scene.shows("registered 0") && scene.shows("last_reached_seconds 0"));
        }
        let notes = scene.reconciler.readiness.notes().join("");
        assert!(notes.contains("the API server does not reach flipguard: context deadline exceeded"), "{notes}");
        scene.api.unreachable(None);
        assert_eq!(scene.at(601).await, State::InPlace(Vec::new()));
        assert_eq!(scene.policy_of("guard.flipguard.dev"), "Fail");
        assert_eq!(scene.webhooks(MUTATING).len(), 2);
        assert!(scene.shows("registered 1") && !scene.shows("last_reached_seconds 0"));
        assert!(scene.reconciler.readiness.notes().is_empty());
    }

    #[tokio::test]
    async fn it_stays_when_the_api_server_stops_to_reach_it() {
        let mut scene = Scene::new();
        scene.at(0).await;
        assert_eq!(scene.at(1).await, State::InPlace(Vec::new()));
        let sent = scene.api.probes();
        scene.at(4).await;
        assert_eq!(scene.api.probes(), sent, "a probe is sent from time to time only");
        scene.api.unreachable(Some(TIMEOUT));
        for second in [16, 19, 46, 90] {
            assert_eq!(scene.at(second).await, State::InPlace(Vec::new()));
        }
        assert_eq!(scene.policy_of("guard.flipguard.dev"), "Fail");
        assert!(scene.shows("registered 1"));
        let notes = scene.reconciler.readiness.notes();
        assert_eq!(
            notes,
            ["registration: the API server does not reach flipguard any more: context deadline exceeded"]
        );
        // A replica that starts now changes nothing either.
        let mut next = Scene::of(&scene.api, "own", "1.0.0");
        assert_eq!(next.at(100).await, State::InPlace(Vec::new()));
        assert_eq!(next.policy_of("guard.flipguard.dev"), "Fail");
        scene.api.unreachable(None);
        scene.at(93).await;
        assert!(scene.reconciler.readiness.notes().is_empty());
    }

    #[tokio::test]
    async fn a_trial_proves_nothing_for_the_day_on_which_it_denies() {
        let mut scene = Scene::new();
        scene.at(0).await;
        let mut trial = Scene::with(&scene.api, "own", "1.0.0", Enforcement::Warn);
        trial.reconciler.lease = LeaseCandidate::new(&scene.api.client(), "own", "own-1.0.0".to_owned());
        trial.at(1).await;
        assert!(
            trial.webhooks(VALIDATING).iter().all(|(_, policy)| policy == "Ignore"),
            "{:?}",
            trial.webhooks(VALIDATING)
        );
        assert!(trial.webhooks(VALIDATING).len() > 5);
        scene.api.unreachable(Some(TIMEOUT));
        scene.at(2).await;
        assert_eq!(scene.at(3).await, State::Unreached("context deadline exceeded".to_owned()));
        assert_eq!(scene.policy_of("guard.flipguard.dev"), "Ignore");
        scene.api.unreachable(None);
        assert_eq!(scene.at(4).await, State::InPlace(Vec::new()));
        assert_eq!(scene.policy_of("guard.flipguard.dev"), "Fail");
    }

    #[tokio::test]
    async fn each_repair_is_counted_and_own_changes_are_not() {
        let mut scene = Scene::new();
        scene.at(0).await;
        scene.at(1).await;
        assert!(scene.shows("registration_repairs_total 0"));
        // Another order is no difference.
        let before = scene.api.get(VALIDATING);
        scene.edit(VALIDATING, |stored| stored["webhooks"].as_array_mut().unwrap().reverse());
        let reversed = scene.api.get(VALIDATING);
        scene.at(2).await;
        assert_eq!(scene.api.get(VALIDATING), reversed);
        assert_ne!(reversed, before);
        scene.edit(VALIDATING, |stored| stored["webhooks"][0]["timeoutSeconds"] = json!(30));
        scene.at(3).await;
        scene.edit(VALIDATING, |stored| stored["metadata"]["annotations"][OWNER] = json!(""));
        scene.at(4).await;
        scene.edit(MUTATING, |stored| stored["webhooks"] = json!([]));
        scene.at(5).await;
        assert!(scene.shows("registration_repairs_total 3"));
        assert_eq!(scene.webhooks(MUTATING).len(), 2);
        // All is removed: the probe comes first again.
        scene.edit(VALIDATING, |stored| stored["webhooks"] = json!([]));
        scene.at(6).await;
        assert!(scene.shows("registered 0"));
        assert_eq!(scene.at(7).await, State::InPlace(Vec::new()));
        assert!(scene.shows("registration_repairs_total 4"));
        // A new CA bundle is a change of its own.
        let trust = TrustBundle { bundle: "another".to_owned(), token: "t0ken".to_owned() };
        scene.trust.send_replace(trust);
        assert_eq!(scene.at(8).await, State::InPlace(Vec::new()));
        assert!(scene.shows("registration_repairs_total 4"));
    }

    #[tokio::test]
    async fn only_exemptions_of_others_stay() {
        let mut scene = Scene::new();
        scene.at(0).await;
        scene.at(1).await;
        let selector = "/webhooks/0/namespaceSelector";
        scene.edit(VALIDATING, |stored| {
            let selector = stored.pointer_mut(selector).unwrap();
            selector["matchLabels"] = json!({ "flipguard": "on" });
            let entries = selector["matchExpressions"].as_array_mut().unwrap();
            entries.insert(0, json!({ "key": "control-plane", "operator": "DoesNotExist" }));
            entries.push(json!({ "key": "team", "operator": "In", "values": ["shop"] }));
        });
        scene.at(2).await;
        assert_eq!(scene.at(3).await, State::InPlace(vec!["control-plane DoesNotExist".to_owned()]));
        let stored = scene.api.get(VALIDATING).unwrap();
        let stored = stored.pointer(selector).unwrap();
        assert_eq!(stored["matchLabels"], Value::Null);
        assert_eq!(stored["matchExpressions"].as_array().unwrap().len(), 2);
        assert!(scene.shows("registration_repairs_total 1") && scene.shows("selector_additions 1"));
    }

    #[tokio::test]
    async fn the_first_of_two_installations_keeps_the_registration() {
        let mut first = Scene::new();
        first.at(0).await;
        first.at(1).await;
        let mut second = Scene::of(&first.api, "second", "9.0.0");
        let before = (first.api.get(VALIDATING), first.api.get(MUTATING));
        let another = "namespace own owns ValidatingWebhookConfiguration flipguard, called at https://guard.example";
        let another = State::Another(another.to_owned());
        assert_eq!(second.at(2).await, another);
        // Nor does it take the labels alone.
        first.edit(MUTATING, |stored| stored["metadata"]["annotations"] = json!({}));
        assert_eq!(second.at(3).await, another);
        assert_eq!(first.at(4).await, State::InPlace(Vec::new()));
        assert_eq!(first.api.get(VALIDATING), before.0);
        assert!(second.shows("registered 0") && first.shows("registered 1"));
        // An admin hands it over. The guards of the first stay until the second is reached.
        for path in [VALIDATING, MUTATING] {
            first.edit(path, |stored| stored["metadata"]["annotations"][OWNER] = json!("second"));
        }
        assert!(matches!(first.at(5).await, State::Another(_)));
        first.api.unreachable(Some(TIMEOUT));
        second.at(6).await;
        assert!(matches!(second.at(7).await, State::Unreached(_)));
        let url = |scene: &Scene| {
            let stored = scene.api.get(VALIDATING).unwrap();
            stored["webhooks"][0]["clientConfig"]["url"].as_str().unwrap().to_owned()
        };
        assert!(url(&second).starts_with("https://guard.example/own/validate/"));
        first.api.unreachable(None);
        // What the first exempted stays exempt, and is named.
        let exempt = "kubernetes.io/metadata.name NotIn (kube-node-lease, kube-system, own)";
        assert_eq!(second.at(8).await, State::InPlace(vec![exempt.to_owned()]));
        assert!(url(&second).starts_with("https://guard.example/second/validate/"));
    }

    #[tokio::test]
    async fn a_registration_that_a_newer_version_left_behind_is_taken_over() {
        let mut newer = Scene::of(&Scene::new().api, "own", "2.0.0");
        newer.at(0).await;
        newer.at(1).await;
        let mut older = Scene::of(&newer.api, "own", "1.0.0");
        let by = |scene: &Scene| scene.api.get(VALIDATING).unwrap()["metadata"]["annotations"][RENDERED_BY].clone();
        for second in [1, 5, 12] {
            newer.at(second).await;
            assert_eq!(older.at(second).await, State::Newer("2.0.0".to_owned()), "its replica holds the Lease");
            assert!(older.shows("registered 1"));
        }
        newer.reconciler.give_up().await;
        for second in [15, 60, 134] {
            assert_eq!(older.at(second).await, State::Abandoned("2.0.0".to_owned()));
            assert!(older.shows("registered 0"));
        }
        assert_eq!(older.at(135).await, State::Abandoned("2.0.0".to_owned()));
        assert_eq!(by(&older), "2.0.0");
        assert_eq!(older.at(136).await, State::InPlace(Vec::new()));
        assert_eq!(by(&older), "1.0.0");
        assert!(older.shows("registered 1") && older.shows("registration_repairs_total 0"));
        assert_eq!(older.at(139).await, State::InPlace(Vec::new()));
        // The newer one comes back: it waits for the Lease, and then nobody writes in turns.
        assert!(matches!(newer.at(140).await, State::Standby(_)));
        older.reconciler.give_up().await;
        assert_eq!(newer.at(141).await, State::InPlace(Vec::new()));
        assert_eq!(by(&older), "2.0.0");
        assert_eq!(older.at(142).await, State::Newer("2.0.0".to_owned()));
        assert_eq!(by(&older), "2.0.0");
    }

    #[tokio::test]
    async fn a_suspended_registration_is_proven_anew() {
        let mut scene = Scene::new();
        scene.at(0).await;
        scene.at(1).await;
        scene.edit(VALIDATING, |stored| stored["metadata"]["annotations"][stored::SUSPEND] = json!("fire"));
        assert!(matches!(scene.at(2).await, State::Suspended(_)));
        assert!(scene.webhooks(VALIDATING).is_empty() && scene.shows("registered 0"));
        scene.api.unreachable(Some(TIMEOUT));
        scene.edit(VALIDATING, |stored| stored["metadata"]["annotations"] = json!({}));
        scene.at(3).await;
        assert!(matches!(scene.at(4).await, State::Unreached(_)));
        assert_eq!(scene.webhooks(VALIDATING).len(), 1, "only the probe");
        scene.api.unreachable(None);
        assert_eq!(scene.at(5).await, State::InPlace(Vec::new()));
        assert!(scene.shows("registration_repairs_total 0"));
    }
}
