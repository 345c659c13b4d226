//! Argo CD and Flux apply one commit with a new version and the flip to it: what each does after a denial, and how it
//! goes on.
//!
//! Both sort Services before Deployments. Argo CD goes on after an object that failed, and retries the whole commit. Flux
//! stops at the first object that fails, and begins again at its next interval.

use anyhow::{Context, Result, ensure};

use super::Test;
use super::shop::{Attempt, BLUE, GREEN, Pods, Shop, workload};
use super::traffic::Traffic;

pub(crate) const TESTS: &[Test] = &[
    ("gitops::argo_cd_flips_to_what_it_expects", argo_cd_flips_to_what_it_expects),
    ("gitops::argo_cd_heals_a_rollback_away", argo_cd_heals_a_rollback_away),
    ("gitops::argo_cd_does_not_heal_against_a_quarantine", argo_cd_does_not_heal_against_a_quarantine),
    ("gitops::flux_stops_at_the_service", flux_stops_at_the_service),
    ("gitops::flux_flips_from_a_kustomization_of_its_own", flux_flips_from_a_kustomization_of_its_own),
];

const ARGO_CD: &str = "--field-manager=argocd-controller";
const FLUX: &str = "--field-manager=kustomize-controller";

/// The Service, as a commit has it.
fn service(colour: &str, expect: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: app, annotations: {{flipguard.dev/expect: '{expect}'}}}}, \
         spec: {{selector: {{app: shop, color: {colour}}}, ports: [{{port: 80, targetPort: 8080}}]}}}}\n"
    )
}

fn blue(image: &str) -> String {
    workload("Deployment", "app-blue", BLUE, 2, Pods::Ready, image)
}

fn green(image: &str, pods: Pods) -> String {
    workload("Deployment", "app-green", GREEN, 2, pods, image)
}

fn apply(shop: &Shop, manager: &str, object: &str, more: &[&str]) -> Result<Attempt> {
    shop.apply_with(object, &[&["--server-side", "--force-conflicts", manager], more].concat())
}

/// A sync of Argo CD with server-side diff. One dry run that fails is a comparison error, and nothing is applied. Otherwise
/// each object is applied, also after one that failed. Returns what the API server answered to each.
fn argo_cd_syncs(shop: &Shop, commit: &[String]) -> Result<Vec<Attempt>> {
    for object in commit {
        let diff = apply(shop, ARGO_CD, object, &["--dry-run=server"])?;
        ensure!(diff.ok, "a comparison error stops all syncs of the app:\n{}", diff.err);
    }
    commit.iter().map(|object| apply(shop, ARGO_CD, object, &[])).collect()
}

/// A reconciliation of a Kustomization by Flux. One dry run that fails stops it before anything is applied, and one apply
/// that fails stops it there. Returns what failed, if anything did.
fn flux_reconciles(shop: &Shop, commit: &[String]) -> Result<Option<Attempt>> {
    for more in [["--dry-run=server"].as_slice(), &[]] {
        for object in commit {
            let attempt = apply(shop, FLUX, object, more)?;
            if !attempt.ok {
                return Ok(Some(attempt));
            }
        }
    }
    Ok(None)
}

/// Both colours run version 1, and the Service selects blue and expects that.
fn begin(shop: &Shop, manager: &str) -> Result<Traffic> {
    for object in [service("blue", "web:1.0"), blue("web:1.0"), green("web:1.0", Pods::Ready)] {
        apply(shop, manager, &object, &[])?.passes_silently()?;
    }
    shop.rolled_out("deployment/app-blue")?;
    shop.rolled_out("deployment/app-green")?;
    Traffic::watch(shop)
}

fn is_routed_to(shop: &Shop, colour: &str) -> Result<()> {
    let selector = shop.selector("app")?;
    ensure!(selector.get("color").is_some_and(|now| now == colour), "the Service selects {selector:?}");
    Ok(())
}

fn runs(shop: &Shop, deployment: &str, image: &str) -> Result<()> {
    let path = "-o=jsonpath={.spec.template.spec.containers[0].image}";
    let now = shop.kubectl(&["get", "deployment", deployment, path])?.out;
    ensure!(now == image, "{deployment} runs {now}, not {image}");
    Ok(())
}

