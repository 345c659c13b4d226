//! One request's way through the ledger: what to read or write next, told what came of it.

use std::collections::{BTreeMap, BTreeSet};

use super::settle::{self, Found};
use super::{Intent, Ledger, Object, scenarios};
use crate::model::{Change, ClusterView, Policy, Records, Timestamp, Tombstone};
use crate::rules::{Outcome, Verdict};

/// One attempt of a request to get through admission.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attempt {
    own: Intent,
    /// Whether anything is written; not in a dry run.
    writes: bool,
    phase: Phase,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Read the ledger, then tell [`Attempt::ledger`].
    ReadLedger,
    /// Read these objects, then tell [`Attempt::objects`].
    ReadObjects(BTreeSet<Object>),
    /// Write this ledger in place of the one that was read last, if that still stands; then tell
    /// [`Attempt::written`].
    WriteLedger(&'a Ledger),
    /// Read the cluster, then [`Attempt::judge`].
    ReadCluster,
    /// Nothing.
    Nothing(End),
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// It was judged.
    Judged,
    /// Nothing was to be judged: this attempt cannot commit, or takes nothing's place.
    Harmless,
    /// There is no room to write it down.
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    /// The ledger is to be read.
    Reading,
    /// Its objects are to be looked at; these attempts are too old to commit any more.
    Looking(Ledger, BTreeSet<String>),
    /// The own intent is to be written; a new Service may have one in its way.
    Writing(Ledger, Option<Tombstone>),
    /// The cluster is to be read, and judged.
    Judging {
        pending: Vec<Intent>,
        records: Records,
    },
    /// Refused: the ledger is to be read once more,
    Withdrawing,
    /// and written without the own intent.
    Erasing(Ledger),
    Over(End),
}

impl Attempt {
    /// An attempt to do what an intent says.
    #[must_use]
    pub fn new(own: Intent, writes: bool) -> Self {
        Self { own, writes, phase: Phase::Reading }
    }

    /// An attempt whose answer nobody took, so that its intent goes.
    #[must_use]
    pub fn withdrawing(own: Intent) -> Self {
        Self { own, writes: true, phase: Phase::Withdrawing }
    }

