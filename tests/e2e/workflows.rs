//! Workflows: the request sequences of common tools, each from start to end. None may get stuck.
//!
//! A workflow is a table of steps. A sequence that a tool sends in one pass must also pass in one, unless the test's
//! name says two.

use anyhow::{Context, Result, ensure};

use super::Test;
use super::shop::{Attempt, BLUE, GREEN, Pods, Shop, map, service, workload};

pub(crate) const TESTS: &[Test] = &[
    ("workflows::helm_installs_upgrades_and_uninstalls", helm_installs_upgrades_and_uninstalls),
    ("workflows::helm_flips_when_it_is_run_again", helm_flips_when_it_is_run_again),
    ("workflows::a_label_of_both_templates_changes", a_label_of_both_templates_changes),
    ("workflows::argo_cd_in_waves_takes_one_pass", argo_cd_in_waves_takes_one_pass),
    ("workflows::flux_goes_back_by_a_whole_commit", flux_goes_back_by_a_whole_commit),
    ("workflows::reloader_restarts_by_an_annotation", reloader_restarts_by_an_annotation),
    ("workflows::argo_cd_diffs_syncs_and_prunes", argo_cd_diffs_syncs_and_prunes),
    ("workflows::flux_dry_runs_all_and_retries", flux_dry_runs_all_and_retries),
    ("workflows::terraform_reads_back_what_it_wrote", terraform_reads_back_what_it_wrote),
    ("workflows::kubectl_deletes_in_file_order", kubectl_deletes_in_file_order),
];

