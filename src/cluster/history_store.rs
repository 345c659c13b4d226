//! The store of the histories: one ConfigMap for each namespace, in flipguard's own namespace.
//!
//! A change that has committed waits in the ledger until it is in the history. It is added first, and then leaves the
//! ledger. So a replica that ends in between loses nothing, and the next one adds nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::clock;
use super::config_maps::{ConfigMaps, is_managed, unread};
use super::ledger_store::{LedgerStore, StoredLedger};
use crate::history::{Act, Facts, Head, History};
use crate::install::{HISTORY_PREFIX, MANAGED_BY};
use crate::ledger::resolve::resolve;
use crate::ledger::{ObjectRef, Settled};
use crate::model::{ColourScheme, Kind, ReadFailure, Timestamp};

/// How long a settled change waits for the replica that has its facts.
const WAITS_FOR_FACTS: Duration = Duration::from_secs(30);

/// What a drain did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drained {
    /// Whether there is more to do: a change may still commit, or waits for its facts, or another replica wrote first.
    pub is_open: bool,
    /// What it added to the history.
    pub added: Vec<Act>,
}

impl LedgerStore {
    /// Takes committed changes of a namespace from the ledger into the history. Those whose facts are not known here wait a
    /// while for the replica that has them.
    ///
    /// # Errors
    /// When something cannot be read or written. The next drain tries it again.
    pub async fn drain(
        &self,
        namespace: &str,
        colours: &ColourScheme,
        facts: &BTreeMap<String, Facts>,
        deadline: Instant,
    ) -> Result<Drained, ReadFailure> {
        clock::scoped(self.drain_scoped(namespace, colours, facts, deadline)).await
    }

    async fn drain_scoped(
        &self,
        namespace: &str,
        colours: &ColourScheme,
        facts: &BTreeMap<String, Facts>,
        deadline: Instant,
    ) -> Result<Drained, ReadFailure> {
        let open = |is_open| Drained { is_open, added: Vec::new() };
        let _turn = self.acquire_turn(namespace, deadline).await?;
        let Some(mut stored) = self.read(namespace, deadline).await? else { return Ok(open(false)) };
        if !self.settle(namespace, &mut stored, colours, deadline).await? {
            return Ok(open(true));
        }
        let now = clock::now();
        let own = |settled: &Settled| settled.ids.iter().find_map(|id| facts.get(id).cloned());
        let is_due = |settled: &Settled| own(settled).is_some() || now.since(settled.at) >= WAITS_FOR_FACTS;
        let is_pending = stored.ledger.intents.iter().any(|intent| intent.object.kind == Kind::Service);
        let (due, waiting): (Vec<&Settled>, Vec<&Settled>) = stored.ledger.settled.iter().partition(|one| is_due(one));
        let is_open = is_pending || !waiting.is_empty();
        if due.is_empty() {
            return Ok(open(is_open));
        }
        let mut due: Vec<Settled> = due.into_iter().cloned().collect();
        in_order(&mut due);
        let written = self.add_to_history(namespace, &due, own, &stored.ledger.head, now, deadline).await?;
        let Some((head, added)) = written else { return Ok(open(true)) };
        stored.ledger.drained(|settled| due.contains(settled), head.to_string());
        let ledger = std::mem::take(&mut stored.ledger);
        let is_written = self.write(namespace, &ledger, &stored, deadline).await?;
        Ok(Drained { is_open: is_open || !is_written, added })
    }

    /// Reads the objects of pending changes of Services, and settles those that have committed. They are sure only once they
    /// are written: the write fails if another attempt has changed the ledger since it was read. `false` where it failed.
    async fn settle(
        &self,
        namespace: &str,
        stored: &mut StoredLedger,
        colours: &ColourScheme,
        deadline: Instant,
    ) -> Result<bool, ReadFailure> {
        let services = stored.ledger.intents.iter().filter(|intent| intent.object.kind == Kind::Service);
        let objects: BTreeSet<ObjectRef> = services.map(|intent| intent.object.clone()).collect();
        if objects.is_empty() {
            return Ok(true);
        }
        let found = self.read_objects(namespace, objects, deadline).await?;
        let before = stored.ledger.clone();
        resolve(&mut stored.ledger, &found, &stored.expired, colours, clock::now());
        if stored.ledger == before {
            return Ok(true);
        }
        let version = self.put(namespace, &stored.ledger, stored, deadline).await?;
        let is_written = version.is_some();
        stored.version = version.unwrap_or_default();
        Ok(is_written)
    }

