//! The chain of entries, as the data of a ConfigMap: one line of JSON for each entry.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Act, Entry, Facts};
use crate::ledger::Settled;
use crate::model::{Timestamp, sha256};

/// The most entries of a namespace.
const MAX_ENTRIES: usize = 500;
/// The largest size of a history, in bytes. The limit of etcd is 1.5 MiB.
const MAX_BYTES: usize = 256 * 1024;
/// How long an entry is kept.
const MAX_AGE: Duration = Duration::from_secs(180 * 86_400);
/// How much younger than that a dropped entry may be when its loss is not remarked: clocks differ.
const TOLERANCE: Duration = Duration::from_secs(86_400);
/// A history that has less room than this may have dropped entries because of its size.
const ROOM: usize = 16 * 1024;
/// The format that this release writes.
const FORMAT: &str = "1";

/// Why the data of a ConfigMap cannot be used as a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HistoryError(String);

/// The number of an entry, and the hash of its line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The number; 0 before the first entry.
    pub n: u64,
    /// SHA-256 of its line in hexadecimal; empty before the first entry.
    pub hash: String,
}

/// How many digits of a hash are shown.
const SHOWN: usize = 16;

impl Head {
    /// Reads a number and a hash, with a space between them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (n, hash) = text.split_once(' ')?;
        Some(Self { n: n.parse().ok()?, hash: hash.to_owned() })
    }

    /// The number and the first digits of the hash, as they stand in logs.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{} {}", self.n, self.hash.chars().take(SHOWN).collect::<String>())
    }
}

/// `41 9f86d0…`
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.n, self.hash)
    }
}

/// The history of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The last entry that was dropped.
    base: Head,
    /// When that entry was made.
    base_at: Option<Timestamp>,
    /// The lines, each with its entry, by number.
    entries: Vec<(String, Entry)>,
    /// The head that the data themselves name.
    named: Head,
    /// An entry that is not here any more, and that the next one follows.
    lost: Option<Head>,
}

impl History {
    /// Tells of an entry that has been in this history, as the ledger knows it. Where it is not here any more, the next entry
    /// follows it all the same. So a history that was lost, cut or changed never looks whole again.
    pub fn had(&mut self, known: &Head) {
        let own = self.head();
        let is_lost = known.n > own.n || (known.n == own.n && known.hash != own.hash);
        self.lost = is_lost.then(|| known.clone());
    }

