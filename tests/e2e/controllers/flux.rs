//! Flux: its kustomize-controller. The test stands for the source-controller: it packs the folder, serves the archive by
//! HTTP, and writes the status of the GitRepository.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread::spawn;

use anyhow::{Context, Result, ensure};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use controlplane::{Process, free_port};
use serde_json::{Value, json};
use std::process::Command;

use super::{FIRST, MENDED, Release, SECOND, is_live, roll_back};
use crate::Test;
use crate::admission::on_runtime;
use crate::shop::{Shop, attempt};
use crate::traffic::Traffic;

pub(super) const TESTS: &[Test] = &[
    ("controllers::flux::a_kustomization_of_its_own_flips", a_kustomization_of_its_own_flips),
    ("controllers::flux::one_kustomization_stops_at_the_service", one_kustomization_stops_at_the_service),
    ("controllers::flux::drift_is_not_corrected_against_a_quarantine", drift_is_not_corrected_against_a_quarantine),
];

/// The running controller, which ends with this process, and the address of the archives.
static RUNNING: Mutex<Option<(Process, String)>> = Mutex::new(None);

/// The kinds of source-controller that kustomize-controller watches, without their schemas; and its rights, as Flux
/// installs them.
const SETTINGS: &str = r"
{apiVersion: v1, kind: Namespace, metadata: {name: flux-system}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: kustomize-controller, namespace: flux-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kustomize-controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: kustomize-controller, namespace: flux-system}]
";

const SOURCES: [(&str, &str); 4] = [
    ("gitrepositories", "GitRepository"),
    ("ocirepositories", "OCIRepository"),
    ("buckets", "Bucket"),
    ("externalartifacts", "ExternalArtifact"),
];

fn source_crd(plural: &str, kind: &str) -> String {
    let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let version = json!({
        "name": "v1", "served": true, "storage": true, "schema": schema, "subresources": { "status": {} },
    });
    let group = "source.toolkit.fluxcd.io";
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced", "versions": [version],
            "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List") },
        },
    })
    .to_string()
}

fn apply(shop: &Shop, objects: &str) -> Result<()> {
    let mut command = shop.control_plane.kubectl();
    command.args(["apply", "--server-side", "-f", "-"]);
    attempt(command, Some(objects))?.succeeds()
}

/// Starts the controller and the server of archives, once. Returns the address of the archives.
fn start(shop: &Shop) -> Result<String> {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, address)) = &*running {
        return Ok(address.clone());
    }
    let plane = shop.control_plane;
    let crds: Vec<String> = SOURCES.iter().map(|(plural, kind)| source_crd(plural, kind)).collect();
    apply(shop, &format!("{SETTINGS}\n---\n{}", crds.join("\n---\n")))?;
    apply(shop, &fs::read_to_string(plane.path("flux-kustomizations-crd.yaml"))?)?;
    let crds = ["crd/kustomizations.kustomize.toolkit.fluxcd.io", "crd/gitrepositories.source.toolkit.fluxcd.io"];
    shop.plain_kubectl(&[&["wait", "--for=condition=Established", "--timeout=60s"], &crds[..]].concat())?.succeeds()?;
    let address = serve(archives(shop)?)?;
    let kubeconfig = plane.service_account_kubeconfig("flux-system", "kustomize-controller")?;
    let [metrics, health] = [free_port()?, free_port()?].map(|port| format!("127.0.0.1:{port}"));
    let mut command = Command::new(plane.path("kustomize-controller"));
    command.env("RUNTIME_NAMESPACE", "flux-system").env("TMPDIR", plane.dir()).env("HOME", plane.dir());
    command.env("KUBECONFIG", kubeconfig).args(["--metrics-addr", &metrics, "--health-addr", &health]);
    command.args(["--requeue-dependency", "1s", "--watch-all-namespaces"]);
    *running = Some((plane.spawn("kustomize-controller", command)?, address.clone()));
    Ok(address)
}

fn archives(shop: &Shop) -> Result<PathBuf> {
    let folder = shop.control_plane.dir().join("archives");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Serves the files of a folder by HTTP, until this process ends.
fn serve(folder: PathBuf) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    spawn(move || {
        on_runtime(async move {
            let file = |State(folder): State<PathBuf>, Path(name): Path<String>| async move {
                fs::read(folder.join(name)).map_err(|_| StatusCode::NOT_FOUND)
            };
            let app = axum::Router::new().route("/{name}", get(file)).with_state(folder);
            Ok(axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await?)
        })
    });
    Ok(format!("http://{address}"))
}

