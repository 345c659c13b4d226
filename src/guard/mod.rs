//! Where fresh reads, the ledger and the pure rules meet.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cluster::events::Events;
use crate::cluster::ledger_store::{LedgerStore, StoredLedger};
use crate::cluster::{clock, meter, namespace};
use crate::labels::{self, Put};
use crate::ledger::{Ask, Attempt, End, Intent, scenarios};
use crate::model::{Change, ClusterView, Policy, Role, Unread, Write};
use crate::rules::{self, Outcome, Reads, Verdict, filter, needs};
use crate::server::{Judge, Judgement};

/// Whether changes that are made at the same time are judged together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Concurrency {
    /// Each change is judged with and without every other pending change, by the ledger.
    #[default]
    Strict,
    /// Each change is judged alone, on fresh reads. No ledger is written.
    Fresh,
}

/// Judges changes by what the API server says after each of them arrived.
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
    /// A guard over the cluster of a client.
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

impl Judge for Guard {
    async fn judge(&self, change: &Change, deadline: Instant) -> Judgement {
        let Some(needed) = needs::needed(change, &self.0.policy) else {
            return Judgement::from(Verdict::not_judged());
        };
        // In a task of its own: where the client goes away, what was begun is brought to its end.
        let (answer, verdict) = oneshot::channel();
        let (inner, its_own) = (self.0.clone(), change.clone());
        tokio::spawn(async move {
            let (judgement, withdraw) = inner.judgement(&its_own, &needed, deadline).await;
            if answer.send(judgement).is_err()
                && let Some(own) = withdraw
            {
                inner.withdraw(&needed.namespace, own).await;
                tracing::info!(namespace = needed.namespace, "nobody took the answer, so the change was refused");
            }
        });
        // The task ends without an answer only where it panics. That is no reason to judge otherwise than where something
        // could not be read.
        verdict.await.unwrap_or_else(|_| {
            let broken = Unread::online("the change".to_owned(), "flipguard broke off its work on it".to_owned());
            Judgement::from(self.0.unread(change, broken))
        })
    }

    async fn label(&self, change: &Change, deadline: Instant) -> (Verdict, Vec<Put>) {
        let Inner { client, policy, .. } = &*self.0;
        let Some(needed) = labels::needed(change, policy) else { return (Verdict::not_judged(), Vec::new()) };
        let view = Box::pin(namespace::view(client, &needed, deadline)).await;
        labels::label(change, &view, policy)
    }
}

impl Inner {
    /// Judges a change, and says which intent is to be withdrawn should nobody take the answer: without one, the API
    /// server refuses the change, unless it was asked about for advice only.
    async fn judgement(&self, change: &Change, needed: &Reads, deadline: Instant) -> (Judgement, Option<Intent>) {
        let mut own = None;
        let (verdict, cost) = meter::measured(self.verdict(change, needed, deadline, &mut own)).await;
        let withdraw = own.filter(|_| verdict.outcome() == Outcome::Allowed && !filter::is_advice(change));
        let meter::Cost { reads, writes } = cost;
        (Judgement { verdict, reads, writes }, withdraw)
    }

    async fn verdict(&self, change: &Change, needed: &Reads, deadline: Instant, own: &mut Option<Intent>) -> Verdict {
        let intent = match self.concurrency {
            Concurrency::Strict => Intent::of(change, format!("{:032x}", fastrand::u128(..))),
            // Nothing is remembered, so a new Service takes nobody's place.
            Concurrency::Fresh if matches!(change.write, Write::ServiceCreate { .. }) => {
                return self.harmless(change, deadline).await;
            }
            Concurrency::Fresh => None,
        };
        let Some(intent) = intent else {
            return self.plainly(change, needed, self.begin_to_read(needed, deadline), deadline).await;
        };
        let writes = !change.dry_run;
        if writes {
            *own = Some(intent.clone());
        }
        let judged = Box::pin(self.by_ledger(change, needed, Attempt::new(intent, writes), deadline)).await;
        judged.unwrap_or_else(|unread| self.unread(change, unread))
    }

    /// What could not be read decides.
    fn unread(&self, change: &Change, unread: Unread) -> Verdict {
        rules::decide(change, &unread.into(), &self.policy, clock::now())
    }

