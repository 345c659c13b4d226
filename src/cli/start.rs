//! The start of `serve`: everything that has to be there before the first review is answered. flipguard waits for it as
//! long as it takes, and `/readyz` says what it waits for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Api;
use tokio::time::{Instant, sleep, timeout};

use crate::certs::rotator::{CertificateRotator, CertificateSource};
use crate::cluster::access;
use crate::cluster::connect::{Connection, new_enough};
use crate::cluster::ledger_store::LedgerStore;
use crate::cluster::policies::PolicyStore;
use crate::install::NAME;
use crate::model::ReadFailure;
use crate::registration::stored::RENDERED_BY;
use crate::server::{Credentials, Readiness};
use crate::telemetry::Metrics;

/// The pauses between two attempts: the first one, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3));
/// The longest time that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(15);

/// What a start needs.
pub(super) struct Start<'a> {
    pub(super) connection: &'a Connection,
    pub(super) namespace: &'a str,
    /// The address of a flipguard outside the cluster.
    pub(super) url: Option<&'a str>,
    /// Whether labels are added, which needs more permissions.
    pub(super) labels: bool,
    pub(super) ledgers: &'a LedgerStore,
    pub(super) policies: &'a PolicyStore,
    pub(super) source: &'a CertificateSource,
    pub(super) credentials: &'a Arc<Credentials>,
    pub(super) readiness: &'a Readiness,
    pub(super) metrics: &'a Arc<Metrics>,
}

/// The steps that are done, and are not repeated.
#[derive(Default)]
struct Done {
    version: bool,
    rights: bool,
}

impl Start<'_> {
    /// Starts, however long that takes. Each new obstacle is one log line.
    pub(super) async fn finish(&self) -> CertificateRotator {
        let (mut pause, longest) = PAUSES;
        let mut done = Done::default();
        let mut obstacle = String::new();
        loop {
            let attempt = timeout(ATTEMPT, self.attempt(&mut done)).await;
            let why = match attempt {
                Ok(Ok(rotator)) => {
                    self.readiness.starting(None);
                    tracing::info!("started");
                    return rotator;
                }
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => format!("the API server did not answer within {} s", ATTEMPT.as_secs()),
            };
            if why != obstacle {
                tracing::warn!(why, "cannot start yet; this is tried again");
            }
            self.readiness.starting(Some(why.clone()));
            obstacle = why;
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn attempt(&self, done: &mut Done) -> anyhow::Result<CertificateRotator> {
        if !done.version {
            new_enough(&self.connection.version().await?)?;
            done.version = true;
        }
        if !done.rights {
            access::check(&self.connection.client, self.namespace, self.labels, self.url).await?;
            done.rights = true;
        }
        let deadline = Instant::now() + ATTEMPT;
        // The registration is read before the index, which is older.
        self.ledgers.begin(self.has_guarded().await?, deadline).await.map_err(|failure| failed(&failure))?;
        // What policies demand is known from then on, even if they cannot be read later.
        let policies = self.policies.current(deadline).await;
        policies.map_err(|failure| anyhow::anyhow!("cannot read {}: {}", failure.what, failure.why))?;
        let Self { connection, source, credentials, metrics, .. } = *self;
        let source = source.clone();
        Ok(CertificateRotator::start(&connection.client, source, credentials.clone(), metrics.clone()).await?)
    }

    /// Whether the webhooks were filled in before, by whichever replica.
    async fn has_guarded(&self) -> anyhow::Result<bool> {
        let registrations: Api<ValidatingWebhookConfiguration> = Api::all(self.connection.client.clone());
        let stored = registrations.get_metadata_opt(NAME).await;
        let stored = stored.with_context(|| format!("cannot get ValidatingWebhookConfiguration {NAME}"))?;
        let annotations = stored.and_then(|stored| stored.metadata.annotations);
        Ok(annotations.is_some_and(|annotations| annotations.contains_key(RENDERED_BY)))
    }
}

fn failed(failure: &ReadFailure) -> anyhow::Error {
    anyhow::anyhow!("cannot begin to use the ledgers: {}", failure.why)
}
