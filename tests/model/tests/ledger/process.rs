//! A request of the model. flipguard's own code admits it, one read or write of the API server at a time. Then the
//! request commits or is abandoned.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use flipguard::ledger::apply::apply;
use flipguard::ledger::{Ask, Attempt, Found, Intent, Leftover, ObjectRef, resolve, scenarios};
use flipguard::model::{Change, ClusterView, Policy, Rollout, Timestamp, User, Write};
use flipguard::rules::{self, Outcome, Verdict, filter};

use super::cluster::{Cluster, Colour, Judged, NOW, PolicyPhase, Read, TheService, deployment, service};
use super::search::hash;

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
    /// Changes leave the ledger before they are in the history.
    DrainsFirst,
    /// Changes are added to the history before it is sure that nobody has changed the ledger since it was read.
    AddsUnwritten,
    /// Changes that are in the history already are added again.
    AddsTwice,
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
    /// A ledger that a replica remembers is written over whatever is stored.
    TrustsMemory,
    /// The own object is not read where the ledger has no intent on it.
    TrustsTheReview,
    /// Where no Service carries traffic, the ledger is not read a second time, so one created meanwhile is missed.
    LooksOnce,
    /// Pods of a workload in the middle of a rollout count as if it were over.
    TakesRolloutsForOver,
    /// The intent of a change that the API server admits without an answer is withdrawn like any other.
    WithdrawsUnanswered,
    /// An intent whose write had no answer is not withdrawn.
    LeavesStray,
    /// A record does not have the flips before it.
    ForgetsEarlierFlips,
    /// The age of a template alone shows that it has served.
    TakesAgeForService,
    /// A policy is said to be programmed while a replica still judges by the older one.
    ProgrammedEarly,
    /// A change that the older policy leaves alone is judged by the new one, without a ledger.
    KeepsHalfOfTheOldPolicy,
}

/// The change of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolicyChange {
    /// It demands more ready Pods.
    Numbers,
    /// It adds the key of the colours. Before that, flipguard leaves all changes alone.
    AddsKey,
}

/// The progress of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Not yet sent, with the number of remaining attempts.
    Waiting { tries: u8 },
    /// In admission.
    Admission(Box<Admission>),
    /// Allowed. It may commit on its base at any time.
    Allowed { base: Base, tries: u8, id: String, judged: Option<Judged> },
    /// The answer was not in time, or there was none.
    Aside(Box<Aside>),
    /// Committed or abandoned.
    Over,
    /// Denied for the last time. The ledger must not have the intent with this id.
    Denied { id: String },
}

/// The course of events after an attempt without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Aside {
    id: String,
    base: Base,
    /// Whether the API server admits the change without an answer, and may still commit it.
    may_commit: bool,
    /// Whether flipguard allowed the change.
    is_allowed: bool,
    /// Whether the API server has denied the change.
    is_denied: bool,
    /// The intent that is withdrawn, and the version of the ledger that was read for it.
    withdrawing: Option<(Attempt, u8)>,
    /// A write of the ledger that may still arrive, over this version.
    late: Option<(flipguard::ledger::Ledger, u8)>,
}

/// The answers of flipguard and of the ledger that are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    Nothing,
    /// Any answer. The API server admits some changes without one.
    Answers,
    /// The same, and the API server also admits changes of workloads: their colour is not certain.
    AnswersAboutWorkloads,
}

/// Whether the API server waits for flipguard's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Api {
    Waits,
    /// The API server no longer waits, and admits the change.
    GoesOn,
    /// The change is committed, and flipguard does not know.
    Committed,
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
    attempt: Rc<Attempt>,
    ledger_version: u8,
    looked: BTreeMap<ObjectRef, Found>,
    read: Read,
    refused: bool,
    /// Whether the Services were read because there was no ledger.
    searched: bool,
    api: Api,
    /// The time at which the objects were looked at.
    at: Timestamp,
    judged: Option<Judged>,
    /// The policy that judges it: the first or the second one.
    by: usize,
}

/// The possible steps of a request: a description, the changed cluster if there is one, and the new stage.
pub(crate) type Steps = Vec<(Text, Option<Cluster>, Stage)>;