/// The first answer is about the Service, which is denied for this reason. The other objects are applied.
fn only_the_service_is_refused(answers: &[Attempt], reason: &str, words: &[&str]) -> Result<()> {
    let (service, others) = answers.split_first().context("nothing was applied")?;
    service.is_refused(reason, words)?;
    others.iter().try_for_each(Attempt::succeeds)
}

/// The Pods of green are started but not ready. Makes them ready, as the rollout goes on.
fn green_becomes_ready(shop: &Shop) -> Result<()> {
    shop.until("green is rolled out", || {
        shop.pods_become("color=green", Pods::Ready)?;
        Ok(shop.kubectl(&["rollout", "status", "deployment/app-green", "--watch=false"])?.out.contains("rolled out"))
    })?;
    shop.rolled_out("deployment/app-green")
}

fn argo_cd_flips_to_what_it_expects(shop: &Shop) -> Result<()> {
    let traffic = begin(shop, ARGO_CD)?;
    let commit = [service("green", "web:2.0"), blue("web:1.0"), green("web:2.0", Pods::Starting)];
    // The idle colour is ready with its old version: the flip is denied, and Argo CD deploys the new one.
    let first = argo_cd_syncs(shop, &commit)?;
    let why = "Deployment app-green runs web:1.0, and the Service expects web:2.0";
    only_the_service_is_refused(&first, "not-expected", &[why, "Argo CD retries by itself"])?;
    is_routed_to(shop, "blue")?;
    runs(shop, "app-green", "web:2.0")?;
    // Its retry comes while the new version starts.
    let second = argo_cd_syncs(shop, &commit)?;
    only_the_service_is_refused(&second, "target-not-ready", &["Deployment app-green"])?;
    is_routed_to(shop, "blue")?;
    // The first retry after that flips.
    green_becomes_ready(shop)?;
    argo_cd_syncs(shop, &commit)?.iter().try_for_each(Attempt::succeeds)?;
    is_routed_to(shop, "green")?;
    // The next sync changes nothing.
    argo_cd_syncs(shop, &commit)?.iter().try_for_each(Attempt::passes_silently)?;
    traffic.served(shop, &["blue web:1.0", "green web:2.0"])
}

/// Green has version 2 and serves, by a commit. Somebody rolls back by hand.
fn rolled_back_by_hand(shop: &Shop, commit: &[String; 3]) -> Result<()> {
    let [service, blue, green] = commit;
    for object in [blue, green] {
        apply(shop, ARGO_CD, object, &[])?.succeeds()?;
    }
    shop.rolled_out("deployment/app-green")?;
    apply(shop, ARGO_CD, service, &[])?.succeeds()?;
    is_routed_to(shop, "green")?;
    by_hand(shop)
}

