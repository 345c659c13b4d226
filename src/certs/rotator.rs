//! Keeps the served certificate valid, and swaps it without a failed request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::CertificateError;
use super::files::{Files, FilesError};
use super::inspect::inspect;
use super::pem::{certificates, is_trusted, life_of, pair, pem_of};
use super::plan::{Delays, Observed, Step, plan};
use super::store::{Found, ROTATE, ROTATE_TOKEN, Store};
use super::tokens::{TokenDelays, TokenStep, Tokens, is_token};
use super::{Identity, ServedCertificate};
use crate::cluster::clock::ClockDifference;
use crate::install::NAME;
use crate::server::Credentials;
use crate::telemetry::Metrics;

/// The number of attempts to write the Secret. Each conflict means that another replica has just written it.
const MAX_ATTEMPTS: usize = 10;
/// The time between two reads of the Secret or the files.
const INTERVAL: Duration = Duration::from_secs(2);
/// The shortest time between two reads, where `--ca-propagation` is short.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// A token lingers for this many times the propagation after the registration has named it: ten minutes.
const TOKEN_LINGERS: u32 = 10;

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The Secret cannot be read or written.
    #[error("cannot {verb} Secret {namespace}/{NAME}: {why}")]
    Secret {
        /// `get` or `write`.
        verb: &'static str,
        /// flipguard's own namespace.
        namespace: String,
        /// The error of the request.
        why: String,
    },
    /// The certificate cannot be issued or used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The files of `--certificates` cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// flipguard's own namespace is missing.
    #[error("namespace {0} does not exist; create it, or give flipguard's own with --namespace")]
    NoNamespace(String),
    /// The clock of this replica is too far from that of the API server to judge a certificate by.
    #[error("this clock is {0}; set it, and keep it by NTP. Until then, no certificate is issued or exchanged")]
    Clock(String),
    /// Another writer changed the Secret between each read and write.
    #[error("Secret {0}/{NAME} changes between each read and write; check whether another program writes it")]
    Contended(String),
}

/// What the API server has to trust, and the path that it has to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// The authorities, in PEM.
    pub bundle: String,
    /// The last segment of the paths.
    pub token: String,
}

/// What all registered webhooks trust and call; empty where no webhook is registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegisteredEndpoints {
    /// Each different CA bundle, in PEM.
    pub bundles: Vec<String>,
    /// Each different token.
    pub tokens: Vec<String>,
}

/// The registered endpoints; `None` where the registration cannot be read.
pub type Registered = Option<RegisteredEndpoints>;

/// Where the certificate comes from, and the names that it must hold.
#[derive(Debug, Clone)]
pub struct CertificateSource {
    /// flipguard's own namespace.
    pub namespace: String,
    /// The name that the API server calls: a DNS name or an IP address.
    pub called: String,
    /// All names that an issued certificate must hold.
    pub names: Vec<String>,
    /// The folder of `--certificates`; without it, flipguard issues its own.
    pub files: Option<Files>,
    /// `--ca-propagation`: how long every API server may take to read a changed registration.
    pub propagation: Duration,
    /// How far this replica's clock is from the API server's.
    pub clock: Arc<ClockDifference>,
}

