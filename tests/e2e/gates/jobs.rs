//! Gates as teams use them: tests by a hook of Helm, by a CronJob and among thousands of other Jobs, and flips by a GitOps
//! controller.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{SMOKE, ended, flip, gated, job, run, unwrapped, would_be_denied};
use crate::Test;
use crate::admission::{client, on_runtime};
use crate::shop::{Attempt, BLUE, GREEN, Shop, attempt, service};

pub(crate) const TESTS: &[Test] = &[
    ("gates::jobs::a_hook_that_helm_deletes", a_hook_that_helm_deletes),
    ("gates::jobs::of_a_cron_job", of_a_cron_job),
    ("gates::jobs::a_controller_flips_what_a_person_approved", a_controller_flips_what_a_person_approved),
];

/// Tests that are a load for the controller manager.
pub(crate) const ALONE: &[Test] = &[("gates::jobs::among_thousands_of_others", among_thousands_of_others)];

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/charts/shop");
const CRON_CONTROLLER: &str = "system:serviceaccount:kube-system:cronjob-controller";
/// The number of Jobs that are no gate.
const OTHERS: usize = 5_000;

fn helm(shop: &Shop, user: &str, args: &[&str]) -> Result<Attempt> {
    let mut command = shop.control_plane.helm();
    command.args(["-n", &shop.namespace]).args(args).args(["--timeout=60s", &format!("--kube-as-user={user}")]);
    attempt(command, None)
}

/// Helm runs the Job as `helm test` and after an upgrade, and deletes it itself once it has succeeded.
fn a_hook_that_helm_deletes(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    // The release has objects of its own.
    shop.kubectl(&["delete", "service,deployment", "--all"])?.succeeds()?;
    let is_gone = || -> Result<()> {
        let jobs = shop.kubectl(&["get", "jobs", "-o", "name"])?;
        jobs.succeeds()?;
        ensure!(jobs.out.is_empty(), "Helm did not delete {}", jobs.out);
        Ok(())
    };
    let upgrade = |args: &[&str]| helm(shop, "ci", &[&["upgrade", "shop", CHART, "--reuse-values"], args].concat());
    helm(shop, "ci", &["install", "shop", CHART, "--wait", "--set", "smoke=test"])?.passes_silently()?;
    upgrade(&["--set", "active=green"])?.is_refused("gate-not-passed", &["smoke has no proof"])?;
    helm(shop, "ci", &["rollback", "shop", "--wait"])?.succeeds()?;
    let forged = helm(shop, "mallory", &["test", "shop"])?;
    ensure!(!forged.ok, "mallory may not pass the gate");
    forged.says("user mallory may not pass gate smoke")?;
    helm(shop, "ci", &["test", "shop"])?.succeeds()?;
    is_gone()?;
    upgrade(&["--set", "active=green"])?.passes_silently()?;
    upgrade(&["--set", "active=blue"])?.succeeds()?;
    // A new version, which is tested once its rollout is complete.
    let tested = ["--wait", "--set", "green.tag=2.0", "--set", "smoke=post-upgrade"];
    upgrade(&tested)?.passes_silently()?;
    is_gone()?;
    upgrade(&["--set", "active=green", "--set", "smoke="])?.passes_silently()?;
    ensure!(shop.selector("app")?.get("color").is_some_and(|now| now == "green"));
    ended(shop)
}

