//! One decision, from the bytes of a review to the bytes of its answer, over a recorded namespace. It uses no network,
//! no real clock and no log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flipguard::certs::Identity;
use flipguard::certs::pem::pair;
use flipguard::labels::{self, Put};
use flipguard::model::{Change, ClusterView, Policy, Timestamp};
use flipguard::offline::files::Manifests;
use flipguard::rules::{Verdict, decide};
use flipguard::server::review::{Endpoint, Shared, answer_to};
use flipguard::server::{Credentials, Judgement, Mutate, Readiness, Validate};
use flipguard::telemetry::Metrics;
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::recorded;

/// The time of the decision.
const NOW: Timestamp = Timestamp(1_893_456_000);

/// Judges by the rules, over a recorded namespace.
struct Recorded {
    view: ClusterView,
    policy: Policy,
}

impl Validate for Recorded {
    async fn judge(&self, change: &Change, _: Instant) -> Judgement {
        decide(change, &self.view, &self.policy, NOW).into()
    }
}

impl Mutate for Recorded {
    async fn label(&self, change: &Change, _: Instant) -> (Verdict, Vec<Put>) {
        labels::label(change, &self.view, &self.policy)
    }
}

/// Makes decisions over the recorded namespace.
pub struct Decisions(Shared<Recorded>);

impl Decisions {
    /// Reads the recorded namespace.
    ///
    /// # Errors
    /// When the recording cannot be read.
    pub fn new() -> Result<Self> {
        let view = Manifests::read(&[recorded::namespace()])?.view("shop")?;
        ensure!(!view.pods.is_empty() && !view.services.is_empty(), "the recorded namespace is empty");
        let identity = Identity::issue(&["127.0.0.1".to_owned()], time::OffsetDateTime::now_utc())?;
        let certificate = pair(&identity.leaf, &identity.leaf_key)?;
        Ok(Self(Shared {
            judge: Recorded { view, policy: Policy::default() },
            credentials: Arc::new(Credentials::new(certificate, identity.token)),
            metrics: Arc::new(Metrics::default()),
            readiness: Arc::new(Readiness::default()),
        }))
    }

    /// Makes one decision and returns the HTTP status of the answer.
    ///
    /// # Errors
    /// When the decision waits for anything.
    #[inline(never)]
    pub fn take(&self, body: &[u8]) -> Result<u16> {
        let arrived = Instant::now();
        let answer = answer_to(&self.0, Endpoint::Validate, body, arrived, arrived + Duration::from_secs(5));
        Ok(answer.now_or_never().context("a decision waits")?.status().as_u16())
    }
}