/// A step in words.
pub(crate) type Text = Rc<str>;

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
                let intent = rules.intent(self, &base, &id);
                let writes = match rules.mistake {
                    Some(Mistake::NoLedger | Mistake::Mutex) => false,
                    Some(Mistake::FlipsOnly) => matches!(self, Self::Flip(_)),
                    _ => true,
                };
                let admit = |by: usize, writes: bool| Admission {
                    base: base.clone(),
                    tries: *tries,
                    id: id.clone(),
                    attempt: Rc::new(Attempt::new(intent.clone(), writes).with_looks(rules.looks)),
                    ledger_version: 0,
                    looked: BTreeMap::new(),
                    read: Read::default(),
                    refused: false,
                    searched: false,
                    api: Api::Waits,
                    at: Timestamp(0),
                    judged: None,
                    by,
                };
                let by = match cluster.policy {
                    PolicyPhase::Programmed if !rules.makes(Mistake::ProgrammedEarly) => &[1][..],
                    PolicyPhase::Fixed | PolicyPhase::Old => &[0],
                    PolicyPhase::Changed | PolicyPhase::Programmed => &[0, 1],
                };
                let arrival = |by: &usize| match (rules.change, *by) {
                    (Some(PolicyChange::AddsKey), 0) if rules.makes(Mistake::KeepsHalfOfTheOldPolicy) => {
                        Stage::Admission(Box::new(admit(1, false)))
                    }
                    (Some(PolicyChange::AddsKey), 0) => {
                        let (id, base, is_allowed) =
                            (id.clone(), base.clone(), cluster.policy == PolicyPhase::Programmed);
                        let (is_denied, withdrawing, late) = (false, None, None);
                        Aside { id, base, may_commit: true, is_allowed, is_denied, withdrawing, late }.stage()
                    }
                    (_, by) => Stage::Admission(Box::new(admit(by, writes))),
                };
                by.iter().map(|by| (format!("arrives, by policy {by}").into(), None, arrival(by))).collect()
            }
            Stage::Admission(admission) => {
                let mut steps = self.admission(admission, cluster, alive, rules);
                steps.extend(self.unanswered(admission, cluster, alive, rules));
                if rules.crashes {
                    steps.push(("is lost: its replica crashes".into(), None, Stage::Over));
                }
                steps
            }
            Stage::Allowed { base, tries, id, judged } => {
                let mut steps = vec![("is given up after it was allowed".into(), None, Stage::Over)];
                if rules.lost != Lost::Nothing && !self.may_pass(base, rules) {
                    let aside = self.aside(id, base, Outcome::Allowed, false, false, rules);
                    steps.push(("is denied: its answer is lost".into(), None, aside.stage()));
                }
                let committed = self.commit(base, id, cluster).map(|mut next| {
                    if let (Self::Flip(to), Base::Service(was), Some(judged)) = (self, base, judged)
                        && was.to != to
                    {
                        next.note_flip(was.to, to, judged);
                    }
                    next
                });
                match committed {
                    next @ Some(_) => steps.push(("commits".into(), next, Stage::Over)),
                    None => steps.push(("meets a conflict".into(), None, Stage::again(*tries))),
                }
                steps
            }
            Stage::Aside(aside) => self.asides(aside, cluster, alive),
            Stage::Over | Stage::Denied { .. } => vec![],
        }
    }

    /// Whether the API server may admit the change without an answer.
    fn may_pass(self, base: &Base, rules: &Rules) -> bool {
        let is_of_workload = matches!(base, Base::Deployment(..));
        (rules.lost == Lost::AnswersAboutWorkloads && is_of_workload) || rules.may_pass_unanswered(self, base)
    }

    /// The steps of an API server that does not wait for flipguard's answer any longer.
    fn unanswered(self, now: &Admission, cluster: &Cluster, alive: &BTreeSet<String>, rules: &Rules) -> Steps {
        let with = |api| Stage::Admission(Box::new(Admission { api, ..now.clone() }));
        match now.api {
            Api::Waits if rules.lost != Lost::Nothing && self.may_pass(&now.base, rules) => {
                vec![("is no longer waited for".into(), None, with(Api::GoesOn))]
            }
            Api::GoesOn => {
                let next = self.commit_unanswered(&now.base, &now.id, false, cluster, alive);
                next.map(|next| ("commits unanswered".into(), Some(next), with(Api::Committed))).into_iter().collect()
            }
            Api::Waits | Api::Committed => vec![],
        }
    }

    /// The cluster after a commit of which flipguard's answer was not awaited. If flipguard did not allow it, no guarantee
    /// applies to the requests that are under way.
    fn commit_unanswered(
        self,
        base: &Base,
        id: &str,
        is_allowed: bool,
        cluster: &Cluster,
        alive: &BTreeSet<String>,
    ) -> Option<Cluster> {
        let mut next = self.commit(base, id, cluster)?;
        if is_allowed {
            return Some(next);
        }
        match base {
            Base::Deployment(colour, _) => {
                if let Some(service) = next.service.as_mut().filter(|service| service.to == *colour) {
                    service.excused = true;
                }
                next.overtaken.extend(alive.iter().filter(|other| *other != id).cloned());
            }
            Base::Service(_) | Base::New(_) => next.deleted_unanswered |= self == Self::DeleteService,
        }
        if cluster.policy != PolicyPhase::Fixed && !matches!(base, Base::Deployment(..)) {
            // A policy that left the change alone: the flip is not on record, and stands under no guarantee.
            next.service.iter_mut().for_each(|service| service.excused = true);
            next.last_flip = None;
            next.overtaken.extend(alive.iter().filter(|other| *other != id).cloned());
        }
        Some(next)
    }

    /// The rest of an attempt whose answer does not reach the API server.
    fn aside(
        self,
        id: &str,
        base: &Base,
        outcome: Outcome,
        may_be_written: bool,
        may_commit: bool,
        rules: &Rules,
    ) -> Aside {
        let intent = Some(rules.intent(self, base, id));
        let may_pass = self.may_pass(base, rules);
        let may_pass_as_it_thinks = may_pass && !rules.makes(Mistake::WithdrawsUnanswered);
        let may_be_written = may_be_written && !rules.makes(Mistake::LeavesStray);
        let left = Leftover::of(intent, outcome, may_be_written, may_pass_as_it_thinks);
        let withdrawing = left.to_withdraw(false).map(|it| (Attempt::withdrawing(it.intent), 0));
        let is_allowed = outcome == Outcome::Allowed;
        let (id, base, is_denied) = (id.to_owned(), base.clone(), !may_commit);
        Aside { id, base, may_commit, is_allowed, is_denied, withdrawing, late: None }
    }

    /// A write of the ledger without an answer: it has arrived, it arrives later, or it never does. flipguard denies the
    /// change.
    fn writes_without_an_answer(
        self,
        now: &Admission,
        ledger: &flipguard::ledger::Ledger,
        cluster: &Cluster,
        rules: &Rules,
    ) -> Steps {
        let may_commit = now.api == Api::GoesOn;
        let aside =
            self.aside(&now.id, &now.base, Outcome::CannotJudge, now.attempt.may_be_written(), may_commit, rules);
        let is_denied = now.api == Api::Waits;
        let late = Aside { is_denied, late: Some((ledger.clone(), now.ledger_version)), ..aside.clone() };
        let mut steps = vec![("writes its intent, which takes long".into(), None, late.stage())];
        if now.ledger_version == cluster.ledger_version {
            let next = cluster.clone().with_ledger(ledger.clone());
            let written = Aside { is_denied, ..aside };
            steps.push(("writes its intent, and gets no answer".into(), Some(next), written.stage()));
        }
        steps
    }

    fn withdrawing(self, now: &Aside) -> Option<(Attempt, u8)> {
        let intent = Intent::of(&self.change(&now.base), now.id.clone())?;
        Some((Attempt::withdrawing(intent), 0))
    }

    fn asides(self, now: &Aside, cluster: &Cluster, alive: &BTreeSet<String>) -> Steps {
        let mut steps = Vec::new();
        if now.may_commit {
            let without = Aside { may_commit: false, ..now.clone() };
            if let Some(next) = self.commit_unanswered(&now.base, &now.id, now.is_allowed, cluster, alive) {
                steps.push(("commits unanswered".into(), Some(next), without.clone().stage()));
            }
            steps.push(("is given up".into(), None, without.stage()));
        }
        if let Some((ledger, version)) = &now.late {
            // A withdrawal that found nothing looks again.
            let found_nothing = |(attempt, _): &(Attempt, u8)| matches!(attempt.ask(), Ask::Nothing(_));
            let again = now.withdrawing.as_ref().filter(|it| found_nothing(it)).and_then(|_| self.withdrawing(now));
            let withdrawing = again.or_else(|| now.withdrawing.clone());
            let arrived = Aside { late: None, withdrawing, ..now.clone() }.stage();
            let next = cluster.clone().with_ledger(ledger.clone());
            let next = (*version == cluster.ledger_version).then_some(next);
            steps.push(("writes its intent late, or not".into(), next, arrived));
        }
        let Some((attempt, version)) = &now.withdrawing else { return steps };
        let with = |attempt: Option<Attempt>, version| {
            Aside { withdrawing: attempt.map(|attempt| (attempt, version)), ..now.clone() }.stage()
        };
        let mut next = attempt.clone();
        match attempt.ask() {
            Ask::ReadLedger => {
                next.ledger((*cluster.ledger).clone(), BTreeSet::new());
                let stage = with(Some(next), cluster.ledger_version);
                steps.push(("reads the ledger again".into(), None, stage));
            }
            Ask::WriteLedger(ledger) if *version == cluster.ledger_version => {
                let written = cluster.clone().with_ledger(ledger.clone());
                next.written(true);
                let found = Aside { withdrawing: None, late: None, ..now.clone() }.stage();
                steps.push(("withdraws its intent".into(), Some(written), found));
            }
            Ask::WriteLedger(_) => {
                next.written(false);
                steps.push(("meets a conflict on the ledger".into(), None, with(Some(next), 0)));
            }
            // The ledger does not have the intent. As long as it may arrive, the ledger is read again.
            _ if now.late.is_some() => {
                let again = Aside { withdrawing: self.withdrawing(now), ..now.clone() };
                steps.push(("looks again".into(), None, again.stage()));
                steps.push(("gives the withdrawal up".into(), None, Stage::Over));
            }
            _ => steps.push(("has nothing to withdraw".into(), None, with(None, 0))),
        }
        steps
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
                vec![("finds no ledger".into(), None, with(&|next| Rc::make_mut(&mut next.attempt).no_ledger()))]
            }
            Ask::FindTraffic => {
                let view = Read::of(cluster).view();
                let found = with(&|next| {
                    next.searched = true;
                    Rc::make_mut(&mut next.attempt).services(&view, &rules.policies[now.by]);
                });
                vec![("reads the Services".into(), None, found)]
            }
            Ask::OpenLedger => {
                let next = Cluster { has_ledger: true, ..cluster.clone() };
                vec![("creates the ledger".into(), Some(next), with(&|next| Rc::make_mut(&mut next.attempt).opened()))]
            }
            Ask::ReadLedger => Self::reads_the_ledger(now, cluster, alive, rules),
            Ask::ReadObjects(mut objects) if rules.at_once => {
                if rules.makes(Mistake::TrustsTheReview) {
                    objects.retain(|object| cluster.ledger.intents.iter().any(|intent| intent.object == *object));
                }
                let looked = objects.into_iter().map(|object| (object.clone(), rules.look(cluster, &object))).collect();
                vec![(
                    "looks at all objects".into(),
                    None,
                    with(&|next| {
                        Rc::make_mut(&mut next.attempt).objects(&looked, &rules.policies[now.by], cluster.now());
                        next.at = cluster.now();
                    }),
                )]
            }
            Ask::ReadObjects(objects) => {
                let left = objects.iter().filter(|object| !now.looked.contains_key(object));
                left.map(|object| {
                    let mut next = now.clone();
                    next.looked.insert(object.clone(), rules.look(cluster, object));
                    if next.looked.len() == objects.len() {
                        let looked = std::mem::take(&mut next.looked);
                        Rc::make_mut(&mut next.attempt).objects(&looked, &rules.policies[now.by], cluster.now());
                    }
                    (format!("looks at {object}").into(), None, Stage::Admission(Box::new(next)))
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
                        Rc::make_mut(&mut next.attempt).written(false);
                        if !rules.makes(Mistake::KeepsWhatWasRead) {
                            next.read = Read::default();
                        }
                    });
                    return vec![("meets a conflict on the ledger".into(), None, conflict)];
                }
                let mut steps = Steps::new();
                if rules.lost != Lost::Nothing && !now.refused {
                    steps = self.writes_without_an_answer(now, &ledger, cluster, rules);
                }
                let next = cluster.clone().with_ledger(ledger);
                let what = if now.refused { "withdraws its intent" } else { "writes its intent" };
                steps.push((what.into(), Some(next), with(&|it| Rc::make_mut(&mut it.attempt).written(true))));
                steps
            }
            Ask::ReadCluster if !now.read.is_whole() => vec![],
            Ask::ReadCluster => {
                let mut next = now.clone();
                let verdict = rules.judge(self, &mut next);
                let what = format!("is judged: {}", verdict.outcome().name()).into();
                next.refused = verdict.outcome() != Outcome::Allowed;
                next.judged = self.judged(now, &verdict);
                vec![(what, None, Stage::Admission(Box::new(next)))]
            }
            Ask::Nothing(_) => {
                // An attempt that cannot commit is allowed too; it then fails to commit.
                let stage = match (now.api, now.refused) {
                    (Api::Waits, true) if now.tries == 1 => Stage::Denied { id: now.id.clone() },
                    (Api::Waits, true) => Stage::again(now.tries),
                    (Api::Waits, false) => {
                        let (base, tries, id) = (now.base.clone(), now.tries, now.id.clone());
                        Stage::Allowed { base, tries, id, judged: now.judged.clone() }
                    }
                    (api, refused) => {
                        let outcome = if refused { Outcome::Denied } else { Outcome::Allowed };
                        let may_commit = api == Api::GoesOn;
                        let aside = self.aside(&now.id, &now.base, outcome, false, may_commit, rules);
                        Aside { is_denied: false, ..aside }.stage()
                    }
                };
                vec![("is answered".into(), None, stage)]
            }
        }
    }

    /// How a flip was judged, where the cluster has a clock.
    fn judged(self, now: &Admission, verdict: &Verdict) -> Option<Judged> {
        let Self::Flip(to) = self else { return None };
        let as_rollback = verdict.summary.starts_with("rollback");
        let judged = Judged { at: now.at, template: now.read.template(to), as_rollback };
        Some(judged).filter(|_| now.read.has_times)
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
                let mut ledger = (*cluster.ledger).clone();
                if rules.makes(Mistake::DropsUnseen) {
                    resolve::expire(&mut ledger, expired);
                }
                Rc::make_mut(&mut next.attempt).ledger(ledger, expired.clone());
            })
        };
        let mut steps = vec![("reads the ledger".into(), None, read(&BTreeSet::new()))];
        if rules.expiry && !expirable.is_empty() {
            steps.push(("reads the ledger, and drops what is too old".into(), None, read(&expirable)));
        }
        for (ledger, version) in cluster.former.iter().flatten().filter(|_| now.attempt.may_remember()) {
            let remembered = with(&|next| {
                next.looked.clear();
                let trusts = rules.makes(Mistake::TrustsMemory);
                next.ledger_version = if trusts { cluster.ledger_version } else { *version };
                Rc::make_mut(&mut next.attempt).ledger((**ledger).clone(), BTreeSet::new());
            });
            steps.push((format!("remembers the ledger in version {version}").into(), None, remembered));
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
    fn commit(self, base: &Base, id: &str, cluster: &Cluster) -> Option<Cluster> {
        let mut next = cluster.clone();
        next.tick();
        let overtaken = cluster.overtaken.contains(id);
        match (self, base) {
            (Self::Flip(to), Base::Service(was)) => {
                let it = next.service.as_mut().filter(|it| (it.uid, it.version) == (was.uid, was.version))?;
                let flips = it.to != to;
                it.version += 1;
                it.to = to;
                it.excused = overtaken || (it.excused && !flips);
                next.flipped[to as usize] = true;
                if let Some(drain) = next.drain.as_mut().filter(|_| flips) {
                    drain.commits(was.uid, &was.version.to_string(), false);
                }
                if flips {
                    next.last_flip = Some(to);
                }
            }
            (Self::DeleteService, Base::Service(was)) => {
                cluster.service.as_ref().filter(|it| (it.uid, it.version) == (was.uid, was.version))?;
                next.service = None;
                next.deleted = true;
                next.last_flip = None;
                next.drain.iter_mut().for_each(|drain| drain.commits(was.uid, &was.version.to_string(), true));
            }
            (Self::CreateService(to), Base::New(uid)) => {
                if cluster.service.is_some() {
                    return None;
                }
                // If the other colour no longer runs, nothing is lost. A colour that does not run only causes a warning.
                let other = if to == Colour::Blue { Colour::Green } else { Colour::Blue };
                let excused = overtaken || !cluster.runs(other) || !cluster.runs(to);
                next.service = Some(TheService { uid: *uid, version: 1, to, excused });
                next.drain.iter_mut().for_each(|drain| drain.commits(*uid, "", false));
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
        return vec![("reads the cluster".into(), None, Stage::Admission(Box::new(next)))];
    }
    let mut steps = Vec::new();
    let mut read = |what: &'static str, is_read: bool, change: &dyn Fn(&mut Read)| {
        if !is_read {
            let mut next = now.clone();
            change(&mut next.read);
            steps.push((what.into(), None, Stage::Admission(Box::new(next))));
        }
    };
    read("reads Services", now.read.services.is_some(), &|read| {
        read.services = Some(cluster.service.iter().cloned().collect());
    });
    read("reads Deployments", now.read.deployments.is_some(), &|read| {
        read.deployments = Some(cluster.deployments.clone());
    });
    read("reads Pods", now.read.pods.is_some(), &|read| read.pods = Some(cluster.pods.clone()));
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
            Self::Admission(admission) if admission.api == Api::Committed => None,
            Self::Admission(admission) => Some(&admission.id),
            Self::Allowed { id, .. } => Some(id),
            Self::Aside(aside) => Some(&aside.id).filter(|_| aside.may_commit),
            Self::Waiting { .. } | Self::Over | Self::Denied { .. } => None,
        }
    }
}

