//! `flipguard serve`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Args};
use tokio::sync::watch;

use super::process::{address, listen_address, log, stop_signal};
use super::start::Start;
use super::{ConcurrencyFlag, EnforcementFlag, upkeep};
use crate::certs::TrustBundle;
use crate::certs::authority::token;
use crate::certs::files::Files;
use crate::certs::rotator::CertificateSource;
use crate::cluster::connect::{Connection, in_cluster, own_namespace};
use crate::cluster::events::Events;
use crate::cluster::ledger_store::LedgerStore;
use crate::cluster::policies::PolicyStore;
use crate::guard::{Guard, Recorder};
use crate::install::workload::{REVIEW_PORT, STATUS_PORT};
use crate::install::{NAME, namespaces};
use crate::model::{Labelling, Policy};
use crate::registration::endpoint::Address;
use crate::registration::reconciler::{Config, TAKEOVER, WebhookReconciler};
use crate::server::{Credentials, Listeners, Readiness, listen};
use crate::telemetry::Metrics;

/// The largest number of worker threads. flipguard mostly waits, and each thread has memory of its own.
const MAX_WORKERS: usize = 4;

/// Guard a cluster.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The kubeconfig of the cluster; without it, the Pod's ServiceAccount, KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespace in which flipguard runs; without it, that of the Pod, else flipguard-system
    #[arg(long)]
    namespace: Option<String>,
    /// The address for reviews, over TLS; in a Pod `[::]:10250`, else 127.0.0.1:10250
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// The address for probes and metrics, over HTTP; in a Pod `[::]:8080`, else 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    status_listen: Option<SocketAddr>,
    /// The URL that the API server calls, such as https://127.0.0.1:10250; without it, flipguard's own Service
    #[arg(long, value_name = "URL", value_parser = external_url)]
    external_url: Option<String>,
    /// Whether unsafe changes are denied, or admitted with a warning
    #[arg(long, value_enum, default_value = "deny")]
    enforcement: EnforcementFlag,
    /// Whether changes that are made at the same time are judged together (strict) or each alone (fresh)
    #[arg(long, value_enum, default_value = "strict")]
    concurrency: ConcurrencyFlag,
    /// How long an admitted change may take to be committed; must exceed the API server's --request-timeout (60s)
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = intent_ttl)]
    intent_ttl: Duration,
    /// The same without a lower bound, for tests: a time that is too short makes the ledger useless
    #[arg(long, value_name = "DURATION", hide = true, value_parser = duration)]
    unsafe_intent_ttl: Option<Duration>,
    /// How old the policies may be by which a change is judged; 0s reads them for each change
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = policy_age)]
    policy_age: Duration,
    /// Users whose writes of workloads are never judged, besides the controllers of Kubernetes: for distributions in
    /// which the controllers run under other names
    #[arg(long, value_name = "USER", value_delimiter = ',', value_parser = exempt_user)]
    exempt_users: Vec<String>,
    /// Namespaces that are not guarded, besides kube-system, kube-node-lease and flipguard's own
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespaces::exempt)]
    exempt_namespaces: Vec<String>,
    /// Whether labels are added to Deployments; without, the mutating webhook configuration is left alone
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    labels: bool,
    /// A folder with the files tls.crt, tls.key and ca.crt; without it, flipguard issues and renews a certificate
    #[arg(long, value_name = "FOLDER")]
    certificates: Option<PathBuf>,
    /// How long every API server may take to read a changed webhook configuration; until then a new CA is not used
    #[arg(long, value_name = "DURATION", default_value = "60s", hide = true, value_parser = duration)]
    ca_propagation: Duration,
    /// How long to keep serving after SIGTERM, while endpoints are updated
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    drain: Duration,
}

