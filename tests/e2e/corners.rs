//! Corners: sequences of ordinary writes, each of them judged, that must not end with a Service without Pods.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Test;
use super::ledger::{blocker, half_of};
use super::recognition::set;
use super::shop::{BLUE, GREEN, Pods, Shop, service, workload};

pub(crate) const TESTS: &[Test] = &[
    ("corners::pending_changes_of_other_apps_delay_no_flip", pending_changes_of_other_apps_delay_no_flip),
    ("corners::a_stateful_set_is_not_scaled_down_in_mid_rollout", a_stateful_set_is_not_scaled_down_in_mid_rollout),
    ("corners::a_restarting_stateful_set_holds_no_floor", a_restarting_stateful_set_holds_no_floor),
    ("corners::an_undo_may_not_drop_a_port", an_undo_may_not_drop_a_port),
    ("corners::labels_that_only_pods_carry_are_seen", labels_that_only_pods_carry_are_seen),
    ("corners::a_live_colour_that_blips_stays", a_live_colour_that_blips_stays),
    ("corners::the_hold_survives_an_edit_of_the_selector", the_hold_survives_an_edit_of_the_selector),
    ("corners::a_held_colour_keeps_its_version", a_held_colour_keeps_its_version),
    ("corners::what_never_was_ready_is_no_rollback", what_never_was_ready_is_no_rollback),
    ("corners::a_rollback_stays_one_after_a_scale", a_rollback_stays_one_after_a_scale),
    ("corners::pods_that_are_about_to_leave_are_no_target", pods_that_are_about_to_leave_are_no_target),
    ("corners::a_restart_after_a_rollback_changes_nothing", a_restart_after_a_rollback_changes_nothing),
];

/// The ready Pods of green still match, and a rollout that waits for its first Pod replaces them by Pods of another app.
fn pods_that_are_about_to_leave_are_no_target(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    let other = json!({ "spec": { "template": { "metadata": {
        "labels": { "app": "other" }, "annotations": { "kwok.flipguard.dev/pod": "starting" } } } } });
    shop.kubectl(&["patch", "deployment/app-green", "-p", &other.to_string()])?.passes_silently()?;
    shop.wait_for_pods("name=app-green", 2, "Running")?;
    let words = ["is about to replace 1 ready pod of the target by pods without app=shop"];
    shop.route("app", GREEN)?.is_refused("target-not-ready", &words)
}

/// Neither a quarantine nor the end of a hold depends on what happens to the live colour later.
fn a_restart_after_a_rollback_changes_nothing(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.blue_serves()?;
    shop.has_an_age("app-blue")?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/quarantine=1h", "flipguard.dev/hold=1h"])?
        .succeeds()?;
    set(shop, "app", "color=green")?.passes_silently()?;
    set(shop, "app", "color=blue")?.passes_silently()?;
    set(shop, "app", "color=green")?.is_refused("returns-to-abandoned", &[])?;
    shop.kubectl(&["rollout", "restart", "deployment/app-blue"])?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    set(shop, "app", "color=green")?.is_refused("returns-to-abandoned", &[])?;
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=0"])?.passes_silently()
}

