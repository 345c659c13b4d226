//! Rollouts of the live colour. Rollbacks, restarts and repairs are allowed, and no rollout may stop all Pods at once.

use anyhow::Result;

use super::Test;
use super::shop::{BLUE, GREEN, Pods, Shop, workload};

pub(crate) const TESTS: &[Test] = &[
    ("rollouts::undo_restart_pause_and_repair_pass", undo_restart_pause_and_repair_pass),
    ("rollouts::stateful_sets_and_daemon_sets_may_be_undone", stateful_sets_and_daemon_sets_may_be_undone),
    ("rollouts::recreate_is_denied", recreate_is_denied),
    ("rollouts::mid_rollout_only_the_strategy_counts", mid_rollout_only_the_strategy_counts),
    ("rollouts::the_rollback_annotation_is_obeyed", the_rollback_annotation_is_obeyed),
];

fn undo_restart_pause_and_repair_pass(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 3)?;
    shop.apply(&workload("Deployment", "app-blue", BLUE, 3, Pods::Ready, "web:2"))?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.deploy_ready("app-green", GREEN, 3)?;
    shop.route("app", BLUE)?.passes_silently()?;
    // kubectl itself warns that the last applied configuration is outdated.
    shop.kubectl(&["rollout", "undo", "deployment/app-blue"])?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.kubectl(&["rollout", "restart", "deployment/app-blue"])?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.kubectl(&["rollout", "pause", "deployment/app-blue"])?.passes_silently()?;
    shop.kubectl(&["rollout", "resume", "deployment/app-blue"])?.passes_silently()?;
    shop.rolled_out("deployment/app-blue")?;
    // A live colour that is down may be repaired in place.
    shop.pods_become("name=app-blue", Pods::Failing("CrashLoopBackOff"))?;
    shop.wait_for("deployment/app-blue", "{.status.readyReplicas}", "")?;
    shop.kubectl(&["set", "image", "deployment/app-blue", "web=web:3"])?.passes_silently()
}

fn stateful_sets_and_daemon_sets_may_be_undone(shop: &Shop) -> Result<()> {
    for (kind, name, labels) in [
        ("StatefulSet", "db", [("app", "db"), ("color", "blue")]),
        ("DaemonSet", "agent", [("app", "agent"), ("color", "blue")]),
    ] {
        let object = format!("{}/{name}", kind.to_ascii_lowercase());
        let at = |image: &str| workload(kind, name, &labels, 2, Pods::Ready, image);
        for image in ["web:1", "web:2"] {
            shop.apply(&at(image))?.succeeds()?;
            shop.rolled_out(&object)?;
        }
        let green = [("app", labels[0].1), ("color", "green")];
        shop.apply(&workload(kind, &format!("{name}-green"), &green, 2, Pods::Ready, "web:2"))?.succeeds()?;
        shop.route(name, &labels)?.passes_silently()?;
        shop.apply(&at("web:3"))?.is_refused("live-redeployed", &["image web:2 -> web:3"])?;
        shop.kubectl(&["rollout", "undo", &object])?.succeeds()?;
        shop.wait_for(&object, "{.spec.template.spec.containers[0].image}", "web:1")?;
        shop.rolled_out(&object)?;
        shop.kubectl(&["rollout", "restart", &object])?.passes_silently()?;
        shop.rolled_out(&object)?;
    }
    Ok(())
}

fn recreate_is_denied(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let recreate = r#"{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}"#;
    // Nothing is rolled out yet, so the change is harmless.
    shop.kubectl(&["patch", "deployment", "app-blue", "-p", recreate])?.passes_silently()?;
    shop.wait_for("deployment/app-blue", "{.spec.strategy.type}", "Recreate")?;
    shop.kubectl(&["rollout", "restart", "deployment/app-blue"])?
        .is_refused("live-recreate", &["strategy Recreate stops every pod before new ones start"])?;
    // A template changed while paused, and then resumed.
    shop.kubectl(&["rollout", "pause", "deployment/app-blue"])?.passes_silently()?;
    let restarted = r#"{"spec":{"template":{"metadata":{"annotations":{"at":"now"}}}}}"#;
    shop.kubectl(&["patch", "deployment", "app-blue", "-p", restarted])?.passes_silently()?;
    shop.wait_for("deployment/app-blue", "{.status.updatedReplicas}", "")?;
    shop.kubectl(&["rollout", "resume", "deployment/app-blue"])?.is_refused("live-recreate", &[])
}

/// A new template whose Pods do not become ready. Only an annotation of the template changes, as in a restart.
const RESTARTED_AND_STUCK: &str =
    r#"{"spec":{"template":{"metadata":{"annotations":{"kwok.flipguard.dev/pod":"starting"}}}}}"#;

/// Scale-downs are spread over old and new Pods by proportion, ready or not.
fn mid_rollout_only_the_strategy_counts(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 10)?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1", "--dry-run=server"])?
        .passes_with_warning(&["live-shrunk: "])?;
    shop.kubectl(&["patch", "deployment", "app-blue", "-p", RESTARTED_AND_STUCK])?.passes_silently()?;
    // A quarter of the Pods in addition, and a quarter missing.
    shop.wait_for("deployment/app-blue", "{.status.updatedReplicas} {.status.readyReplicas}", "5 8")?;
    shop.wait_for("deployment/app-blue", "{.status.replicas}", "13")?;
    let words = &["would keep 0 of 8 ready pods"];
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1"])?.is_refused("live-scaled-down", words)?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=9"])?.passes_silently()?;
    // Now only the strategy keeps the old Pods.
    let recreate = r#"{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}"#;
    shop.kubectl(&["patch", "deployment", "app-blue", "-p", recreate])?
        .is_refused("live-recreate", &["strategy Recreate stops every pod"])?;
    shop.kubectl(&["rollout", "undo", "deployment/app-blue"])?.succeeds()?;
    shop.rolled_out("deployment/app-blue")
}

/// `deprecated.deployment.rollback.to` returns to a revision. The write itself carries no other template.
fn the_rollback_annotation_is_obeyed(shop: &Shop) -> Result<()> {
    for image in ["web:1", "web:2"] {
        shop.apply(&workload("Deployment", "app-blue", BLUE, 2, Pods::Ready, image))?.succeeds()?;
        shop.rolled_out("deployment/app-blue")?;
    }
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", BLUE)?.passes_silently()?;
    let back = &["annotate", "deployment", "app-blue", "deprecated.deployment.rollback.to=1"];
    let strategy = |strategy: &str| shop.kubectl(&["patch", "deployment", "app-blue", "-p", strategy]);
    strategy(r#"{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}"#)?.passes_silently()?;
    shop.kubectl(back)?.is_refused("live-recreate", &["strategy Recreate stops every pod"])?;
    strategy(r#"{"spec":{"strategy":{"type":"RollingUpdate"}}}"#)?.passes_silently()?;
    shop.kubectl(back)?.passes_silently()?;
    shop.wait_for("deployment/app-blue", "{.spec.template.spec.containers[0].image}", "web:1")?;
    shop.rolled_out("deployment/app-blue")
}
