//! A request of the model. flipguard's own code admits it, one read or write of the API server at a time. Then the
//! request commits or is abandoned.

use std::collections::{BTreeMap, BTreeSet};

use flipguard::ledger::apply::apply;
use flipguard::ledger::{Ask, Attempt, Found, Intent, ObjectRef, resolve, scenarios};
use flipguard::model::{Change, ClusterView, Policy, Records, User, Write};
use flipguard::rules::{self, Outcome, Verdict};

use super::cluster::{Cluster, Colour, NOW, Read, TheService, deployment, service};

/// The change that a user requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    Flip(Colour),
    ScaleToZero(Colour),
    /// Scales down to one Pod.
    ScaleToOne(Colour),
    Delete(Colour),
    /// Sets a new image.
    Redeploy(Colour),
    DeleteService,
    /// Creates the Service for a colour.
    CreateService(Colour),
}

/// A deliberate mistake that the search must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Fresh reads alone decide.
    NoLedger,
    /// A lock around each admission replaces the ledger.
    Mutex,
    /// Only flips write an intent.
    FlipsOnly,
    /// The cluster is read before the ledger.
    ReadsBeforeLedger,
    /// The cluster is read before the objects of others' intents.
    ReadsBeforeLooking,
    /// Reads are kept although the own intent could not be written.
    KeepsWhatWasRead,
    /// An intent is dropped while its request can still commit.
    EarlyExpiry,
    /// An expired intent is dropped without reading its object.
    DropsUnseen,
    /// Only the scenarios "none commits" and "all commit" are judged.
    OnlyNoneAndAll,
    /// An intent on an object of the same app is left out.
    LeavesOneOut,
    /// A denied request withdraws all intents on its object.
    WithdrawByObject,
    /// A changed version is taken for a commit.
    MovedIsCommitted,
    /// Where no Service carries traffic, the ledger is not read a second time, so one created meanwhile is missed.
    LooksOnce,
    /// Pods of a workload in the middle of a rollout count as if it were over.
    TakesRolloutsForOver,
}

/// The progress of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Not yet sent, with the number of remaining attempts.
    Waiting { tries: u8 },
    /// In admission.
    Admission(Box<Admission>),
    /// Allowed. It may commit on its base at any time.
    Allowed { base: Base, tries: u8, id: String },
    /// Committed, denied or abandoned.
    Over,
}

/// The state of the object that an attempt starts from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Base {
    Service(TheService),
    Deployment(Colour, super::cluster::TheDeployment),
    /// None: the attempt creates an object with this uid.
    New(u8),
}

/// An attempt in admission.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Admission {
    base: Base,
    tries: u8,
    id: String,
    attempt: Attempt,
    ledger_version: u8,
    looked: BTreeMap<ObjectRef, Found>,
    read: Read,
    refused: bool,
    /// Whether the Services were read because there was no ledger.
    searched: bool,
}

/// The possible steps of a request: a description, the changed cluster if there is one, and the new stage.
pub(crate) type Steps = Vec<(String, Option<Cluster>, Stage)>;

impl Request {
    /// All possible next steps of this request. `alive` are the attempts that may still commit.
    pub(crate) fn steps(
        self,
        name: &str,
        stage: &Stage,
        cluster: &Cluster,
        alive: &BTreeSet<String>,
        rules: &mut Rules,
    ) -> Steps {
        match stage {
            Stage::Waiting { tries } => {
                let Some(base) = self.base(cluster, name, *tries) else { return vec![] };
                let id = format!("{name}{tries}");
                let intent = Intent::of(&self.change(&base), id.clone());
                let intent = intent.unwrap_or_else(|| panic!("every modelled request is dangerous"));
                let writes = match rules.mistake {
                    Some(Mistake::NoLedger | Mistake::Mutex) => false,
                    Some(Mistake::FlipsOnly) => matches!(self, Self::Flip(_)),
                    _ => true,
                };
                let admission = Admission {
                    base,
                    tries: *tries,
                    id,
                    attempt: Attempt::new(intent, writes).with_looks(rules.looks),
                    ledger_version: 0,
                    looked: BTreeMap::new(),
                    read: Read::default(),
                    refused: false,
                    searched: false,
                };
                vec![("arrives".to_owned(), None, Stage::Admission(Box::new(admission)))]
            }
            Stage::Admission(admission) => {
                let mut steps = self.admission(admission, cluster, alive, rules);
                if rules.crashes {
                    steps.push(("is lost: its replica crashes".to_owned(), None, Stage::Over));
                }
                steps
            }
            Stage::Allowed { base, tries, .. } => {
                let mut steps = vec![("is given up after it was allowed".to_owned(), None, Stage::Over)];
                match self.commit(base, cluster) {
                    next @ Some(_) => steps.push(("commits".to_owned(), next, Stage::Over)),
                    None => steps.push(("meets a conflict".to_owned(), None, Stage::again(*tries))),
                }
                steps
            }
            Stage::Over => vec![],
        }
    }

