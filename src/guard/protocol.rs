//! The driver of the ledger protocol: it makes the reads and writes that an attempt asks for.

use std::collections::BTreeSet;
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep};

use super::direct::{Reading, join_read, reader};
use super::turns::Turn;
use super::{Inner, namespace_of};
use crate::cluster::clock::now;
use crate::cluster::ledger_store::StoredLedger;
use crate::history::Head;
use crate::ledger::{Ask, Attempt, End, ObjectRef, scenarios};
use crate::model::{Change, ClusterView, ReadFailure, ReadRequest};
use crate::rules::Verdict;

/// One run of a request through the protocol.
pub(super) struct Run<'a> {
    guard: &'a Inner,
    change: &'a Change,
    namespace: &'a str,
    deadline: Instant,
    turn: &'a Arc<Turn>,
    attempt: Attempt,
    /// The verdict, once there is one. It is final, even if the own intent cannot be withdrawn.
    verdict: Option<Verdict>,
    /// The lock of this process for writing the namespace's ledger.
    lock: Option<OwnedMutexGuard<()>>,
    /// The last entry of the namespace's history, as the ledger knows it.
    head: Option<Head>,
    /// The last read ledger.
    stored: Option<StoredLedger>,
    /// Reads of the cluster that were begun early.
    reading: Option<Reading>,
    /// Whether reads may begin early. After a conflict, their result would be discarded.
    reads_early: bool,
    /// The Services of the namespace; read only where there is no ledger.
    services: ClusterView,
}

/// The result of a step: the run continues, or ends with a verdict.
type Step = Result<ControlFlow<Verdict>, ReadFailure>;

impl<'a> Run<'a> {
    pub(super) fn new(guard: &'a Inner, change: &'a Change, attempt: Attempt, turn: &'a Arc<Turn>) -> Self {
        Self {
            guard,
            change,
            namespace: namespace_of(change),
            deadline: turn.deadline,
            turn,
            attempt,
            verdict: None,
            lock: None,
            head: None,
            stored: None,
            reading: None,
            reads_early: true,
            services: ClusterView::default(),
        }
    }

    /// Drives the attempt to its end and returns the verdict. If the attempt breaks off, its own intent may still be in
    /// the ledger, which is the second result.
    pub(super) async fn verdict(mut self) -> (Result<Verdict, ReadFailure>, bool) {
        loop {
            match self.step().await {
                Ok(Continue(())) => {}
                Ok(Break(verdict)) => return (Ok(verdict), false),
                Err(failure) => return (self.verdict.ok_or(failure), self.attempt.may_be_written()),
            }
        }
    }

    async fn step(&mut self) -> Step {
        if self.reads_early && self.reading.is_none() && self.attempt.may_read() {
            self.reading = Some(self.guard.begin_to_read(self.change, self.turn));
        }
        match self.attempt.ask() {
            Ask::ReadLedger => self.read_ledger().await,
            Ask::FindTraffic => self.find_traffic().await,
            Ask::OpenLedger => self.open_ledger().await,
            Ask::ReadObjects(objects) => self.read_objects(objects).await,
            Ask::WriteLedger(_) => self.write_ledger().await,
            Ask::ReadCluster => Ok(self.judge().await),
            Ask::Nothing(end) => Ok(Break(self.end(end).await)),
        }
    }

    async fn read_ledger(&mut self) -> Step {
        // An attempt that does not write needs no lock, and does not delay its early reads.
        if self.lock.is_none() && self.attempt.writes() {
            self.lock = Some(self.guard.ledgers.acquire_turn(self.namespace, self.deadline).await?);
        }
        // After a conflict, it is not the stored one.
        let may_remember = self.reads_early && self.stored.is_none() && self.attempt.may_remember();
        let remembered = if may_remember { self.guard.ledgers.remembered(self.namespace) } else { None };
        let read = match remembered {
            Some(remembered) => Some(remembered),
            None => self.guard.ledgers.read(self.namespace, self.deadline).await?,
        };
        match read {
            Some(mut stored) => {
                self.head = Head::parse(&stored.ledger.head);
                self.attempt.ledger(std::mem::take(&mut stored.ledger), std::mem::take(&mut stored.expired));
                self.stored = Some(stored);
            }
            None => self.attempt.no_ledger(),
        }
        Ok(Continue(()))
    }

    async fn find_traffic(&mut self) -> Step {
        let request = ReadRequest { services: true, ..ReadRequest::default() };
        let mut view = Box::pin(reader(&self.guard.client, self.change, self.turn).read(request)).await;
        if let Some(failure) = view.failures.pop() {
            return Err(failure);
        }
        self.attempt.services(&view, self.turn.course.begun());
        self.services = view;
        Ok(Continue(()))
    }

    async fn open_ledger(&mut self) -> Step {
        self.guard.ledgers.create(self.namespace, self.deadline).await?;
        self.attempt.opened();
        Ok(Continue(()))
    }

    async fn read_objects(&mut self, objects: BTreeSet<ObjectRef>) -> Step {
        let found = self.guard.ledgers.read_objects(self.namespace, objects, self.deadline).await?;
        self.attempt.objects(&found, self.turn.course.begun(), now());
        Ok(Continue(()))
    }

    async fn write_ledger(&mut self) -> Step {
        let (Ask::WriteLedger(ledger), Some(stored)) = (self.attempt.ask(), &self.stored) else {
            return Ok(Break(Verdict::cannot_judge()));
        };
        let is_written = self.guard.ledgers.write(self.namespace, ledger, stored, self.deadline).await?;
        self.attempt.written(is_written);
        if !is_written {
            (self.reads_early, self.reading) = (false, None);
            sleep(pause()).await;
        }
        Ok(Continue(()))
    }

    async fn judge(&mut self) -> ControlFlow<Verdict> {
        self.lock = None;
        let Self { guard, change, turn, .. } = *self;
        let reading = self.reading();
        let mut view = join_read(reading).await;
        view.records = self.attempt.pending().map(|(_, records)| records.clone()).unwrap_or_default();
        guard.complete(change, &mut view, turn).await;
        let mut verdict = self.attempt.judge(change, &mut view, &turn.course.latest().await.policy, now());
        verdict.history = self.head.as_ref().map(Head::short);
        guard.events.tell(change, &view, &verdict, now());
        self.verdict = Some(verdict);
        Continue(())
    }

    async fn end(&mut self, end: End) -> Verdict {
        let Self { guard, change, turn, .. } = *self;
        match end {
            End::Judged => self.verdict.take().unwrap_or_else(Verdict::cannot_judge),
            End::Harmless if matches!(change.write, crate::model::Write::ServiceCreate { .. }) => {
                guard.judge_permissions_only(change, turn).await
            }
            End::Harmless => Verdict::not_judged(),
            End::NothingAtStake => {
                let mut view = ClusterView::of_an_empty_namespace();
                view.add(std::mem::take(&mut self.services));
                guard.complete(change, &mut view, turn).await;
                turn.decide(change, &view).await
            }
            End::Unrecorded => {
                let reading = self.reading();
                guard.judge_directly(change, reading, turn).await
            }
            End::Full(full) => scenarios::full(change, full, &turn.course.latest().await.policy, now()),
        }
    }

    /// The reads that were begun early, or else new ones.
    fn reading(&mut self) -> Reading {
        let early = self.reading.take();
        early.unwrap_or_else(|| self.guard.begin_to_read(self.change, self.turn))
    }
}

/// The random pause after a conflict, so that two replicas do not collide again.
pub(super) fn pause() -> Duration {
    Duration::from_micros(fastrand::u64(500..10_000))
}
