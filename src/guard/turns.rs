//! The changes that are judged at the same time are limited, for all namespaces and for each. The others wait for their
//! turn. So a flood in one namespace delays no other one, and a flood of changes of workloads delays no flip.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::course::Course;
use crate::cluster::allowance::{Allowance, ReadMemory};
use crate::cluster::replica_sets::LargeNamespaces;
use crate::model::{Kind, ReadFailure};

/// The changes that are judged at the same time: of all namespaces, and of one.
const AT_ONCE: (usize, usize) = (32, 4);
/// The part of them that only changes of Services may use: of all namespaces, and of one. A flip and its rollback are
/// never behind a queue of other changes.
const FOR_SERVICES: (usize, usize) = (8, 1);
/// The memory that a change is expected to need in a namespace that was not read yet.
const USUAL_BYTES: usize = 256 * 1024;

/// The limits, and the namespaces that are being read.
#[derive(Default)]
pub(super) struct Turns {
    memory: ReadMemory,
    all: Lane<{ AT_ONCE.0 }, { FOR_SERVICES.0 }>,
    namespaces: Mutex<HashMap<String, Namespace>>,
    /// Those with many ReplicaSets.
    large: LargeNamespaces,
}

type NamespaceLane = Lane<{ AT_ONCE.1 }, { FOR_SERVICES.1 }>;

#[derive(Default)]
struct Namespace {
    lane: Arc<NamespaceLane>,
    /// The memory that its last change needed.
    bytes: usize,
}

/// Slots, of which some are for Services only. A change of a workload first takes one of the others, so that the queue for
/// the slots is never longer than those.
struct Lane<const SLOTS: usize, const FOR_SERVICES: usize> {
    workloads: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

impl<const SLOTS: usize, const FOR_SERVICES: usize> Default for Lane<SLOTS, FOR_SERVICES> {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { workloads: semaphore(SLOTS - FOR_SERVICES), slots: semaphore(SLOTS) }
    }
}

impl<const SLOTS: usize, const FOR_SERVICES: usize> Lane<SLOTS, FOR_SERVICES> {
    async fn enter(&self, kind: Kind) -> [Option<OwnedSemaphorePermit>; 2] {
        let first = if kind == Kind::Service { None } else { self.workloads.clone().acquire_owned().await.ok() };
        [first, self.slots.clone().acquire_owned().await.ok()]
    }
}

/// The turn of a change. It ends when this is dropped.
pub(super) struct Turn {
    /// The end of all reads.
    pub(super) deadline: Instant,
    /// The memory for the reads.
    pub(super) allowance: Allowance,
    /// The settings of the namespace; one change is judged by one snapshot of them.
    pub(super) course: Arc<Course>,
    turns: Arc<Turns>,
    namespace: String,
    /// The namespace is remembered as long as this is held.
    _lane: Arc<NamespaceLane>,
    _slots: [[Option<OwnedSemaphorePermit>; 2]; 2],
}

impl Turn {
    /// The namespaces with many ReplicaSets.
    pub(super) fn large(&self) -> &LargeNamespaces {
        &self.turns.large
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.ended(&self.namespace, self.allowance.needed());
    }
}

impl Turns {
    /// Waits for the turn of a change. The changes of a namespace take turns in the order of their arrival.
    ///
    /// # Errors
    /// When the turn does not come while there is still time to judge the change.
    pub(super) async fn wait(
        self: &Arc<Self>,
        namespace: &str,
        kind: Kind,
        course: Arc<Course>,
        deadline: Instant,
    ) -> Result<Turn, ReadFailure> {
        let started = Instant::now();
        // The last quarter of the time is for the reads.
        let until = started + deadline.saturating_duration_since(started) * 3 / 4;
        let (lane, bytes) = self.lane_of(namespace);
        let entered = timeout_at(until, async { [lane.enter(kind).await, self.all.enter(kind).await] }).await;
        let too_late = || too_many(namespace, started.elapsed());
        let slots = entered.map_err(|_| too_late())?;
        let allowance = self.memory.reserve(bytes.max(USUAL_BYTES), until).await.ok_or_else(too_late)?;
        Ok(Turn {
            deadline,
            allowance,
            course,
            turns: self.clone(),
            namespace: namespace.to_owned(),
            _lane: lane,
            _slots: slots,
        })
    }