/// The controller of CronJobs creates the Job, so it needs the right, whoever wrote the CronJob. It retries by itself.
fn of_a_cron_job(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    let of_job = job("x", super::IMAGE, "", "ready");
    let template = of_job.trim_end().replace("apiVersion: batch/v1, kind: Job, ", "").replace("name: x, ", "");
    let cron = format!(
        "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: smoke}}, spec: {{schedule: '0 0 1 1 *', suspend: true, \
         jobTemplate: {template}}}}}\n"
    );
    shop.apply_with(&cron, &["--as=ci"])?.succeeds()?;
    // It was due while it was suspended, so it is run as soon as it is not.
    let last_year = (OffsetDateTime::now_utc() - Duration::from_secs(367 * 86_400)).format(&Rfc3339)?;
    let status = json!({ "status": { "lastScheduleTime": last_year } }).to_string();
    shop.kubectl(&["patch", "cronjob/smoke", "--subresource=status", "--type=merge", "-p", &status])?.succeeds()?;
    shop.kubectl(&["patch", "cronjob/smoke", "-p", r#"{"spec":{"suspend":false}}"#])?.succeeds()?;
    let refusal = format!("user {CRON_CONTROLLER} may not pass gate smoke");
    shop.until("the controller is denied", || {
        Ok(shop.kubectl(&["get", "events", "--field-selector", "reason=FailedCreate"])?.out.contains(&refusal))
    })?;
    let jobs = || Ok::<_, anyhow::Error>(shop.kubectl(&["get", "jobs", "-o", "name"])?.out);
    ensure!(jobs()?.is_empty(), "a Job exists: {}", jobs()?);
    would_be_denied(shop, "smoke has no proof")?;
    let account = "--serviceaccount=kube-system:cronjob-controller";
    shop.kubectl(&["create", "rolebinding", "cron", "--role=pass", account])?.succeeds()?;
    shop.until("the controller creates the Job", || Ok(!jobs()?.is_empty()))?;
    let made = jobs()?;
    ensure!(made.lines().count() == 1 && made.starts_with("job.batch/smoke-"), "{made}");
    shop.kubectl(&["wait", "--for=condition=Complete", "--timeout=60s", made.trim()])?.succeeds()?;
    shop.route("app", GREEN)?.passes_silently()?;
    shop.route("app", BLUE)?.succeeds()?;
    // The CronJob is deleted, and its Job with it, by the garbage collector. The proof stays.
    shop.kubectl(&["delete", "cronjob/smoke"])?.succeeds()?;
    shop.until("the Job is gone", || Ok(jobs()?.is_empty()))?;
    let after = flip(shop)?;
    ensure!(!unwrapped(&after).contains("smoke"), "the proof is lost: {}", after.err);
    ended(shop)
}

/// A controller with a ServiceAccount writes Git's Service again and again. A Job and a person prove the rest, and its own
/// retry flips.
fn a_controller_flips_what_a_person_approved(shop: &Shop) -> Result<()> {
    gated(shop, &format!("{SMOKE}, {{name: release, kind: Approval}}"))?;
    shop.kubectl(&["create", "serviceaccount", "argocd"])?.succeeds()?;
    let account = format!("--serviceaccount={}:argocd", shop.namespace);
    for role in ["--clusterrole=edit", "--role=approve"] {
        let name = format!("argocd-{}", role.len());
        shop.kubectl(&["create", "rolebinding", &name, role, &account])?.succeeds()?;
    }
    let kubeconfig = shop.control_plane.service_account_kubeconfig(&shop.namespace, "argocd")?;
    let syncs = || {
        let mut command = shop.control_plane.kubectl();
        command.arg("--kubeconfig").arg(&kubeconfig).args(["-n", &shop.namespace, "apply", "-f", "-"]);
        command.args(["--server-side", "--force-conflicts", "--field-manager=argocd-controller"]);
        attempt(command, Some(&controlplane::as_yaml(&service("app", GREEN))))
    };
    let refused = |says: &[&str], not: &[&str]| -> Result<()> {
        let answer = syncs()?;
        answer.is_refused("gate-not-passed", says)?;
        let too_much = not.iter().find(|words| answer.err.contains(**words));
        ensure!(too_much.is_none(), "it says {too_much:?}:\n{}", answer.err);
        Ok(())
    };
    refused(&["smoke has no proof", "release has no proof"], &[])?;
    run(shop, "smoke-1")?;
    refused(&["release has no proof"], &["smoke"])?;
    // A controller with wide rights may approve, and that is no second pair of eyes.
    let mut own = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    own.args(["gate", "approve", "release", "deployment/app-green", "-n", &shop.namespace, "--kubeconfig"]);
    own.arg(&kubeconfig);
    attempt(own, None)?.succeeds()?;
    let alone = format!("by system:serviceaccount:{}:argocd alone, and somebody else has to flip", shop.namespace);
    refused(&[&alone], &["smoke"])?;
    super::gate(shop, "bob", &["approve", "release", "deployment/app-green"])?.succeeds()?;
    syncs()?.passes_silently()?;
    ensure!(shop.selector("app")?.get("color").is_some_and(|now| now == "green"));
    ended(shop)
}

/// A flip with a gate asks for the Jobs with the label, and for no others.
fn among_thousands_of_others(shop: &Shop) -> Result<()> {
    gated(shop, SMOKE)?;
    run(shop, "smoke-1")?;
    let before = reads_of_a_flip(shop)?;
    for_each_other(shop, async |jobs, number| {
        jobs.create(&PostParams::default(), &other(number)?).await?;
        Ok(())
    })?;
    let with_others = reads_of_a_flip(shop)?;
    // The policies are read once more if their last list is too old. All the Jobs would be many pages.
    ensure!(with_others <= before + 1, "a flip took {before} reads, and takes {with_others} beside {OTHERS} Jobs");
    // A new test, and the flip.
    run(shop, "smoke-2")?;
    shop.route("app", GREEN)?.passes_silently()?;
    lists_only_gates(shop)?;
    // They would keep the next tests waiting.
    for_each_other(shop, async |jobs, number| {
        jobs.delete(&other_name(number), &DeleteParams::background()).await?;
        Ok(())
    })?;
    ended(shop)
}

/// Does something with each of the other Jobs, some at the same time.
fn for_each_other(shop: &Shop, act: impl AsyncFn(Api<Job>, usize) -> Result<()>) -> Result<()> {
    on_runtime(async {
        let jobs: Api<Job> = Api::namespaced(client(shop).await?, &shop.namespace);
        let acts = futures_util::stream::iter(0..OTHERS).map(|number| act(jobs.clone(), number));
        acts.buffer_unordered(32).try_collect::<Vec<()>>().await.map(drop)
    })
}

fn other_name(number: usize) -> String {
    format!("other-{number}")
}

/// A Job that another controller manages, so that it costs the controller manager nothing. Kubernetes 1.30 does not know
/// the field, and suspends it.
fn other(number: usize) -> Result<Job> {
    let job = json!({
        "metadata": { "name": other_name(number), "labels": { "job": "other" } },
        "spec": {
            "suspend": true,
            "managedBy": "example.com/others",
            "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "work", "image": "work:1" }] } },
        },
    });
    serde_json::from_value(job).context("no Job")
}

/// How many reads a flip takes, as a dry run.
fn reads_of_a_flip(shop: &Shop) -> Result<u64> {
    let flip = flip(shop)?;
    flip.passes_silently()?;
    let line = shop.decisions()?.into_iter().rfind(|line| line.get("kind") == Some(&"Service".into()));
    line.as_ref().and_then(|line| line.get("reads")).and_then(Value::as_u64).context("no flip was logged")
}

/// Each list of Jobs that flipguard has made in the namespace asks for the label, by the API server's audit log.
fn lists_only_gates(shop: &Shop) -> Result<()> {
    let log = std::fs::read_to_string(shop.control_plane.dir().join("audit.log"))?;
    let path = format!("/apis/batch/v1/namespaces/{}/jobs?", shop.namespace);
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text =
        |event: &Value, pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let lists: Vec<String> = events
        .filter(|event| text(event, "/verb") == "list" && text(event, "/user/username").ends_with(":flipguard"))
        .map(|event| text(&event, "/requestURI"))
        .filter(|uri| uri.starts_with(&path))
        .collect();
    ensure!(!lists.is_empty(), "the audit log has no list of Jobs");
    let wide = lists.iter().find(|uri| !uri.contains("labelSelector=flipguard.dev%2Fgate"));
    ensure!(wide.is_none(), "flipguard lists all Jobs: {wide:?}");
    Ok(())
}
