//! Where fresh reads and the pure rules meet.

use kube::Client;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::cluster::live;
use crate::model::{Change, Policy, Timestamp};
use crate::rules::labels::{self, Put};
use crate::rules::{self, Verdict, reads};
use crate::server::Judge;

/// Judges changes by what the API server says after each of them arrived.
pub struct Guard {
    client: Client,
    policy: Policy,
}

impl Guard {
    /// A guard over the cluster that a client talks to.
    #[must_use]
    pub fn new(client: Client, policy: Policy) -> Self {
        Self { client, policy }
    }
}

impl Judge for Guard {
    async fn judge(&self, change: &Change, deadline: Instant) -> Verdict {
        let Some(needed) = reads::needed(change, &self.policy) else { return Verdict::not_judged() };
        let now = Timestamp(OffsetDateTime::now_utc().unix_timestamp());
        let mut view = Box::pin(live::view(&self.client, &needed, deadline)).await;
        let asked = reads::permissions(change, &view, &self.policy, now);
        live::permissions(&self.client, &needed.namespace, &change.user, asked, deadline, &mut view).await;
        rules::decide(change, &view, &self.policy, now)
    }

    async fn label(&self, change: &Change, deadline: Instant) -> (Verdict, Vec<Put>) {
        let Some(needed) = labels::needed(change, &self.policy) else { return (Verdict::not_judged(), Vec::new()) };
        let view = Box::pin(live::view(&self.client, &needed, deadline)).await;
        labels::label(change, &view, &self.policy)
    }
}