    /// Reads the data of a ConfigMap. A broken chain is no error here: [`problems`](Self::problems) tells of it.
    ///
    /// # Errors
    /// When the format differs, or an entry cannot be read.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, HistoryError> {
        let format = data.get("format").map(String::as_str);
        if format != Some(FORMAT) {
            let found = format.unwrap_or("none");
            return Err(HistoryError(format!("its format is `{found}`, and this flipguard knows `{FORMAT}`")));
        }
        let head = |key: &str| -> Result<Head, HistoryError> {
            let Some(text) = data.get(key) else { return Ok(Head::default()) };
            Head::parse(text).ok_or_else(|| HistoryError(format!("key `{key}` is no number with a hash")))
        };
        let mut entries = Vec::new();
        for (key, line) in data.iter().filter(|(key, _)| key.starts_with("entry.")) {
            let entry: Entry = serde_json::from_str(line)
                .map_err(|error| HistoryError(format!("key `{key}` cannot be read: {error}")))?;
            entries.push((line.clone(), entry));
        }
        entries.sort_by_key(|(_, entry)| entry.n);
        let base_at = data.get("baseAt").map(|text| text.parse());
        let base_at = base_at.transpose().map_err(|_| HistoryError("key `baseAt` is no time".to_owned()))?;
        Ok(Self { base: head("base")?, base_at, entries, named: head("head")?, lost: None })
    }

    /// The data of the ConfigMap.
    #[must_use]
    pub fn render(&self) -> BTreeMap<String, String> {
        let mut data = BTreeMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("base".to_owned(), self.base.to_string()),
            ("head".to_owned(), self.head().to_string()),
        ]);
        data.extend(self.base_at.map(|at| ("baseAt".to_owned(), at.to_string())));
        data.extend(self.entries.iter().map(|(line, entry)| (format!("entry.{:010}", entry.n), line.clone())));
        data
    }

    /// The entries by the times of their requests. Those without facts are added later than what came after them.
    #[must_use]
    pub fn by_time(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.entries().collect();
        entries.sort_by_key(|entry| (entry.at, entry.n));
        entries
    }

    /// The entries, the oldest first.
    #[must_use]
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// The last entry that was dropped; number 0 if none was.
    #[must_use]
    pub fn base(&self) -> &Head {
        &self.base
    }

    /// The last entry.
    #[must_use]
    pub fn head(&self) -> Head {
        self.entries.last().map_or_else(|| self.base.clone(), |(line, entry)| Head { n: entry.n, hash: sha256(line) })
    }

    /// The hash of an entry that is here, or of the last one that was dropped.
    #[must_use]
    pub fn hash_of(&self, n: u64) -> Option<String> {
        if n == self.base.n {
            return Some(self.base.hash.clone());
        }
        self.entries.iter().find(|(_, entry)| entry.n == n).map(|(line, _)| sha256(line))
    }

    /// Adds a settled change, once. Returns what it did; `None` where it is in the history already.
    pub fn append(&mut self, settled: &Settled, facts: Option<Facts>) -> Option<Act> {
        let is_it = |entry: &Entry| {
            let act = Entry::new(settled, None, &Head::default(), None).act;
            let is_deleted = |act| act == Act::Deleted;
            settled.is(&entry.uid, &entry.base) && is_deleted(act) == is_deleted(entry.act)
        };
        if self.entries().any(is_it) {
            return None;
        }
        let last = self.entries.last().map(|(_, entry)| entry.at).or(self.base_at);
        let entry = match self.lost.take() {
            Some(gone) => Entry::new(settled, facts, &gone, None),
            None => Entry::new(settled, facts, &self.head(), last),
        };
        // Strings, numbers and lists always serialise.
        let line = serde_json::to_string(&entry).ok()?;
        let act = entry.act;
        self.entries.push((line, entry));
        self.named = self.head();
        Some(act)
    }

    /// Drops entries that are too old or too many, the oldest first. The chain begins after them then.
    pub fn drop_old(&mut self, now: Timestamp) {
        let mut size = self.size();
        let mut count = self.entries.len();
        let is_kept = |(line, entry): &(String, Entry)| {
            let goes = count > MAX_ENTRIES || size > MAX_BYTES || now.since(entry.at) > MAX_AGE;
            if goes {
                count -= 1;
                size -= line.len() + 16;
            }
            !goes
        };
        let mut is_dropped = is_kept;
        let dropped = self.entries.iter().take_while(|one| !is_dropped(one)).count();
        if let Some((line, entry)) = dropped.checked_sub(1).and_then(|last| self.entries.get(last)) {
            self.base = Head { n: entry.n, hash: sha256(line) };
            self.base_at = Some(entry.at);
            self.entries.drain(..dropped);
        }
    }

    fn size(&self) -> usize {
        self.entries.iter().map(|(line, _)| line.len() + 16).sum()
    }

    /// Whether an entry of this time would still be here: it is young enough, and there is room.
    pub(super) fn would_have(&self, at: Timestamp, now: Timestamp) -> bool {
        let has_room = self.entries.len() < MAX_ENTRIES && self.size().saturating_add(ROOM) < MAX_BYTES;
        has_room && now.since(at) < MAX_AGE.saturating_sub(TOLERANCE)
    }

    /// Says that entries were dropped that would still be here, in a sentence. An entry tells of when the one before it was.
    #[must_use]
    pub fn dropped_early(&self, now: Timestamp) -> Option<String> {
        let n = self.base.n;
        let at = self.entries.first().map_or(self.base_at, |(_, entry)| entry.after);
        match at {
            _ if n == 0 => None,
            Some(at) if !self.would_have(at, now) => None,
            Some(at) => Some(format!("entries up to {n} are missing: entry {n} is of {at}, and is kept for 180 days")),
            None => Some(format!("entries up to {n} are missing, and nothing tells of when they were")),
        }
    }

    /// Where the chain is broken, in sentences; none where it is intact.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut before = self.base.clone();
        for (line, entry) in &self.entries {
            if entry.n == before.n {
                problems.push(format!("there are two entries with the number {}", entry.n));
            } else if entry.n != before.n.saturating_add(1) {
                problems.push(format!(
                    "entries {} to {} are missing",
                    before.n.saturating_add(1),
                    entry.n.saturating_sub(1)
                ));
            } else if entry.prev != before.hash {
                let what = if before.n == self.base.n { "the beginning" } else { "it" };
                problems.push(format!("entry {} does not follow entry {}: {what} was changed", entry.n, before.n));
            }
            before = Head { n: entry.n, hash: sha256(line) };
        }
        if before != self.named {
            problems.push(format!(
                "the last entry is {} here, and the history names {}: it was changed, removed or added",
                before.short(),
                self.named.short()
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::SettledAct;
    use crate::model::Selector;

    fn settled(number: i64) -> Settled {
        Settled {
            ids: vec![format!("id{number}")],
            service: "app".to_owned(),
            uid: "uid".to_owned(),
            base: number.to_string(),
            act: SettledAct::Flip,
            from: Selector::nothing(),
            to: Selector::nothing(),
            at: Timestamp(number),
            user: "alice".to_owned(),
            manager: String::new(),
            missed: 0,
        }
    }

    fn of(count: i64) -> History {
        let mut history = History::default();
        for number in 0..count {
            assert!(history.append(&settled(number), None).is_some());
        }
        history
    }

    #[test]
    fn a_rendered_history_parses_to_the_same() {
        let history = of(12);
        assert_eq!(History::parse(&history.render()), Ok(history.clone()));
        assert_eq!(history.problems(), Vec::<String>::new());
        assert_eq!(history.entries().map(|entry| entry.n).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
    }

    #[test]
    fn a_change_is_in_it_once() {
        let mut history = of(3);
        assert_eq!(history.append(&settled(1), Some(Facts::default())), None);
        // The Service may be deleted from the version that a flip began from, if that flip never committed.
        assert_eq!(history.append(&Settled { act: SettledAct::Deleted, ..settled(1) }, None), Some(Act::Deleted));
        assert_eq!(history.entries().len(), 4);
    }

    #[test]
    fn the_oldest_go_and_the_chain_still_holds() {
        let mut history = of(i64::try_from(MAX_ENTRIES).unwrap() + 7);
        let head = history.head();
        history.drop_old(Timestamp(600));
        assert_eq!((history.entries().len(), history.base().n), (MAX_ENTRIES, 7));
        assert_eq!((history.head(), history.problems()), (head, vec![]));
        assert_eq!(history.dropped_early(Timestamp(600)), None, "it was full");
        let late = Timestamp(500 + i64::try_from(MAX_AGE.as_secs()).unwrap());
        history.drop_old(late);
        assert_eq!(history.base().n, 500);
        assert_eq!(history.dropped_early(late), None, "they were old");
        assert_eq!(History::parse(&history.render()).map(|read| read.problems()), Ok(vec![]));
        // All of them, and then a new one.
        let later = late.after(MAX_AGE);
        history.drop_old(later);
        assert_eq!((history.entries().len(), history.dropped_early(later)), (0, None));
        let mut history = History::parse(&history.render()).unwrap();
        assert!(history.append(&Settled { at: later, ..settled(9000) }, None).is_some());
        assert_eq!((history.problems(), history.dropped_early(later)), (vec![], None));
    }

    #[test]
    fn a_beginning_that_is_cut_off_is_found() {
        let data = of(5).render();
        for last in 1..=5 {
            let mut cut = data.clone();
            for n in 1..=last {
                let line = cut.remove(&format!("entry.{n:010}")).unwrap();
                cut.insert("base".to_owned(), Head { n, hash: sha256(&line) }.to_string());
            }
            let cut = History::parse(&cut).unwrap();
            assert_eq!(cut.problems(), Vec::<String>::new(), "the rest is a chain");
            let found = cut.dropped_early(Timestamp(600)).unwrap_or_default();
            assert!(found.contains(&format!("entries up to {last} are missing")), "{last}: {found}");
        }
    }

    #[test]
    fn what_was_lost_is_missed_for_ever() {
        let whole = of(3);
        for kept in 0..3 {
            let mut cut = of(kept);
            cut.had(&whole.head());
            assert!(cut.append(&settled(7), None).is_some() && cut.append(&settled(8), None).is_some());
            assert_eq!(cut.problems(), [format!("entries {} to 3 are missing", kept + 1)]);
        }
        // The last entry was changed.
        let mut changed = of(2);
        assert!(changed.append(&Settled { user: "bob".to_owned(), ..settled(2) }, None).is_some());
        changed.had(&whole.head());
        assert!(changed.append(&settled(7), None).is_some());
        assert_eq!(changed.problems(), ["entry 4 does not follow entry 3: it was changed"]);
        // The ledger is behind the history, if the write to it failed.
        let mut ahead = of(3);
        ahead.had(&of(2).head());
        assert!(ahead.append(&settled(7), None).is_some());
        assert_eq!(ahead.problems(), Vec::<String>::new());
    }

    proptest! {
        /// An entry that is edited, removed, swapped with another or added by hand is found.
        #[test]
        fn each_forgery_breaks_the_chain(count in 2_usize..9, at in 0_usize..9, other in 0_usize..9, kind in 0..4) {
            let data = of(i64::try_from(count).unwrap()).render();
            let key = |number: usize| format!("entry.{:010}", number % count + 1);
            let mut forged = data.clone();
            match kind {
                0 => drop(forged.insert(key(at), data[&key(at)].replace("alice", "bob"))),
                1 => drop(forged.remove(&key(at))),
                2 => {
                    prop_assume!(key(at) != key(other));
                    let renumbered = |from: usize, to: usize| {
                        data[&key(from)].replacen(&format!("\"n\":{}", from % count + 1), &format!("\"n\":{}", to % count + 1), 1)
                    };
                    forged.insert(key(at), renumbered(other, at));
                    forged.insert(key(other), renumbered(at, other));
                }
                _ => {
                    let last = &data[&key(count - 1)];
                    let more = last.replacen(&format!("\"n\":{count}"), &format!("\"n\":{}", count + 1), 1);
                    forged.insert(format!("entry.{:010}", count + 1), more);
                }
            }
            prop_assert!(!History::parse(&forged).unwrap().problems().is_empty());
        }
    }
}
