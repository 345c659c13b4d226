//! The room in a ledger, and the shares of it. A writer whose changes are never committed leaves them pending until they
//! expire. Those must not take the room of others.

use super::{Intent, Ledger};
use crate::model::Kind;

/// The largest number of intents in a namespace. A further change has to wait.
pub(super) const MAX_INTENTS: usize = 64;
/// The part of them that changes of workloads may use, so that a flip always has room.
const OF_WORKLOADS: usize = MAX_INTENTS / 4 * 3;
/// The part that new Services may use. Such an intent needs no object that exists, so anyone who can send a review can
/// invent one: they leave room for changes of what exists.
const OF_CREATIONS: usize = MAX_INTENTS / 4;
/// The part that one writer may use for workloads, and as much for Services.
const BY_WRITER: usize = 24;
/// The part that one writer may use for one object. Another writer can always change the object too.
const BY_WRITER_OF_OBJECT: usize = 8;
/// The part that different changes of one object may use. Two such objects make 256 scenarios, the most that are judged.
const OF_OBJECT: usize = 15;

/// A share of the ledger that an intent would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Full {
    /// All of it.
    Ledger,
    /// That of new Services.
    Creations,
    /// That of workloads.
    Workloads,
    /// That of one object.
    Object,
    /// That of one writer.
    Writer,
    /// That of one writer on one object.
    WriterOfObject,
}

impl Full {
    /// The share of this intent that is exceeded, now that it was added; `None` where all have room.
    pub(super) fn after(ledger: &Ledger, own: &Intent) -> Option<Self> {
        let is_workload = |intent: &Intent| intent.object.kind != Kind::Service;
        let is_by_same = |intent: &Intent| intent.user == own.user && is_workload(intent) == is_workload(own);
        let is_of_same = |intent: &Intent| intent.object == own.object;
        let of_creations = if own.creates() { OF_CREATIONS } else { usize::MAX };
        let of_workloads = if is_workload(own) { OF_WORKLOADS } else { usize::MAX };
        let count = |which: &dyn Fn(&Intent) -> bool| ledger.intents.iter().filter(|intent| which(intent)).count();
        let shares = [
            (Self::WriterOfObject, BY_WRITER_OF_OBJECT, count(&|intent| is_of_same(intent) && is_by_same(intent))),
            (Self::Object, OF_OBJECT, count(&is_of_same)),
            (Self::Writer, BY_WRITER, count(&is_by_same)),
            (Self::Creations, of_creations, count(&Intent::creates)),
            (Self::Workloads, of_workloads, count(&is_workload)),
            (Self::Ledger, MAX_INTENTS, ledger.intents.len()),
        ];
        shares.into_iter().find(|(_, most, count)| count > most).map(|(share, ..)| share)
    }

    /// The number that is exceeded, and of what, as the rest of a sentence.
    pub(super) fn words(self, own: &str) -> String {
        match self {
            Self::Ledger => format!("more than {MAX_INTENTS} changes are pending in this namespace"),
            Self::Creations => format!("more than {OF_CREATIONS} new Services are pending in this namespace"),
            Self::Workloads => format!("more than {OF_WORKLOADS} changes of workloads are pending in this namespace"),
            Self::Object => format!("more than {OF_OBJECT} changes of {own} are pending"),
            Self::Writer => format!("more than {BY_WRITER} changes by this user are pending in this namespace"),
            Self::WriterOfObject => {
                format!("more than {BY_WRITER_OF_OBJECT} changes of {own} by this user are pending")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{IntendedChange, ObjectRef};
    use crate::model::{Selector, Timestamp};

    fn intent(id: usize, object: ObjectRef, user: &str) -> Intent {
        let effect = IntendedChange::Gone { selector: Some(Selector::nothing()) };
        let (uid, base, manager) = ("uid".to_owned(), "1".to_owned(), String::new());
        let (ids, user, at) = (vec![id.to_string()], user.to_owned(), Timestamp(0));
        Intent { ids, object, uid, base, effect, user, manager, at, is_crowded: false }
    }

    fn deployment(name: &str) -> ObjectRef {
        ObjectRef { kind: Kind::Workload(crate::model::WorkloadKind::Deployment), name: name.to_owned() }
    }

    /// Adds intents as long as they fit, and returns how many did and which share was exceeded.
    fn fill(ledger: &mut Ledger, of: impl Fn(usize) -> Intent) -> (usize, Option<Full>) {
        for number in 0..=MAX_INTENTS {
            let own = of(number);
            ledger.intents.push(own.clone());
            if let full @ Some(_) = Full::after(ledger, &own) {
                ledger.intents.pop();
                return (number, full);
            }
        }
        (MAX_INTENTS, None)
    }

    #[test]
    fn a_writer_who_never_commits_blocks_nobody_else() {
        let mut ledger = Ledger::default();
        let loops = |number: usize| intent(number, deployment("app-blue"), "ci");
        assert_eq!(fill(&mut ledger, loops), (8, Some(Full::WriterOfObject)));
        let mends = |number: usize| intent(number, deployment("app-blue"), "ops");
        assert_eq!(fill(&mut ledger, mends), (7, Some(Full::Object)), "15 of one object");
        let elsewhere = |number: usize| intent(number, deployment(&format!("app-{number}")), "ci");
        assert_eq!(fill(&mut ledger, elsewhere), (16, Some(Full::Writer)), "24 by one writer");
        let others = |number: usize| intent(number, deployment(&format!("web-{number}")), &format!("user-{number}"));
        assert_eq!(fill(&mut ledger, others), (17, Some(Full::Workloads)), "48 of workloads");
        let flips = |number: usize| intent(number, ObjectRef::service(&format!("app-{number}")), "ops");
        assert_eq!(fill(&mut ledger, flips), (16, Some(Full::Ledger)), "64 in all");
    }

    #[test]
    fn creations_leave_room_for_other_changes() {
        let mut ledger = Ledger::default();
        let creation = |number: usize| Intent {
            base: String::new(),
            ..intent(number, ObjectRef::service(&format!("new-{number}")), &format!("user-{number}"))
        };
        assert_eq!(fill(&mut ledger, creation), (16, Some(Full::Creations)));
        let change = intent(99, ObjectRef::service("app"), "ops");
        ledger.intents.push(change.clone());
        assert_eq!(Full::after(&ledger, &change), None);
    }
}