    fn admission(self, now: &Admission, cluster: &Cluster, alive: &BTreeSet<String>, rules: &mut Rules) -> Steps {
        let mut steps = self.asked(now, cluster, alive, rules);
        let may_read = match now.attempt.ask() {
            Ask::ReadLedger if rules.makes(Mistake::ReadsBeforeLedger) => !now.refused,
            Ask::ReadObjects(_) if rules.makes(Mistake::ReadsBeforeLooking) => true,
            _ => now.attempt.may_read(),
        };
        if may_read && !now.read.is_whole() {
            steps.extend(reads(now, cluster, rules));
        }
        steps
    }

    /// The steps that the attempt asks for, while the cluster is read.
    fn asked(self, now: &Admission, cluster: &Cluster, alive: &BTreeSet<String>, rules: &mut Rules) -> Steps {
        let with = |change: &dyn Fn(&mut Admission)| {
            let mut next = now.clone();
            change(&mut next);
            Stage::Admission(Box::new(next))
        };
        match now.attempt.ask() {
            Ask::ReadLedger if !cluster.has_ledger || (now.searched && rules.makes(Mistake::LooksOnce)) => {
                vec![("finds no ledger".to_owned(), None, with(&|next| next.attempt.no_ledger()))]
            }
            Ask::FindTraffic => {
                let view = Read::of(cluster).view();
                let found = with(&|next| {
                    next.searched = true;
                    next.attempt.services(&view, &rules.policy);
                });
                vec![("reads the Services".to_owned(), None, found)]
            }
            Ask::OpenLedger => {
                let next = Cluster { has_ledger: true, ..cluster.clone() };
                vec![("creates the ledger".to_owned(), Some(next), with(&|next| next.attempt.opened()))]
            }
            Ask::ReadLedger => Self::reads_the_ledger(now, cluster, alive, rules),
            Ask::ReadObjects(objects) if rules.at_once => {
                let looked = objects.into_iter().map(|object| (object.clone(), rules.look(cluster, &object))).collect();
                vec![(
                    "looks at all objects".to_owned(),
                    None,
                    with(&|next| next.attempt.objects(&looked, &rules.policy, NOW)),
                )]
            }
            Ask::ReadObjects(objects) => {
                let left = objects.iter().filter(|object| !now.looked.contains_key(object));
                left.map(|object| {
                    let mut next = now.clone();
                    next.looked.insert(object.clone(), rules.look(cluster, object));
                    if next.looked.len() == objects.len() {
                        let looked = std::mem::take(&mut next.looked);
                        next.attempt.objects(&looked, &rules.policy, NOW);
                    }
                    (format!("looks at {object}"), None, Stage::Admission(Box::new(next)))
                })
                .collect()
            }
            Ask::WriteLedger(ledger) => {
                let mut ledger = ledger.clone();
                if now.refused && rules.makes(Mistake::WithdrawByObject) {
                    let own = Intent::of(&self.change(&now.base), now.id.clone());
                    ledger.intents.retain(|it| Some(&it.object) != own.as_ref().map(|own| &own.object));
                }
                if now.ledger_version != cluster.ledger_version {
                    let conflict = with(&|next| {
                        next.attempt.written(false);
                        if !rules.makes(Mistake::KeepsWhatWasRead) {
                            next.read = Read::default();
                        }
                    });
                    return vec![("meets a conflict on the ledger".to_owned(), None, conflict)];
                }
                let mut next = cluster.clone();
                next.ledger = ledger;
                next.ledger_version += 1;
                let what = if now.refused { "withdraws its intent" } else { "writes its intent" };
                vec![(what.to_owned(), Some(next), with(&|it| it.attempt.written(true)))]
            }
            Ask::ReadCluster if !now.read.is_whole() => vec![],
            Ask::ReadCluster => {
                let mut next = now.clone();
                let verdict = rules.judge(self, &mut next);
                let what = format!("is judged: {}", verdict.outcome().name());
                next.refused = verdict.outcome() != Outcome::Allowed;
                vec![(what, None, Stage::Admission(Box::new(next)))]
            }
            Ask::Nothing(_) => {
                // An attempt that cannot commit is allowed too; it then fails to commit.
                let stage = if now.refused {
                    Stage::again(now.tries)
                } else {
                    Stage::Allowed { base: now.base.clone(), tries: now.tries, id: now.id.clone() }
                };
                vec![("is answered".to_owned(), None, stage)]
            }
        }
    }

