//! The definition of "fully ready", tested on the status that real controllers write.

use anyhow::Result;

use super::Test;
use super::shop::{GREEN, Pods, Shop, map, pod, workload};

pub(crate) const TESTS: &[Test] = &[
    ("readiness::two_of_three", two_of_three),
    ("readiness::paused", paused),
    ("readiness::scaled_to_zero", scaled_to_zero),
    ("readiness::in_mid_rollout", in_mid_rollout),
    ("readiness::just_changed", just_changed),
    ("readiness::after_an_undo", after_an_undo),
    ("readiness::of_a_stateful_set", of_a_stateful_set),
    ("readiness::of_a_daemon_set", of_a_daemon_set),
    ("readiness::of_a_bare_replica_set", of_a_bare_replica_set),
    ("readiness::of_bare_pods", of_bare_pods),
    ("readiness::of_two_workloads", of_two_workloads),
    ("readiness::past_the_progress_deadline", past_the_progress_deadline),
];

fn refused(shop: &Shop, words: &[&str]) -> Result<()> {
    shop.route("app", GREEN)?.is_refused("target-not-ready", words)
}

fn passes(shop: &Shop) -> Result<()> {
    shop.route("app", GREEN)?.passes_silently()
}

fn two_of_three(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 3)?;
    let one = shop.kubectl(&["get", "pods", "-l", "name=app-green", "-o=jsonpath={.items[0].metadata.name}"])?.out;
    shop.kubectl(&["annotate", "pod", &one, "kwok.flipguard.dev/pod=starting", "--overwrite"])?.succeeds()?;
    shop.wait_for("deployment/app-green", "{.status.readyReplicas}", "2")?;
    refused(shop, &["has 2 of 3 pods ready", &one, "desired 3, updated 3, ready 2, available 2"])
}

fn paused(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.kubectl(&["rollout", "pause", "deployment/app-green"])?.succeeds()?;
    refused(shop, &["is paused", "rollout resume deployment/app-green"])?;
    shop.kubectl(&["rollout", "resume", "deployment/app-green"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    passes(shop)
}

fn scaled_to_zero(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy("app-green", GREEN, 0, Pods::Ready)?;
    refused(shop, &["Deployment app-green is scaled to 0"])?;
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=2"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    passes(shop)
}

fn in_mid_rollout(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 4)?;
    // The new Pods fail, so the rollout stops halfway with ready old Pods.
    shop.apply(&workload("Deployment", "app-green", GREEN, 4, Pods::Failing("CrashLoopBackOff"), "web:2"))?
        .succeeds()?;
    shop.wait_for_pods("name=app-green", 2, "CrashLoopBackOff")?;
    refused(shop, &["has 3 of 4 pods ready", "CrashLoopBackOff"])
}

fn just_changed(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    // Immediately after the write, before any controller can have acted.
    shop.apply(&workload("Deployment", "app-green", GREEN, 2, Pods::Starting, "web:2"))?.succeeds()?;
    refused(shop, &["Deployment app-green"])
}

fn after_an_undo(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    shop.apply(&workload("Deployment", "app-green", GREEN, 2, Pods::Ready, "web:2"))?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    // The current ReplicaSet is now the older of the two.
    shop.kubectl(&["rollout", "undo", "deployment/app-green"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    shop.wait_for("deployment/app-green", "{.status.replicas}", "2")?;
    passes(shop)
}

fn of_a_stateful_set(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.apply(&workload("StatefulSet", "db-green", GREEN, 2, Pods::Starting, "db:1"))?.succeeds()?;
    shop.wait_for_pods("name=db-green", 2, "Running")?;
    refused(shop, &["StatefulSet db-green has 0 of 2 pods ready (db-green-0: readiness probe not passed)"])?;
    shop.pods_become("name=db-green", Pods::Ready)?;
    shop.rolled_out("statefulset/db-green")?;
    passes(shop)
}

fn of_a_daemon_set(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.apply(&workload("DaemonSet", "agent-green", GREEN, 0, Pods::Starting, "agent:1"))?.succeeds()?;
    shop.wait_for_pods("name=agent-green", 2, "Running")?;
    refused(shop, &["DaemonSet agent-green has 0 of 2 pods ready"])?;
    shop.pods_become("name=agent-green", Pods::Ready)?;
    shop.rolled_out("daemonset/agent-green")?;
    passes(shop)
}

fn of_a_bare_replica_set(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.apply(&workload("ReplicaSet", "rs-green", GREEN, 2, Pods::Starting, "web:1"))?.succeeds()?;
    shop.wait_for_pods("name=rs-green", 2, "Running")?;
    refused(shop, &["ReplicaSet rs-green has 0 of 2 pods ready"])?;
    shop.pods_become("name=rs-green", Pods::Ready)?;
    shop.wait_for("replicaset/rs-green", "{.status.availableReplicas}", "2")?;
    passes(shop)
}

fn of_bare_pods(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.apply(&pod("one", GREEN, Pods::Ready))?.succeeds()?;
    shop.apply(&pod("two", GREEN, Pods::Failing("ErrImagePull")))?.succeeds()?;
    shop.wait_for_pods("color=green", 1, "ErrImagePull")?;
    refused(shop, &["Pod two is not ready: ErrImagePull"])?;
    shop.pods_become("color=green", Pods::Ready)?;
    shop.kubectl(&["wait", "--for=condition=Ready", "pod/two", "pod/one", "--timeout=60s"])?.succeeds()?;
    passes(shop)
}

fn of_two_workloads(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.deploy("worker-green", GREEN, 2, Pods::Starting)?;
    refused(shop, &["Deployment worker-green has 0 of 2 pods ready"])?;
    shop.kubectl(&["scale", "deployment/worker-green", "--replicas=0"])?.succeeds()?;
    shop.wait_for_pods("name=worker-green", 0, "")?;
    shop.until("the status shows no replicas", || {
        let status = shop.kubectl(&["get", "deployment/worker-green", "-o=jsonpath={.status.replicas}"])?;
        Ok(status.out.is_empty() || status.out == "0")
    })?;
    passes(shop)
}

fn past_the_progress_deadline(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    let labels = map(&[("app", "shop"), ("color", "green"), ("name", "app-green")]);
    shop.apply(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: app-green}}, spec: {{progressDeadlineSeconds: 1, \
         selector: {{matchLabels: {{name: app-green}}}}, template: {{metadata: {{labels: {labels}, \
         annotations: {{kwok.flipguard.dev/pod: failing}}}}, spec: {{containers: [{{name: web, image: 'web:1'}}]}}}}}}}}"
    ))?
    .succeeds()?;
    // On a loaded machine the deadline passes before the Pod exists, and its creation counts as progress.
    shop.wait_for_pods("name=app-green", 1, "ImagePullBackOff")?;
    let progress = "{.status.updatedReplicas} {.status.conditions[?(@.type==\"Progressing\")].reason}";
    shop.wait_for("deployment/app-green", progress, "1 ProgressDeadlineExceeded")?;
    refused(shop, &["has 0 of 1 pods ready after ProgressDeadlineExceeded", "ImagePullBackOff"])
}
