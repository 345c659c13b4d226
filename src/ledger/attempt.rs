//! The path of one request through the ledger. An attempt asks for the next read or write, and is given the result.

use std::collections::{BTreeMap, BTreeSet};

use super::resolve::{self, Found};
use super::{Full, Intent, Ledger, ObjectRef, scenarios};
use crate::model::{Change, ClusterView, Kind, Policy, Records, Role, Service, Timestamp, Tombstone};
use crate::rules::{Outcome, Verdict};

/// One attempt of a request to pass admission.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    own: Intent,
    /// Whether the attempt writes to the ledger. A dry run writes nothing.
    writes: bool,
    /// The largest number of objects to look at, besides the own one.
    looks: usize,
    phase: Phase,
}

/// The largest number of objects of other intents that an attempt looks at. An intent whose object was not looked at stays
/// pending, which is safe, and the next attempts look at the rest.
const LOOKS: usize = 8;

/// The next step of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Read the ledger, then call [`Attempt::ledger`], or [`Attempt::no_ledger`] where the namespace has none.
    ReadLedger,
    /// Read the Services of the namespace, then call [`Attempt::services`].
    FindTraffic,
    /// Create the ledger, then call [`Attempt::opened`].
    OpenLedger,
    /// Read these objects, then call [`Attempt::objects`].
    ReadObjects(BTreeSet<ObjectRef>),
    /// Write this ledger over the last read one, provided that one is still stored. Then call [`Attempt::written`].
    WriteLedger(&'a Ledger),
    /// Read the cluster, then call [`Attempt::judge`].
    ReadCluster,
    /// Do nothing; the attempt has ended.
    Nothing(End),
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The change was judged.
    Judged,
    /// The change can take nothing away, or this attempt can no longer commit. Only a permission may be missing.
    Harmless,
    /// No Service of the namespace carries traffic, and there is no ledger. The Services are all that must be read.
    NothingAtStake,
    /// There is no ledger, and this attempt writes none. Fresh reads alone decide.
    Unrecorded,
    /// The ledger has no room for another intent of this kind.
    Full(Full),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    /// The ledger must be read.
    Reading,
    /// There is no ledger, so the Services must be read.
    FindingTraffic,
    /// No Service carries traffic. The ledger must be read again: the deletion of a traffic Service may have created
    /// it.
    LookingAgain,
    /// There is no ledger, so it must be created.
    Opening,
    /// The objects of the ledger must be read. The attempts with these ids have expired.
    Looking(Ledger, BTreeSet<String>),
    /// The own intent must be written. A new Service may depend on the deletion of an old one with its name.
    Writing(Ledger, Option<Tombstone>),
    /// The cluster must be read, and the change judged.
    Judging {
        pending: Vec<Intent>,
        records: Records,
    },
    /// The change was denied, so the ledger must be read once more.
    Withdrawing,
    /// The ledger must be written without the own intent.
    Erasing(Ledger),
    Over(End),
}

impl Attempt {
    /// An attempt with this intent; without `writes`, it only reads the ledger.
    #[must_use]
    pub fn new(own: Intent, writes: bool) -> Self {
        Self { own, writes, looks: LOOKS, phase: Phase::Reading }
    }

    /// The same attempt, which looks at fewer objects. The exhaustive model uses it: it has only a few objects.
    #[must_use]
    pub fn with_looks(self, looks: usize) -> Self {
        Self { looks, ..self }
    }

    /// An attempt that withdraws its intent, because its answer was not delivered.
    #[must_use]
    pub fn withdrawing(own: Intent) -> Self {
        Self { own, writes: true, looks: 0, phase: Phase::Withdrawing }
    }

