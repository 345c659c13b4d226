//! The drain: committed changes of Services leave the ledger for the history. A replica may end after each step.

use std::collections::{BTreeMap, BTreeSet};

use flipguard::ledger::resolve::resolve;
use flipguard::ledger::{Ledger, Settled, SettledAct};
use flipguard::model::{ColourScheme, Kind, Timestamp};

use super::cluster::Cluster;
use super::process::{Mistake, Rules};

/// The drain and what it is checked against.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Drain {
    phase: Phase,
    /// The changes of Services that were committed.
    committed: BTreeSet<Commit>,
    /// How often each is in the history.
    recorded: BTreeMap<Commit, u8>,
}

/// The uid of a Service, the version that a change of it started from, and whether the change deleted it.
type Commit = (String, String, bool);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
enum Phase {
    #[default]
    Idle,
    /// The ledger was read, in this version.
    Read(Ledger, u8),
    /// Its objects were read, and its intents are resolved.
    Resolved(Ledger, u8),
    /// What is resolved is written, so no other attempt has changed the ledger meanwhile.
    Settled(Ledger, u8),
    /// The changes are in the history.
    Added(Ledger, u8),
    /// A mistake: the changes have left the ledger and are not in the history.
    Forgotten(Vec<Settled>),
}

impl Drain {
    pub(crate) fn commits(&mut self, uid: u8, base: &str, deletes: bool) {
        self.committed.insert((format!("service-{uid}"), base.to_owned(), deletes));
    }

    fn add(&mut self, settled: &[Settled], is_twice: bool) {
        for one in settled {
            let times = self.recorded.entry(commit(one)).or_insert(0);
            if *times == 0 || is_twice {
                *times = times.saturating_add(1);
            }
        }
    }

    /// A change that is in neither the history nor the ledger, or more than once, or that never was.
    pub(crate) fn broken(&self, ledger: &Ledger) -> Option<String> {
        for (change, times) in &self.recorded {
            if !self.committed.contains(change) {
                return Some(format!("the history tells of a change that never was: {change:?}"));
            }
            if *times > 1 {
                return Some(format!("the history tells {times} times of one change: {change:?}"));
            }
        }
        let is_known = |(uid, base, _): &Commit| {
            let waits = ledger.settled.iter().any(|one| one.is(uid, base));
            waits || ledger.intents.iter().any(|intent| intent.uid == *uid && intent.base == *base)
        };
        let lost = self.committed.iter().find(|one| !self.recorded.contains_key(*one) && !is_known(one));
        lost.map(|change| format!("a committed change is lost: {change:?}"))
    }
}

fn commit(settled: &Settled) -> Commit {
    (settled.uid.clone(), settled.base.clone(), settled.act == SettledAct::Deleted)
}

/// The next steps of the drain, where the search has one.
pub(crate) fn steps(cluster: &Cluster, rules: &Rules) -> Vec<(String, Cluster)> {
    let Some(drain) = &cluster.drain else { return Vec::new() };
    let to = |phase: Phase| {
        let mut next = cluster.clone();
        next.drain.iter_mut().for_each(|drain| drain.phase = phase.clone());
        next
    };
    let said = |what: &str, next: Cluster| (format!("the drain {what}"), next);
    let mut steps = match &drain.phase {
        Phase::Idle => {
            let ledger = &cluster.ledger;
            let is_open = ledger.intents.iter().any(|it| it.object.kind == Kind::Service) || !ledger.settled.is_empty();
            return if is_open {
                vec![said("reads the ledger", to(Phase::Read((**ledger).clone(), cluster.ledger_version)))]
            } else {
                Vec::new()
            };
        }
        Phase::Read(ledger, version) => {
            let mut ledger = ledger.clone();
            let services = ledger.intents.iter().filter(|it| it.object.kind == Kind::Service);
            let found = services.map(|it| (it.object.clone(), cluster.look(&it.object))).collect();
            resolve(&mut ledger, &found, &BTreeSet::new(), &ColourScheme::default(), Timestamp(0));
            vec![said("reads the Services", to(Phase::Resolved(ledger, *version)))]
        }
        Phase::Resolved(ledger, _) if ledger.settled.is_empty() => Vec::new(),
        Phase::Resolved(ledger, version) if rules.makes(Mistake::AddsUnwritten) => {
            vec![said("takes it for settled", to(Phase::Settled(ledger.clone(), *version)))]
        }
        Phase::Resolved(ledger, version) if *version == cluster.ledger_version && *ledger == *cluster.ledger => {
            vec![said("has nothing to write", to(Phase::Settled(ledger.clone(), *version)))]
        }
        Phase::Resolved(ledger, version) if *version == cluster.ledger_version => {
            let next = to(Phase::Settled(ledger.clone(), version + 1)).with_ledger(ledger.clone());
            vec![said("writes what has settled", next)]
        }
        Phase::Settled(ledger, version) if rules.makes(Mistake::DrainsFirst) => {
            if *version == cluster.ledger_version {
                let mut drained = ledger.clone();
                drained.drained(|_| true, String::new());
                let next = to(Phase::Forgotten(ledger.settled.clone())).with_ledger(drained);
                vec![said("lets go of the changes", next)]
            } else {
                Vec::new()
            }
        }
        Phase::Settled(ledger, version) => {
            let mut next = to(Phase::Added(ledger.clone(), *version));
            next.drain.iter_mut().for_each(|drain| drain.add(&ledger.settled, rules.makes(Mistake::AddsTwice)));
            vec![said("adds to the history", next)]
        }
        Phase::Added(ledger, version) if *version == cluster.ledger_version => {
            let mut drained = ledger.clone();
            drained.drained(|_| true, String::new());
            vec![said("lets go of the changes", to(Phase::Idle).with_ledger(drained))]
        }
        Phase::Resolved(..) | Phase::Added(..) => Vec::new(),
        Phase::Forgotten(settled) => {
            let mut next = to(Phase::Idle);
            next.drain.iter_mut().for_each(|drain| drain.add(settled, false));
            vec![said("adds to the history", next)]
        }
    };
    steps.push(said("ends", to(Phase::Idle)));
    steps
}
