//! A breadth-first search over all possible steps. So the first error found has the shortest history.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
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

    /// The attempts that may still commit.
    fn alive(&self) -> impl Iterator<Item = &String> {
        self.stages.iter().filter_map(|stage| stage.part.alive())
    }

    /// The state after a step of a request.
    fn after(&self, index: usize, next: &Next) -> Self {
        let mut stages = self.stages.clone();
        stages[index] = next.stage.clone();
        Self { cluster: next.cluster.as_ref().unwrap_or(&self.cluster).clone(), stages }
    }
}

/// A step, and who makes it; the cluster makes the others.
struct Step {
    request: Option<usize>,
    what: Text,
}

/// A step of a request: a description, the changed cluster if there is one, and the new stage.
struct Next {
    what: Text,
    cluster: Option<Rc<Hashed<Cluster>>>,
    stage: Rc<Hashed<Stage>>,
}

/// A cluster: an invariant that it violates, and its own steps.
struct Around {
    broken: Option<String>,
    steps: Vec<(Text, Rc<Hashed<Cluster>>)>,
}

/// All steps found so far. Most states have parts that others have too, and so the same steps.
#[derive(Default)]
struct Known {
    /// By request, and by the hashes of its stage, of the cluster, and of the attempts that may still commit.
    steps: HashMap<(usize, u64, u64, u64), Rc<[Next]>>,
    /// By the hash of the cluster.
    around: HashMap<u64, Rc<Around>>,
}

impl Known {
    fn steps(&mut self, scenario: &Scenario, index: usize, state: &State, alive: u64, rules: &mut Rules) -> Rc<[Next]> {
        let (now, cluster) = (&state.stages[index], &state.cluster);
        let key = (index, now.hash, cluster.hash, alive);
        if let Some(steps) = self.steps.get(&key) {
            return steps.clone();
        }
        let alive: BTreeSet<String> = state.alive().cloned().collect();
        let request = scenario.requests[index];
        let steps = request.steps(NAMES[index], &now.part, &cluster.part, &alive, rules);
        let all = steps.into_iter().map(|(what, cluster, stage)| Next {
            what,
            cluster: cluster.map(Hashed::new),
            stage: Hashed::new(stage),
        });
        let all: Rc<[Next]> = all.collect();
        self.steps.insert(key, all.clone());
        all
    }

    fn around(&mut self, cluster: &Hashed<Cluster>, rules: &Rules) -> Rc<Around> {
        let find = || {
            let drained = drain::steps(&cluster.part, rules);
            let stirred =
                Stir::all().into_iter().filter_map(|stir| Some((format!("{stir:?}"), stir.of(&cluster.part)?)));
            let steps = drained.into_iter().chain(stirred).map(|(what, next)| (what.into(), Hashed::new(next)));
            Rc::new(Around { broken: rules.broken(&cluster.part), steps: steps.collect() })
        };
        self.around.entry(cluster.hash).or_insert_with(find).clone()
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
    let mut reached: Vec<(usize, Step)> = vec![(0, Step { request: None, what: "".into() })];
    let mut queue = VecDeque::from([(0, start)]);
    let mut known = Known::default();
    while let Some((number, state)) = queue.pop_front() {
        let around = known.around(&state.cluster, &rules);
        let is_kept = || rules.keeps_a_denied_one(&state.cluster.part, state.stages.iter().map(|stage| &stage.part));
        if let Some(what) = is_kept().or_else(|| around.broken.clone()) {
            let story = story(scenario, &reached, number);
            let broken = Some(format!("{}\n  => {what}", story.join("\n")));
            return Searched { states: reached.len(), verdicts: rules.judged(), broken };
        }
        let mut reach = |step: Step, next: State| {
            if met.insert(next.fingerprint()) {
                reached.push((number, step));
                queue.push_back((reached.len() - 1, next));
            }
        };
        let alive = hash(&state.alive().collect::<Vec<_>>());
        let locked = rules.makes(Mistake::Mutex) && state.stages.iter().any(|stage| stage.part.is_in_admission());
        for (index, stage) in state.stages.iter().enumerate() {
            if locked && matches!(stage.part, Stage::Waiting { .. }) {
                continue;
            }
            for next in &*known.steps(scenario, index, &state, alive, &mut rules) {
                reach(Step { request: Some(index), what: next.what.clone() }, state.after(index, next));
            }
        }
        for (what, next) in &around.steps {
            let next = State { cluster: next.clone(), stages: state.stages.clone() };
            reach(Step { request: None, what: what.clone() }, next);
        }
    }
    Searched { states: reached.len(), verdicts: rules.judged(), broken: None }
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