    /// Adds changes to the history. Returns its head and what was added; `None` where another replica wrote first.
    async fn add_to_history(
        &self,
        namespace: &str,
        due: &[Settled],
        facts: impl Fn(&Settled) -> Option<Facts>,
        known_head: &str,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Option<(Head, Vec<Act>)>, ReadFailure> {
        let name = history_name(namespace);
        let map = self.maps.read(namespace, &name, deadline).await?;
        let mut history = match &map {
            Some(map) => parse(&self.maps, namespace, map)?,
            None => History::default(),
        };
        let known = Head::parse(known_head).unwrap_or_default();
        history.had(&known);
        let added: Vec<Act> = due.iter().filter_map(|settled| history.append(settled, facts(settled))).collect();
        history.drop_old(now);
        if added.is_empty() {
            // The ledger never forgets an entry that was cut off.
            let head = if known.n > history.head().n { known } else { history.head() };
            return Ok(Some((head, added)));
        }
        let of_history = |failure: ReadFailure| ReadFailure { what: what(namespace), ..failure };
        let is_written = if let Some(map) = map {
            self.maps.change(namespace, &map, &history.render(), deadline).await
        } else {
            let new = self.maps.new_map(&name, history.render());
            self.maps.create(namespace, &new, deadline).await.map(|created| created.is_some())
        };
        Ok(is_written.map_err(of_history)?.then(|| (history.head(), added)))
    }

    /// Reads a namespace's history; `None` where there is none.
    ///
    /// # Errors
    /// When the history cannot be read, or is not flipguard's.
    pub async fn history(&self, namespace: &str, deadline: Instant) -> Result<Option<History>, ReadFailure> {
        let map = self.maps.read(namespace, &history_name(namespace), deadline).await;
        let map = map.map_err(|failure| ReadFailure { what: what(namespace), ..failure })?;
        map.map(|map| parse(&self.maps, namespace, &map)).transpose()
    }
}

/// Sorts changes as they were committed. Times have no more than seconds; the versions of objects tell the rest. A creation
/// starts from no version, and comes before all else of its object.
fn in_order(due: &mut [Settled]) {
    let version = |settled: &Settled| settled.base.parse::<u64>().ok();
    let first: BTreeMap<String, u64> = due.iter().fold(BTreeMap::new(), |mut all, settled| {
        if let Some(version) = version(settled) {
            let known = all.entry(settled.uid.clone()).or_insert(version);
            *known = version.min(*known);
        }
        all
    });
    due.sort_by_key(|settled| {
        let of_object = first.get(&settled.uid).copied().unwrap_or(u64::MAX);
        (settled.at, version(settled).unwrap_or(of_object), !settled.base.is_empty())
    });
}

/// The name of a namespace's history.
pub(super) fn history_name(namespace: &str) -> String {
    format!("{HISTORY_PREFIX}{namespace}")
}

fn what(namespace: &str) -> String {
    format!("the history of namespace {namespace}")
}

fn parse(
    maps: &ConfigMaps,
    namespace: &str,
    map: &k8s_openapi::api::core::v1::ConfigMap,
) -> Result<History, ReadFailure> {
    let (name, own) = (history_name(namespace), &maps.own_namespace);
    let unusable = |why: String| ReadFailure {
        what: what(namespace),
        remedy: Some(format!("Ask a cluster admin to rename or delete ConfigMap {own}/{name}")),
        ..unread(namespace, format!("ConfigMap {own}/{name}: {why}"))
    };
    if !is_managed(map) {
        return Err(unusable(format!("it has no label {}={}, so it is not flipguard's", MANAGED_BY.0, MANAGED_BY.1)));
    }
    let nothing = BTreeMap::new();
    History::parse(map.data.as_ref().unwrap_or(&nothing)).map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::SettledAct;
    use crate::model::Selector;

    #[test]
    fn changes_within_a_second_have_an_order() {
        let settled = |act, uid: &str, base: &str| Settled {
            ids: vec![format!("random of {uid}{base}")],
            service: "app".to_owned(),
            uid: uid.to_owned(),
            base: base.to_owned(),
            act,
            from: Selector::nothing(),
            to: Selector::nothing(),
            at: Timestamp(100),
            user: "alice".to_owned(),
            manager: String::new(),
            missed: 0,
        };
        let sorted = vec![
            settled(SettledAct::Flip, "a", "999"),
            settled(SettledAct::Flip, "a", "1002"),
            settled(SettledAct::Deleted, "a", "1005"),
            settled(SettledAct::Created, "b", ""),
            settled(SettledAct::Flip, "b", "1007"),
            settled(SettledAct::Created, "c", ""),
        ];
        for turned in 0..sorted.len() {
            let mut due = sorted.clone();
            due.rotate_left(turned);
            due.reverse();
            in_order(&mut due);
            assert_eq!(due, sorted, "{turned}");
        }
    }
}