    /// Whether the attempt writes to the ledger.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// Whether the own intent may be in the ledger if the current step fails. A write without an answer may have happened.
    #[must_use]
    pub fn may_be_written(&self) -> bool {
        self.writes
            && match &self.phase {
                Phase::Writing(..) | Phase::Judging { .. } | Phase::Withdrawing | Phase::Erasing(_) => true,
                Phase::Reading
                | Phase::FindingTraffic
                | Phase::LookingAgain
                | Phase::Opening
                | Phase::Looking(..)
                | Phase::Over(_) => false,
            }
    }

    /// Whether a ledger that this replica remembers will do in place of the stored one. If it is an old one, the own write
    /// fails, since it is a compare-and-swap. If the write succeeds, nobody has changed the ledger since, so a read would
    /// have shown the same.
    #[must_use]
    pub fn may_remember(&self) -> bool {
        self.writes && self.phase == Phase::Reading
    }

    /// The next step.
    #[must_use]
    pub fn ask(&self) -> Ask<'_> {
        match &self.phase {
            Phase::Reading | Phase::LookingAgain | Phase::Withdrawing => Ask::ReadLedger,
            Phase::FindingTraffic => Ask::FindTraffic,
            Phase::Opening => Ask::OpenLedger,
            Phase::Looking(ledger, expired) => Ask::ReadObjects(self.to_look_at(ledger, expired)),
            Phase::Writing(ledger, _) | Phase::Erasing(ledger) => Ask::WriteLedger(ledger),
            Phase::Judging { .. } => Ask::ReadCluster,
            Phase::Over(end) => Ask::Nothing(*end),
        }
    }

    /// Whether the cluster may be read already, alongside the next step. Changes of others that committed before the
    /// ledger was read are visible in the cluster. Intents that others write from now on make the own write fail, and
    /// the early reads are then discarded.
    ///
    /// An attempt that writes nothing does not wait for such a step. A new Service is judged only if the ledger has a
    /// deleted one on record.
    #[must_use]
    pub fn may_read(&self) -> bool {
        match &self.phase {
            Phase::Reading | Phase::Looking(..) if !self.writes => !self.own.creates(),
            // Other objects may have changed since. The own object needs no check. Either this attempt still starts
            // from its state, or the attempt can no longer commit. If the attempt creates a Service, the object is not
            // among the listed Services.
            Phase::Looking(ledger, _) => ledger.intents.iter().all(|intent| intent.object == self.own.object),
            Phase::Writing(..) | Phase::Judging { .. } => true,
            Phase::Reading
            | Phase::FindingTraffic
            | Phase::LookingAgain
            | Phase::Opening
            | Phase::Withdrawing
            | Phase::Erasing(_)
            | Phase::Over(_) => false,
        }
    }

    /// Takes the ledger that was read. The `expired` attempts were watched until they could no longer commit.
    pub fn ledger(&mut self, mut ledger: Ledger, expired: BTreeSet<String>) {
        match self.phase {
            Phase::Reading | Phase::LookingAgain => self.phase = Phase::Looking(ledger, expired),
            Phase::Withdrawing => {
                let before = ledger.clone();
                self.own.ids.iter().for_each(|id| ledger.withdraw(id));
                self.phase = if ledger == before { Phase::Over(End::Judged) } else { Phase::Erasing(ledger) };
            }
            _ => {}
        }
    }

    /// Takes the answer that the namespace has no ledger, so nothing was ever recorded there.
    pub fn no_ledger(&mut self) {
        self.phase = match self.phase {
            Phase::Withdrawing => Phase::Over(End::Judged),
            // This is the first Service that carries traffic. Nothing is on record that it could replace.
            Phase::LookingAgain if self.own.creates() => Phase::Over(End::Harmless),
            Phase::LookingAgain => Phase::Over(End::NothingAtStake),
            _ if self.own.creates() && !self.writes => Phase::Over(End::Harmless),
            // A stored Service with this name may be deleted before the new one is stored.
            _ if self.own.creates() => Phase::FindingTraffic,
            _ if !self.writes => Phase::Over(End::Unrecorded),
            _ if self.own.object.kind == Kind::Service => Phase::Opening,
            _ => Phase::FindingTraffic,
        };
    }

    /// Takes the Services of the namespace, read after the missing ledger. A change of a workload, or a new Service,
    /// needs a ledger where one of them carries traffic.
    pub fn services(&mut self, view: &ClusterView, policy: &Policy) {
        if self.phase == Phase::FindingTraffic {
            // By their own marks: the workloads, which may tell more, were not read.
            let is_traffic = |service: &Service| service.own_role(&policy.colours) == Role::Traffic;
            let is_at_stake = view.services.iter().any(|service| !service.meta.deleting && is_traffic(service));
            self.phase = if is_at_stake { Phase::Opening } else { Phase::LookingAgain };
        }
    }

    /// Takes the answer that the ledger was created, by this attempt or by another one.
    pub fn opened(&mut self) {
        if self.phase == Phase::Opening {
            self.phase = Phase::Reading;
        }
    }

    /// Takes the objects, each read after the ledger. `now` is the API server's time of those reads.
    pub fn objects(&mut self, found: &BTreeMap<ObjectRef, Found>, policy: &Policy, now: Timestamp) {
        let Phase::Looking(ledger, expired) = &mut self.phase else { return };
        let (mut ledger, expired) = (std::mem::take(ledger), std::mem::take(expired));
        self.own.at = now;
        resolve::resolve(&mut ledger, found, &expired, &policy.colours, now);
        let in_the_way = self.in_the_way(found, now);
        self.phase = if !self.can_commit(found) {
            Phase::Over(End::Harmless)
        } else if self.writes {
            ledger.add(&self.own);
            let full = Full::after(&ledger, &self.own);
            match full.or_else(|| (!ledger.fits()).then_some(Full::Ledger)) {
                Some(full) => Phase::Over(End::Full(full)),
                None => Phase::Writing(ledger, in_the_way),
            }
        } else if self.own.creates() && ledger.records.tombstone(&self.own.object.name, now).is_none() {
            Phase::Over(End::Harmless)
        } else {
            Phase::Judging { pending: Vec::new(), records: ledger.records }
        };
    }

    /// Takes the result of the write: the ledger was written, or another attempt wrote first.
    pub fn written(&mut self, is: bool) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Reading) {
            Phase::Writing(ledger, in_the_way) if is => {
                let others = ledger.intents.into_iter().filter(|intent| !self.own.excludes(intent));
                let mut records = ledger.records;
                records.tombstones.extend(in_the_way);
                Phase::Judging { pending: others.collect(), records }
            }
            Phase::Erasing(_) if is => Phase::Over(End::Judged),
            Phase::Erasing(_) => Phase::Withdrawing,
            _ => Phase::Reading,
        };
    }

    /// The pending intents of others and the records, available once the own intent is written.
    #[must_use]
    pub fn pending(&self) -> Option<(&[Intent], &Records)> {
        match &self.phase {
            Phase::Judging { pending, records } => Some((pending, records)),
            _ => None,
        }
    }

    /// Judges the change on the cluster, which was read while [`may_read`](Self::may_read) allowed it. Unless the
    /// change is allowed, the own intent is withdrawn.
    pub fn judge(&mut self, change: &Change, view: &mut ClusterView, policy: &Policy, now: Timestamp) -> Verdict {
        let Phase::Judging { pending, records } = &mut self.phase else { return Verdict::cannot_judge() };
        view.records = std::mem::take(records);
        let verdict = scenarios::decide(change, view, pending, policy, now);
        self.judged(&verdict);
        verdict
    }

    /// Takes the verdict on the change.
    pub fn judged(&mut self, verdict: &Verdict) {
        let stays = verdict.outcome() == Outcome::Allowed || !self.writes;
        self.phase = if stays { Phase::Over(End::Judged) } else { Phase::Withdrawing };
    }

    /// The own object, and those of some other intents: of expired ones first, then of the oldest. The own object is read
    /// after the ledger, like all others. If its version is unchanged, the ledger cannot have contained an intent on a
    /// later version.
    fn to_look_at(&self, ledger: &Ledger, expired: &BTreeSet<String>) -> BTreeSet<ObjectRef> {
        let is_expired = |intent: &Intent| intent.ids.iter().any(|id| expired.contains(id));
        let mut others: Vec<&Intent> = ledger.intents.iter().collect();
        others.sort_by_key(|intent| (!is_expired(intent), intent.at));
        let mut objects = BTreeSet::from([self.own.object.clone()]);
        for intent in others {
            if objects.len() > self.looks {
                break;
            }
            objects.insert(intent.object.clone());
        }
        objects
    }

    /// Whether this attempt can still commit: its object still has the version that the attempt starts from.
    fn can_commit(&self, found: &BTreeMap<ObjectRef, Found>) -> bool {
        match found.get(&self.own.object) {
            _ if self.own.creates() => true,
            Some(Found::There(seen)) => seen.uid == self.own.uid && seen.version == self.own.base,
            Some(Found::Missing) => false,
            // The object was not read.
            None => true,
        }
    }

    /// The stored Service with the name of a new one. It must be deleted first, and the request for that may not have
    /// arrived yet. So it counts as deleted already.
    fn in_the_way(&self, found: &BTreeMap<ObjectRef, Found>, now: Timestamp) -> Option<Tombstone> {
        match found.get(&self.own.object) {
            Some(Found::There(seen)) if self.own.creates() => Some(Tombstone {
                service: self.own.object.name.clone(),
                selector: seen.selector.clone(),
                at: now,
                still_there: true,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{IntendedChange, Seen};
    use crate::model::Selector;

    fn deletion() -> Intent {
        let object = ObjectRef::service("app");
        let (uid, base, user) = ("uid".to_owned(), "1".to_owned(), String::new());
        let effect = IntendedChange::Gone { selector: Some(Selector::nothing()) };
        Intent {
            ids: vec!["own".to_owned()],
            object,
            uid,
            base,
            effect,
            user,
            manager: String::new(),
            at: Timestamp(0),
            is_crowded: false,
        }
    }

    #[test]
    fn expired_and_old_intents_are_looked_at_first() {
        let mut ledger = Ledger::default();
        for number in 0..20 {
            let object = ObjectRef::service(&format!("app-{number:02}"));
            let (ids, at) = (vec![format!("id-{number:02}")], Timestamp(100 - number));
            ledger.intents.push(Intent { ids, object, at, ..deletion() });
        }
        let mut attempt = Attempt::new(deletion(), true);
        attempt.ledger(ledger, BTreeSet::from(["id-03".to_owned()]));
        let Ask::ReadObjects(objects) = attempt.ask() else { panic!("{:?}", attempt.ask()) };
        let names: Vec<&str> = objects.iter().map(|object| object.name.as_str()).collect();
        let oldest = ["app-13", "app-14", "app-15", "app-16", "app-17", "app-18", "app-19"];
        assert_eq!(names, [&["app", "app-03"], &oldest[..]].concat());
    }

    #[test]
    fn an_intent_has_the_time_of_the_api_server() {
        let mut attempt = Attempt::new(deletion(), true);
        attempt.ledger(Ledger::default(), BTreeSet::new());
        let (uid, version) = ("uid".to_owned(), "1".to_owned());
        let there =
            Found::There(Seen { uid, version, deleting: false, selector: Selector::nothing(), is_set_aside: false });
        attempt.objects(&[(ObjectRef::service("app"), there)].into(), &Policy::default(), Timestamp(500));
        let Ask::WriteLedger(ledger) = attempt.ask() else { panic!("{:?}", attempt.ask()) };
        assert_eq!(ledger.intents.iter().map(|intent| intent.at).collect::<Vec<_>>(), [Timestamp(500)]);
    }
}
