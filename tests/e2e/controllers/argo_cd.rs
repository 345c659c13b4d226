//! Argo CD, with Git repositories.
//!
//! The application controller, the repo server and Redis run beside the control plane. Each test has a repository and an
//! Application of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use controlplane::{Process, free_port};
use serde_json::{Value, json};

use super::{FIRST, MENDED, Release, SECOND, is_live, roll_back};
use crate::Test;
use crate::shop::{Shop, attempt};
use crate::traffic::Traffic;

pub(super) const TESTS: &[Test] = &[
    ("controllers::argo_cd::one_commit_deploys_and_flips", one_commit_deploys_and_flips),
    ("controllers::argo_cd::one_commit_with_server_side_diff", one_commit_with_server_side_diff),
    ("controllers::argo_cd::one_sync_with_waves", one_sync_with_waves),
    ("controllers::argo_cd::self_heal_stops_at_a_quarantine", self_heal_stops_at_a_quarantine),
    ("controllers::argo_cd::self_heal_takes_a_rollback_back", self_heal_takes_a_rollback_back),
    ("controllers::argo_cd::the_live_colour_is_not_pruned", the_live_colour_is_not_pruned),
    ("controllers::argo_cd::a_flip_and_a_prune_in_one_commit", a_flip_and_a_prune_in_one_commit),
];

/// The running parts. They end with this process.
static RUNNING: Mutex<Vec<Process>> = Mutex::new(Vec::new());

/// Starts the parts of Argo CD, once.
fn start(shop: &Shop) -> Result<()> {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if !running.is_empty() {
        return Ok(());
    }
    let plane = shop.control_plane;
    for name in ["argocd-application-crd.yaml", "argocd-appproject-crd.yaml"] {
        let file = plane.path(name).display().to_string();
        shop.plain_kubectl(&["apply", "--server-side", "-f", &file])?.succeeds()?;
    }
    shop.plain_kubectl(&["wait", "--for=condition=Established", "crd/applications.argoproj.io", "--timeout=60s"])?
        .succeeds()?;
    let settings = plane.dir().join("argocd.yaml");
    fs::write(&settings, SETTINGS)?;
    shop.plain_kubectl(&["apply", "-f", &settings.display().to_string()])?.succeeds()?;
    let kubeconfig = plane.service_account_kubeconfig("argocd", "argocd-application-controller")?;
    let folder = plane.dir().join("argocd");
    fs::create_dir(&folder)?;
    let [redis, repo, metrics_of_repo, metrics] = [free_port()?, free_port()?, free_port()?, free_port()?];

    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &redis.to_string(), "--save", "", "--dir"]).arg(&folder);
    running.push(plane.spawn("redis", command)?);

    let redis = format!("127.0.0.1:{redis}");
    let mut command = plane.argo_cd("argocd-repo-server", &kubeconfig);
    command.env("ARGOCD_GPG_ENABLED", "false").env("TMPDIR", &folder).args(["--disable-tls", "--redis", &redis]);
    // A new commit is seen at once.
    command.args(["--port", &repo.to_string(), "--metrics-port", &metrics_of_repo.to_string()]);
    command.args(["--revision-cache-expiration", "1s"]);
    running.push(plane.spawn("argocd-repo-server", command)?);

    let mut command = plane.argo_cd("argocd-application-controller", &kubeconfig);
    command.arg("--kubeconfig").arg(&kubeconfig).args(["--namespace", "argocd", "--redis", &redis]);
    command.args(["--repo-server", &format!("127.0.0.1:{repo}"), "--repo-server-plaintext"]);
    command.args(["--metrics-port", &metrics.to_string(), "--app-resync", "3", "--app-resync-jitter", "0"]);
    command.args(["--self-heal-timeout-seconds", "1", "--self-heal-backoff-cap-seconds", "3"]);
    running.push(plane.spawn("argocd-application-controller", command)?);
    Ok(())
}

/// The least that Argo CD needs. Its controller has the rights of its own manifests: all.
const SETTINGS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: argocd}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: argocd-application-controller, namespace: argocd}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: argocd-application-controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: argocd-application-controller, namespace: argocd}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: argocd-cm, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}}
---
apiVersion: v1
kind: Secret
metadata: {name: argocd-secret, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}
stringData: {server.secretkey: only-for-tests}
---
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: default, namespace: argocd}
spec: {sourceRepos: ["*"], destinations: [{namespace: "*", server: "*"}], clusterResourceWhitelist: [{group: "*", kind: "*"}]}
"#;

/// A Git repository with an Application that follows it.
struct Repository<'a> {
    shop: &'a Shop,
    folder: PathBuf,
}

