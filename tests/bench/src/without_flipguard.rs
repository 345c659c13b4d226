//! The cost of any webhook, and of one that reads before it answers. No webhook that judges flips by fresh reads can be
//! faster.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use controlplane::ControlPlane;
use http::Method;
use k8s_openapi::ByteString;
use serde_json::json;

use crate::cluster::{Cluster, send};
use crate::figures::Spread;
use crate::flips::{Doing, flip, namespace, slices};
use crate::process::cpu;
use crate::servers::Handler;
use crate::webhook::Webhook;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const NAME: &str = "without-flipguard";
/// The time limit for an API server to notice a registration.
const PATIENCE: Duration = Duration::from_secs(30);

/// The webhooks, each with a description of its work.
const WEBHOOKS: [(Handler, &str); 4] = [
    (Handler::Tree, "reads nothing"),
    (Handler::OneRead, "reads one object"),
    (Handler::Lists, "makes the 5 LISTs of a flip"),
    (Handler::WithLedger, "reads a ConfigMap, and writes it beside the 5 LISTs"),
];

/// Measures flips through each webhook.
///
/// # Errors
/// When a webhook is not called, or cannot read.
pub(crate) async fn measure(control_plane: &ControlPlane, cluster: &Cluster) -> Result<()> {
    for (handler, what) in WEBHOOKS {
        let ratio = through(control_plane, cluster, handler).await?;
        println!("  {what:<54} {ratio}");
    }
    Ok(())
}

/// Creates the ServiceAccount of the webhooks. flipguard has one too: the API server takes longer to check a client
/// certificate than a token.
pub(crate) async fn create_account(cluster: &Cluster) -> Result<()> {
    let account = json!({ "metadata": { "name": NAME } });
    cluster.create("/api/v1/namespaces/default/serviceaccounts", [account]).await?;
    let rights = json!({
        "metadata": { "name": NAME },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "namespace": "default", "name": NAME }],
    });
    cluster.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", [rights]).await
}

/// Measures flips through a webhook.
async fn through(control_plane: &ControlPlane, cluster: &Cluster, handler: Handler) -> Result<Spread> {
    let namespace = namespace(10);
    let webhook = register(control_plane, cluster, handler, &namespace).await?;
    let (ratio, _) = slices(cluster, 10, &[Doing::Bare, Doing::Asked]).await?;
    remove(cluster, &webhook, &namespace).await?;
    Ok(ratio)
}

/// Registers a webhook for changes of the Services of a namespace, and waits until it is called.
pub(crate) async fn register(
    control_plane: &ControlPlane,
    cluster: &Cluster,
    handler: Handler,
    namespace: &str,
) -> Result<Webhook> {
    let kubeconfig = control_plane.service_account_kubeconfig("default", NAME)?;
    let webhook = Webhook::reading(control_plane, handler, &kubeconfig)?;
    let at = &webhook.registered;
    let configuration = json!({
        "metadata": { "name": NAME },
        "webhooks": [{
            "name": "without.flipguard.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "timeoutSeconds": 5,
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "clientConfig": { "url": format!("{}/validate/{}", at.url, at.token),
                "caBundle": ByteString(at.authority.clone().into_bytes()) },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["services"] }],
        }],
    });
    cluster.create(CONFIGURATIONS, [configuration]).await?;
    until(cluster, &webhook, namespace, true).await?;
    Ok(webhook)
}

/// Removes a registration, and waits until the webhook is no longer called.
pub(crate) async fn remove(cluster: &Cluster, webhook: &Webhook, namespace: &str) -> Result<()> {
    send(&cluster.bare, Method::DELETE, &format!("{CONFIGURATIONS}/{NAME}"), None).await?;
    until(cluster, webhook, namespace, false).await
}

/// Waits until flips in a namespace go through the webhook, or no longer do. The webhook gets no other requests.
async fn until(cluster: &Cluster, webhook: &Webhook, namespace: &str, called: bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for number in 0.. {
        let before = cpu(webhook.process)?;
        flip(&cluster.guarded, namespace, number).await?;
        if (cpu(webhook.process)? > before) == called && number % 2 == 1 {
            break;
        }
        ensure!(Instant::now() < deadline, "the API server does not notice a registration");
    }
    Ok(())
}