    /// Whether anything is written.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// What is to be done next.
    #[must_use]
    pub fn ask(&self) -> Ask<'_> {
        match &self.phase {
            Phase::Reading | Phase::Withdrawing => Ask::ReadLedger,
            Phase::Looking(ledger, _) => {
                // The own object is looked at after the ledger was read, like all others: where it has not moved, no
                // intent of a later state of it can have been read.
                let all = ledger.intents.iter().map(|intent| &intent.object).chain([&self.own.object]);
                Ask::ReadObjects(all.cloned().collect())
            }
            Phase::Writing(ledger, _) | Phase::Erasing(ledger) => Ask::WriteLedger(ledger),
            Phase::Judging { .. } => Ask::ReadCluster,
            Phase::Over(end) => Ask::Nothing(*end),
        }
    }

    /// Whether the cluster can be read already, beside what is asked for. All that others have written down and done was
    /// done before the ledger was read, or is looked at; what they write down from now on makes the own write fail, and
    /// then what was read is worth nothing. Where nothing is written, there is nothing to wait for; but a new Service is
    /// judged only where the ledger tells of another.
    #[must_use]
    pub fn may_read(&self) -> bool {
        match &self.phase {
            Phase::Reading | Phase::Looking(..) if !self.writes => !self.own.creates(),
            // What is found out of others' objects may have happened since. Of the own one: either this attempt starts
            // from it, and cannot commit any more, or it creates a Service, and no Service is listed.
            Phase::Looking(ledger, _) => ledger.intents.iter().all(|intent| intent.object == self.own.object),
            Phase::Writing(..) | Phase::Judging { .. } => true,
            Phase::Reading | Phase::Withdrawing | Phase::Erasing(_) | Phase::Over(_) => false,
        }
    }

    /// The ledger was read. The attempts that are `expired` were watched until they could not commit any more.
    pub fn ledger(&mut self, mut ledger: Ledger, expired: BTreeSet<String>) {
        match self.phase {
            Phase::Reading => self.phase = Phase::Looking(ledger, expired),
            Phase::Withdrawing => {
                let before = ledger.clone();
                self.own.ids.iter().for_each(|id| ledger.remove(id));
                self.phase = if ledger == before { Phase::Over(End::Judged) } else { Phase::Erasing(ledger) };
            }
            _ => {}
        }
    }

    /// The objects were read, each after the ledger; what time it is by the API server's clock is known from then on.
    pub fn objects(&mut self, found: &BTreeMap<Object, Found>, policy: &Policy, now: Timestamp) {
        let Phase::Looking(ledger, expired) = &mut self.phase else { return };
        let (mut ledger, expired) = (std::mem::take(ledger), std::mem::take(expired));
        self.own.at = now;
        settle::settle(&mut ledger, found, &expired, &policy.colours, now);
        let in_the_way = self.in_the_way(found, now);
        self.phase = if !self.can_commit(found) {
            Phase::Over(End::Harmless)
        } else if self.writes {
            ledger.add(&self.own);
            if ledger.fits() { Phase::Writing(ledger, in_the_way) } else { Phase::Over(End::Full) }
        } else if self.own.creates() && ledger.records.tombstone(&self.own.object.name, now).is_none() {
            Phase::Over(End::Harmless)
        } else {
            Phase::Judging { pending: Vec::new(), records: ledger.records }
        };
    }

    /// The ledger was written, or somebody else was faster.
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

    /// What may still happen, and what is remembered, once the own intent is written.
    #[must_use]
    pub fn standing(&self) -> Option<(&[Intent], &Records)> {
        match &self.phase {
            Phase::Judging { pending, records } => Some((pending, records)),
            _ => None,
        }
    }

    /// The cluster was read, while [`may_read`](Self::may_read) said so. On any answer but yes the own intent goes.
    pub fn judge(&mut self, change: &Change, view: &mut ClusterView, policy: &Policy, now: Timestamp) -> Verdict {
        let Phase::Judging { pending, records } = &mut self.phase else { return Verdict::cannot_judge() };
        view.records = std::mem::take(records);
        let verdict = scenarios::decide(change, view, pending, policy, now);
        self.judged(&verdict);
        verdict
    }

    /// The verdict stands.
    pub fn judged(&mut self, verdict: &Verdict) {
        let stays = verdict.outcome() == Outcome::Allowed || !self.writes;
        self.phase = if stays { Phase::Over(End::Judged) } else { Phase::Withdrawing };
    }

    /// Whether this attempt can still commit: its object is as it was when it began.
    fn can_commit(&self, found: &BTreeMap<Object, Found>) -> bool {
        match found.get(&self.own.object) {
            _ if self.own.creates() => true,
            Some(Found::There(seen)) => seen.uid == self.own.uid && seen.version == self.own.base,
            Some(Found::Missing) => false,
            // Nobody has looked.
            None => true,
        }
    }

    /// A Service whose name a new one wants. It has to go first, and who deletes it may not have come yet: so it is taken
    /// for deleted already.
    fn in_the_way(&self, found: &BTreeMap<Object, Found>, now: Timestamp) -> Option<Tombstone> {
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
    use crate::ledger::{Effect, Seen};
    use crate::model::Selector;

    fn deletion() -> Intent {
        let object = Object::service("app");
        let (uid, base, user) = ("uid".to_owned(), "1".to_owned(), String::new());
        let effect = Effect::Gone { selector: Some(Selector::nothing()) };
        Intent { ids: vec!["own".to_owned()], object, uid, base, effect, user, at: Timestamp(0) }
    }

    #[test]
    fn what_is_written_down_has_the_time_of_the_api_server() {
        let mut attempt = Attempt::new(deletion(), true);
        attempt.ledger(Ledger::default(), BTreeSet::new());
        let (uid, version) = ("uid".to_owned(), "1".to_owned());
        let there = Found::There(Seen { uid, version, deleting: false, selector: Selector::nothing() });
        attempt.objects(&[(Object::service("app"), there)].into(), &Policy::default(), Timestamp(500));
        let Ask::WriteLedger(ledger) = attempt.ask() else { panic!("{:?}", attempt.ask()) };
        assert_eq!(ledger.intents.iter().map(|intent| intent.at).collect::<Vec<_>>(), [Timestamp(500)]);
    }
}