impl Aside {
    /// The stage of a request whose attempt has ended like this.
    fn stage(self) -> Stage {
        if self.may_commit || self.withdrawing.is_some() || self.late.is_some() {
            return Stage::Aside(Box::new(self));
        }
        if self.is_denied { Stage::Denied { id: self.id } } else { Stage::Over }
    }
}

/// The judge of all requests: flipguard's own code with a cache of its verdicts, and one deliberate mistake.
pub(crate) struct Rules {
    /// The policy, and what it changes to.
    pub(crate) policies: [Policy; 2],
    pub(crate) change: Option<PolicyChange>,
    pub(crate) mistake: Option<Mistake>,
    pub(crate) crashes: bool,
    pub(crate) expiry: bool,
    /// Whether all lists are read at one instant.
    pub(crate) at_once: bool,
    /// The number of objects of others that an attempt looks at.
    pub(crate) looks: usize,
    pub(crate) lost: Lost,
    /// The verdicts, by the hash of the question.
    known: HashMap<u64, Rc<Verdict>>,
    /// The intents, by the hash of the request.
    intents: RefCell<HashMap<u64, Intent>>,
    /// Whether the API server may admit a request without an answer.
    unanswered: RefCell<HashMap<u64, bool>>,
}

impl Rules {
    pub(crate) fn new(mistake: Option<Mistake>, crashes: bool, expiry: bool, at_once: bool, looks: usize) -> Self {
        let (known, intents, unanswered) = Default::default();
        let policies = [Policy::default(), Policy::default()];
        Self {
            policies,
            change: None,
            mistake,
            crashes,
            expiry,
            at_once,
            looks,
            lost: Lost::Nothing,
            known,
            intents,
            unanswered,
        }
    }

