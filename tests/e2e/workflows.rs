//! Nothing gets stuck: the request sequences of the usual tools, each to its end.
//!
//! A workflow is a table of steps. What a tool does in one pass must pass in one; what takes two says so.

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

/// What a tool sends.
enum Step {
    /// Server-side apply.
    Apply(String),
    /// The same as a dry run.
    DryRun(String),
    /// A strategic merge patch.
    Patch(&'static str, &'static str),
    /// A deletion.
    Delete(&'static str),
    /// It waits until this is rolled out.
    Wait(&'static str),
}

/// How a step ends.
enum End {
    Passes,
    /// It passes with a warning for this reason.
    Warns(&'static str),
    /// Refused for this reason; the tool stops here.
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

/// A chart without colours, and one with a colour in its one Deployment: Services come before Deployments.
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

/// One release that changes `green.tag` and `active` together writes the Service first: that is refused, and Helm goes on
/// with the Deployment. The same once more flips. `helm.rs` does it with Helm itself.
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

/// A label that no Service selects may change on both. One that a Service selects may not: it would find nobody in
/// between.
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
        // A new label: first on the Pods, then in the selector.
        (Apply(tier("web")), Refused("target-missing")),
        (Apply(with("app-blue", "blue", ("tier", "web"))), Passes),
        (Apply(with("app-green", "green", ("tier", "web"))), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(tier("web")), Passes),
        // Another value of it: of the live colour that takes a flip.
        (Apply(tier("shop")), Refused("target-missing")),
        (Apply(with("app-blue", "blue", ("tier", "shop"))), Refused("live-detached")),
        (Apply(with("app-green", "green", ("tier", "shop"))), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", &[("app", "shop"), ("color", "green"), ("tier", "shop")])), Passes),
        (Apply(with("app-blue", "blue", ("tier", "shop"))), Passes),
    ];
    play(shop, "helm", &steps)
}

/// A later wave for the Service: Argo CD waits until the Deployments of the wave before are healthy.
fn argo_cd_in_waves_takes_one_pass(shop: &Shop) -> Result<()> {
    let steps = [
        (Apply(color("app-blue", BLUE, "web:1")), Passes),
        (Apply(color("app-green", GREEN, "web:1")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", BLUE)), Passes),
        // The diff of all, and then green and the flip in one commit.
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

/// One Kustomization with both, while green still runs its old version: the Service flips to that, and the new version is
/// refused from then on. The commit is taken back as a whole; then in two.
fn flux_goes_back_by_a_whole_commit(shop: &Shop) -> Result<()> {
    let blue = || color("app-blue", BLUE, "web:1");
    let green = |image: &str| color("app-green", GREEN, image);
    let steps = [
        (Apply(service("app", BLUE)), Passes),
        (Apply(blue()), Passes),
        (Apply(green("web:1")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Wait("deployment/app-green"), Passes),
        // Both in one commit.
        (DryRun(service("app", GREEN)), Passes),
        (DryRun(blue()), Passes),
        (DryRun(green("web:2")), Passes),
        (Apply(service("app", GREEN)), Passes),
        (Apply(green("web:2")), Refused("live-redeployed")),
        // To take back the flip alone is not enough: the dry run of green is refused before anything is applied.
        (DryRun(service("app", BLUE)), Passes),
        (DryRun(green("web:2")), Refused("live-redeployed")),
        // The whole commit.
        (DryRun(service("app", BLUE)), Passes),
        (DryRun(green("web:1")), Passes),
        (Apply(service("app", BLUE)), Passes),
        (Apply(green("web:1")), Passes),
        // In two.
        (DryRun(green("web:2")), Passes),
        (Apply(green("web:2")), Passes),
        (Wait("deployment/app-green"), Passes),
        (DryRun(service("app", GREEN)), Passes),
        (Apply(service("app", GREEN)), Passes),
    ];
    play(shop, "kustomize-controller", &steps)?;
    is_routed_to(shop, "green")
}

/// Reloader rolls out workloads whose ConfigMap has changed, by a variable in their template, or by an annotation.
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
        (Patch("deployment/app-blue", BY_ENV), Warns("live-redeployed")),
        (Wait("deployment/app-blue"), Passes),
        // With another one beside it, a variable is a new template, and an annotation is a restart.
        (Apply(color("app-green", GREEN, "web:2")), Passes),
        (Wait("deployment/app-green"), Passes),
        (Patch("deployment/app-green", BY_ENV), Passes),
        (Patch("deployment/app-blue", BY_ENV_AGAIN), Refused("live-redeployed")),
        (Patch("deployment/app-blue", BY_ANNOTATION), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Patch("deployment/app-green", BY_ANNOTATION), Passes),
    ];
    play(shop, "Reloader", &steps)
}

/// Server-side diff dry-runs each object, and one refusal would stop all syncs; then it applies by kind, and prunes.
fn argo_cd_diffs_syncs_and_prunes(shop: &Shop) -> Result<()> {
    let blue = || color("app-blue", BLUE, "web:1");
    let green = || color("app-green", GREEN, "web:2");
    let steps = [
        (DryRun(service("app", BLUE)), Passes),
        (DryRun(blue()), Passes),
        (Apply(service("app", BLUE)), Passes),
        (Apply(blue()), Passes),
        (Wait("deployment/app-blue"), Passes),
        // Green and the flip in one commit: the diff passes, the sync stops at the Service and is tried again.
        (DryRun(service("app", GREEN)), Passes),
        (DryRun(green()), Passes),
        (Apply(service("app", GREEN)), Refused("target-missing")),
        (Apply(green()), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", GREEN)), Passes),
        (DryRun(service("app", GREEN)), Passes),
        (DryRun(green()), Passes),
        // The old colour leaves Git and is pruned.
        (Delete("deployment/app-blue"), Passes),
    ];
    play(shop, "argocd-controller", &steps)?;
    is_routed_to(shop, "green")
}

/// Flux applies nothing where one dry run is refused; then Services before Deployments, and it stops at the first error.
fn flux_dry_runs_all_and_retries(shop: &Shop) -> Result<()> {
    let blue = || color("app-blue", BLUE, "web:1");
    let green = || color("app-green", GREEN, "web:2");
    let steps = [
        (Apply(service("app", BLUE)), Passes),
        (Apply(blue()), Passes),
        (Wait("deployment/app-blue"), Passes),
        // The new colour in one Kustomization ...
        (DryRun(service("app", BLUE)), Passes),
        (DryRun(blue()), Passes),
        (DryRun(green()), Passes),
        (Apply(green()), Passes),
        // ... and the flip in another, which depends on it.
        (DryRun(service("app", GREEN)), Passes),
        (Wait("deployment/app-green"), Passes),
        (Apply(service("app", GREEN)), Passes),
    ];
    play(shop, "kustomize-controller", &steps)?;
    is_routed_to(shop, "green")
}

/// It compares what it reads with what it wrote: of the labels that it wrote, none has changed.
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
    ensure!(generation == labels("{.metadata.generation}")?, "the second apply changed it");
    Ok(())
}

/// `kubectl delete -f` goes by the order of the file: with the Deployment first it takes two passes.
fn kubectl_deletes_in_file_order(shop: &Shop) -> Result<()> {
    let steps = [
        (Apply(color("app-blue", BLUE, "web:1")), Passes),
        (Wait("deployment/app-blue"), Passes),
        (Apply(service("app", BLUE)), Passes),
        // The first pass: refused, and goes on with the Service.
        (Delete("deployment/app-blue"), Refused("live-deleted")),
        (Delete("service/app"), Passes),
        // The second.
        (Delete("deployment/app-blue"), Passes),
    ];
    play(shop, "kubectl", &steps)
}