    fn reads_the_ledger(now: &Admission, cluster: &Cluster, alive: &BTreeSet<String>, rules: &Rules) -> Steps {
        let with = |change: &dyn Fn(&mut Admission)| {
            let mut next = now.clone();
            change(&mut next);
            Stage::Admission(Box::new(next))
        };
        let mut expirable: BTreeSet<String> = cluster.ledger.intents.iter().flat_map(|it| it.ids.clone()).collect();
        expirable.retain(|id| *id != now.id && (rules.makes(Mistake::EarlyExpiry) || !alive.contains(id)));
        let read = |expired: &BTreeSet<String>| {
            with(&|next| {
                next.looked.clear();
                next.ledger_version = cluster.ledger_version;
                let mut ledger = cluster.ledger.clone();
                if rules.makes(Mistake::DropsUnseen) {
                    resolve::expire(&mut ledger, expired);
                }
                next.attempt.ledger(ledger, expired.clone());
            })
        };
        let mut steps = vec![("reads the ledger".to_owned(), None, read(&BTreeSet::new()))];
        if rules.expiry && !expirable.is_empty() {
            steps.push(("reads the ledger, and drops what is too old".to_owned(), None, read(&expirable)));
        }
        steps
    }

    /// The object when the request arrives; `None` if the request does not make sense.
    fn base(self, cluster: &Cluster, name: &str, tries: u8) -> Option<Base> {
        match self {
            Self::Flip(_) | Self::DeleteService => cluster.service.clone().map(Base::Service),
            Self::CreateService(_) => Some(Base::New(name.bytes().map(|letter| letter % 32).sum::<u8>() * 10 + tries)),
            Self::ScaleToZero(colour) | Self::ScaleToOne(colour) | Self::Delete(colour) | Self::Redeploy(colour) => {
                let it = cluster.deployment(colour)?.clone();
                let has_sense = !matches!(self, Self::ScaleToOne(_)) || it.desired > 1;
                has_sense.then_some(Base::Deployment(colour, it))
            }
        }
    }

    /// The request in flipguard's own types.
    fn change(self, base: &Base) -> Change {
        let write = match (self, base) {
            (Self::Flip(to), Base::Service(it)) => Write::ServiceUpdate {
                old: Box::new(service(it.uid, it.version, it.to)),
                new: Box::new(service(it.uid, it.version, to)),
            },
            (Self::DeleteService, Base::Service(it)) => {
                Write::ServiceDelete { old: Box::new(service(it.uid, it.version, it.to)) }
            }
            (Self::CreateService(to), Base::New(uid)) => {
                let mut new = service(*uid, 0, to);
                new.meta.resource_version.clear();
                Write::ServiceCreate { new: Box::new(new) }
            }
            (Self::ScaleToZero(colour) | Self::ScaleToOne(colour), Base::Deployment(_, it)) => Write::Scale {
                kind: it.kind(),
                namespace: "shop".to_owned(),
                name: colour.deployment(),
                uid: colour.deployment(),
                resource_version: it.version.to_string(),
                from: it.desired.into(),
                to: u32::from(matches!(self, Self::ScaleToOne(_))),
            },
            (Self::Delete(colour), Base::Deployment(_, it)) => {
                Write::WorkloadDelete { old: Box::new(deployment(colour, it)) }
            }
            (Self::Redeploy(colour), Base::Deployment(_, it)) => {
                let mut new = it.clone();
                new.template += 1;
                new.generation += 1;
                Write::WorkloadUpdate { old: Box::new(deployment(colour, it)), new: Box::new(deployment(colour, &new)) }
            }
            (request, base) => panic!("{request:?} has no base {base:?}"),
        };
        Change { write, dry_run: false, user: User::default(), manager: String::new() }
    }

