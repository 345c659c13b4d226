//! Keeps the proofs of gates in the ledger.
//!
//! A proof is written before the answer is sent. So a Job that is gone has left its proof, and an annotation that is stored
//! has made one.

use tokio::time::{Instant, sleep};

use super::course::Course;
use super::protocol::pause;
use super::{Concurrency, Inner, namespace_of};
use crate::cluster::clock::now;
use crate::model::{Change, ReadFailure};
use crate::rules::gates::NewProof;
use crate::rules::{self, Outcome, Verdict};

impl Inner {
    /// The verdict, once the proofs that it makes are kept. Where they cannot be kept, it says so.
    pub(super) async fn with_proofs(
        &self,
        verdict: Verdict,
        change: &Change,
        course: &Course,
        deadline: Instant,
    ) -> Verdict {
        let is_kept = verdict.outcome() == Outcome::Allowed && !change.dry_run;
        if verdict.proofs.is_empty() || !is_kept || self.concurrency == Concurrency::Fresh {
            return verdict;
        }
        match self.keep(namespace_of(change), &verdict.proofs, deadline).await {
            Ok(()) => verdict,
            Err(failure) => rules::decide(change, &failure.into(), &course.latest().await.policy, now()),
        }
    }

    async fn keep(&self, namespace: &str, proofs: &[NewProof], deadline: Instant) -> Result<(), ReadFailure> {
        let _turn = self.ledgers.acquire_turn(namespace, deadline).await?;
        loop {
            let Some(mut stored) = self.ledgers.read(namespace, deadline).await? else {
                self.ledgers.create(namespace, deadline).await?;
                continue;
            };
            let mut ledger = std::mem::take(&mut stored.ledger);
            let mut has_changed = false;
            for NewProof { gate, target, proof } in proofs {
                has_changed |= ledger.remember_proof(gate, target, proof.clone());
            }
            if !has_changed || self.ledgers.write(namespace, &ledger, &stored, deadline).await? {
                return Ok(());
            }
            sleep(pause()).await;
        }
    }
}