/// A request or a wait of a tool.
enum Step {
    /// Server-side apply.
    Apply(String),
    /// Server-side apply as a dry run.
    DryRun(String),
    /// A strategic merge patch.
    Patch(&'static str, &'static str),
    /// A deletion of this object.
    Delete(&'static str),
    /// A wait until this object is rolled out.
    Wait(&'static str),
}

/// The expected result of a step.
enum End {
    Passes,
    /// The request is allowed with a warning for this reason.
    Warns(&'static str),
    /// The request is denied for this reason, and the tool stops here.
    Refused(&'static str),
}

use End::{Passes, Refused, Warns};
use Step::{Apply, Delete, DryRun, Patch, Wait};

fn play(shop: &Shop, manager: &str, steps: &[(Step, End)]) -> Result<()> {
    let manager = format!("--field-manager={manager}");
    for (number, (step, end)) in steps.iter().enumerate() {
        let attempt: Attempt = match step {
            Apply(yaml) => shop.apply_with(yaml, &["--server-side", "--force-conflicts", &manager])?,
            DryRun(yaml) => {
                shop.apply_with(yaml, &["--server-side", "--force-conflicts", &manager, "--dry-run=server"])?
            }
            Patch(object, patch) => shop.kubectl(&["patch", object, &manager, "-p", patch])?,
            Delete(object) => shop.kubectl(&["delete", object])?,
            Wait(object) => shop.kubectl(&["rollout", "status", object, "--timeout=60s"])?,
        };
        let ended = match end {
            Passes => attempt.succeeds(),
            Warns(reason) => attempt.passes_with_warning(&[&format!("{reason}: ")]),
            Refused(reason) => attempt.is_refused(reason, &[]),
        };
        ended.with_context(|| format!("step {}", number + 1))?;
    }
    Ok(())
}

fn color(name: &str, labels: &[(&str, &str)], image: &str) -> String {
    workload("Deployment", name, labels, 2, Pods::Ready, image)
}

fn is_routed_to(shop: &Shop, colour: &str) -> Result<()> {
    let selector = shop.selector("app")?;
    ensure!(selector.get("color").is_some_and(|now| now == colour), "{selector:?}");
    Ok(())
}

/// A chart without colours, and one with a colour in its single Deployment. Services come before Deployments.
fn helm_installs_upgrades_and_uninstalls(shop: &Shop) -> Result<()> {
    let plain = &[("app", "plain")];
    let steps = [
        (Apply(service("plain", plain)), Passes),
        (Apply(color("plain", plain, "web:1")), Passes),
        (Wait("deployment/plain"), Passes),
        (Apply(service("plain", plain)), Passes),
        (Apply(color("plain", plain, "web:2")), Passes),
        (Wait("deployment/plain"), Passes),
        // Uninstalled in Helm's own order, and installed again with a new version.
        (Delete("service/plain"), Passes),
        (Delete("deployment/plain"), Passes),
        (Apply(service("plain", plain)), Passes),
        (Apply(color("plain", plain, "web:3")), Passes),
        (Wait("deployment/plain"), Passes),
        (Apply(service("app", BLUE)), Passes),
        (Apply(color("app-blue", BLUE, "web:1")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Apply(service("app", BLUE)), Passes),
        (Apply(color("app-blue", BLUE, "web:2")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Delete("service/app"), Passes),
        (Delete("deployment/app-blue"), Passes),
    ];
    play(shop, "helm", &steps)
}

/// One release changes `green.tag` and `active` together. Helm writes the Service first and is denied, then continues
/// with the Deployment. A second run flips. `helm.rs` does the same with real Helm.
fn helm_flips_when_it_is_run_again(shop: &Shop) -> Result<()> {
    let steps = [
        (Apply(service("app", BLUE)), Passes),
        (Apply(color("app-blue", BLUE, "web:1")), Passes),
        (Apply(workload("Deployment", "app-green", GREEN, 0, Pods::Ready, "web:1")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Apply(service("app", GREEN)), Refused("target-not-ready")),
        (Apply(color("app-green", GREEN, "web:2")), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", GREEN)), Passes),
        (Apply(color("app-green", GREEN, "web:2")), Passes),
    ];
    play(shop, "helm", &steps)?;
    is_routed_to(shop, "green")
}

/// A label that no Service selects may change on both colours. A selected label may not: the Service would match no
/// Pods for a while.
fn a_label_of_both_templates_changes(shop: &Shop) -> Result<()> {
    let with = |name: &str, colour: &'static str, more: (&'static str, &'static str)| {
        workload("Deployment", name, &[("app", "shop"), ("color", colour), more], 2, Pods::Ready, "web:1")
    };
    let tier = |tier: &'static str| service("app", &[("app", "shop"), ("color", "blue"), ("tier", tier)]);
    let steps = [
        (Apply(service("app", BLUE)), Passes),
        (Apply(with("app-blue", "blue", ("chart", "shop-1"))), Passes),
        (Apply(with("app-green", "green", ("chart", "shop-1"))), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", BLUE)), Passes),
        (Apply(with("app-blue", "blue", ("chart", "shop-2"))), Passes),
        (Apply(with("app-green", "green", ("chart", "shop-2"))), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Wait("deployment/app-green"), Passes),
        // A new label is added first to the Pods, then to the selector.
        (Apply(tier("web")), Refused("target-missing")),
        (Apply(with("app-blue", "blue", ("tier", "web"))), Passes),
        (Apply(with("app-green", "green", ("tier", "web"))), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(tier("web")), Passes),
        // Another value of a label: for the live colour this requires a flip.
        (Apply(tier("shop")), Refused("target-missing")),
        (Apply(with("app-blue", "blue", ("tier", "shop"))), Refused("live-detached")),
        (Apply(with("app-green", "green", ("tier", "shop"))), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", &[("app", "shop"), ("color", "green"), ("tier", "shop")])), Passes),
        (Apply(with("app-blue", "blue", ("tier", "shop"))), Passes),
    ];
    play(shop, "helm", &steps)
}

/// The Service is in a later wave. Argo CD waits until the Deployments of the earlier wave are healthy.
fn argo_cd_in_waves_takes_one_pass(shop: &Shop) -> Result<()> {
    let steps = [
        (Apply(color("app-blue", BLUE, "web:1")), Passes),
        (Apply(color("app-green", GREEN, "web:1")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", BLUE)), Passes),
        // The diff of all objects; then green and the flip in one commit.
        (DryRun(color("app-blue", BLUE, "web:1")), Passes),
        (DryRun(color("app-green", GREEN, "web:2")), Passes),
        (DryRun(service("app", GREEN)), Passes),
        (Apply(color("app-blue", BLUE, "web:1")), Passes),
        (Apply(color("app-green", GREEN, "web:2")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", GREEN)), Passes),
    ];
    play(shop, "argocd-controller", &steps)?;
    is_routed_to(shop, "green")
}

/// One Kustomization contains both colours, and green still runs its old version. The Service flips to that version,
/// and the new version is denied from then on. The whole commit is reverted, and then split in two.
fn flux_goes_back_by_a_whole_commit(shop: &Shop) -> Result<()> {
    let blue = || color("app-blue", BLUE, "web:1");
    let green = |image: &str| color("app-green", GREEN, image);
    let steps = [
        (Apply(service("app", BLUE)), Passes),
        (Apply(blue()), Passes),
        (Apply(green("web:1")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Wait("deployment/app-green"), Passes),
        // Both changes in one commit.
        (DryRun(service("app", GREEN)), Passes),
        (DryRun(blue()), Passes),
        (DryRun(green("web:2")), Passes),
        (Apply(service("app", GREEN)), Passes),
        (Apply(green("web:2")), Refused("live-redeployed")),
        // Reverting only the flip is not enough: the dry run of green is denied before anything is applied.
        (DryRun(service("app", BLUE)), Passes),
        (DryRun(green("web:2")), Refused("live-redeployed")),
        // The whole commit is reverted.
        (DryRun(service("app", BLUE)), Passes),
        (DryRun(green("web:1")), Passes),
        (Apply(service("app", BLUE)), Passes),
        (Apply(green("web:1")), Passes),
        // The change in two commits.
        (DryRun(green("web:2")), Passes),
        (Apply(green("web:2")), Passes),
        (Wait("deployment/app-green"), Passes),
        (DryRun(service("app", GREEN)), Passes),
        (Apply(service("app", GREEN)), Passes),
    ];
    play(shop, "kustomize-controller", &steps)?;
    is_routed_to(shop, "green")
}

/// Reloader restarts workloads whose ConfigMap has changed, by a variable in their template or by an annotation.
fn reloader_restarts_by_an_annotation(shop: &Shop) -> Result<()> {
    const BY_ENV: &str = r#"{"spec":{"template":{"spec":{"containers":[{"name":"web",
        "env":[{"name":"STAKATER_SHOP_CONFIGMAP","value":"5f1c"}]}]}}}}"#;
    const BY_ENV_AGAIN: &str = r#"{"spec":{"template":{"spec":{"containers":[{"name":"web",
        "env":[{"name":"STAKATER_SHOP_CONFIGMAP","value":"77aa"}]}]}}}}"#;
    const BY_ANNOTATION: &str = r#"{"spec":{"template":{"metadata":{"annotations":{
        "reloader.stakater.com/last-reloaded-from":"{\"name\":\"shop\",\"hash\":\"77aa\"}"}}}}}"#;
    let steps = [
        (Apply(color("app-blue", BLUE, "web:1")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Apply(service("app", BLUE)), Passes),
        // One colour alone.
        (Patch("deployment/app-blue", BY_ENV), Warns("live-reconfigured")),
        (Wait("deployment/app-blue"), Passes),
        // With a second colour, a changed variable is a new template, and a changed annotation is a restart.
        (Apply(color("app-green", GREEN, "web:2")), Passes),
        (Wait("deployment/app-green"), Passes),
        (Patch("deployment/app-green", BY_ENV), Passes),
        (Patch("deployment/app-blue", BY_ENV_AGAIN), Warns("live-reconfigured")),
        (Patch("deployment/app-blue", BY_ANNOTATION), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Patch("deployment/app-green", BY_ANNOTATION), Passes),
    ];
    play(shop, "Reloader", &steps)
}

