//! Whether this replica can judge, and what it lacks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

/// What readiness depends on. The registration is no part of it: filling it in needs ready endpoints first.
#[derive(Debug, Default)]
pub struct Readiness {
    api_server: ArcSwap<Option<String>>,
    draining: AtomicBool,
}

impl Readiness {
    /// Says that the API server answers, or why it does not.
    pub fn api_server(&self, trouble: Option<String>) {
        self.api_server.store(Arc::new(trouble));
    }

    /// Says that this replica is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether this replica is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What is missing, one line each; empty when ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.is_draining() {
            missing.push("draining: this replica is stopping".to_owned());
        }
        if let Some(trouble) = self.api_server.load().as_ref() {
            missing.push(format!("api-server: {trouble}"));
        }
        missing
    }
}
