//! Records the reviews again. A real API server gets a webhook that stores the reviews, and kubectl makes real writes.
//! `make reviews` runs it.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::PoisonError;

use anyhow::{Context, Result, ensure};
use controlplane::{Binaries, ControlPlane};
use flipguard::certs::Identity;
use serde_json::{Value, json};

use crate::recorded;
use crate::servers::{self, Handler, Kept};

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: app, namespace: shop}, \
                       spec: {selector: {app: shop, color: blue}, ports: [{name: http, port: 80, targetPort: http}]}}";

/// The size of a Deployment.
struct Shape {
    name: &'static str,
    containers: usize,
    variables: usize,
}

const SHAPES: [Shape; 4] = [
    Shape { name: "app-blue", containers: 1, variables: 0 },
    Shape { name: "app-green", containers: 1, variables: 0 },
    Shape { name: "web-blue", containers: 2, variables: 20 },
    Shape { name: "large-blue", containers: 7, variables: 80 },
];

/// Records all reviews.
///
/// # Errors
/// When a write does not reach the webhook, or a file cannot be written.
pub fn record() -> Result<()> {
    let control_plane = ControlPlane::start(&Binaries::ensure()?)?;
    let kept = Kept::default();
    let identity = Identity::issue(&["127.0.0.1".to_owned()], time::OffsetDateTime::now_utc())?;
    let (listener, address) = servers::listener()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (keeps, served) = (kept.clone(), identity.clone());
    runtime.spawn(async move { servers::serve(listener, &served, Handler::Tree, None, Some(keeps)).await });

    let recorder = Recorder { control_plane: &control_plane, kept };
    recorder.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")?;
    recorder.apply_on_the_server(SERVICE)?;
    for shape in &SHAPES {
        // Small objects are written as Argo CD, Flux and Helm 4 do, the others by `kubectl apply`. That command stores
        // the manifest once more, in an annotation.
        if shape.variables == 0 {
            recorder.apply_on_the_server(&deployment(shape)?)?;
        } else {
            recorder.apply(&deployment(shape)?)?;
        }
    }
    for shape in &SHAPES {
        recorder.kubectl(&["rollout", "status", &format!("deployment/{}", shape.name), "--timeout=60s"])?;
    }
    let listed =
        recorder.kubectl(&["get", "services,deployments,replicasets,pods", "-l", "size!=large", "-o", "json"])?;
    let listed: Value = serde_json::from_str(&listed)?;
    std::fs::write(recorded::namespace(), serde_json::to_vec(&listed)?)?;

    recorder.register(&format!("https://{address}/validate/{}", identity.token), &identity.authority)?;
    recorder.keep("service-label", &["label", "service/app", "team=shop"])?;
    recorder.keep("deployment-6k-label", &["label", "deployment/app-blue", "team=shop"])?;
    recorder.keep("deployment-24k-label", &["label", "deployment/web-blue", "team=shop"])?;
    recorder.keep("deployment-200k-label", &["label", "deployment/large-blue", "team=shop"])?;
    recorder.keep("scale-up", &["scale", "deployment/app-green", "--replicas=4"])?;
    recorder.keep("scale-to-zero", &["scale", "deployment/app-green", "--replicas=0"])?;
    let green = r#"{"spec":{"selector":{"color":"green"}}}"#;
    recorder.keep("service-flip", &["patch", "service/app", "-p", green])?;
    recorder.keep(
        "deployment-6k-image",
        &["set", "image", "deployment/app-blue", "web-0=registry.example/shop/web:1.5.0"],
    )?;
    recorder.keep(
        "deployment-24k-image",
        &["set", "image", "deployment/web-blue", "web-0=registry.example/shop/web:1.5.0"],
    )?;
    control_plane.stop()
}

struct Recorder<'a> {
    control_plane: &'a ControlPlane,
    kept: Kept,
}

impl Recorder<'_> {
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.control_plane.kubectl().args(["-n", "shop"]).args(arguments).output()?;
        ensure!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn apply(&self, manifest: &str) -> Result<()> {
        self.apply_with(&[], manifest)
    }

    fn apply_on_the_server(&self, manifest: &str) -> Result<()> {
        self.apply_with(&["--server-side"], manifest)
    }

    fn apply_with(&self, flags: &[&str], manifest: &str) -> Result<()> {
        let mut kubectl = self.control_plane.kubectl();
        kubectl.args(["apply", "-f", "-"]).args(flags).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut apply = kubectl.spawn()?;
        apply.stdin.take().context("no pipe to kubectl")?.write_all(manifest.as_bytes())?;
        ensure!(apply.wait()?.success(), "kubectl apply fails");
        Ok(())
    }

    fn register(&self, url: &str, authority: &str) -> Result<()> {
        let rule = |group: &str, resources: &[&str]| json!({ "apiGroups": [group], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": resources });
        let registration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "recorder" },
            "webhooks": [{
                "name": "recorder.flipguard.dev", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": { "url": url, "caBundle": base64(authority)? },
                "rules": [rule("", &["services"]), rule("apps", &["deployments", "deployments/scale"])],
                // The controllers write too.
                "matchConditions": [{ "name": "by-hand", "expression": "request.userInfo.username == 'admin'" }],
            }],
        });
        self.apply(&registration.to_string())?;
        // Every part of the API server has to see the registration first.
        for number in 0..100 {
            self.kubectl(&["label", "service/app", "--overwrite", &format!("seen=n{number}")])?;
            if !self.taken().is_empty() {
                self.kubectl(&["label", "service/app", "seen-"])?;
                self.taken();
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        anyhow::bail!("the API server does not call the recorder")
    }

    fn taken(&self) -> Vec<bytes::Bytes> {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, name: &str, arguments: &[&str]) -> Result<()> {
        self.kubectl(arguments)?;
        let bodies = self.taken();
        let body = bodies.last().with_context(|| format!("{name}: the API server did not ask"))?;
        println!("{name}: {} bytes", body.len());
        std::fs::write(recorded::folder().join(format!("{name}.json")), body)?;
        Ok(())
    }
}

/// A Deployment like those of common charts: probes, resources, a volume, and enough environment variables for its
/// size.
fn deployment(shape: &Shape) -> Result<String> {
    let (app, colour) = shape.name.split_once('-').context("a name is APP-COLOUR")?;
    let app = if app == "app" { "shop" } else { app };
    let container = |number: usize| {
        let variables: Vec<Value> = (0..shape.variables)
            .map(|variable| json!({ "name": format!("SETTING_{variable:03}"), "value": format!("value-{variable}") }))
            .collect();
        json!({
            "name": format!("web-{number}"), "image": format!("registry.example/shop/web:1.4.{number}"), "env": variables,
            "ports": [{ "name": if number == 0 { "http".to_owned() } else { format!("http-{number}") },
                "containerPort": 8080 + number }],
            "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } },
            "readinessProbe": { "httpGet": { "path": "/ready", "port": 8080 + number } },
        })
    };
    let size = if shape.containers > 5 { "large" } else { "small" };
    let labels = json!({ "app": app, "color": colour, "size": size });
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": shape.name, "namespace": "shop", "labels": labels },
        "spec": {
            "replicas": 3, "selector": { "matchLabels": { "app": app, "color": colour } },
            "template": { "metadata": { "labels": labels },
                "spec": { "containers": (0..shape.containers).map(container).collect::<Vec<Value>>() } },
        },
    })
    .to_string())
}

/// A text in base64, as JSON encodes bytes.
fn base64(text: &str) -> Result<Value> {
    Ok(serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec()))?)
}
