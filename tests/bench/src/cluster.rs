//! One cluster with two API servers: one that calls flipguard, and one without webhooks.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use controlplane::{ControlPlane, Process};
use futures_util::future::join_all;
use http::Method;
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::time::sleep;

/// The time limit for a namespace to become ready.
const PATIENCE: Duration = Duration::from_secs(300);
/// The number of objects created concurrently.
const AT_ONCE: usize = 16;

/// A cluster with two API servers.
pub struct Cluster {
    /// A client of the API server with webhooks.
    pub guarded: Client,
    /// A client of the API server without webhooks.
    pub bare: Client,
    /// The process id of the API server with webhooks.
    pub guarded_process: u32,
    /// The process id of the API server without webhooks.
    pub bare_process: u32,
    _ends: Process,
}

impl Cluster {
    /// Starts the second API server.
    ///
    /// # Errors
    /// When the API server does not start.
    pub async fn open(control_plane: &ControlPlane) -> Result<Self> {
        let (process, kubeconfig) = control_plane.api_server_without_webhooks()?;
        Ok(Self {
            guarded: client(control_plane.kubeconfig()).await?,
            bare: client(&kubeconfig).await?,
            guarded_process: control_plane.api_server().id(),
            bare_process: process.id(),
            _ends: process,
        })
    }

    /// Creates a namespace with this many Deployments: blue, green, and others. Each of the others has this many Pods.
    ///
    /// # Errors
    /// When an object is rejected, or does not become ready.
    pub async fn shop(&self, namespace: &str, deployments: usize) -> Result<()> {
        self.namespace(namespace).await?;
        let others = (2..deployments).map(|number| deployment(&format!("other-{number}"), None, 1));
        let all = [deployment("app-blue", Some("blue"), 3), deployment("app-green", Some("green"), 3)];
        self.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), all.into_iter().chain(others))
            .await?;
        self.create(&format!("/api/v1/namespaces/{namespace}/services"), [service("app", Some("blue"))]).await?;
        self.until_ready(namespace, deployments.max(2)).await
    }

    /// Waits until this many Deployments of a namespace are ready.
    ///
    /// # Errors
    /// When they do not become ready.
    pub async fn until_ready(&self, namespace: &str, deployments: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
            let list: Value = serde_json::from_str(&send(&self.bare, Method::GET, &path, None).await?)?;
            let items = list.get("items").and_then(Value::as_array).context("no items")?;
            let ready =
                items.iter().filter(|it| it.pointer("/status/availableReplicas") == it.pointer("/spec/replicas"));
            if ready.count() == deployments {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the Deployments of {namespace} do not become ready");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// When the namespace is rejected.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        self.create("/api/v1/namespaces", [json!({ "metadata": { "name": name } })]).await
    }

    /// Creates objects, several at a time.
    ///
    /// # Errors
    /// When an object is rejected.
    pub async fn create(&self, path: &str, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        let mut objects = objects.into_iter().peekable();
        while objects.peek().is_some() {
            let some = objects.by_ref().take(AT_ONCE);
            let created = some.map(|object| async move { send(&self.bare, Method::POST, path, Some(&object)).await });
            for created in join_all(created).await {
                created?;
            }
        }
        Ok(())
    }
}

/// Sends a request and returns the answer as JSON.
///
/// # Errors
/// When the request is rejected.
pub async fn send(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Result<String> {
    let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
    let request = http::Request::builder().method(method).uri(path).header("content-type", content_type);
    Ok(client.request_text(request.body(body)?).await?)
}

/// Returns a binary answer of a media type.
///
/// # Errors
/// When there is no answer.
pub async fn bytes(client: &Client, path: &str, accept: &str) -> Result<Bytes> {
    let answer = client.send(http::Request::get(path).header("accept", accept).body(Body::empty())?).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "{path} is answered by {status}");
    Ok(body)
}

/// A client with the credentials of a kubeconfig.
///
/// # Errors
/// When the kubeconfig cannot be used.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)?)
}

/// A Deployment. Without a colour, it is irrelevant to flipguard.
#[must_use]
pub fn deployment(name: &str, colour: Option<&str>, replicas: u32) -> Value {
    let mut labels = json!({ "app": if colour.is_some() { "app" } else { name } });
    if let (Some(colour), Some(labels)) = (colour, labels.as_object_mut()) {
        labels.insert("color".to_owned(), json!(colour));
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "labels": labels },
        "spec": { "replicas": replicas, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
                "name": "web", "image": "registry.example/shop/web:1.4.0",
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "env": [{ "name": "MODE", "value": "production" }],
                "resources": { "requests": { "cpu": "1m", "memory": "1Mi" } },
                "readinessProbe": { "httpGet": { "path": "/ready", "port": "http" } },
            }] } } },
    })
}

/// A Service. Without a colour, it is a plain one.
#[must_use]
pub fn service(name: &str, colour: Option<&str>) -> Value {
    let selector = colour.map_or_else(|| json!({ "app": "app" }), |colour| json!({ "app": "app", "color": colour }));
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
        "spec": { "selector": selector, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] } })
}