    /// One request's way through the ledger.
    async fn by_ledger(
        &self,
        change: &Change,
        needed: &Reads,
        mut attempt: Attempt,
        deadline: Instant,
    ) -> Result<Verdict, Unread> {
        let Self { policy, ledgers, .. } = self;
        let namespace = &needed.namespace;
        let mut verdict: Option<Verdict> = None;
        let mut turn = None;
        let mut over: Option<StoredLedger> = None;
        let mut reading: Option<Reading> = None;
        let mut is_first = true;
        loop {
            // Where somebody else writes at the same time, what is read early is read in vain: that is tried once.
            if is_first && reading.is_none() && attempt.may_read() {
                reading = Some(self.begin_to_read(needed, deadline));
            }
            let step: Result<(), Unread> = match attempt.ask() {
                Ask::ReadLedger => {
                    let read = async {
                        // Who does not write takes nobody's turn, and waits for none with what it has read.
                        if turn.is_none() && attempt.writes() {
                            turn = Some(ledgers.acquire_turn(namespace, deadline).await?);
                        }
                        self.read_ledger(namespace, &mut attempt, deadline).await
                    };
                    match read.await {
                        Ok(Some(read)) => {
                            over = Some(read);
                            Ok(())
                        }
                        // Nothing was ever written down here.
                        Ok(None) if verdict.is_some() => return Ok(verdict.unwrap_or_else(Verdict::cannot_judge)),
                        Ok(None) => match self.at_stake(change, namespace, &attempt, deadline).await? {
                            Stakes::None(view) => return Ok(rules::decide(change, &view, policy, clock::now())),
                            Stakes::NoneWritten => {
                                let reading = reading.take().unwrap_or_else(|| self.begin_to_read(needed, deadline));
                                return Ok(self.plainly(change, needed, reading, deadline).await);
                            }
                            Stakes::Some => ledgers.create(namespace, deadline).await,
                        },
                        Err(unread) => Err(unread),
                    }
                }
                Ask::ReadObjects(objects) => ledgers.read_objects(namespace, objects, deadline).await.map(|found| {
                    attempt.objects(&found, policy, clock::now());
                }),
                Ask::WriteLedger(ledger) => {
                    let Some(over) = &over else { return Ok(Verdict::cannot_judge()) };
                    match ledgers.write(namespace, ledger, over, deadline).await {
                        Ok(is) => {
                            attempt.written(is);
                            if !is {
                                (is_first, reading) = (false, None);
                                sleep(pause()).await;
                            }
                            Ok(())
                        }
                        Err(unread) => Err(unread),
                    }
                }
                Ask::ReadCluster => {
                    turn = None;
                    let reading = reading.take().unwrap_or_else(|| self.begin_to_read(needed, deadline));
                    let mut view = self.view(change, needed, &attempt, reading, deadline).await;
                    let judged = attempt.judge(change, &mut view, policy, clock::now());
                    self.events.tell(change, &view, &judged, clock::now());
                    verdict = Some(judged);
                    Ok(())
                }
                Ask::Nothing(End::Judged) => return Ok(verdict.unwrap_or_else(Verdict::cannot_judge)),
                Ask::Nothing(End::Harmless) => return Ok(self.harmless(change, deadline).await),
                Ask::Nothing(End::Full) => {
                    return Ok(scenarios::full(change, policy, clock::now()));
                }
            };
            // What was judged stands, also where the own intent could not be withdrawn.
            if let Err(unread) = step {
                return verdict.ok_or(unread);
            }
        }
    }

    /// What is at stake in a namespace without a ledger.
    async fn at_stake(
        &self,
        change: &Change,
        namespace: &str,
        attempt: &Attempt,
        deadline: Instant,
    ) -> Result<Stakes, Unread> {
        match change.write {
            Write::ServiceCreate { .. } => Ok(Stakes::None(Box::new(self.permitted(change, deadline).await))),
            _ if !attempt.writes() => Ok(Stakes::NoneWritten),
            Write::ServiceUpdate { .. } | Write::ServiceDelete { .. } => Ok(Stakes::Some),
            _ => {
                let only = Reads { namespace: namespace.to_owned(), services: true, ..Reads::default() };
                let mut view = Box::pin(namespace::view(&self.client, &only, deadline)).await;
                if let Some(unread) = view.unread.pop() {
                    return Err(unread);
                }
                let colours = &self.policy.colours;
                if view.services.iter().any(|service| service.role(colours) == Role::Traffic) {
                    return Ok(Stakes::Some);
                }
                self.permissions(change, &mut view, namespace, deadline).await;
                Ok(Stakes::None(Box::new(view)))
            }
        }
    }