    /// The same, where the answers to some requests are lost.
    pub(crate) fn with_lost(self, lost: Lost) -> Self {
        Self { lost, ..self }
    }

    /// The same, where the policy changes.
    pub(crate) fn with_change(mut self, change: Option<PolicyChange>) -> Self {
        if change == Some(PolicyChange::Numbers) {
            self.policies[0].ready_percent = 50;
            self.policies[1].floor = Some(2);
        }
        Self { change, ..self }
    }

    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Whether the ledger has the intent of a denied change, in words.
    pub(crate) fn keeps_a_denied_one<'a>(
        &self,
        cluster: &Cluster,
        mut stages: impl Iterator<Item = &'a Stage>,
    ) -> Option<String> {
        let has = |id: &String| cluster.ledger.intents.iter().any(|intent| intent.ids.contains(id));
        let is_strict = matches!(self.mistake, None | Some(Mistake::LeavesStray));
        let is_kept = is_strict && stages.any(|stage| matches!(stage, Stage::Denied { id } if has(id)));
        is_kept.then(|| "the ledger still has the intent of a denied change".to_owned())
    }

    /// An invariant that a cluster violates. Lost records count only without a mistake, or with `DropsUnseen`; for any
    /// other mistake, the search looks for worse.
    pub(crate) fn broken(&self, cluster: &Cluster) -> Option<String> {
        let forgets = matches!(self.mistake, None | Some(Mistake::DropsUnseen));
        let misjudges = matches!(self.mistake, None | Some(Mistake::ForgetsEarlierFlips | Mistake::TakesAgeForService));
        if let Some(wrong) = cluster.misjudged().filter(|_| misjudges) {
            return Some(wrong);
        }
        cluster.broken().or_else(|| cluster.forgotten().filter(|_| forgets))
    }

    /// The intent of a request.
    fn intent(&self, request: Request, base: &Base, id: &str) -> Intent {
        let intent = || {
            let intent = Intent::of(&request.change(base), id.to_owned());
            intent.unwrap_or_else(|| panic!("every modelled request is dangerous"))
        };
        self.intents.borrow_mut().entry(hash(&(request, base, id))).or_insert_with(intent).clone()
    }

    fn may_pass_unanswered(&self, request: Request, base: &Base) -> bool {
        let may_pass = || filter::may_pass_unanswered(&request.change(base), &self.policies[0].colours);
        *self.unanswered.borrow_mut().entry(hash(&(request, base))).or_insert_with(may_pass)
    }

    /// The number of different questions that were judged.
    pub(crate) fn judged(&self) -> usize {
        self.known.len()
    }

    fn judge(&mut self, request: Request, admission: &mut Admission) -> Rc<Verdict> {
        let Some((pending, records)) = admission.attempt.pending() else { panic!("not to be judged yet") };
        let question = hash(&(request, &admission.base, &admission.read, pending, records, admission.by));
        if let Some(verdict) = self.known.get(&question) {
            Rc::make_mut(&mut admission.attempt).judged(verdict);
            return verdict.clone();
        }
        let policy = &self.policies[admission.by];
        let change = request.change(&admission.base);
        let mut view = admission.read.view();
        if self.makes(Mistake::TakesRolloutsForOver) {
            for workload in &mut view.workloads {
                workload.observed_generation = workload.meta.generation;
                workload.counts.replicas = workload.desired;
                workload.counts.updated = workload.desired;
            }
        }
        if self.makes(Mistake::TakesAgeForService) {
            view.workloads.iter_mut().for_each(|workload| workload.rollout = Rollout::Unknown);
        }
        let verdict = if self.makes(Mistake::ForgetsEarlierFlips) {
            view.records = records.clone();
            view.records.flips.iter_mut().for_each(|flip| flip.earlier.clear());
            let verdict = scenarios::decide(&change, &mut view, pending, policy, NOW);
            Rc::make_mut(&mut admission.attempt).judged(&verdict);
            verdict
        } else if self.makes(Mistake::OnlyNoneAndAll) {
            let verdict = self.none_and_all(&change, &view, pending);
            Rc::make_mut(&mut admission.attempt).judged(&verdict);
            verdict
        } else if self.makes(Mistake::LeavesOneOut) {
            let fewer: Vec<&Intent> = pending.iter().skip(1).collect();
            let verdict = scenarios::decide_among(&change, &mut view, &fewer, policy, NOW);
            Rc::make_mut(&mut admission.attempt).judged(&verdict);
            verdict
        } else {
            Rc::make_mut(&mut admission.attempt).judge(&change, &mut view, policy, NOW)
        };
        let verdict = Rc::new(verdict);
        self.known.insert(question, verdict.clone());
        verdict
    }

    fn none_and_all(&self, change: &Change, view: &ClusterView, pending: &[Intent]) -> Verdict {
        let none = rules::decide(change, view, &self.policies[0], NOW);
        let mut everything = view.clone();
        for intent in pending {
            apply(&mut everything, intent);
        }
        let all = rules::decide(change, &everything, &self.policies[0], NOW);
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
