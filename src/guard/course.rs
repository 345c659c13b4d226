//! The settings by which one change is judged.
//!
//! Reading the cluster begins by the last known policies, while policies that are too old are read anew. The verdict is
//! always by the new ones, and what they need besides is read too.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cluster::meter;
use crate::cluster::policies::{PolicyStore, Settings};
use crate::model::{Change, Policy, ReadFailure};
use crate::rules::filter;

/// The settings of one change: those that its reads begin by, and those that judge it.
pub(super) struct Course {
    begun: Policy,
    latest: OnceCell<Settings>,
    reading: Mutex<Option<JoinHandle<Settings>>>,
}

impl Course {
    /// Begins to judge a change. Where the last known policies leave the change alone, this waits for the new ones.
    pub(super) async fn begin(
        policies: &Arc<PolicyStore>,
        change: &Change,
        namespace: &str,
        deadline: Instant,
    ) -> Self {
        let known = policies.known(namespace).filter(|known| filter::is_relevant(&change.write, &known.colours));
        let Some(begun) = known.filter(|_| !policies.is_young()) else {
            return Self::by(policies.settings(namespace, deadline).await);
        };
        let (policies, namespace) = (policies.clone(), namespace.to_owned());
        let reading = tokio::spawn(meter::counted(async move { policies.settings(&namespace, deadline).await }));
        Self { begun, latest: OnceCell::new(), reading: Mutex::new(Some(reading)) }
    }

    /// The course of a change by settings that are young enough.
    pub(super) fn by(settings: Settings) -> Self {
        let begun = settings.policy.clone();
        Self { begun, latest: OnceCell::new_with(Some(settings)), reading: Mutex::default() }
    }

    /// The settings that reads begin by.
    pub(super) fn begun(&self) -> &Policy {
        &self.begun
    }

    /// The settings that judge the change.
    pub(super) async fn latest(&self) -> &Settings {
        let read = async {
            let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner).take();
            let settings = match reading {
                Some(reading) => reading.await.ok(),
                None => None,
            };
            settings.unwrap_or_else(|| {
                let why = "flipguard failed while reading them".to_owned();
                let failure = Some(ReadFailure::online("the policies".to_owned(), why));
                Settings { policy: self.begun.clone(), failure }
            })
        };
        self.latest.get_or_init(|| read).await
    }

    /// The new settings, where other labels mark a colour by them than the reads began by. Whether the ledger is needed
    /// depends on that, so the change is judged again from the beginning.
    pub(super) async fn other_colours(&self) -> Option<Settings> {
        let latest = self.latest().await;
        (latest.failure.is_none() && latest.policy.colours != self.begun.colours).then(|| latest.clone())
    }
}
