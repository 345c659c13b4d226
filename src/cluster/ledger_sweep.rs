//! The sweep: ledgers and histories of deleted namespaces are deleted.

use tokio::time::Instant;

use super::config_maps::is_managed;
use super::history_store::history_name;
use super::ledger_store::{LedgerStore, ledger_name};
use crate::model::ReadFailure;

/// What a sweep did with one ledger.
enum Swept {
    /// It was deleted with its namespace.
    Deleted,
    /// It has changes that may have to be added to the history.
    Open,
    /// There was nothing to do.
    Done,
}

impl LedgerStore {
    /// Deletes the ledgers of deleted namespaces, and their histories. Tells of each ledger whose changes are not all in the
    /// history.
    ///
    /// # Errors
    /// The first failure, after all namespaces were tried. The next call tries the rest again.
    pub async fn sweep(&self, open: impl Fn(&str), deadline: Instant) -> Result<usize, ReadFailure> {
        let Some(index) = self.index.read(&self.maps, "", deadline).await? else { return Ok(0) };
        let mut deleted = 0;
        let mut failure = None;
        for (namespace, uid) in index.data.iter().flatten() {
            match self.swept(namespace, uid, deadline).await {
                Ok(Swept::Deleted) => deleted += 1,
                Ok(Swept::Open) => open(namespace),
                Ok(Swept::Done) => {}
                Err(unread) => failure = failure.or(Some(unread)),
            }
        }
        failure.map_or(Ok(deleted), Err)
    }

    /// Deletes the ledger of a namespace that is gone: first the ledger, then its entry in the index. So the entry stays
    /// until the ledger is gone, however often the deletion fails.
    async fn swept(&self, namespace: &str, uid: &str, deadline: Instant) -> Result<Swept, ReadFailure> {
        let name = ledger_name(namespace);
        // Read before the namespace is: a new namespace of this name writes to the ledger only after that, and its
        // write makes the deletion fail.
        let map = self.maps.read(namespace, &name, deadline).await?;
        if self.namespace_meta(namespace, deadline).await?.is_some() {
            let mut keys = map.iter().flat_map(|map| map.data.iter().flatten()).map(|(key, _)| key);
            let is_open = keys.any(|key| key.starts_with("settled.") || key.starts_with("intent."));
            return Ok(if is_open { Swept::Open } else { Swept::Done });
        }
        if let Some(history) = self.maps.read(namespace, &history_name(namespace), deadline).await?.filter(is_managed) {
            self.maps.delete(namespace, history, deadline).await?;
        }
        // On a conflict, another replica has written to the ledger: its namespace exists again.
        if let Some(map) = map.filter(is_managed)
            && !self.maps.delete(namespace, map, deadline).await?
        {
            return Ok(Swept::Done);
        }
        self.index.remove(&self.maps, namespace, uid, deadline).await?;
        self.memory.forget(namespace);
        Ok(Swept::Deleted)
    }
}
