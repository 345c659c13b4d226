//! Judging by fresh reads alone: without a ledger, or where nothing can be lost.

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Inner, namespace_of};
use crate::cluster::clock::now;
use crate::cluster::{meter, namespace};
use crate::model::{Change, ClusterView, ReadFailure};
use crate::rules::{self, Verdict};

/// The first reads of a change, running in a task of their own.
pub(super) type Reading = JoinHandle<ClusterView>;

impl Inner {
    /// Judges by fresh reads alone.
    pub(super) async fn judge_directly(&self, change: &Change, reading: Reading, deadline: Instant) -> Verdict {
        let mut view = join_read(reading).await;
        self.complete(change, &mut view, deadline).await;
        let verdict = self.decide(change, &view);
        self.events.tell(change, &view, &verdict, now());
        verdict
    }

    /// Judges a change that can take nothing away. Only a permission may be missing, or a setting unreadable.
    pub(super) async fn judge_permissions_only(&self, change: &Change, deadline: Instant) -> Verdict {
        let mut view = ClusterView::of_an_empty_namespace();
        self.complete(change, &mut view, deadline).await;
        self.decide(change, &view)
    }

    /// Begins the first reads. They run to completion even if their result is no longer needed, because an aborted
    /// request would close its connection.
    pub(super) fn begin_to_read(&self, change: &Change, deadline: Instant) -> Reading {
        let (client, change) = (self.client.clone(), change.clone());
        let request = rules::needs(&change, &ClusterView::default(), &self.policy, now()).unwrap_or_default();
        tokio::spawn(meter::counted(async move {
            let read = namespace::read(&client, namespace_of(&change), &change.user, request, deadline);
            Box::pin(read).await
        }))
    }

    /// Makes the missing reads until the rules need no more.
    pub(super) async fn complete(&self, change: &Change, view: &mut ClusterView, deadline: Instant) {
        while let Some(request) = rules::needs(change, view, &self.policy, now()) {
            let read = namespace::read(&self.client, namespace_of(change), &change.user, request, deadline);
            view.add(Box::pin(read).await);
        }
    }
}

/// Waits for the first reads and returns their result.
pub(super) async fn join_read(reading: Reading) -> ClusterView {
    reading.await.unwrap_or_else(|broken| ReadFailure::online("the cluster".to_owned(), broken.to_string()).into())
}
