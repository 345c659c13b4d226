//! A breadth-first search over all possible steps. So the first error found has the shortest history.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use super::cluster::{Cluster, PolicyPhase, Stir};
use super::drain;
use super::process::{Lost, Mistake, PolicyChange, Request, Rules, Stage, Text};

/// The requests and circumstances of a search.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) start: Cluster,
    pub(crate) requests: Vec<Request>,
    /// The number of attempts of each request.
    pub(crate) tries: u8,
    /// Whether replicas crash.
    pub(crate) crashes: bool,
    /// Whether intents expire.
    pub(crate) expiry: bool,
    /// Whether all lists are read at one instant.
    pub(crate) at_once: bool,
    /// The number of objects of others that an attempt looks at; flipguard's limit is more than a model has.
    pub(crate) looks: usize,
    pub(crate) lost: Lost,
    /// The change of a policy that changes once.
    pub(crate) change: Option<PolicyChange>,
}

/// The result of a search.
#[derive(Debug)]
pub(crate) struct Searched {
    pub(crate) states: usize,
    pub(crate) verdicts: usize,
    /// The shortest history that violates an invariant.
    pub(crate) broken: Option<String>,
}

#[derive(Debug, Clone)]
struct State {
    cluster: Rc<Hashed<Cluster>>,
    stages: Vec<Rc<Hashed<Stage>>>,
}

/// A part of a state with its hash. Most parts are unchanged from one state to the next.
#[derive(Debug)]
struct Hashed<T> {
    part: T,
    hash: u64,
}

impl<T: Hash> Hashed<T> {
    fn new(part: T) -> Rc<Self> {
        let hash = hash(&part);
        Rc::new(Self { part, hash })
    }
}

/// Two of ten million parts have the same hash in about 3 of a million searches.
pub(crate) fn hash(it: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    it.hash(&mut hasher);
    hasher.finish()
}

impl State {
    fn fingerprint(&self) -> u64 {
        let stages: Vec<u64> = self.stages.iter().map(|stage| stage.hash).collect();
        hash(&(self.cluster.hash, stages))
    }
}

/// A step, and who makes it; the cluster makes the others.
struct Step {
    request: Option<usize>,
    what: Text,
}

impl Step {
    fn of_cluster(what: impl Into<Text>) -> Self {
        Self { request: None, what: what.into() }
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Searches all reachable states.
pub(crate) fn search(scenario: &Scenario, mistake: Option<Mistake>) -> Searched {
    let mut rules = Rules::new(
        mistake,
        scenario.crashes,
        scenario.expiry || matches!(mistake, Some(Mistake::EarlyExpiry | Mistake::DropsUnseen)),
        scenario.at_once,
        scenario.looks,
    )
    .with_lost(scenario.lost)
    .with_change(scenario.change);
    let stages = scenario.requests.iter().map(|_| Hashed::new(Stage::Waiting { tries: scenario.tries })).collect();
    let mut start = scenario.start.clone();
    if scenario.change.is_some() {
        start.policy = PolicyPhase::Old;
    }
    let start = State { cluster: Hashed::new(start), stages };
    // For each visited state, its hash; for its history, the previous state and the step.
    let mut met: HashSet<u64> = HashSet::from([start.fingerprint()]);
    let mut reached: Vec<(usize, Step)> = vec![(0, Step::of_cluster(String::new()))];
    let mut queue = VecDeque::from([(0, start)]);
    while let Some((number, state)) = queue.pop_front() {
        if let Some(what) = rules.broken(&state.cluster.part, state.stages.iter().map(|stage| &stage.part)) {
            let story = story(scenario, &reached, number);
            let broken = Some(format!("{}\n  => {what}", story.join("\n")));
            return Searched { states: reached.len(), verdicts: rules.judged(), broken };
        }
        for (step, next) in successors(scenario, &state, &mut rules) {
            if met.insert(next.fingerprint()) {
                reached.push((number, step));
                queue.push_back((reached.len() - 1, next));
            }
        }
    }
    Searched { states: reached.len(), verdicts: rules.judged(), broken: None }
}

fn successors(scenario: &Scenario, state: &State, rules: &mut Rules) -> Vec<(Step, State)> {
    let mut all = Vec::new();
    let alive: BTreeSet<String> = state.stages.iter().filter_map(|stage| stage.part.alive().cloned()).collect();
    for (index, request) in scenario.requests.iter().enumerate() {
        let now = &state.stages[index].part;
        let locked = || state.stages.iter().any(|other| other.part.is_in_admission());
        if rules.makes(Mistake::Mutex) && !now.is_in_admission() && matches!(now, Stage::Waiting { .. }) && locked() {
            continue;
        }
        for (what, cluster, stage) in request.steps(NAMES[index], now, &state.cluster.part, &alive, rules) {
            let mut next = state.clone();
            if let Some(cluster) = cluster {
                next.cluster = Hashed::new(cluster);
            }
            next.stages[index] = Hashed::new(stage);
            all.push((Step { request: Some(index), what }, next));
        }
    }
    for (step, cluster) in drain::steps(&state.cluster.part, rules) {
        all.push((Step::of_cluster(step), State { cluster: Hashed::new(cluster), stages: state.stages.clone() }));
    }
    for stir in Stir::all() {
        if let Some(cluster) = stir.of(&state.cluster.part) {
            all.push((
                Step::of_cluster(format!("{stir:?}")),
                State { cluster: Hashed::new(cluster), stages: state.stages.clone() },
            ));
        }
    }
    all
}

fn story(scenario: &Scenario, reached: &[(usize, Step)], mut number: usize) -> Vec<String> {
    let mut steps = Vec::new();
    while number != 0 {
        let (before, Step { request, what }) = &reached[number];
        steps.push(match request {
            Some(index) => format!("  {} ({:?}) {what}", NAMES[*index], scenario.requests[*index]),
            None => format!("  {what}"),
        });
        number = *before;
    }
    steps.reverse();
    steps
}
