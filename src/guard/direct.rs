//! Judging by fresh reads alone: without a ledger, or where nothing can be lost.

use std::sync::Arc;

use kube::Client;
use tokio::task::JoinHandle;

use super::turns::Turn;
use super::{Inner, namespace_of};
use crate::cluster::clock::now;
use crate::cluster::meter;
use crate::cluster::namespace::Reader;
use crate::model::{Change, ClusterView, ReadFailure};
use crate::rules::{self, Verdict};

/// The first reads of a change, running in a task of their own.
pub(super) type Reading = JoinHandle<ClusterView>;

impl Inner {
    /// Judges by fresh reads alone.
    pub(super) async fn judge_directly(&self, change: &Change, reading: Reading, turn: &Turn) -> Verdict {
        let mut view = join_read(reading).await;
        self.complete(change, &mut view, turn).await;
        let verdict = turn.decide(change, &view).await;
        self.events.tell(change, &view, &verdict, now());
        verdict
    }

    /// Judges a change that can take nothing away. Only a permission may be missing, or a setting unreadable.
    pub(super) async fn judge_permissions_only(&self, change: &Change, turn: &Turn) -> Verdict {
        let mut view = ClusterView::of_an_empty_namespace();
        self.complete(change, &mut view, turn).await;
        turn.decide(change, &view).await
    }

    /// Begins the first reads. They run to completion even if their result is no longer needed, because an aborted
    /// request would close its connection.
    pub(super) fn begin_to_read(&self, change: &Change, turn: &Arc<Turn>) -> Reading {
        let (client, change, turn) = (self.client.clone(), change.clone(), turn.clone());
        let request = rules::needs(&change, &ClusterView::default(), turn.course.begun(), now()).unwrap_or_default();
        tokio::spawn(meter::counted(async move {
            let reader = reader(&client, &change, &turn);
            Box::pin(reader.read(request)).await
        }))
    }

    /// Makes the missing reads until the rules need no more, by the settings that judge the change.
    pub(super) async fn complete(&self, change: &Change, view: &mut ClusterView, turn: &Turn) {
        let settings = turn.course.latest().await;
        view.failures.extend(settings.failure.clone());
        while let Some(request) = rules::needs(change, view, &settings.policy, now()) {
            view.add(Box::pin(reader(&self.client, change, turn).read(request)).await);
        }
    }
}

/// Reads the namespace of a change.
pub(super) fn reader<'a>(client: &'a Client, change: &'a Change, turn: &'a Turn) -> Reader<'a> {
    let Turn { allowance, deadline, .. } = turn;
    let (namespace, user, large) = (namespace_of(change), &change.user, turn.large());
    Reader { client, namespace, user, allowance, large, deadline: *deadline }
}

/// Waits for the first reads and returns their result.
pub(super) async fn join_read(reading: Reading) -> ClusterView {
    reading.await.unwrap_or_else(|broken| ReadFailure::online("the cluster".to_owned(), broken.to_string()).into())
}
