//! Adds committed changes to the history, after their answers.
//!
//! A replica remembers the facts about the changes that it has allowed. A moment later, it looks whether they have
//! committed, and takes them from the ledger into the history. If it ends before that, another replica does so, without
//! the facts.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::cluster::history_store::Drained;
use crate::cluster::ledger_store::LedgerStore;
use crate::cluster::policies::PolicyStore;
use crate::history::Facts;
use crate::model::{Change, Template};
use crate::rules::{Moved, Verdict};
use crate::telemetry::Metrics;

/// The time from an answer to the first look: the API server commits within it. Each further change puts the look off
/// again, so that one look takes all changes of a burst.
const FIRST_LOOK: Duration = Duration::from_millis(500);
/// The longest time from the first of these answers to the look.
const BURST: Duration = Duration::from_secs(3);
/// The most changes that wait for one look. The ledger keeps them until then, at most 64 of a Service.
const MOST_WAITING: usize = 32;
/// The longest time between two looks at a change that may still commit.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How long facts are remembered. No change can be committed after that.
const MEMORY: Duration = Duration::from_secs(180);
/// The most facts that are remembered. More are not, with a log line.
const MAX_FACTS: usize = 1024;
/// The longest time for one drain.
const DRAIN: Duration = Duration::from_secs(20);

/// What this replica remembers until the history has it.
pub struct Recorder {
    ledgers: Arc<LedgerStore>,
    policies: Arc<PolicyStore>,
    metrics: Arc<Metrics>,
    /// By namespace.
    open: Mutex<HashMap<String, Open>>,
    wake: Notify,
}

/// An allowed change.
pub(super) struct Told {
    facts: Facts,
    /// The workloads of the new colour, with their templates.
    templates: Vec<(String, Arc<Template>)>,
}

impl Told {
    pub(super) fn of(change: &Change, verdict: &Verdict) -> Self {
        let templates = verdict.moved.as_ref().map(|Moved { templates, .. }| templates.clone()).unwrap_or_default();
        Self { facts: Facts::of(change, verdict), templates }
    }
}

/// The changes of a namespace that may still have to be added.
struct Open {
    /// By the ids of their intents.
    changes: BTreeMap<String, Remembered>,
    /// The number of changes that were told since the last look, and when the first of them was.
    waiting: Option<(usize, Instant)>,
    next: Instant,
    pause: Duration,
}

/// What is remembered of a change.
struct Remembered {
    facts: Facts,
    /// When it was told.
    told: Instant,
}

impl Recorder {
    /// A recorder that remembers nothing. [`run`](Self::run) has to be polled.
    #[must_use]
    pub fn new(ledgers: Arc<LedgerStore>, policies: Arc<PolicyStore>, metrics: Arc<Metrics>) -> Self {
        Self { ledgers, policies, metrics, open: Mutex::default(), wake: Notify::new() }
    }

    /// Remembers an allowed change, which is about to be committed.
    pub(super) fn tell(&self, namespace: &str, intent: String, told: Told) {
        let Told { facts, templates } = told;
        let facts = facts.with_templates(&templates);
        let now = Instant::now();
        let mut open = self.open();
        let remembered: usize = open.values().map(|one| one.changes.len()).sum();
        let one = open.entry(namespace.to_owned()).or_insert_with(|| Open::at(now + FIRST_LOOK));
        if remembered < MAX_FACTS {
            one.changes.insert(intent, Remembered { facts, told: now });
        } else {
            tracing::warn!(namespace, "too many changes wait for the history; the facts of one are not kept");
        }
        one.told(now);
        drop(open);
        self.wake.notify_one();
    }

    /// Looks at a namespace that another replica may have left open.
    pub fn look_at(&self, namespace: &str) {
        self.open().entry(namespace.to_owned()).or_insert_with(|| Open::at(Instant::now()));
        self.wake.notify_one();
    }

    /// Adds changes to the histories, for ever. A failure is one log line, and is tried again.
    pub async fn run(&self) -> Infallible {
        loop {
            let next = self.open().iter().min_by_key(|(_, one)| one.next).map(|(name, one)| (name.clone(), one.next));
            let Some((namespace, at)) = next else {
                self.wake.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(at) => self.drain(&namespace).await,
                () = self.wake.notified() => {}
            }
        }
    }

    async fn drain(&self, namespace: &str) {
        // Before the changes are taken: what is told later is not taken for drained.
        let began = Instant::now();
        let deadline = began + DRAIN;
        let facts: BTreeMap<String, Facts> = {
            let mut open = self.open();
            let Some(one) = open.get_mut(namespace) else { return };
            one.waiting = None;
            one.changes.iter().map(|(id, change)| (id.clone(), change.facts.clone())).collect()
        };
        let settings = self.policies.settings(namespace, deadline).await;
        let drained = self.ledgers.drain(namespace, &settings.policy.colours, &facts, deadline).await;
        let Drained { is_open, added } = drained.unwrap_or_else(|failure| {
            tracing::warn!(namespace, what = failure.what, why = failure.why, "the history is not written yet");
            Drained { is_open: true, added: Vec::new() }
        });
        for act in added {
            self.metrics.recorded(namespace, act.name());
        }
        self.drained(namespace, began, is_open);
    }

    /// Forgets what is done or too old, and plans the next look.
    fn drained(&self, namespace: &str, began: Instant, is_open: bool) {
        let mut open = self.open();
        let Some(one) = open.get_mut(namespace) else { return };
        // What was told while the drain ran is looked at again.
        one.changes.retain(|_, change| change.told >= began || (is_open && change.told.elapsed() < MEMORY));
        // A change that was told meanwhile has planned the next look.
        if one.waiting.is_some() {
            return;
        }
        if one.changes.is_empty() && (!is_open || one.pause >= MAX_PAUSE) {
            open.remove(namespace);
            return;
        }
        one.pause = (one.pause * 2).min(MAX_PAUSE);
        one.next = Instant::now() + one.pause;
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn at(next: Instant) -> Self {
        Self { changes: BTreeMap::new(), waiting: None, next, pause: FIRST_LOOK }
    }

    /// Plans the look at a change that was just told.
    fn told(&mut self, now: Instant) {
        let (count, first) = self.waiting.map_or((1, now), |(count, first)| (count + 1, first));
        self.waiting = Some((count, first));
        let latest = if count < MOST_WAITING { first + BURST } else { now };
        self.next = (now + FIRST_LOOK).min(latest);
        self.pause = FIRST_LOOK;
    }
}