    /// A change that cannot be carried out any more, or can take nothing away. Only a permission may be missing.
    async fn harmless(&self, change: &Change, deadline: Instant) -> Verdict {
        match change.write {
            Write::ServiceCreate { .. } => {
                rules::decide(change, &self.permitted(change, deadline).await, &self.policy, clock::now())
            }
            _ => Verdict::not_judged(),
        }
    }

    /// Without a ledger: by fresh reads alone.
    async fn plainly(&self, change: &Change, needed: &Reads, reading: Reading, deadline: Instant) -> Verdict {
        let mut view = was_read(reading).await;
        self.permissions(change, &mut view, &needed.namespace, deadline).await;
        let verdict = rules::decide(change, &view, &self.policy, clock::now());
        self.events.tell(change, &view, &verdict, clock::now());
        verdict
    }

    /// Begins to read, in a task of its own: it is brought to its end also where nobody waits for it any more, since a
    /// request that is broken off takes its connection with it.
    fn begin_to_read(&self, needed: &Reads, deadline: Instant) -> Reading {
        let (client, needed) = (self.client.clone(), needed.clone());
        tokio::spawn(meter::counted(async move { Box::pin(namespace::view(&client, &needed, deadline)).await }))
    }

    async fn view(
        &self,
        change: &Change,
        needed: &Reads,
        attempt: &Attempt,
        reading: Reading,
        deadline: Instant,
    ) -> ClusterView {
        let mut view = was_read(reading).await;
        view.records = attempt.standing().map(|(_, records)| records.clone()).unwrap_or_default();
        if let Some(more) = needs::besides(needed, change, &view, &self.policy) {
            let more = Box::pin(namespace::view(&self.client, &more, deadline)).await;
            view.revisions = more.revisions;
            view.unread.extend(more.unread);
        }
        self.permissions(change, &mut view, &needed.namespace, deadline).await;
        view
    }

    /// Nothing but what the user may.
    async fn permitted(&self, change: &Change, deadline: Instant) -> ClusterView {
        let mut view = ClusterView::default();
        if let Write::ServiceCreate { new } = &change.write {
            self.permissions(change, &mut view, &new.meta.namespace, deadline).await;
        }
        view
    }

    async fn permissions(&self, change: &Change, view: &mut ClusterView, namespace: &str, deadline: Instant) {
        let asked = needs::permissions(change, view, &self.policy, clock::now());
        namespace::permissions(&self.client, namespace, &change.user, asked, deadline, view).await;
    }

    /// Nobody took the answer, so the change was refused.
    async fn withdraw(&self, namespace: &str, own: Intent) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut attempt = Attempt::withdrawing(own);
        while attempt.ask() == Ask::ReadLedger {
            // What cannot be withdrawn is watched until it cannot commit any more.
            let Ok(Some(over)) = self.read_ledger(namespace, &mut attempt, deadline).await else { return };
            let Ask::WriteLedger(ledger) = attempt.ask() else { return };
            let Ok(is) = self.ledgers.write(namespace, ledger, &over, deadline).await else { return };
            attempt.written(is);
        }
    }

    /// Reads the ledger for an attempt; `None` where nothing was ever written down.
    async fn read_ledger(
        &self,
        namespace: &str,
        attempt: &mut Attempt,
        deadline: Instant,
    ) -> Result<Option<StoredLedger>, Unread> {
        let mut read = self.ledgers.read(namespace, deadline).await?;
        if let Some(read) = &mut read {
            attempt.ledger(std::mem::take(&mut read.ledger), std::mem::take(&mut read.expired));
        }
        Ok(read)
    }
}

/// What is being read.
type Reading = JoinHandle<ClusterView>;

async fn was_read(reading: Reading) -> ClusterView {
    reading.await.unwrap_or_else(|broken| Unread::online("the cluster".to_owned(), broken.to_string()).into())
}

/// What is at stake in a namespace without a ledger.
enum Stakes {
    /// Nothing, and this is what was read.
    None(Box<ClusterView>),
    /// Perhaps something, but nothing is to be written.
    NoneWritten,
    /// A traffic Service.
    Some,
}

/// Between two attempts to write: two replicas that meet do not meet again.
fn pause() -> Duration {
    Duration::from_micros(fastrand::u64(500..10_000))
}