fn by_hand(shop: &Shop) -> Result<()> {
    shop.kubectl(&["patch", "service", "app", "-p", r#"{"spec":{"selector":{"color":"blue"}}}"#])?.succeeds()?;
    is_routed_to(shop, "blue")
}

/// Without a quarantine, self-heal puts the broken version back. The answers to Argo CD and an Event say so.
fn argo_cd_heals_a_rollback_away(shop: &Shop) -> Result<()> {
    let traffic = begin(shop, ARGO_CD)?;
    let commit = [service("green", "web:2.0"), blue("web:1.0"), green("web:2.0", Pods::Ready)];
    rolled_back_by_hand(shop, &commit)?;
    let healed = argo_cd_syncs(shop, &commit)?;
    healed.iter().try_for_each(Attempt::succeeds)?;
    let answer = healed.first().context("nothing was applied")?;
    answer.passes_with_warning(&["returns-to-abandoned: a rollback left this version", "flip-undone: "])?;
    is_routed_to(shop, "green")?;
    shop.until("the Event says that the rollback was taken back", || {
        Ok(shop.kubectl(&["get", "events", "--field-selector", "reason=FlipUndone"])?.out.contains("argocd-controller"))
    })?;
    traffic.served(shop, &["blue web:1.0", "green web:2.0"])
}

/// With a quarantine, self-heal does not put the broken version back, however often it tries. A mended version in the next
/// commit is deployed and served meanwhile.
fn argo_cd_does_not_heal_against_a_quarantine(shop: &Shop) -> Result<()> {
    let traffic = begin(shop, ARGO_CD)?;
    let commit = [service("green", "web:2.0"), blue("web:1.0"), green("web:2.0", Pods::Ready)];
    // Argo CD leaves an annotation alone that is not in Git.
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/quarantine=1h"])?.succeeds()?;
    rolled_back_by_hand(shop, &commit)?;
    for _ in 0..3 {
        let healed = argo_cd_syncs(shop, &commit)?;
        let lasts = "Its quarantine (flipguard.dev/quarantine) lasts for another";
        only_the_service_is_refused(&healed, "returns-to-abandoned", &[lasts])?;
        is_routed_to(shop, "blue")?;
    }
    let mended = [service("green", "web:2.1"), blue("web:1.0"), green("web:2.1", Pods::Ready)];
    let first = argo_cd_syncs(shop, &mended)?;
    only_the_service_is_refused(&first, "not-expected", &["runs web:2.0, and the Service expects web:2.1"])?;
    shop.rolled_out("deployment/app-green")?;
    argo_cd_syncs(shop, &mended)?.iter().try_for_each(Attempt::succeeds)?;
    is_routed_to(shop, "green")?;
    traffic.served(shop, &["blue web:1.0", "green web:2.0", "green web:2.1"])
}

/// One Kustomization with both: Flux never comes to the Deployment, so no retry helps. Nothing is lost either.
fn flux_stops_at_the_service(shop: &Shop) -> Result<()> {
    let traffic = begin(shop, FLUX)?;
    let commit = [service("green", "web:2.0"), blue("web:1.0"), green("web:2.0", Pods::Ready)];
    for _ in 0..3 {
        let failed = flux_reconciles(shop, &commit)?.context("it passed")?;
        let hint = "writes nothing after this Service in the same Kustomization";
        failed.is_refused("not-expected", &["runs web:1.0, and the Service expects web:2.0", hint])?;
        is_routed_to(shop, "blue")?;
        runs(shop, "app-green", "web:1.0")?;
    }
    // The cure: the Service moves to a Kustomization of its own.
    let [service, blue, green] = commit;
    ensure!(flux_reconciles(shop, &[blue, green])?.is_none(), "the colours are not applied");
    shop.rolled_out("deployment/app-green")?;
    ensure!(flux_reconciles(shop, &[service])?.is_none(), "the Service is not applied");
    is_routed_to(shop, "green")?;
    traffic.served(shop, &["blue web:1.0", "green web:2.0"])
}

/// Two Kustomizations that do not wait for each other. The one of the Service retries until the new version is there. A
/// quarantine holds against it, and does not keep the other one from a mended version.
fn flux_flips_from_a_kustomization_of_its_own(shop: &Shop) -> Result<()> {
    let traffic = begin(shop, FLUX)?;
    let colours = |image: &str, pods: Pods| [blue("web:1.0"), green(image, pods)];
    let reconciles =
        |commit: &[String]| -> Result<()> { flux_reconciles(shop, commit)?.map_or(Ok(()), |failed| failed.succeeds()) };
    let refused = |service: &str, reason: &str| -> Result<()> {
        let failed = flux_reconciles(shop, &[service.to_owned()])?.context("it passed")?;
        failed.is_refused(reason, &[])?;
        is_routed_to(shop, "blue")
    };
    let flip = service("green", "web:2.0");
    refused(&flip, "not-expected")?;
    reconciles(&colours("web:2.0", Pods::Starting))?;
    refused(&flip, "target-not-ready")?;
    green_becomes_ready(shop)?;
    reconciles(std::slice::from_ref(&flip))?;
    is_routed_to(shop, "green")?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/quarantine=1h"])?.succeeds()?;
    by_hand(shop)?;
    refused(&flip, "returns-to-abandoned")?;
    let mended = service("green", "web:2.1");
    refused(&mended, "not-expected")?;
    reconciles(&colours("web:2.1", Pods::Ready))?;
    shop.rolled_out("deployment/app-green")?;
    reconciles(&[mended])?;
    is_routed_to(shop, "green")?;
    traffic.served(shop, &["blue web:1.0", "green web:2.0", "green web:2.1"])
}