impl<'a> Repository<'a> {
    /// A repository with a first commit, in which both colours run version 1 and blue is live. Waits until it is synced.
    fn begin(shop: &'a Shop, annotations: &str, first: &Release<'_>) -> Result<Self> {
        start(shop)?;
        let folder = shop.control_plane.dir().join(format!("git-{}", shop.namespace));
        fs::create_dir(&folder)?;
        let repository = Self { shop, folder };
        repository.git(&["init", "--quiet", "--initial-branch=main"])?;
        repository.commit(first)?;
        let application = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": { "name": shop.namespace, "namespace": "argocd", "annotations": annotation(annotations) },
            "spec": {
                "project": "default",
                "source": {
                    "repoURL": format!("file://{}", repository.folder.display()), "path": ".", "targetRevision": "main",
                },
                "destination": { "server": "https://kubernetes.default.svc", "namespace": shop.namespace },
                "syncPolicy": {
                    "automated": { "prune": true, "selfHeal": true },
                    "retry": { "limit": 50, "backoff": { "duration": "1s", "factor": 1, "maxDuration": "1s" } },
                    "syncOptions": ["ServerSideApply=true"],
                },
            },
        });
        let mut command = shop.control_plane.kubectl();
        command.args(["apply", "-f", "-"]);
        attempt(command, Some(&application.to_string()))?.succeeds()?;
        repository.is_synced()?;
        Ok(repository)
    }

    fn git(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command
            .current_dir(&self.folder)
            .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
            .args(args);
        let done = attempt(command, None)?;
        done.succeeds()?;
        Ok(done.out.trim().to_owned())
    }

    fn commit(&self, release: &Release<'_>) -> Result<()> {
        release.write(&self.folder, &self.folder)?;
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message=release"]).map(drop)
    }

    /// Changes the `syncPolicy` of the Application.
    fn set(&self, policy: &str) -> Result<()> {
        let patch = format!(r#"{{"spec":{{"syncPolicy":{policy}}}}}"#);
        let args = ["-n", "argocd", "patch", "application", &self.shop.namespace, "--type=merge", "-p", &patch];
        self.shop.plain_kubectl(&args)?.succeeds()
    }

    /// The Application as it is now.
    fn application(&self) -> Result<Value> {
        let args = ["-n", "argocd", "get", "application", &self.shop.namespace, "-o", "json"];
        let read = self.shop.plain_kubectl(&args)?;
        serde_json::from_str(&read.out).with_context(|| read.err.clone())
    }

    /// What Argo CD says of its last sync, for one object.
    fn message(&self, name: &str) -> Result<String> {
        let application = self.application()?;
        let resources = application.pointer("/status/operationState/syncResult/resources").and_then(Value::as_array);
        let own = resources.into_iter().flatten().find(|one| one.get("name").and_then(Value::as_str) == Some(name));
        Ok(own.and_then(|one| one.get("message")).and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    fn until(&self, what: &str, holds: impl Fn(&Value) -> Result<bool>) -> Result<()> {
        let waited = self.shop.until(what, || holds(&self.application()?));
        waited.with_context(|| format!("the Application is {:#}", self.application().unwrap_or_default()))
    }

    /// Waits until the cluster is as the newest commit says.
    fn is_in_place(&self) -> Result<()> {
        let head = self.git(&["rev-parse", "HEAD"])?;
        self.until("the cluster is as the newest commit says", |application| {
            let text = |path: &str| application.pointer(path).and_then(Value::as_str).unwrap_or_default();
            Ok(text("/status/sync/status") == "Synced" && text("/status/sync/revision") == head)
        })
    }

    /// Waits until a sync of the newest commit has succeeded.
    fn is_synced(&self) -> Result<()> {
        self.is_in_place()?;
        let head = self.git(&["rev-parse", "HEAD"])?;
        self.until("the newest commit is synced", |application| {
            let text = |path: &str| application.pointer(path).and_then(Value::as_str).unwrap_or_default();
            let is_of_head = text("/status/operationState/syncResult/revision") == head;
            Ok(text("/status/operationState/phase") == "Succeeded" && is_of_head)
        })
    }

    /// How often the last sync was tried again.
    fn retries(&self) -> Result<u64> {
        Ok(self.application()?.pointer("/status/operationState/retryCount").and_then(Value::as_u64).unwrap_or(0))
    }

    fn is_live(&self, colour: &str) -> Result<()> {
        ensure!(is_live(self.shop, colour)?, "the Service selects {:?}", self.shop.selector("app")?);
        Ok(())
    }

    /// Waits until Argo CD was denied a change of an object, for this reason.
    fn is_denied(&self, object: &str, reason: &str) -> Result<()> {
        self.until(&format!("{object} is denied by {reason}"), |_| Ok(self.message(object)?.contains(reason)))
    }
}

fn annotation(pair: &str) -> Value {
    pair.split_once('=').map_or_else(|| json!({}), |(key, value)| json!({ (key): value }))
}

fn release(shop: &Shop, annotations: &str) -> Result<()> {
    let repository = Repository::begin(shop, annotations, &FIRST)?;
    let traffic = Traffic::watch(shop)?;
    repository.commit(&SECOND)?;
    repository.is_synced()?;
    repository.is_live("green")?;
    ensure!(repository.retries()? > 0, "the first try flips to a version that is not there yet");
    traffic.served(shop, &["blue web:1.0", "green web:2.0"])
}

/// Without waves, Argo CD applies the Service first. It is denied, the colour is deployed, and a retry flips.
fn one_commit_deploys_and_flips(shop: &Shop) -> Result<()> {
    release(shop, "")
}

/// The comparison is a dry run of the API server. A denial that waiting cures is a warning there.
fn one_commit_with_server_side_diff(shop: &Shop) -> Result<()> {
    release(shop, "argocd.argoproj.io/compare-options=ServerSideDiff=true")
}

/// The Service is in a later wave. Argo CD waits until the colour is healthy, and no try is denied.
fn one_sync_with_waves(shop: &Shop) -> Result<()> {
    const WAVE: &str = "argocd.argoproj.io/sync-wave: '1'";
    let repository = Repository::begin(shop, "", &Release { service: ("blue", WAVE), ..FIRST })?;
    let traffic = Traffic::watch(shop)?;
    repository.commit(&Release { service: ("green", WAVE), ..SECOND })?;
    repository.is_synced()?;
    repository.is_live("green")?;
    ensure!(repository.retries()? == 0, "a sync with waves needs no retry");
    traffic.served(shop, &["blue web:1.0", "green web:2.0"])
}

/// Somebody rolls back by hand, and Git still has the broken version.
fn rolled_back<'a>(shop: &'a Shop, quarantine: Option<&str>) -> Result<Repository<'a>> {
    let repository = Repository::begin(shop, "", &FIRST)?;
    if let Some(quarantine) = quarantine {
        shop.kubectl(&["annotate", "service", "app", &format!("flipguard.dev/quarantine={quarantine}")])?.succeeds()?;
    }
    repository.commit(&SECOND)?;
    repository.is_synced()?;
    repository.is_live("green")?;
    roll_back(shop)?;
    Ok(repository)
}

