//! What it costs that a webhook is asked at all.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use controlplane::ControlPlane;
use http::Method;
use k8s_openapi::ByteString;
use serde_json::json;

use crate::cluster::{Cluster, send};
use crate::figures::Spread;
use crate::flips::{Doing, flip, slices};
use crate::process::cpu;
use crate::webhook::Webhook;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
/// How long an API server may take to notice.
const PATIENCE: Duration = Duration::from_secs(30);

/// Registers a webhook that judges nothing for changes of Services, and measures flips through it.
///
/// # Errors
/// When it is not called.
pub(crate) async fn measure(control_plane: &ControlPlane, cluster: &Cluster) -> Result<Spread> {
    let webhook = Webhook::anywhere(control_plane, "tree")?;
    let at = &webhook.registered;
    let configuration = json!({
        "metadata": { "name": "only-answers" },
        "webhooks": [{
            "name": "only-answers.flipguard.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "timeoutSeconds": 5,
            "clientConfig": { "url": format!("{}/validate/{}", at.url, at.token),
                "caBundle": ByteString(at.authority.clone().into_bytes()) },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["services"] }],
        }],
    });
    cluster.create(CONFIGURATIONS, [configuration]).await?;
    until(cluster, &webhook, true).await?;
    let (ratio, _) = slices(cluster, 10, &[Doing::Bare, Doing::Asked]).await?;
    send(&cluster.bare, Method::DELETE, &format!("{CONFIGURATIONS}/only-answers"), None).await?;
    until(cluster, &webhook, false).await?;
    Ok(ratio)
}

/// Waits until flips go through the webhook, or do not any more: it has nothing else to do.
async fn until(cluster: &Cluster, webhook: &Webhook, called: bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for number in 0.. {
        let before = cpu(webhook.process)?;
        flip(&cluster.guarded, 10, number).await?;
        if (cpu(webhook.process)? > before) == called && number % 2 == 1 {
            break;
        }
        ensure!(Instant::now() < deadline, "the API server does not notice a registration");
    }
    Ok(())
}
