//! Part 7: an audit of a large cluster: its time, and its resident memory. The lists of the cluster are made here, so
//! that no API server and no etcd are a part of the figure but for the bytes that they would send.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::process::most_resident;
use crate::report::{Report, heading};

/// The namespaces, each with one traffic Service.
const NAMESPACES: usize = 2000;
/// The Services of each namespace.
const SERVICES: usize = 5;
/// The Pods of each of the two colours.
const PODS: usize = 25;
/// The longest time, in seconds, and the most memory, in MiB.
const LONGEST: f64 = 60.0;
const MOST: f64 = 64.0;

/// Audits the cluster.
///
/// # Errors
/// When the audit fails, or finds something else than there is.
pub async fn measure(flipguard: &Path, folder: &Path, report: &mut Report) -> Result<()> {
    heading(&format!(
        "7. an audit of {} Services in {NAMESPACES} namespaces with {} Pods, 8 workers",
        NAMESPACES * SERVICES,
        NAMESPACES * PODS * 2
    ));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let bodies: &'static Bodies = Box::leak(Box::new(Bodies::new()));
    let server = tokio::spawn(async move {
        let answer = move |request: Request| async move { bodies.answer(request.uri().path(), request.uri().query()) };
        axum::serve(listener, Router::new().fallback(answer)).await
    });
    let (took, resident) = audit(flipguard, folder, address).await?;
    server.abort();
    println!(
        "  {:.1} s, at most {resident:.0} MiB resident; {:.1} KB of Pods a namespace",
        took.as_secs_f64(),
        bodies.kilobytes()
    );
    report.bar("audit/time of a large cluster, s", took.as_secs_f64(), LONGEST);
    report.bar("audit/most resident memory, MiB", resident, MOST);
    Ok(())
}

/// Runs the audit, and returns its time and its most resident memory.
async fn audit(flipguard: &Path, folder: &Path, address: SocketAddr) -> Result<(Duration, f64)> {
    let kubeconfig = folder.join("audit.kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{ "name": "bench", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "bench", "user": {} }],
        "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": "bench" } }],
    });
    std::fs::write(&kubeconfig, text.to_string())?;
    let output = folder.join("audit.json");
    let began = Instant::now();
    let mut child = Command::new(flipguard)
        .args(["audit", "-o", "json", "--fail-on", "never", "--kubeconfig"])
        .arg(&kubeconfig)
        .stdout(std::fs::File::create(&output)?)
        .stdin(Stdio::null())
        .spawn()?;
    let mut most = 0.0;
    let status = loop {
        if let Ok(now) = most_resident(child.id()) {
            most = now;
        }
        match child.try_wait()? {
            Some(status) => break status,
            None => sleep(Duration::from_millis(10)).await,
        }
    };
    let took = began.elapsed();
    ensure!(status.success(), "the audit ended with {status}");
    let found: Value = serde_json::from_str(&std::fs::read_to_string(&output)?)?;
    let namespaces = found.get("namespaces").and_then(Value::as_array).context("no namespaces")?;
    ensure!(found.get("complete") == Some(&Value::Bool(true)), "not all could be read: {:?}", found.get("unread"));
    ensure!(namespaces.len() == NAMESPACES, "{} namespaces", namespaces.len());
    Ok((took, most))
}

/// The lists of a namespace, with `NAMESPACE` in the place of its name.
struct Bodies {
    lists: BTreeMap<&'static str, String>,
}

impl Bodies {
    fn new() -> Self {
        let list = |items: Vec<Value>| json!({ "metadata": { "resourceVersion": "1" }, "items": items }).to_string();
        let both = |of: fn(&str) -> Value| ["blue", "green"].iter().map(|colour| of(colour)).collect::<Vec<Value>>();
        let pods = ["blue", "green"].iter().flat_map(|colour| (0..PODS).map(move |number| pod(colour, number)));
        let lists = BTreeMap::from([
            ("services", list((0..SERVICES).map(service).collect())),
            ("deployments", list(both(deployment))),
            ("replicasets", list(both(replica_set))),
            ("pods", list(pods.collect())),
        ]);
        Self { lists }
    }