/// Renews the certificate, rotates its authority, and swaps the served certificate.
pub struct CertificateRotator {
    store: Store,
    source: CertificateSource,
    credentials: Arc<Credentials>,
    metrics: Arc<Metrics>,
    /// The last usable identity in the Secret; it is restored if the Secret is lost.
    memory: Identity,
    served: ServedCertificate,
    /// The certificate to serve next, and since when every registered webhook trusts it.
    waiting: Option<(ServedCertificate, Option<Instant>)>,
    /// The accepted tokens.
    tokens: Tokens,
    /// When this process started.
    started: Instant,
    /// The leaf in the Secret, and since when it is stored.
    leaf: (String, Instant),
    /// The next authority, and since when every registered webhook trusts it.
    next: Option<(String, Instant)>,
    /// Authorities that are registered but no longer needed by this replica, and since when.
    lingering: Vec<(CertificateDer<'static>, Instant)>,
}

impl CertificateRotator {
    /// Loads the certificate to serve, or issues it, and presents it by these credentials.
    ///
    /// # Errors
    /// When the Secret or the files cannot be used.
    pub async fn start(
        client: &Client,
        source: CertificateSource,
        credentials: Arc<Credentials>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, IdentityError> {
        let store = Store::new(client, &source.namespace);
        let (memory, served) = match &source.files {
            None => {
                let identity = load(client, &source.namespace, &source.names, &source.clock).await?;
                let served = ServedCertificate::from(&identity);
                (identity, served)
            }
            Some(files) => {
                let memory = load_token(&store, &source.namespace).await?.identity;
                let served = files.read(&source.called, &memory.token, OffsetDateTime::now_utc())?;
                (memory, served)
            }
        };
        credentials.present(pair(&served.chain, &served.key)?);
        let now = Instant::now();
        let delays = token_delays(source.propagation);
        let tokens = Tokens::start(&memory.tokens(false), delays, OffsetDateTime::now_utc());
        credentials.accept(tokens.accepted());
        let rotator = Self {
            store,
            source,
            credentials,
            metrics,
            tokens,
            started: now,
            leaf: (memory.leaf.clone(), now),
            memory,
            served,
            waiting: None,
            next: None,
            lingering: Vec::new(),
        };
        rotator.record_metrics();
        Ok(rotator)
    }

    /// The bundle to register, by the registered one: an authority stays in it while another replica may serve a
    /// certificate of that authority.
    #[must_use]
    pub fn trust(&mut self, registered: &Registered) -> TrustBundle {
        let wanted = self.waiting.as_ref().map_or(&self.served, |(waiting, _)| waiting);
        let mut bundle = wanted.bundle.trim_end().to_owned() + "\n";
        let known = |bundle: &str| certificates(bundle).unwrap_or_default();
        let mut inside = known(&bundle);
        let mut add = |more: CertificateDer<'static>| {
            if !inside.contains(&more) {
                bundle.push_str(&pem_of(&more));
                inside.push(more);
            }
        };
        known(&self.served.bundle).into_iter().for_each(&mut add);
        if self.source.files.is_some() {
            // Files reach replicas at different times: others may still serve a certificate of an older authority.
            let now = Instant::now();
            let bundles = registered.iter().flat_map(|registered| &registered.bundles);
            let registered = bundles.flat_map(|bundle| known(bundle));
            let mut lingering = Vec::new();
            for authority in registered {
                let since =
                    self.lingering.iter().find(|(known, _)| *known == authority).map_or(now, |(_, since)| *since);
                if since.elapsed() < self.source.propagation * 10 {
                    add(authority.clone());
                }
                lingering.push((authority, since));
            }
            let wanted = known(&self.waiting.as_ref().map_or(&self.served, |(waiting, _)| waiting).bundle);
            lingering.retain(|(authority, _)| !wanted.contains(authority));
            self.lingering = lingering;
        }
        let named = registered.as_ref().map(|registered| registered.tokens.as_slice());
        let token = self.tokens.to_register(named, token_delays(self.source.propagation), self.started.elapsed());
        TrustBundle { bundle, token: token.to_owned() }
    }

    /// Reconciles for ever. A failure is one log line, and is tried again.
    pub async fn run(
        mut self,
        mut registered: watch::Receiver<Registered>,
        trust: watch::Sender<TrustBundle>,
    ) -> Infallible {
        let mut trouble: Option<String> = None;
        loop {
            let known = registered.borrow_and_update().clone();
            let failed = self.reconcile(&known).await.err().map(|error| error.to_string());
            if failed != trouble {
                if let Some(why) = &failed {
                    tracing::warn!(why, "cannot reconcile the certificate; the served one stays");
                } else {
                    tracing::info!("the certificate is reconciled again");
                }
                trouble = failed;
            }
            self.record_metrics();
            let wanted = self.trust(&known);
            trust.send_if_modified(|trust| {
                let differs = *trust != wanted;
                *trust = wanted;
                differs
            });
            let interval = INTERVAL.min(self.source.propagation / 2).max(MIN_INTERVAL);
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                Ok(()) = registered.changed() => {}
            }
        }
    }

