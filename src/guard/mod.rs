//! The guard: it takes a request through fresh reads, the ledger and the pure rules.
//!
//! - this file: the task of a request, and the withdrawal of its intent if the answer is not delivered
//! - `protocol`: drives an [`Attempt`] through its steps
//! - `direct`: judges by fresh reads alone

mod direct;
mod protocol;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cluster::clock::now;
use crate::cluster::events::Events;
use crate::cluster::ledger_store::LedgerStore;
use crate::cluster::{meter, namespace};
use crate::labels::{self, Put};
use crate::ledger::{Ask, Attempt, Intent};
use crate::model::{Change, ClusterView, Enforcement, Policy, ReadFailure, Write};
use crate::rules::{self, Outcome, Verdict, filter};
use crate::server::{Judgement, Mutate, Validate};

/// The guarantee for concurrent changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Concurrency {
    /// Concurrent changes are serialised by the ledger.
    #[default]
    Strict,
    /// Each change is judged on its own, by fresh reads. Nothing is written, so there are no holds and no rollbacks.
    Fresh,
}

/// The time limit for the withdrawal of an intent.
const WITHDRAWAL: Duration = Duration::from_secs(5);

/// Judges changes by reads that are made after each request arrived.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    client: Client,
    policy: Policy,
    ledgers: Arc<LedgerStore>,
    concurrency: Concurrency,
    events: Events,
}

impl Guard {
    /// A guard of the cluster behind this client. It starts a task for Events, so it must be called inside a tokio
    /// runtime.
    #[must_use]
    pub fn new(
        client: Client,
        policy: Policy,
        ledgers: Arc<LedgerStore>,
        concurrency: Concurrency,
        events: Events,
    ) -> Self {
        Self(Arc::new(Inner { client, policy, ledgers, concurrency, events }))
    }
}

impl Validate for Guard {
    async fn judge(&self, change: &Change, deadline: Instant) -> Judgement {
        if !filter::is_relevant(&change.write, &self.0.policy.colours) {
            return Judgement::from(Verdict::not_judged());
        }
        // The task continues even if the client disconnects, so that the ledger is left consistent.
        let (answer, judgement) = oneshot::channel();
        let (inner, own_change) = (self.0.clone(), change.clone());
        tokio::spawn(async move {
            let (judgement, intent) = inner.judgement(&own_change, deadline).await;
            if answer.send(judgement).is_err()
                && let Some(intent) = intent
            {
                inner.withdraw(namespace_of(&own_change), intent).await;
                tracing::info!(namespace = namespace_of(&own_change), "the client left before the answer; denied");
            }
        });
        // Only a panic ends the task without an answer. It counts as a failed read.
        judgement.await.unwrap_or_else(|_| {
            let failure = ReadFailure::online("the change".to_owned(), "flipguard failed while judging it".to_owned());
            Judgement::from(self.0.decide(change, &failure.into()))
        })
    }
}

impl Mutate for Guard {
    async fn label(&self, change: &Change, deadline: Instant) -> (Verdict, Vec<Put>) {
        let Inner { client, policy, .. } = &*self.0;
        let Some(request) = labels::needs(change, policy) else { return (Verdict::not_judged(), Vec::new()) };
        let read = namespace::read(client, namespace_of(change), &change.user, request, deadline);
        labels::label(change, &Box::pin(read).await, policy)
    }
}

impl Inner {
    /// Judges a change. Returns the intent to withdraw if the answer is not delivered. Where the API server may admit the
    /// change without an answer, the intent stays.
    async fn judgement(&self, change: &Change, deadline: Instant) -> (Judgement, Option<Intent>) {
        let intent = match self.concurrency {
            Concurrency::Strict if filter::needs_ledger(change, &self.policy.colours) => {
                Intent::of(change, format!("{:032x}", fastrand::u128(..)))
            }
            Concurrency::Strict | Concurrency::Fresh => None,
        };
        let written = intent.clone().filter(|_| !change.dry_run);
        let (verdict, meter::Cost { reads, writes }) =
            meter::measured(Box::pin(self.verdict(change, intent, deadline))).await;
        let may_pass =
            self.policy.enforcement == Enforcement::Warn || filter::may_pass_unanswered(change, &self.policy.colours);
        let is_kept = verdict.outcome() == Outcome::Allowed && !may_pass;
        (Judgement { verdict, reads, writes }, written.filter(|_| is_kept))
    }

    async fn verdict(&self, change: &Change, intent: Option<Intent>, deadline: Instant) -> Verdict {
        match intent {
            Some(intent) => {
                let attempt = Attempt::new(intent, !change.dry_run);
                let judged = protocol::Run::new(self, change, attempt, deadline).verdict().await;
                judged.unwrap_or_else(|failure| self.decide(change, &failure.into()))
            }
            // Nothing is on record, so a new Service replaces none.
            None if matches!(change.write, Write::ServiceCreate { .. }) => {
                self.judge_permissions_only(change, deadline).await
            }
            None => self.judge_directly(change, self.begin_to_read(change, deadline), deadline).await,
        }
    }

    fn decide(&self, change: &Change, view: &ClusterView) -> Verdict {
        rules::decide(change, view, &self.policy, now())
    }

    /// Withdraws the intent of an undelivered answer. If that fails, the intent stays pending until it expires.
    async fn withdraw(&self, namespace: &str, intent: Intent) {
        let deadline = Instant::now() + WITHDRAWAL;
        let mut attempt = Attempt::withdrawing(intent);
        while attempt.ask() == Ask::ReadLedger {
            let Ok(Some(mut stored)) = self.ledgers.read(namespace, deadline).await else { return };
            attempt.ledger(std::mem::take(&mut stored.ledger), std::mem::take(&mut stored.expired));
            let Ask::WriteLedger(ledger) = attempt.ask() else { return };
            let Ok(is_written) = self.ledgers.write(namespace, ledger, &stored, deadline).await else { return };
            attempt.written(is_written);
        }
    }
}

/// The namespace of a change. Every judged change has one.
fn namespace_of(change: &Change) -> &str {
    change.write.subject().map(|subject| subject.namespace).unwrap_or_default()
}
