//! The guard: it takes a request through fresh reads, the ledger and the pure rules.
//!
//! - this file: the task of a request, and the withdrawal of its intent if the answer is not delivered
//! - `course`: the settings by which a change is judged
//! - `protocol`: drives an [`Attempt`] through its steps
//! - `recorder`: adds committed changes to the history, after their answers
//! - `direct`: judges by fresh reads alone
//! - `proofs`: keeps the proofs of gates in the ledger
//! - `turns`: limits the changes that are judged at the same time

mod course;
mod direct;
mod proofs;
mod protocol;
mod recorder;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::cluster::clock::now;
use crate::cluster::events::Events;
use crate::cluster::ledger_store::LedgerStore;
use crate::cluster::meter;
use crate::cluster::policies::{PolicyStore, Settings};
use crate::labels::{self, Put};
use crate::ledger::{Ask, Attempt, Intent, Leftover, Withdrawal};
use crate::model::{Change, ClusterView, Enforcement, Kind, ReadFailure, Write};
use crate::rules::{self, Outcome, Verdict, filter};
use crate::server::{Judgement, Mutate, Validate};
use course::Course;
pub use recorder::Recorder;
use recorder::Told;
use turns::{Turn, Turns};

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
/// The time between two attempts to withdraw an intent.
const WITHDRAWAL_PAUSE: Duration = Duration::from_millis(500);

/// Judges changes by reads that are made after each request arrived.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    client: Client,
    policies: Arc<PolicyStore>,
    ledgers: Arc<LedgerStore>,
    concurrency: Concurrency,
    events: Events,
    turns: Arc<Turns>,
    recorder: Option<Arc<Recorder>>,
}

impl Guard {
    /// A guard of the cluster behind this client. It tells the recorder of what it allows.
    #[must_use]
    pub fn new(
        client: Client,
        policies: Arc<PolicyStore>,
        ledgers: Arc<LedgerStore>,
        concurrency: Concurrency,
        events: Events,
        recorder: Option<Arc<Recorder>>,
    ) -> Self {
        let turns = Arc::default();
        Self(Arc::new(Inner { client, policies, ledgers, concurrency, events, turns, recorder }))
    }
}

impl Validate for Guard {
    async fn judge(&self, change: &Change, deadline: Instant) -> Judgement {
        // The task continues even if the client disconnects, so that the ledger is left consistent.
        let (answer, judgement) = oneshot::channel();
        let (inner, own_change) = (self.0.clone(), change.clone());
        tokio::spawn(async move {
            let namespace = namespace_of(&own_change);
            let (judgement, left) = inner.judgement(&own_change, deadline).await;
            let told = inner.told(&own_change, &judgement.verdict);
            let is_delivered = answer.send(judgement).is_ok();
            if let (true, Some((recorder, intent, told))) = (is_delivered, told) {
                recorder.tell(namespace, intent, told);
            }
            if let Some(withdrawal) = left.to_withdraw(is_delivered) {
                inner.withdraw(namespace, &withdrawal).await;
                if !is_delivered {
                    tracing::info!(namespace, "the client left before the answer; denied");
                }
            }
        });
        // Only a panic ends the task without an answer. It counts as a failed read.
        judgement.await.unwrap_or_else(|_| {
            let failure = ReadFailure::online("the change".to_owned(), "flipguard failed while judging it".to_owned());
            Judgement::from(rules::decide(change, &failure.into(), self.0.policies.flags(), now()))
        })
    }
}

impl Mutate for Guard {
    async fn label(&self, change: &Change, deadline: Instant) -> (Verdict, Vec<Put>) {
        let Inner { client, policies, .. } = &*self.0;
        let settings = policies.settings(namespace_of(change), deadline).await;
        let Settings { policy, failure } = &settings;
        if !labels::is_relevant(change, policy) {
            return (Verdict::not_judged(), Vec::new());
        }
        let view = match (failure, self.0.turn(change, Arc::new(Course::by(settings.clone())), deadline).await) {
            (None, Ok(turn)) => {
                let mut view = ClusterView::default();
                while let Some(request) = labels::needs(change, &view, policy) {
                    view.add(Box::pin(direct::reader(client, change, &turn).read(request)).await);
                }
                view
            }
            (Some(failure), _) => failure.clone().into(),
            (None, Err(failure)) => failure.into(),
        };
        labels::label(change, &view, policy)
    }
}

impl Inner {
    /// Judges a change.
    async fn judgement(&self, change: &Change, deadline: Instant) -> (Judgement, Leftover) {
        let judged = meter::measured(Box::pin(self.judged(change, deadline)));
        let ((verdict, left), meter::Cost { reads, writes }) = judged.await;
        (Judgement { verdict, reads, writes }, left)
    }

    async fn judged(&self, change: &Change, deadline: Instant) -> (Verdict, Leftover) {
        let namespace = namespace_of(change);
        let course = Arc::new(Course::begin(&self.policies, change, namespace, deadline).await);
        let judged = self.judged_by(&course, change, deadline).await;
        let Some(settings) = course.other_colours().await else { return judged };
        if let Some(withdrawal) = judged.1.to_judge_again() {
            self.withdraw(namespace, &withdrawal).await;
        }
        self.judged_by(&Arc::new(Course::by(settings)), change, deadline).await
    }

