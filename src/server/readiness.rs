//! Whether this replica can judge, and if not, why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

/// The conditions of readiness. The registration is none of them: the API server calls ready replicas only, and flipguard
/// is registered once it is called.
#[derive(Debug, Default)]
pub struct Readiness {
    starting: ArcSwap<Option<String>>,
    api_server: ArcSwap<Option<String>>,
    draining: AtomicBool,
    unguarded: ArcSwap<Option<String>>,
}

impl Readiness {
    /// Records what this replica waits for before it can judge (`None`: nothing any more).
    pub fn starting(&self, what: Option<String>) {
        self.starting.store(Arc::new(what));
    }

    /// Whether this replica cannot judge yet.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.starting.load().is_some()
    }

    /// Records that the API server answers (`None`), or why not.
    pub fn api_server(&self, error: Option<String>) {
        self.api_server.store(Arc::new(error));
    }

    /// Records why flipguard does not guard; `None` while it does. That does not make it unready.
    pub fn registration(&self, unguarded: Option<String>) {
        self.unguarded.store(Arc::new(unguarded));
    }

    /// What an admin should know of a ready replica, one line each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.unguarded.load().iter().map(|why| format!("registration: {why}")).collect()
    }

    /// Records that this replica is stopping.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether this replica is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The conditions that fail, one line each; empty when ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.is_draining() {
            missing.push("draining: this replica is stopping".to_owned());
        }
        if let Some(what) = self.starting.load().as_ref() {
            missing.push(format!("starting: {what}"));
        }
        if let Some(error) = self.api_server.load().as_ref() {
            missing.push(format!("api-server: {error}"));
        }
        missing
    }
}