impl Serve {
    /// What counts where no policy says anything, and the namespaces that are not guarded.
    pub(super) fn settings(&self) -> (Policy, Vec<String>) {
        let labels = Labelling { is_on: self.labels, ..Labelling::default() };
        let policy = Policy { enforcement: self.enforcement.into(), labels, ..Policy::default() };
        (policy, self.exempt_namespaces.clone())
    }

    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        log()?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
            runtime.worker_threads(std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS));
        }
        runtime.enable_all().build().context("no async runtime")?.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<ExitCode> {
        let in_cluster = self.kubeconfig.is_none() && in_cluster();
        let namespace = self.namespace(in_cluster)?;
        let address = self.address(in_cluster, &namespace)?;
        let connection = Connection::open(self.kubeconfig.as_deref()).await?;
        let source = self.certificate_source(&address, &namespace, &connection)?;
        let listen = listen_address(self.listen, in_cluster, REVIEW_PORT);
        let status_listen = listen_address(self.status_listen, in_cluster, STATUS_PORT);
        let listeners = Listeners::bind(listen, status_listen)?;
        // Where a port is 0, the operating system has chosen one.
        let (listen, status_listen) = (listeners.review_address()?, listeners.status_address()?);
        let stop = stop_signal()?;

        let client = connection.client.clone();
        let (policy, _) = self.settings();
        let metrics = Arc::new(Metrics::default());
        let readiness = Arc::new(Readiness::default());
        readiness.starting(Some("the API server has not answered yet".to_owned()));
        let credentials = Arc::new(Credentials::default());
        let ttl = self.unsafe_intent_ttl.unwrap_or(self.intent_ttl);
        let ledgers = Arc::new(LedgerStore::new(client.clone(), &namespace, ttl));
        let (events, event_writer) = Events::new(client.clone());
        let (bundles, registered_bundles) = watch::channel(None);
        let (trust, trusted) = watch::channel(TrustBundle { bundle: String::new(), token: String::new() });
        let config = self.registration(&address, &namespace, &policy)?;
        let policies = Arc::new(PolicyStore::new(client.clone(), policy, self.policy_age));
        let recorder = Arc::new(Recorder::new(ledgers.clone(), policies.clone(), metrics.clone()));
        let colours = config.colours.clone();
        let mut webhooks =
            WebhookReconciler::new(client.clone(), config, trusted, bundles, metrics.clone(), readiness.clone())
                .with_policies(policies.clone(), events.clone());
        let (concurrency, told) = (self.concurrency.into(), Some(recorder.clone()));
        let judge = Guard::new(client, policies.clone(), ledgers.clone(), concurrency, events, told);
        let app = listen::App {
            judge,
            credentials: credentials.clone(),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            drain: self.drain,
            keep_alive: listen::KEEP_ALIVE,
            connections: listen::MAX_CONNECTIONS,
        };
        tracing::info!(version = env!("CARGO_PKG_VERSION"), %listen, %status_listen, %address, "serving");
        let start = Start {
            connection: &connection,
            namespace: &namespace,
            url: address.url(),
            labels: self.labels,
            ledgers: &ledgers,
            policies: &policies,
            source: &source,
            credentials: &credentials,
            readiness: &readiness,
            metrics: &metrics,
        };
        let work = async {
            let mut rotator = start.finish().await;
            trust.send_replace(rotator.trust(&None));
            tokio::select! {
                never = webhooks.run() => never,
                never = rotator.run(registered_bundles, trust) => never,
                never = upkeep::probe(&connection, &readiness, &metrics) => never,
                never = upkeep::watch_rights(&connection, &namespace, self.labels, &metrics) => never,
                never = upkeep::watch_own_namespace(&connection, &namespace, &colours) => never,
                never = upkeep::sweep_ledgers(&ledgers, &recorder) => never,
                never = recorder.run() => never,
            }
        };
        // Only the listeners end. A panic of any of the others ends the process with an error.
        tokio::select! {
            served = listeners.serve(app, stop) => served?,
            never = work => match never {},
            never = event_writer.run() => match never {},
        }
        if !readiness.is_starting() {
            webhooks.give_up().await;
        }
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }

    fn namespace(&self, in_cluster: bool) -> anyhow::Result<String> {
        let own = self.namespace.clone().or_else(|| in_cluster.then(own_namespace).flatten());
        namespaces::own(own.as_deref().unwrap_or("flipguard-system")).map_err(anyhow::Error::msg)
    }

    fn address(&self, in_cluster: bool, namespace: &str) -> anyhow::Result<Address> {
        match &self.external_url {
            Some(url) => Ok(Address::Url(url.clone())),
            None if in_cluster => Ok(Address::Service { namespace: namespace.to_owned() }),
            None => anyhow::bail!(
                "outside a cluster, the API server needs a URL to call: give --external-url, such as \
                 https://127.0.0.1:10250"
            ),
        }
    }

    /// The content of the webhook configurations.
    fn registration(&self, address: &Address, namespace: &str, policy: &Policy) -> anyhow::Result<Config> {
        Ok(Config {
            address: address.clone(),
            colours: policy.colours.clone(),
            enforcement: policy.enforcement,
            own_namespace: namespace.to_owned(),
            exempt_users: self.exempt_users.clone(),
            exempt_namespaces: self.exempt_namespaces.clone(),
            labels: self.labels,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replica: replica_name()?,
            takeover: TAKEOVER,
        })
    }

    /// The names that the certificate must hold, and where it comes from.
    fn certificate_source(
        &self,
        address: &Address,
        namespace: &str,
        connection: &Connection,
    ) -> anyhow::Result<CertificateSource> {
        let service = format!("{NAME}.{namespace}.svc");
        let mut names = vec![format!("{service}.cluster.local"), service.clone()];
        let called = match address {
            Address::Service { .. } => service,
            Address::Url(url) => {
                let url: http::Uri = url.parse().context("--external-url is no URL")?;
                let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
                names.push(host.clone());
                host
            }
        };
        Ok(CertificateSource {
            namespace: namespace.to_owned(),
            called,
            names,
            files: self.certificates.as_deref().map(Files::of),
            propagation: self.ca_propagation,
            clock: connection.clock.clone(),
        })
    }
}