    /// What the history is told of an allowed change of a Service, with the id of its intent.
    fn told(&self, change: &Change, verdict: &Verdict) -> Option<(Arc<Recorder>, String, Told)> {
        let (recorder, intent) = (self.recorder.clone()?, verdict.intent.clone()?);
        let is_service = change.write.kind() == Some(Kind::Service);
        is_service.then(|| (recorder, intent, Told::of(change, verdict)))
    }

    /// Judges a change by one snapshot of the policies.
    async fn judged_by(&self, course: &Arc<Course>, change: &Change, deadline: Instant) -> (Verdict, Leftover) {
        let begun = course.begun();
        if !filter::is_relevant(&change.write, &begun.colours) {
            // The settings are the latest here, and may be unknown.
            let Settings { policy, failure } = course.latest().await;
            let unknown = |failure: &ReadFailure| rules::decide(change, &failure.clone().into(), policy, now());
            return (failure.as_ref().map_or_else(Verdict::not_judged, unknown), Leftover::Nothing);
        }
        let intent = match self.concurrency {
            Concurrency::Strict if filter::needs_ledger(change, &begun.colours) => {
                Intent::of(change, format!("{:032x}", fastrand::u128(..)))
            }
            Concurrency::Strict | Concurrency::Fresh => None,
        };
        let written = intent.clone().filter(|_| !change.dry_run);
        let (verdict, is_stray) = match self.turn(change, course.clone(), deadline).await {
            Ok(turn) => Box::pin(self.verdict(change, intent, &Arc::new(turn))).await,
            Err(failure) => (rules::decide(change, &failure.into(), &course.latest().await.policy, now()), false),
        };
        let mut verdict = self.with_proofs(verdict, change, course, deadline).await;
        // The registration has one treatment of writes without an answer for all namespaces: that of the flags.
        let policy = &course.latest().await.policy;
        let enforcements = [policy.enforcement, self.policies.flags().enforcement];
        let may_pass =
            enforcements.contains(&Enforcement::Warn) || filter::may_pass_unanswered(change, &policy.colours);
        let is_allowed = verdict.judged && verdict.outcome() == Outcome::Allowed;
        verdict.intent = written.iter().filter(|_| is_allowed).find_map(|own| own.ids.first().cloned());
        let left = Leftover::of(written, verdict.outcome(), is_stray, may_pass);
        (verdict, left)
    }

    /// The verdict, and whether the intent may still be in the ledger although the attempt broke off.
    async fn verdict(&self, change: &Change, intent: Option<Intent>, turn: &Arc<Turn>) -> (Verdict, bool) {
        let verdict = match intent {
            Some(intent) => {
                let attempt = Attempt::new(intent, !change.dry_run);
                let (judged, is_stray) = protocol::Run::new(self, change, attempt, turn).verdict().await;
                let verdict = match judged {
                    Ok(verdict) => verdict,
                    Err(failure) => turn.decide(change, &failure.into()).await,
                };
                return (verdict, is_stray);
            }
            // Nothing is on record, so a new Service replaces none.
            None if matches!(change.write, Write::ServiceCreate { .. }) => {
                self.judge_permissions_only(change, turn).await
            }
            None => self.judge_directly(change, self.begin_to_read(change, turn), turn).await,
        };
        (verdict, false)
    }

    /// Waits for the turn of a change.
    async fn turn(&self, change: &Change, course: Arc<Course>, deadline: Instant) -> Result<Turn, ReadFailure> {
        let kind = change.write.kind().unwrap_or(Kind::Service);
        self.turns.wait(namespace_of(change), kind, course, deadline).await
    }

    /// Withdraws an intent, in time of its own. If that fails, the intent stays pending until it expires. An intent whose
    /// write had no answer may still arrive, so its withdrawal looks again.
    async fn withdraw(&self, namespace: &str, withdrawal: &Withdrawal) {
        let deadline = Instant::now() + WITHDRAWAL;
        loop {
            match self.withdraw_once(namespace, withdrawal.intent.clone(), deadline).await {
                Ok(is_removed) if is_removed || !withdrawal.may_arrive => return,
                Ok(_) | Err(_) if Instant::now() + WITHDRAWAL_PAUSE < deadline => sleep(WITHDRAWAL_PAUSE).await,
                Ok(_) => return,
                Err(failure) => {
                    let why = failure.why;
                    return tracing::warn!(namespace, why, "an intent of a denied change stays until it expires");
                }
            }
        }
    }

    /// Removes an intent from the ledger; `false` where the ledger does not have it.
    async fn withdraw_once(&self, namespace: &str, intent: Intent, deadline: Instant) -> Result<bool, ReadFailure> {
        let mut attempt = Attempt::withdrawing(intent);
        while let Some(mut stored) = self.ledgers.read(namespace, deadline).await? {
            attempt.ledger(std::mem::take(&mut stored.ledger), std::mem::take(&mut stored.expired));
            let Ask::WriteLedger(ledger) = attempt.ask() else { break };
            let is_written = self.ledgers.write(namespace, ledger, &stored, deadline).await?;
            attempt.written(is_written);
            if is_written {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Turn {
    /// Judges a change by the latest settings.
    async fn decide(&self, change: &Change, view: &ClusterView) -> Verdict {
        rules::decide(change, view, &self.course.latest().await.policy, now())
    }
}

/// The namespace of a change. Every judged change has one.
fn namespace_of(change: &Change) -> &str {
    change.write.subject().map(|subject| subject.namespace).unwrap_or_default()
}