/// Server-side diff dry-runs each object, and one denial would stop all syncs. Then Argo CD applies by kind, and
/// prunes.
fn argo_cd_diffs_syncs_and_prunes(shop: &Shop) -> Result<()> {
    let blue = || color("app-blue", BLUE, "web:1");
    let green = || color("app-green", GREEN, "web:2");
    let steps = [
        (DryRun(service("app", BLUE)), Passes),
        (DryRun(blue()), Passes),
        (Apply(service("app", BLUE)), Passes),
        (Apply(blue()), Passes),
        (Wait("deployment/app-blue"), Passes),
        // Green and the flip in one commit: the diff passes. The sync stops at the Service and is retried.
        (DryRun(service("app", GREEN)), Passes),
        (DryRun(green()), Passes),
        (Apply(service("app", GREEN)), Refused("target-missing")),
        (Apply(green()), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", GREEN)), Passes),
        (DryRun(service("app", GREEN)), Passes),
        (DryRun(green()), Passes),
        // The old colour is removed from Git and pruned.
        (Delete("deployment/app-blue"), Passes),
    ];
    play(shop, "argocd-controller", &steps)?;
    is_routed_to(shop, "green")
}

/// Flux applies nothing if one dry run is denied. Otherwise it applies Services before Deployments, and stops at the
/// first error.
fn flux_dry_runs_all_and_retries(shop: &Shop) -> Result<()> {
    let blue = || color("app-blue", BLUE, "web:1");
    let green = || color("app-green", GREEN, "web:2");
    let steps = [
        (Apply(service("app", BLUE)), Passes),
        (Apply(blue()), Passes),
        (Wait("deployment/app-blue"), Passes),
        // The new colour is in one Kustomization ...
        (DryRun(service("app", BLUE)), Passes),
        (DryRun(blue()), Passes),
        (DryRun(green()), Passes),
        (Apply(green()), Passes),
        // ... and the flip is in another one, which depends on it.
        (DryRun(service("app", GREEN)), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", GREEN)), Passes),
    ];
    play(shop, "kustomize-controller", &steps)?;
    is_routed_to(shop, "green")
}

/// Terraform compares the objects that it reads with those that it wrote. None of its labels may have changed.
fn terraform_reads_back_what_it_wrote(shop: &Shop) -> Result<()> {
    play(
        shop,
        "Terraform",
        &[(Apply(color("app-blue", BLUE, "web:1")), Passes), (Wait("deployment/app-blue"), Passes)],
    )?;
    let labels = |path: &str| -> Result<String> {
        Ok(shop.kubectl(&["get", "deployment/app-blue", &format!("-o=jsonpath={path}")])?.out)
    };
    let written = map(BLUE);
    let template = labels("{.spec.template.metadata.labels}")?;
    for (key, value) in BLUE {
        ensure!(template.contains(&format!("\"{key}\":\"{value}\"")), "{written} became {template}");
    }
    let generation = labels("{.metadata.generation}")?;
    play(shop, "Terraform", &[(Apply(color("app-blue", BLUE, "web:1")), Passes)])?;
    ensure!(generation == labels("{.metadata.generation}")?, "the second apply changed the Deployment");
    Ok(())
}

/// `kubectl delete -f` follows the order of the file. With the Deployment first, two passes are needed.
fn kubectl_deletes_in_file_order(shop: &Shop) -> Result<()> {
    let steps = [
        (Apply(color("app-blue", BLUE, "web:1")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Apply(service("app", BLUE)), Passes),
        // The first pass: the Deployment is denied, and the Service is deleted.
        (Delete("deployment/app-blue"), Refused("live-deleted")),
        (Delete("service/app"), Passes),
        // The second pass.
        (Delete("deployment/app-blue"), Passes),
    ];
    play(shop, "kubectl", &steps)
}