    async fn reconcile(&mut self, registered: &Registered) -> Result<(), IdentityError> {
        let now = OffsetDateTime::now_utc();
        if let Some(off) = self.source.clock.too_large() {
            // Another replica may have exchanged the token. To accept it needs no right clock.
            let found = self.store.read().await?;
            self.observe_tokens(&found, registered);
            return Err(IdentityError::Clock(off));
        }
        let candidate = if let Some(files) = self.source.files.clone() {
            let found = load_token(&self.store, &self.source.namespace).await?;
            let identity = self.reconcile_tokens(found, registered, now).await?;
            files.read(&self.source.called, &identity.token, now)?
        } else {
            ServedCertificate::from(&self.reconcile_secret(registered, now).await?)
        };
        self.swap_when_trusted(candidate, registered, now)
    }

    /// Reads the Secret, does the next step of the plan, and returns the content of the Secret after that.
    async fn reconcile_secret(
        &mut self,
        registered: &Registered,
        now: OffsetDateTime,
    ) -> Result<Identity, IdentityError> {
        let found = self.store.read().await?;
        let names = self.source.names.clone();
        let names = names.as_slice();
        if found.identity.leaf != self.leaf.0 {
            self.leaf = (found.identity.leaf.clone(), Instant::now());
        }
        self.observe_next_ca(&found.identity.next, registered);
        let observed = Observed {
            remembered: is_good(&self.memory, names, now),
            next_out: self.next.as_ref().map(|(_, since)| elapsed_since(*since)),
            leaf_out: elapsed_since(self.leaf.1),
        };
        let step =
            plan(&inspect(&found.identity, names, found.rotate), &observed, delays(self.source.propagation), now);
        let identity = found.identity.clone();
        let made = match step {
            Step::Keep => {
                let identity = self.reconcile_tokens(found, registered, now).await?;
                self.memory = identity.clone();
                return Ok(identity);
            }
            Step::Renew => identity.renewed(names, now)?,
            Step::Publish => identity.published(now)?,
            Step::Promote => identity.promoted(names, now)?,
            Step::Retire => identity.retired(),
            Step::Restore => self.memory.clone(),
            Step::Issue => Identity::issue(names, now)?,
        };
        let before = found.identity.clone();
        if !self.store.write(found, &made, (step == Step::Publish).then_some(ROTATE)).await? {
            // Another replica was faster; the next read shows its step.
            return Ok(before);
        }
        tracing::info!(step = step.name(), "wrote the Secret");
        self.memory = made.clone();
        Ok(made)
    }

    /// Accepts the tokens of the Secret, does the next step of their exchange, and returns the content of the Secret
    /// after that.
    async fn reconcile_tokens(
        &mut self,
        found: Found,
        registered: &Registered,
        now: OffsetDateTime,
    ) -> Result<Identity, IdentityError> {
        self.observe_tokens(&found, registered);
        let identity = found.identity.clone();
        let stored = identity.tokens(found.rotate_token);
        let delays = token_delays(self.source.propagation);
        let (made, met) = match self.tokens.next_step(&stored, delays, now, self.started.elapsed()) {
            TokenStep::Keep => return Ok(identity),
            TokenStep::Exchange => (identity.clone().with_new_token(now)?, Some(ROTATE_TOKEN)),
            TokenStep::Retire => (identity.clone().without_old_token(), None),
        };
        if !self.store.write(found, &made, met).await? {
            // Another replica was faster; the next read shows its step.
            return Ok(identity);
        }
        let step = if met.is_some() { "exchange" } else { "retire" };
        tracing::info!(step, "exchanging the token of the paths");
        // The next read shows it to this replica, as to the others: no replica registers what it has only written.
        Ok(made)
    }