    /// The cluster after a compare-and-swap by the API server; `None` if the version has changed.
    fn commit(self, base: &Base, cluster: &Cluster) -> Option<Cluster> {
        let mut next = cluster.clone();
        match (self, base) {
            (Self::Flip(to), Base::Service(was)) => {
                let it = next.service.as_mut().filter(|it| (it.uid, it.version) == (was.uid, was.version))?;
                let flips = it.to != to;
                it.version += 1;
                it.to = to;
                it.excused = false;
                next.flipped[to as usize] = true;
                if flips {
                    next.last_flip = Some(to);
                }
            }
            (Self::DeleteService, Base::Service(was)) => {
                cluster.service.as_ref().filter(|it| (it.uid, it.version) == (was.uid, was.version))?;
                next.service = None;
                next.deleted = true;
                next.last_flip = None;
            }
            (Self::CreateService(to), Base::New(uid)) => {
                if cluster.service.is_some() {
                    return None;
                }
                // If the other colour no longer runs, nothing is lost. A colour that does not run only causes a warning.
                let other = if to == Colour::Blue { Colour::Green } else { Colour::Blue };
                let excused = !cluster.runs(other) || !cluster.runs(to);
                next.service = Some(TheService { uid: *uid, version: 1, to, excused });
            }
            (
                Self::ScaleToZero(colour) | Self::ScaleToOne(colour) | Self::Delete(colour) | Self::Redeploy(colour),
                Base::Deployment(_, was),
            ) => {
                let keeps_some = cluster.keeps_some_during_a_rollout(colour);
                let it = next.deployment_mut(colour);
                let stored = it.as_mut().filter(|it| it.version == was.version)?;
                stored.version += 1;
                stored.generation += 1;
                match self {
                    Self::Delete(_) => *it = None,
                    Self::Redeploy(_) => stored.template += 1,
                    Self::ScaleToOne(_) => stored.desired = 1,
                    _ => stored.desired = 0,
                }
                // Without another colour beside it, a colour is repaired in place. That only causes a warning.
                let is_alone = next.deployments.iter().flatten().count() == 1 && !keeps_some;
                if let (Self::Redeploy(_), Some(service)) = (self, next.service.as_mut().filter(|_| is_alone)) {
                    service.excused = true;
                }
            }
            (request, base) => panic!("{request:?} has no base {base:?}"),
        }
        Some(next)
    }
}

/// The steps that read the cluster. Each list is read at an instant of its own.
fn reads(now: &Admission, cluster: &Cluster, rules: &Rules) -> Steps {
    if rules.at_once {
        let mut next = now.clone();
        next.read = Read::of(cluster);
        return vec![("reads the cluster".to_owned(), None, Stage::Admission(Box::new(next)))];
    }
    let mut steps = Vec::new();
    let mut read = |what: &str, is_read: bool, change: &dyn Fn(&mut Read)| {
        if !is_read {
            let mut next = now.clone();
            change(&mut next.read);
            steps.push((format!("reads {what}"), None, Stage::Admission(Box::new(next))));
        }
    };
    read("Services", now.read.services.is_some(), &|read| {
        read.services = Some(cluster.service.iter().cloned().collect());
    });
    read("Deployments", now.read.deployments.is_some(), &|read| {
        read.deployments = Some(cluster.deployments.clone());
    });
    read("Pods", now.read.pods.is_some(), &|read| read.pods = Some(cluster.pods.clone()));
    steps
}

impl Stage {
    /// The next attempt; clients retry a limited number of times.
    fn again(tries: u8) -> Self {
        if tries > 1 { Self::Waiting { tries: tries - 1 } } else { Self::Over }
    }