    fn kilobytes(&self) -> f64 {
        self.lists.get("pods").map_or(0.0, |text| f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX)) / 1024.0)
    }

    fn answer(&self, path: &str, query: Option<&str>) -> Response {
        let json = |status: StatusCode, text: String| {
            (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
        };
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let namespaced = segments.iter().position(|one| *one == "namespaces");
        match (path, namespaced) {
            ("/version", _) => json(StatusCode::OK, VERSION.to_owned()),
            ("/api/v1/services", _) => json(StatusCode::OK, Self::all_services(query.unwrap_or_default())),
            (_, Some(at)) => match (segments.get(at + 1), segments.get(at + 2), segments.get(at + 3)) {
                (Some(_), Some(_), Some(_)) => json(StatusCode::NOT_FOUND, NOT_FOUND.to_owned()),
                (Some(namespace), Some(resource), None) => {
                    let empty = || json!({ "metadata": {}, "items": [] }).to_string();
                    let text = self.lists.get(resource).map(|text| text.replace("NAMESPACE", namespace));
                    json(StatusCode::OK, text.unwrap_or_else(empty))
                }
                _ => json(StatusCode::OK, r#"{"metadata":{"name":"x"}}"#.to_owned()),
            },
            _ => json(StatusCode::OK, json!({ "metadata": {}, "items": [] }).to_string()),
        }
    }

    /// A page of the Services of the cluster: 100 namespaces, from the one in `continue`.
    fn all_services(query: &str) -> String {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("continue=")).and_then(|at| at.parse().ok());
        let from: usize = from.unwrap_or(0);
        let to = (from + 100).min(NAMESPACES);
        let services: Vec<String> = (from..to)
            .flat_map(|number| {
                (0..SERVICES).map(move |one| service(one).to_string().replace("NAMESPACE", &format!("shop-{number}")))
            })
            .collect();
        let more = if to < NAMESPACES { to.to_string() } else { String::new() };
        format!("{{\"metadata\":{{\"continue\":\"{more}\"}},\"items\":[{}]}}", services.join(","))
    }
}

const VERSION: &str = r#"{"major":"1","minor":"36","gitVersion":"v1.36.3","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
const NOT_FOUND: &str =
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"not found","reason":"NotFound","code":404}"#;

fn metadata(name: &str, labels: &Value) -> Value {
    let fields = json!({ "f:metadata": { "f:labels": { ".": {}, "f:app": {}, "f:color": {} } }, "f:spec": { "f:containers": { "k:{\"name\":\"web\"}": { ".": {}, "f:image": {}, "f:resources": {}, "f:ports": {} } } } });
    let managed = |manager: &str| json!({ "manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields });
    json!({
        "name": name, "namespace": "NAMESPACE", "uid": format!("uid-{name}"), "resourceVersion": "1",
        "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels,
        "managedFields": [managed("kubectl-client-side-apply"), managed("kube-controller-manager")],
    })
}

fn service(number: usize) -> Value {
    let (name, selector) = match number {
        0 => ("app".to_owned(), json!({ "app": "shop", "color": "blue" })),
        other => (format!("plain-{other}"), json!({ "app": format!("plain-{other}") })),
    };
    json!({ "metadata": metadata(&name, &json!({ "app": name })), "spec": { "selector": selector, "type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP" }] } })
}

fn labels(colour: &str) -> Value {
    json!({ "app": "shop", "color": colour })
}

fn pod_spec(colour: &str) -> Value {
    let settings: Vec<Value> = (0..10)
        .map(|number| json!({ "name": format!("SETTING_{number}"), "value": "a value of the usual length" }))
        .collect();
    json!({ "containers": [{ "name": "web", "image": format!("registry.example/web:{colour}"), "env": settings, "readinessProbe": { "httpGet": { "port": 8080 } }, "ports": [{ "name": "http", "containerPort": 8080 }] }] })
}

fn deployment(colour: &str) -> Value {
    json!({
        "metadata": metadata(&format!("app-{colour}"), &labels(colour)),
        "spec": { "replicas": PODS, "selector": { "matchLabels": labels(colour) }, "template": { "metadata": { "labels": labels(colour) }, "spec": pod_spec(colour) } },
        "status": { "observedGeneration": 1, "replicas": PODS, "updatedReplicas": PODS, "readyReplicas": PODS, "availableReplicas": PODS },
    })
}

fn owner(kind: &str, name: &str) -> Value {
    json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true }])
}

/// Sets a field of an object.
fn with(mut object: Value, field: &str, value: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
    object
}

fn replica_set(colour: &str) -> Value {
    let metadata = with(
        metadata(&format!("app-{colour}-1"), &labels(colour)),
        "ownerReferences",
        owner("Deployment", &format!("app-{colour}")),
    );
    let metadata = with(metadata, "annotations", json!({ "deployment.kubernetes.io/revision": "1" }));
    with(deployment(colour), "metadata", metadata)
}

fn pod(colour: &str, number: usize) -> Value {
    let metadata = with(
        metadata(&format!("app-{colour}-1-{number}"), &labels(colour)),
        "ownerReferences",
        owner("ReplicaSet", &format!("app-{colour}-1")),
    );
    let ready = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(ready);
    let spec = with(pod_spec(colour), "nodeName", json!(format!("node-{}", number % 7)));
    json!({
        "metadata": metadata, "spec": spec,
        "status": { "phase": "Running", "podIP": "10.1.0.1", "podIPs": [{ "ip": "10.1.0.1" }],
            "conditions": conditions,
            "containerStatuses": [{ "name": "web", "ready": true, "restartCount": 0, "image": "web", "imageID": "registry.example/web@sha256:0000000000000000000000000000000000000000000000000000000000000000", "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }] },
    })
}
