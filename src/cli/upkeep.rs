//! What a replica of `serve` does from time to time, for ever.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::connect::{Connection, one_line};
use crate::cluster::ledger_store::LedgerStore;
use crate::cluster::{access, own_namespace};
use crate::guard::Recorder;
use crate::model::ColourScheme;
use crate::server::Readiness;
use crate::telemetry::Metrics;

/// The time between two probes of the API server while it answers.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The time between two probes while it does not answer. Until a replica is ready again, the API server has no endpoint
/// to call.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// The time between two checks of the permissions and the token.
const RIGHTS_INTERVAL: Duration = Duration::from_secs(60);
/// The time between two looks for apps in flipguard's own namespace.
const OWN_NAMESPACE_INTERVAL: Duration = Duration::from_secs(600);
/// The time between two searches for ledgers of deleted namespaces.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);
/// The time from the start to the first search.
const FIRST_SWEEP: Duration = Duration::from_secs(30);

/// Sets readiness by whether the API server answers, and compares the clocks, for ever. The start has asked it once.
pub(super) async fn probe(connection: &Connection, readiness: &Readiness, metrics: &Metrics) -> Infallible {
    let mut known = None;
    let mut known_clock = None;
    let mut pause = PROBE_INTERVAL;
    loop {
        if let Some(seconds) = connection.clock.seconds() {
            metrics.clock_difference(seconds);
        }
        let clock = connection.clock.too_large();
        if clock != known_clock {
            if let Some(off) = &clock {
                tracing::warn!("this clock is {off}; set it, and keep it by NTP");
            } else {
                tracing::info!("this clock is right again");
            }
            known_clock = clock;
        }
        sleep(pause).await;
        let error = connection.client.apiserver_version().await.err().filter(|error| !is_answer(error));
        let error = error.map(|error| one_line(&error));
        pause = if error.is_some() { RETRY_INTERVAL } else { PROBE_INTERVAL };
        if error != known {
            if let Some(error) = &error {
                tracing::warn!(error, "the API server does not answer");
            } else {
                tracing::info!("the API server answers again");
            }
            known.clone_from(&error);
        }
        readiness.api_server(error);
    }
}

/// Whether a refusal shows that the API server answers: it knows the user, who may not read the version.
fn is_answer(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Checks the permissions and looks at the token, for ever. The start has checked the permissions once.
pub(super) async fn watch_rights(
    connection: &Connection,
    namespace: &str,
    labels: bool,
    metrics: &Metrics,
) -> Infallible {
    let mut known = Vec::new();
    loop {
        if let Some(token) = connection.token() {
            metrics.token_ends(token.source.name(), token.ends);
        }
        sleep(RIGHTS_INTERVAL).await;
        // That the API server does not answer is reported by the probe.
        let Ok(missing) = access::missing(&connection.client, namespace, labels).await else { continue };
        metrics.missing_permissions(missing.len());
        if missing != known {
            if missing.is_empty() {
                tracing::info!("all permissions are granted again");
            } else {
                tracing::warn!(missing = missing.join(", "), "permissions are missing; see `flipguard doctor`");
            }
            known = missing;
        }
    }
}

/// Warns about apps in flipguard's own namespace, which it does not guard, for ever. Each change is one log line.
pub(super) async fn watch_own_namespace(
    connection: &Connection,
    namespace: &str,
    colours: &ColourScheme,
) -> Infallible {
    let mut known = Vec::new();
    loop {
        // Without the list, there is nothing to warn about. That the API server does not answer is reported by the probe.
        if let Ok(services) = own_namespace::traffic_services(&connection.client, namespace, colours).await
            && services != known
        {
            if !services.is_empty() {
                let why = own_namespace::warning(namespace, &services);
                tracing::warn!(why, "install flipguard in a namespace of its own");
            }
            known = services;
        }
        sleep(OWN_NAMESPACE_INTERVAL).await;
    }
}

/// Deletes the ledgers of deleted namespaces, and finds changes that a replica left behind when it ended, for ever.
pub(super) async fn sweep_ledgers(ledgers: &LedgerStore, recorder: &Recorder) -> Infallible {
    // Another replica may have ended just before this one began.
    sleep(FIRST_SWEEP).await;
    loop {
        match ledgers.sweep(|namespace| recorder.look_at(namespace), Instant::now() + SWEEP_INTERVAL).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "deleted the ledgers of deleted namespaces"),
            Err(unread) => {
                tracing::warn!(what = unread.what, why = unread.why, "cannot delete the ledgers of deleted namespaces");
            }
        }
        sleep(SWEEP_INTERVAL).await;
    }
}