    pub(crate) fn is_in_admission(&self) -> bool {
        matches!(self, Self::Admission(_))
    }

    /// The id of the attempt that may still commit.
    pub(crate) fn alive(&self) -> Option<&String> {
        match self {
            Self::Admission(admission) => Some(&admission.id),
            Self::Allowed { id, .. } => Some(id),
            Self::Waiting { .. } | Self::Over => None,
        }
    }
}

/// The judge of all requests: flipguard's own code with a cache of its verdicts, and one deliberate mistake.
pub(crate) struct Rules {
    pub(crate) policy: Policy,
    pub(crate) mistake: Option<Mistake>,
    pub(crate) crashes: bool,
    pub(crate) expiry: bool,
    /// Whether all lists are read at one instant.
    pub(crate) at_once: bool,
    /// The number of objects of others that an attempt looks at.
    pub(crate) looks: usize,
    known: std::collections::HashMap<Question, Verdict>,
}

type Question = (Request, Base, Read, Vec<Intent>, Records);

impl Rules {
    pub(crate) fn new(mistake: Option<Mistake>, crashes: bool, expiry: bool, at_once: bool, looks: usize) -> Self {
        let known = std::collections::HashMap::new();
        Self { policy: Policy::default(), mistake, crashes, expiry, at_once, looks, known }
    }

    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// A violated invariant. Lost records count only without a mistake, or with `DropsUnseen`; for any other mistake,
    /// the search looks for worse.
    pub(crate) fn broken(&self, cluster: &Cluster) -> Option<String> {
        let forgets = matches!(self.mistake, None | Some(Mistake::DropsUnseen));
        cluster.broken().or_else(|| cluster.forgotten().filter(|_| forgets))
    }

    /// The number of different questions that were judged.
    pub(crate) fn judged(&self) -> usize {
        self.known.len()
    }

    fn judge(&mut self, request: Request, admission: &mut Admission) -> Verdict {
        let Some((pending, records)) = admission.attempt.pending() else { panic!("not to be judged yet") };
        let records = records.clone();
        let question = (request, admission.base.clone(), admission.read.clone(), pending.to_vec(), records);
        if let Some(verdict) = self.known.get(&question) {
            admission.attempt.judged(verdict);
            return verdict.clone();
        }
        let change = request.change(&admission.base);
        let mut view = admission.read.view();
        if self.makes(Mistake::TakesRolloutsForOver) {
            for workload in &mut view.workloads {
                workload.observed_generation = workload.meta.generation;
                workload.counts.replicas = workload.desired;
                workload.counts.updated = workload.desired;
            }
        }
        let verdict = if self.makes(Mistake::OnlyNoneAndAll) {
            let verdict = self.none_and_all(&change, &view, pending);
            admission.attempt.judged(&verdict);
            verdict
        } else if self.makes(Mistake::LeavesOneOut) {
            let fewer: Vec<&Intent> = pending.iter().skip(1).collect();
            let verdict = scenarios::decide_among(&change, &mut view, &fewer, &self.policy, NOW);
            admission.attempt.judged(&verdict);
            verdict
        } else {
            admission.attempt.judge(&change, &mut view, &self.policy, NOW)
        };
        self.known.insert(question, verdict.clone());
        verdict
    }

    fn none_and_all(&self, change: &Change, view: &ClusterView, pending: &[Intent]) -> Verdict {
        let none = rules::decide(change, view, &self.policy, NOW);
        let mut everything = view.clone();
        for intent in pending {
            apply(&mut everything, intent);
        }
        let all = rules::decide(change, &everything, &self.policy, NOW);
        if none.outcome() == Outcome::Allowed { all } else { none }
    }

    fn look(&self, cluster: &Cluster, object: &ObjectRef) -> Found {
        let mut found = cluster.look(object);
        if self.makes(Mistake::MovedIsCommitted)
            && let Found::There(seen) = &mut found
        {
            let moved = |it: &&Intent| it.object == *object && it.base != seen.version;
            if let Some(intent) = cluster.ledger.intents.iter().find(moved)
                && let flipguard::ledger::IntendedChange::Service(after) = &intent.effect
            {
                seen.selector = after.to.clone();
            }
        }
        found
    }
}