/// A folder of manifests, and its GitRepository.
struct Repository<'a> {
    shop: &'a Shop,
    folder: PathBuf,
    address: String,
}

impl<'a> Repository<'a> {
    /// A repository whose Service and colours are in these folders, with the first release.
    fn begin(shop: &'a Shop, folders: [&str; 2]) -> Result<Self> {
        let address = start(shop)?;
        let folder = shop.control_plane.dir().join(format!("flux-{}", shop.namespace));
        for part in folders {
            fs::create_dir_all(folder.join(part))?;
        }
        let repository = Self { shop, folder, address };
        let source = "{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: shop}, spec: {}}";
        shop.apply(source)?.succeeds()?;
        repository.push(folders, &FIRST)?;
        Ok(repository)
    }

    /// Writes a release, and tells Flux of it.
    fn push(&self, [traffic, colours]: [&str; 2], release: &Release<'_>) -> Result<()> {
        release.write(&self.folder.join(traffic), &self.folder.join(colours))?;
        let archive = archives(self.shop)?.join(format!("{}.tar.gz", self.shop.namespace));
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&archive).arg("-C").arg(&self.folder).arg(".");
        attempt(tar, None)?.succeeds()?;
        let mut sum = Command::new("sha256sum");
        sum.arg(&archive);
        let sum = attempt(sum, None)?.out;
        let digest = sum.split(' ').next().context("no sum")?;
        let status = json!({ "status": {
            "observedGeneration": 1,
            "conditions": [{ "type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored",
                "lastTransitionTime": "2026-01-01T00:00:00Z" }],
            "artifact": {
                "digest": format!("sha256:{digest}"), "revision": format!("main@sha256:{digest}"),
                "url": format!("{}/{}.tar.gz", self.address, self.shop.namespace), "path": "shop",
                "lastUpdateTime": "2026-01-01T00:00:00Z",
            },
        } });
        let patch = ["patch", "gitrepository/shop", "--subresource=status", "--type=merge", "-p", &status.to_string()];
        self.shop.kubectl(&patch)?.succeeds()
    }

    /// Adds a Kustomization for a folder, which may depend on another one.
    fn kustomization(&self, name: &str, folder: &str, more: &str) -> Result<()> {
        let object = format!(
            "{{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {{name: {name}}}, spec: {{\
             interval: 3s, retryInterval: 2s, timeout: 30s, prune: true, path: ./{folder}, targetNamespace: {}, \
             sourceRef: {{kind: GitRepository, name: shop}}{more}}}}}\n",
            self.shop.namespace
        );
        self.shop.apply(&object)?.succeeds()
    }

    fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> Result<bool>) -> Result<()> {
        let read = || -> Result<Value> {
            let read = self.shop.kubectl(&["get", "kustomization", name, "-o", "json"])?;
            serde_json::from_str(&read.out).with_context(|| read.err.clone())
        };
        let waited = self.shop.until(what, || holds(&read()?));
        let log = || match &*RUNNING.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((controller, _)) => controller.log_tail(),
            None => String::new(),
        };
        waited.with_context(|| format!("the Kustomization is {:#}\n{}", read().unwrap_or_default(), log()))
    }

    /// Waits until the newest release is applied.
    fn is_applied(&self, name: &str) -> Result<()> {
        let revision =
            self.shop.kubectl(&["get", "gitrepository/shop", "-o=jsonpath={.status.artifact.revision}"])?.out;
        self.until(name, "the newest release is applied", |now| {
            Ok(now.pointer("/status/lastAppliedRevision").and_then(Value::as_str) == Some(&revision))
        })
    }

    /// Waits until a Kustomization fails, with these words.
    fn fails(&self, name: &str, words: &str) -> Result<()> {
        self.until(name, &format!("{name} says `{words}`"), |now| {
            let conditions = now.pointer("/status/conditions").and_then(Value::as_array);
            let mut messages = conditions.into_iter().flatten().filter_map(|one| one.get("message")?.as_str());
            Ok(messages.any(|message| message.contains(words)))
        })
    }

    fn is_live(&self, colour: &str) -> Result<()> {
        self.shop.until(&format!("{colour} is live"), || is_live(self.shop, colour))
    }
}