    /// Accepts the tokens of the Secret, and drops those that are no longer needed.
    fn observe_tokens(&mut self, found: &Found, registered: &Registered) {
        let stored = found.identity.tokens(found.rotate_token);
        let named = registered.as_ref().map(|registered| registered.tokens.as_slice());
        self.tokens.observe(&stored, named, token_delays(self.source.propagation), self.started.elapsed());
        self.credentials.accept(self.tokens.accepted());
    }

    /// Notes since when every registered webhook trusts the next authority.
    fn observe_next_ca(&mut self, next: &str, registered: &Registered) {
        let out = !next.is_empty()
            && certificates(next).is_ok_and(|next| {
                let trusts = |bundle: &String| {
                    certificates(bundle).is_ok_and(|bundle| next.iter().all(|next| bundle.contains(next)))
                };
                registered.as_ref().is_some_and(|registered| registered.bundles.iter().all(trusts))
            });
        self.next = match self.next.take() {
            Some((known, since)) if out && known == next => Some((known, since)),
            _ if out => Some((next.to_owned(), Instant::now())),
            _ => None,
        };
    }

    /// Serves the candidate once every API server trusts it, or at once if the served certificate is not trusted at
    /// all.
    fn swap_when_trusted(
        &mut self,
        candidate: ServedCertificate,
        registered: &Registered,
        now: OffsetDateTime,
    ) -> Result<(), IdentityError> {
        if candidate.chain == self.served.chain && candidate.key == self.served.key {
            self.served = candidate;
            self.waiting = None;
            return Ok(());
        }
        let key = pair(&candidate.chain, &candidate.key)?;
        let called = &self.source.called;
        let trusts = |bundle: &String| is_trusted(bundle, &candidate.chain, called, now).is_ok();
        let trusted = registered.as_ref().is_some_and(|registered| registered.bundles.iter().all(trusts));
        let since = match self.waiting.take() {
            Some((waiting, since)) if waiting.chain == candidate.chain => since,
            _ => None,
        };
        let since = trusted.then(|| since.unwrap_or_else(Instant::now));
        let useless = is_trusted(&self.served.bundle, &self.served.chain, called, now).is_err();
        if useless || since.is_some_and(|since| since.elapsed() >= self.source.propagation) {
            self.credentials.present(key);
            let until = life_of(&candidate.chain).map(|life| life.until.to_string());
            tracing::info!(until, "serving another certificate");
            self.served = candidate;
        } else {
            self.waiting = Some((candidate, since));
        }
        Ok(())
    }

    fn record_metrics(&self) {
        for (which, pem) in [("leaf", &self.served.chain), ("authority", &self.served.bundle)] {
            if let Some(life) = life_of(pem) {
                self.metrics.certificate_ends(which, life.until.unix_timestamp());
            }
        }
    }
}

fn delays(propagation: Duration) -> Delays {
    let propagation = to_time_duration(propagation);
    Delays { propagation, linger: propagation * 3 }
}

fn token_delays(propagation: Duration) -> TokenDelays {
    TokenDelays { propagation, linger: propagation * TOKEN_LINGERS }
}

fn elapsed_since(since: Instant) -> time::Duration {
    to_time_duration(since.elapsed())
}

fn to_time_duration(duration: Duration) -> time::Duration {
    time::Duration::try_from(duration).unwrap_or(time::Duration::MAX)
}

/// Whether an identity can be restored as it is.
fn is_good(identity: &Identity, names: &[String], now: OffsetDateTime) -> bool {
    let step = plan(&inspect(identity, names, false), &Observed::default(), delays(Duration::from_secs(60)), now);
    !matches!(step, Step::Issue | Step::Renew | Step::Promote)
}