/// A name that no other replica has: the name of the Pod or host, and eight random digits.
fn replica_name() -> anyhow::Result<String> {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| NAME.to_owned());
    Ok(format!("{host}-{}", token()?.chars().take(8).collect::<String>()))
}

/// Parses a duration with its unit. A bare number is an error.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "it must be a number with a unit, such as 10s, 1m30s or 300ms".to_owned())
}

/// Parses the longest time from admission to commit. The API server may take a minute, so a shorter one would forget
/// changes that can still be committed. A longer one than an hour would deny changes for hours.
fn intent_ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    let range = Duration::from_secs(60)..=Duration::from_secs(3600);
    if range.contains(&ttl) { Ok(ttl) } else { Err("it must be from 1m to 1h, such as 90s".to_owned()) }
}

/// Parses the greatest age of policies. An administrator waits for it after each change of one.
fn policy_age(text: &str) -> Result<Duration, String> {
    let age = duration(text)?;
    if age <= Duration::from_secs(60) { Ok(age) } else { Err("it may be at most 1m, such as 2s".to_owned()) }
}

/// Checks the name of an exempt user. Any other text, such as a group, would exempt no one, without an error.
fn exempt_user(text: &str) -> Result<String, String> {
    const EXAMPLE: &str = "such as system:serviceaccount:kube-system:deployment-controller";
    const GROUPS: [&str; 5] =
        ["system:masters", "system:authenticated", "system:unauthenticated", "system:nodes", "system:serviceaccounts"];
    if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
        return Err(format!("a user name is not empty and has no space around it; give one {EXAMPLE}"));
    }
    if text.contains('*') {
        return Err(format!("names are compared as they are, without patterns; give each one, {EXAMPLE}"));
    }
    if GROUPS.contains(&text) || text.starts_with("system:serviceaccounts:") {
        return Err(format!("it is a group, and only users can be exempt, {EXAMPLE}"));
    }
    if let Some(account) = text.strip_prefix("system:serviceaccount:")
        && account.split(':').filter(|part| !part.is_empty()).count() != 2
    {
        return Err(format!("a service account is `system:serviceaccount:NAMESPACE:NAME`, {EXAMPLE}"));
    }
    Ok(text.to_owned())
}

/// Checks the URL for the API server: https, a host, an optional port, and nothing else.
pub(super) fn external_url(text: &str) -> Result<String, String> {
    const EXAMPLE: &str = "such as https://127.0.0.1:10250";
    let url: http::Uri = text.parse().map_err(|error| format!("{error}; give an address {EXAMPLE}"))?;
    let authority = url.authority().map_or("", http::uri::Authority::as_str);
    if url.scheme_str() != Some("https") || authority.is_empty() {
        return Err(format!(
            "it must begin with https://, since the API server calls webhooks over TLS only; {EXAMPLE}"
        ));
    }
    if !matches!(url.path(), "" | "/") || text.contains(['?', '#']) {
        return Err(format!("it must end after the host and port, since flipguard adds the path; {EXAMPLE}"));
    }
    let port = authority.strip_prefix(url.host().unwrap_or_default()).unwrap_or(authority);
    let number = port.strip_prefix(':').map(str::parse::<u16>);
    if !port.is_empty() && !matches!(number, Some(Ok(1..))) {
        return Err(format!("`{authority}` must be a host and a port from 1 to 65535; {EXAMPLE}"));
    }
    Ok(format!("https://{}", authority.to_ascii_lowercase()))
}