/// Folders of their own, as `docs/workflows.md` recommends.
const APART: [&str; 2] = ["traffic", "colours"];
/// One folder for all.
const TOGETHER: [&str; 2] = ["all", "all"];

/// The Service has a Kustomization of its own, which depends on that of the colours.
fn apart(shop: &Shop) -> Result<Repository<'_>> {
    let repository = Repository::begin(shop, APART)?;
    repository.kustomization("colours", "colours", ", wait: true")?;
    repository.kustomization("traffic", "traffic", ", dependsOn: [{name: colours}]")?;
    repository.is_applied("colours")?;
    repository.is_applied("traffic")?;
    Ok(repository)
}

fn a_kustomization_of_its_own_flips(shop: &Shop) -> Result<()> {
    let repository = apart(shop)?;
    let traffic = Traffic::watch(shop)?;
    repository.push(APART, &SECOND)?;
    repository.is_live("green")?;
    repository.is_applied("traffic")?;
    traffic.served(shop, &["blue web:1.0", "green web:2.0"])
}

/// The Service is denied, and Flux never comes to the Deployment. The Service moves to a Kustomization of its own.
fn one_kustomization_stops_at_the_service(shop: &Shop) -> Result<()> {
    let repository = Repository::begin(shop, TOGETHER)?;
    repository.kustomization("all", "all", "")?;
    repository.is_applied("all")?;
    shop.rolled_out("deployment/app-blue")?;
    let traffic = Traffic::watch(shop)?;
    repository.push(TOGETHER, &SECOND)?;
    repository.fails("all", "not-expected")?;
    ensure!(is_live(shop, "blue")?, "the Service routes elsewhere");
    let image = "-o=jsonpath={.spec.template.spec.containers[0].image}";
    let runs = shop.kubectl(&["get", "deployment/app-green", image])?.out;
    ensure!(runs == "web:1.0", "green runs {runs}, so Flux came to it");
    // Nothing is pruned meanwhile.
    shop.kubectl(&["patch", "kustomization/all", "--type=merge", "-p", r#"{"spec":{"prune":false}}"#])?.succeeds()?;
    shop.kubectl(&["delete", "kustomization/all"])?.succeeds()?;
    fs::remove_dir_all(repository.folder.join("all"))?;
    for folder in APART {
        fs::create_dir_all(repository.folder.join(folder))?;
    }
    repository.push(APART, &SECOND)?;
    repository.kustomization("colours", "colours", ", wait: true")?;
    repository.kustomization("traffic", "traffic", ", dependsOn: [{name: colours}]")?;
    repository.is_live("green")?;
    traffic.served(shop, &["blue web:1.0", "green web:2.0"])
}

/// Flux corrects drift at each interval. With a quarantine in Git, it does not put the broken version back.
fn drift_is_not_corrected_against_a_quarantine(shop: &Shop) -> Result<()> {
    let repository = apart(shop)?;
    // Flux removes an annotation that kubectl has set.
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/quarantine=1h"])?.succeeds()?;
    let kept =
        || shop.kubectl(&["get", "service", "app", r"-o=jsonpath={.metadata.annotations.flipguard\.dev/quarantine}"]);
    shop.until("Flux has removed the annotation", || Ok(kept()?.out.is_empty()))?;
    let quarantine =
        |(colour, annotations): (&'static str, &str)| (colour, format!("{annotations}, flipguard.dev/quarantine: 1h"));
    let (colour, annotations) = quarantine(SECOND.service);
    repository.push(APART, &Release { service: (colour, &annotations), ..SECOND })?;
    repository.is_live("green")?;
    repository.is_applied("traffic")?;
    roll_back(shop)?;
    repository.fails("traffic", "returns-to-abandoned")?;
    ensure!(is_live(shop, "blue")?, "the broken version is live again");
    let (colour, annotations) = quarantine(MENDED.service);
    repository.push(APART, &Release { service: (colour, &annotations), ..MENDED })?;
    repository.is_live("green")?;
    repository.is_applied("traffic")
}
