//! Whether flipguard guards a cluster, as everybody sees it who may read the registration.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Client;
use tokio::time::Instant;

use super::configuration::Configuration as _;
use super::stored::{Ownership, SUSPEND, Webhook as _, ownership};
use crate::cluster::installation::{is_kept, registration};
use crate::model::Guarding;

/// Reads the registration and the Lease of its keeper.
pub async fn guarding(client: &Client, own_namespace: &str, deadline: Instant) -> Guarding {
    match registration(client, deadline).await {
        Err(failure) => Guarding::Unknown(format!("cannot read {}: {}", failure.what, failure.why)),
        Ok(None) => Guarding::Never,
        Ok(Some(stored)) => match by_registration(&stored, own_namespace) {
            Some(known) => known,
            None if is_kept(client, own_namespace, deadline).await == Some(false) => {
                Guarding::No(without_replica(&stored))
            }
            None => Guarding::Yes,
        },
    }
}

/// Whether the API server lets changes pass where nobody answers, as it does for a flipguard that only warns.
pub async fn fails_open(client: &Client, deadline: Instant) -> bool {
    registration(client, deadline).await.ok().flatten().is_some_and(|stored| is_open(&stored))
}

/// Whether changes pass where no replica answers.
fn is_open(stored: &ValidatingWebhookConfiguration) -> bool {
    stored.webhooks().first().and_then(|webhook| webhook.failure_policy()) == Some("Ignore")
}

/// What the registration alone says; `None` where flipguard guards if it runs.
fn by_registration(stored: &ValidatingWebhookConfiguration, own_namespace: &str) -> Option<Guarding> {
    match ownership(&stored.metadata, env!("CARGO_PKG_VERSION"), own_namespace) {
        Ownership::Suspended(why) => {
            Some(Guarding::No(format!("flipguard is suspended: {why} (annotation {SUSPEND})")))
        }
        Ownership::Another(namespace) => Some(Guarding::Unknown(format!(
            "the flipguard of namespace {namespace} is registered; give --flipguard-namespace {namespace}"
        ))),
        Ownership::Free | Ownership::Newer(_) if stored.webhooks().is_empty() => {
            Some(Guarding::No("flipguard has registered no webhook".to_owned()))
        }
        Ownership::Free | Ownership::Newer(_) => None,
    }
}

/// The effect of webhooks that nobody answers depends on `failurePolicy`.
fn without_replica(stored: &ValidatingWebhookConfiguration) -> String {
    let effect = if is_open(stored) {
        "changes pass unjudged"
    } else {
        "the API server denies the changes that flipguard should judge"
    };
    format!("no replica of flipguard runs, so {effect}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(annotations: &serde_json::Value, webhooks: &serde_json::Value) -> Option<Guarding> {
        let stored = json!({ "metadata": { "annotations": annotations }, "webhooks": webhooks });
        by_registration(&serde_json::from_value(stored).unwrap(), "flipguard-system")
    }

    #[test]
    fn the_registration_says_why_nothing_is_guarded() {
        let one = || json!([{ "name": "a", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": [] }]);
        assert_eq!(read(&json!({}), &one()), None);
        assert_eq!(read(&json!({}), &json!([])), Some(Guarding::No("flipguard has registered no webhook".to_owned())));
        let suspended = read(&json!({ "flipguard.dev/suspend": "fire" }), &json!([]));
        let why = "flipguard is suspended: fire (annotation flipguard.dev/suspend)".to_owned();
        assert_eq!(suspended, Some(Guarding::No(why)));
        let another = read(&json!({ "flipguard.dev/owner": "theirs" }), &one());
        assert!(matches!(another, Some(Guarding::Unknown(why)) if why.contains("--flipguard-namespace theirs")));
    }
}