/// With a quarantine, self-heal does not put the broken version back. A mended one is deployed, and served.
fn self_heal_stops_at_a_quarantine(shop: &Shop) -> Result<()> {
    let repository = rolled_back(shop, Some("1h"))?;
    repository.is_denied("app", "returns-to-abandoned")?;
    repository.is_live("blue")?;
    repository.commit(&MENDED)?;
    repository.is_synced()?;
    repository.is_live("green")
}

/// Without one, self-heal puts the broken version back, and an Event says so.
fn self_heal_takes_a_rollback_back(shop: &Shop) -> Result<()> {
    let repository = rolled_back(shop, None)?;
    shop.until("the Event says that the rollback was taken back", || {
        Ok(shop.kubectl(&["get", "events", "--field-selector", "reason=FlipUndone"])?.out.contains("argocd-controller"))
    })?;
    repository.until("the broken version is live again", |_| is_live(shop, "green"))
}

/// A commit without the live colour prunes nothing. The next commit has it again.
fn the_live_colour_is_not_pruned(shop: &Shop) -> Result<()> {
    let repository = Repository::begin(shop, "", &FIRST)?;
    repository.set(r#"{"retry":{"limit":3}}"#)?;
    repository.commit(&Release { images: [None, Some("web:1.0")], ..FIRST })?;
    repository.is_denied("app-blue", "live-deleted")?;
    shop.kubectl(&["get", "deployment", "app-blue"])?.succeeds()?;
    // What Git has again is there already, so nothing is left to sync.
    repository.commit(&FIRST)?;
    repository.is_in_place()
}

/// Argo CD prunes before it applies, so one commit that flips and removes the old colour never ends. `PruneLast` cures it.
fn a_flip_and_a_prune_in_one_commit(shop: &Shop) -> Result<()> {
    let repository = Repository::begin(shop, "", &FIRST)?;
    repository.set(r#"{"retry":{"limit":3}}"#)?;
    let retired = [None, Some("web:1.0")];
    repository.commit(&Release { service: ("green", ""), images: retired })?;
    repository.is_denied("app-blue", "live-deleted")?;
    repository.is_live("blue")?;
    repository.set(r#"{"syncOptions":["ServerSideApply=true","PruneLast=true"]}"#)?;
    // Argo CD does not try a commit again that it gave up.
    repository.commit(&Release { service: ("green", "note: again"), images: retired })?;
    repository.is_synced()?;
    repository.is_live("green")?;
    ensure!(!shop.kubectl(&["get", "deployment", "app-blue"])?.ok, "the idle colour is not pruned");
    Ok(())
}