/// Reads the identity, or issues one where the stored one cannot be served under these names.
///
/// # Errors
/// When the Secret cannot be read or written, or a certificate cannot be issued.
pub async fn load(
    client: &Client,
    namespace: &str,
    names: &[String],
    clock: &ClockDifference,
) -> Result<Identity, IdentityError> {
    let make = |found: &Found| {
        let now = OffsetDateTime::now_utc();
        let identity = found.identity.clone();
        let stored = inspect(&identity, names, false);
        if let Some(off) = clock.too_large() {
            // By this clock, the stored one cannot be judged. It serves as it is.
            let is_whole = stored.token && stored.leaf.is_some() && stored.current.is_some();
            return if is_whole { Ok(None) } else { Err(IdentityError::Clock(off)) };
        }
        Ok(match plan(&stored, &Observed::default(), delays(Duration::from_secs(60)), now) {
            Step::Renew => Some(identity.renewed(names, now)?),
            Step::Promote => Some(identity.promoted(names, now)?),
            Step::Issue => Some(Identity::issue(names, now)?),
            // These steps need the registered bundles, and `run` does them.
            Step::Keep | Step::Publish | Step::Retire | Step::Restore => None,
        })
    };
    read_or_create(&Store::new(client, namespace), namespace, make).await.map(|found| found.identity)
}

/// Reads only the token, or creates it.
async fn load_token(store: &Store, namespace: &str) -> Result<Found, IdentityError> {
    let make = |found: &Found| {
        let whole = is_token(&found.identity.token);
        if whole { Ok(None) } else { Ok(Some(found.identity.clone().with_new_token(OffsetDateTime::now_utc())?)) }
    };
    read_or_create(store, namespace, make).await
}

/// Reads the Secret and writes what `missing` returns, until it returns nothing.
async fn read_or_create(
    store: &Store,
    namespace: &str,
    missing: impl Fn(&Found) -> Result<Option<Identity>, IdentityError>,
) -> Result<Found, IdentityError> {
    for _ in 0..MAX_ATTEMPTS {
        let found = store.read().await?;
        let Some(made) = missing(&found)? else { return Ok(found) };
        store.write(found, &made, None).await?;
    }
    Err(IdentityError::Contended(namespace.to_owned()))
}

#[cfg(test)]
mod tests {
    use time::Duration as Span;

    use super::*;
    use crate::cluster::fake::FakeApi;

    const SECRET: &str = "/api/v1/namespaces/own/secrets/flipguard";

    fn seconds_from_now(span: Span) -> i64 {
        (OffsetDateTime::now_utc() + span).unix_timestamp()
    }

    async fn started(api: &FakeApi, source: &CertificateSource) -> Result<CertificateRotator, IdentityError> {
        CertificateRotator::start(&api.client(), source.clone(), Arc::default(), Arc::default()).await
    }

    /// A clock that is far ahead would take the certificate for expired, and write another one for all replicas.
    #[tokio::test]
    async fn with_a_wrong_clock_nothing_is_written() {
        let api = FakeApi::default();
        let wrong = CertificateSource {
            namespace: "own".to_owned(),
            called: "guard.example".to_owned(),
            names: vec!["guard.example".to_owned()],
            files: None,
            propagation: Duration::from_secs(60),
            clock: Arc::default(),
        };
        wrong.clock.observe(seconds_from_now(Span::hours(2)));
        let error = started(&api, &wrong).await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("this clock is more than 5 min behind the API server's; set it"), "{error}");
        assert!(api.get(SECRET).is_none(), "nothing is issued by a wrong clock");
        // Another replica issued the certificate long ago, so that its renewal is due by now.
        let long_ago = OffsetDateTime::now_utc() - Span::days(300);
        let identity = Identity::issue(&wrong.names, long_ago).unwrap();
        let found = Store::new(&api.client(), "own").read().await.unwrap();
        Store::new(&api.client(), "own").write(found, &identity, None).await.unwrap();
        let before = api.get(SECRET);
        let mut rotator = started(&api, &wrong).await.unwrap();
        assert!(matches!(rotator.reconcile(&None).await, Err(IdentityError::Clock(_))));
        assert_eq!(api.get(SECRET), before);
        // The clock is set.
        wrong.clock.observe(seconds_from_now(Span::ZERO));
        rotator.reconcile(&None).await.unwrap();
        assert_ne!(api.get(SECRET), before, "the certificate is renewed");
    }
}