    fn lane_of(&self, namespace: &str) -> (Arc<NamespaceLane>, usize) {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        // A namespace is remembered while changes of it wait or are judged, or while it is a large one.
        namespaces.retain(|_, namespace| Arc::strong_count(&namespace.lane) > 1 || namespace.bytes > USUAL_BYTES);
        let namespace = namespaces.entry(namespace.to_owned()).or_default();
        (namespace.lane.clone(), namespace.bytes)
    }

    fn ended(&self, namespace: &str, bytes: usize) {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(namespace) = namespaces.get_mut(namespace) {
            namespace.bytes = bytes;
        }
    }
}

fn too_many(namespace: &str, waited: Duration) -> ReadFailure {
    let why = format!("too many changes at once, no turn within {:.1} s", waited.as_secs_f64());
    ReadFailure {
        remedy: Some("Retry in a few seconds".to_owned()),
        ..ReadFailure::online(format!("namespace {namespace}"), why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkloadKind;

    const WORKLOAD: Kind = Kind::Workload(WorkloadKind::Deployment);

    fn course() -> Arc<Course> {
        let policy = crate::model::Policy::default();
        Arc::new(Course::by(crate::cluster::policies::Settings { policy, failure: None }))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(4)
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_delays_neither_a_flip_nor_another_namespace() {
        let turns = Arc::new(Turns::default());
        let mut judged = Vec::new();
        for _ in 0..AT_ONCE.1 - FOR_SERVICES.1 {
            judged.push(turns.wait("shop", WORKLOAD, course(), soon()).await.unwrap());
        }
        // Many more wait.
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move { turns.wait("shop", WORKLOAD, course(), soon()).await.map(drop) })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let started = Instant::now();
        let flip = turns.wait("shop", Kind::Service, course(), soon()).await.unwrap();
        let elsewhere = turns.wait("stage", WORKLOAD, course(), soon()).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        // Each one that ends lets the next one in.
        judged.pop();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(waiting.iter().all(tokio::task::JoinHandle::is_finished), "they ended at once, one after the other");
        drop((flip, elsewhere));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_in_time_is_refused_while_the_answer_is_in_time() {
        let turns = Arc::new(Turns::default());
        let mut all = Vec::new();
        for _ in 0..AT_ONCE.1 {
            all.push(turns.wait("shop", Kind::Service, course(), soon()).await.unwrap());
        }
        let started = Instant::now();
        let failure = turns.wait("shop", Kind::Service, course(), soon()).await.map(drop).unwrap_err();
        assert_eq!(failure.why, "too many changes at once, no turn within 3.0 s");
        assert_eq!(started.elapsed(), Duration::from_secs(3));
    }

    /// A large namespace is read as often at the same time as the memory allows.
    #[tokio::test(start_paused = true)]
    async fn the_second_change_of_a_large_namespace_waits_for_the_memory() {
        let turns = Arc::new(Turns { memory: ReadMemory::of(10 << 20), ..Turns::default() });
        let first = turns.wait("shop", WORKLOAD, course(), soon()).await.unwrap();
        assert!(first.allowance.take(6 << 20).is_ok());
        drop(first);
        let first = turns.wait("shop", WORKLOAD, course(), soon()).await.unwrap();
        assert!(turns.wait("shop", WORKLOAD, course(), soon()).await.is_err(), "6 MiB twice");
        let other = turns.wait("stage", WORKLOAD, course(), soon()).await.unwrap();
        drop((first, other));
        assert!(turns.wait("shop", WORKLOAD, course(), soon()).await.is_ok());
        assert_eq!(turns.namespaces.lock().unwrap().len(), 1, "only the large one is remembered");
    }
}