/// Another webhook denies changes of nine other Deployments. Their intents stay.
fn pending_changes_of_other_apps_delay_no_flip(shop: &Shop) -> Result<()> {
    const OTHERS: [&str; 9] = ["o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8", "o9"];
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    let all: String = OTHERS
        .iter()
        .map(|name| workload("Deployment", name, &[("version", "v1")], 0, Pods::Ready, "web:1") + "---\n")
        .collect();
    shop.apply(&all)?.succeeds()?;
    // The ledger exists from the first change of a Service on.
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/hold=3m"])?.succeeds()?;
    shop.apply(&blocker(&shop.namespace, "request.name.startsWith('o')", "deployments"))?.succeeds()?;
    let image = |name: &str, image: &str| shop.kubectl(&["set", "image", &format!("deployment/{name}"), image]);
    shop.until("the other webhook denies", || Ok(image("o1", "web=web:2")?.err.contains("blocker")))?;
    for name in OTHERS {
        ensure!(image(name, "web=web:3")?.err.contains("blocker"), "{name} was not denied by the other webhook");
    }
    let pending = shop.plain_kubectl(&[
        "-n",
        "flipguard-system",
        "get",
        "configmap",
        &format!("ledger-{}", shop.namespace),
        "-o=jsonpath={.data}",
    ])?;
    let count = pending.out.matches("intent.").count();
    ensure!(count >= 9, "only {count} intents are pending");
    shop.route("app", GREEN)?.passes_silently()?;
    let waited = |line: &&Value| line.get("outcome").and_then(Value::as_str) == Some("try-again");
    let decisions = shop.decisions()?;
    let waited: Vec<&Value> = decisions.iter().filter(waited).collect();
    ensure!(waited.is_empty(), "a change had to wait: {waited:?}");
    shop.plain_kubectl(&["delete", "validatingwebhookconfiguration", &shop.namespace])?.succeeds()
}

/// A StatefulSet of the live colour, with another colour beside it.
fn stateful_set_serves(shop: &Shop, replicas: u32) -> Result<()> {
    shop.apply(&workload("StatefulSet", "app-blue", BLUE, replicas, Pods::Ready, "web:1"))?.succeeds()?;
    shop.rolled_out("statefulset/app-blue")?;
    shop.apply(&service("app", BLUE))?.succeeds()?;
    shop.deploy_ready("app-green", GREEN, 1)
}

fn a_stateful_set_is_not_scaled_down_in_mid_rollout(shop: &Shop) -> Result<()> {
    stateful_set_serves(shop, 2)?;
    // The new Pods do not become ready, so the rollout stops at the highest ordinal.
    let starting = r#"{"spec":{"template":{"metadata":{"annotations":{"kwok.flipguard.dev/pod":"starting"}}}}}"#;
    shop.kubectl(&["patch", "statefulset", "app-blue", "-p", starting])?.succeeds()?;
    shop.wait_for("statefulset/app-blue", "{.status.readyReplicas}", "1")?;
    shop.kubectl(&["scale", "statefulset/app-blue", "--replicas=1"])?
        .is_refused("live-scaled-down", &["would keep 0 of 1 ready pods"])
}

fn a_restarting_stateful_set_holds_no_floor(shop: &Shop) -> Result<()> {
    stateful_set_serves(shop, 1)?;
    shop.deploy_ready("web", BLUE, 1)?;
    let starting = r#"{"spec":{"template":{"metadata":{"annotations":{"kwok.flipguard.dev/pod":"starting"}}}}}"#;
    shop.kubectl(&["patch", "statefulset", "app-blue", "-p", starting])?.succeeds()?;
    // Whatever the controller has done meanwhile, the StatefulSet counts for nothing.
    shop.kubectl(&["scale", "deployment/web", "--replicas=0"])?.is_refused("live-scaled-down", &[])
}

fn an_undo_may_not_drop_a_port(shop: &Shop) -> Result<()> {
    let blue = |port: &str| {
        workload("Deployment", "app-blue", BLUE, 2, Pods::Ready, "web:1")
            .replace("name: web, ", &format!("name: web, ports: [{{name: {port}, containerPort: 8080}}], "))
    };
    let app = |port: &str| service("app", BLUE).replace("targetPort: 8080", &format!("targetPort: {port}"));
    shop.apply(&blue("web"))?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.apply(&blue("http"))?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.apply(&app("http"))?.succeeds()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.kubectl(&["rollout", "undo", "deployment/app-blue"])?
        .is_refused("port-unresolved", &["the new pods would lack port `http`"])
}

fn labels_that_only_pods_carry_are_seen(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 2)?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.kubectl(&["label", "pods", "-l", "color=blue", "role=leader"])?.succeeds()?;
    shop.apply(&service("app", &[("app", "shop"), ("color", "blue"), ("role", "leader")]))?.succeeds()?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.is_refused("live-deleted", &[])?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?.is_refused("live-scaled-down", &[])
}

fn a_live_colour_that_blips_stays(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.pods_become("color=blue", Pods::Starting)?;
    shop.wait_for("deployment/app-blue", "{.status.readyReplicas}", "")?;
    let words = &["no pod is ready at the moment; none would be left"];
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?.is_refused("live-scaled-down", words)?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.is_refused("live-deleted", words)?;
    // A repair in place stays possible.
    shop.kubectl(&["set", "image", "deployment/app-blue", "web=web:2"])?.succeeds()
}

fn the_hold_survives_an_edit_of_the_selector(shop: &Shop) -> Result<()> {
    let labels = |color: &'static str| [("app", "shop"), ("color", color), ("tier", "front")];
    shop.deploy_ready("app-blue", &labels("blue"), 1)?;
    shop.deploy_ready("app-green", &labels("green"), 1)?;
    shop.route("app", BLUE)?.succeeds()?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/hold=10m"])?.succeeds()?;
    shop.route("app", GREEN)?.passes_silently()?;
    let to_zero = &["scale", "deployment/app-blue", "--replicas=0"];
    shop.kubectl(to_zero)?.is_refused("held-scaled-down", &[])?;
    shop.kubectl(&["patch", "service", "app", "-p", r#"{"spec":{"selector":{"tier":"front"}}}"#])?.passes_silently()?;
    shop.kubectl(to_zero)?.is_refused("held-scaled-down", &[])
}

fn a_held_colour_keeps_its_version(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", GREEN)?.passes_silently()?;
    let image = ["set", "image", "deployment/app-blue", "web=web:2"];
    shop.kubectl(&[&image[..], &["--dry-run=server"]].concat())?.passes_with_warning(&["held-redeployed: "])?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/hold=10m"])?.succeeds()?;
    shop.kubectl(&image)?.is_refused("held-redeployed", &["keep it for another"])?;
    shop.kubectl(&["rollout", "restart", "deployment/app-blue"])?.succeeds()
}

/// The template is older than the flip, but none of its Pods was ready until then.
fn what_never_was_ready_is_no_rollback(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 2)?;
    shop.route("app", BLUE)?.succeeds()?;
    let recreate = r#"{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}"#;
    shop.kubectl(&["patch", "deployment", "app-blue", "-p", recreate])?.succeeds()?;
    shop.deploy("app-blue", BLUE, 2, Pods::Starting)?;
    // A status of the old template says 2 updated as well; it never says 2 unavailable.
    shop.wait_for("deployment/app-blue", "{.status.unavailableReplicas}", "2")?;
    shop.wait_for("deployment/app-blue", "{.status.updatedReplicas}", "2")?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    shop.route("app", GREEN)?.succeeds()?;
    let pods = shop.kubectl(&["get", "pods", "-l", "name=app-blue", "-o=jsonpath={.items[*].metadata.name}"])?;
    let first = pods.out.split(' ').next().unwrap_or_default().to_owned();
    shop.kubectl(&["annotate", "pod", &first, "--overwrite", "kwok.flipguard.dev/pod=ready"])?.succeeds()?;
    shop.wait_for("deployment/app-blue", "{.status.readyReplicas}", "1")?;
    shop.route("app", BLUE)?.is_refused("target-not-ready", &["1 of 2 pods ready"])
}

/// Neither a scale nor an edit of labels changes what served.
fn a_rollback_stays_one_after_a_scale(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 2)?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.has_an_age("app-blue")?;
    shop.route("app", GREEN)?.passes_silently()?;
    for replicas in ["1", "3", "2"] {
        shop.kubectl(&["scale", "deployment/app-blue", &format!("--replicas={replicas}")])?.succeeds()?;
        shop.rolled_out("deployment/app-blue")?;
    }
    shop.kubectl(&["label", "deployment", "app-blue", "team=a"])?.succeeds()?;
    half_of(shop, "app-blue")?;
    shop.route("app", BLUE)?.passes_with_warning(&["capacity-below-live: "])
}
