//! Real Helm, with a chart that has both colours: `tests/e2e/charts/shop`.

use anyhow::{Result, ensure};

use super::Test;
use super::shop::{Attempt, Shop, attempt};

pub(crate) const TESTS: &[Test] = &[
    ("helm::installs_flips_and_uninstalls", installs_flips_and_uninstalls),
    ("helm::one_release_for_both_takes_two_passes", one_release_for_both_takes_two_passes),
    ("helm::one_release_for_both_is_rolled_back", one_release_for_both_is_rolled_back),
    ("helm::a_release_that_says_what_it_expects", a_release_that_says_what_it_expects),
    ("helm::a_failing_release_is_rolled_back", a_failing_release_is_rolled_back),
    ("helm::a_label_of_both_templates_may_change", a_label_of_both_templates_may_change),
    ("helm::a_version_in_the_one_selector_goes_on", a_version_in_the_one_selector_goes_on),
    ("helm::client_side_apply_behaves_the_same", client_side_apply_behaves_the_same),
];

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/charts/shop");
const SINGLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/charts/single");
/// The time limit of a command that succeeds; a loaded machine is slow.
const TIME: &str = "--timeout=60s";
/// The time limit of a command that cannot succeed.
const SHORT_TIME: &str = "--timeout=8s";

fn helm(shop: &Shop, args: &[&str]) -> Result<Attempt> {
    let mut command = shop.control_plane.helm();
    command.args(["-n", &shop.namespace]).args(args);
    attempt(command, None)
}

fn install(shop: &Shop, values: &[&str]) -> Result<Attempt> {
    helm(shop, &[&["install", "shop", CHART, "--wait", TIME], values].concat())
}

fn upgrade(shop: &Shop, args: &[&str]) -> Result<Attempt> {
    helm(shop, &[&["upgrade", "shop", CHART, "--reuse-values"], args].concat())
}

fn is(shop: &Shop, colour: &str, green_runs: &str) -> Result<()> {
    let selector = shop.selector("app")?;
    ensure!(selector.get("color").is_some_and(|now| now == colour), "the Service selects {selector:?}");
    let path = "-o=jsonpath={.spec.template.spec.containers[0].image}";
    let image = shop.kubectl(&["get", "deployment/app-green", path])?.out;
    ensure!(image == green_runs, "green runs {image}");
    Ok(())
}

fn installs_flips_and_uninstalls(shop: &Shop) -> Result<()> {
    install(shop, &[])?.passes_silently()?;
    is(shop, "blue", "web:1.0")?;
    // An upgrade without changes.
    upgrade(shop, &["--wait", TIME])?.passes_silently()?;
    // Deploy, flip, roll back.
    upgrade(shop, &["--wait", TIME, "--set", "green.tag=2.0"])?.passes_silently()?;
    upgrade(shop, &["--wait", TIME, "--set", "active=green"])?.passes_silently()?;
    is(shop, "green", "web:2.0")?;
    helm(shop, &["rollback", "shop", "--wait", TIME])?.passes_silently()?;
    is(shop, "blue", "web:2.0")?;
    // The live colour cannot be redeployed in place.
    upgrade(shop, &["--set", "blue.tag=3.0"])?.is_refused("live-redeployed", &["Deploy it to"])?;
    upgrade(shop, &["--set", "blue.replicas=0"])?.is_refused("live-scaled-down", &[])?;
    // Uninstalled as a whole, and installed again with another version.
    helm(shop, &["uninstall", "shop", "--wait", TIME])?.succeeds()?;
    install(shop, &["--set", "blue.tag=4.0", "--set", "green.replicas=0"])?.passes_silently()?;
    helm(shop, &["uninstall", "shop", "--wait", TIME])?.succeeds()
}

/// The idle colour is at zero replicas, which is common and saves Pods. Helm continues after a denial, so the colour is
/// deployed, and a second run of the command flips.
fn one_release_for_both_takes_two_passes(shop: &Shop) -> Result<()> {
    install(shop, &["--set", "green.replicas=0"])?.passes_silently()?;
    let both = ["--set", "green.tag=2.0", "--set", "green.replicas=2", "--set", "active=green"];
    upgrade(shop, &both)?.is_refused("target-not-ready", &["Deployment app-green is scaled to 0"])?;
    is(shop, "blue", "web:2.0")?;
    shop.rolled_out("deployment/app-green")?;
    upgrade(shop, &both)?.passes_silently()?;
    is(shop, "green", "web:2.0")
}

/// The idle colour runs. Helm flips to its old version first, and then its new version is denied.
fn one_release_for_both_is_rolled_back(shop: &Shop) -> Result<()> {
    install(shop, &[])?.passes_silently()?;
    let both = ["--set", "green.tag=2.0", "--set", "active=green"];
    upgrade(shop, &[&["--rollback-on-failure", TIME], both.as_slice()].concat())?
        .is_refused("live-redeployed", &["image web:1.0 -> web:2.0", "helm rollback"])?;
    is(shop, "blue", "web:1.0")?;
    // Without `--rollback-on-failure`, Helm stops halfway: the old version of green serves. One rollback restores the
    // start.
    upgrade(shop, &both)?.is_refused("live-redeployed", &[])?;
    is(shop, "green", "web:1.0")?;
    helm(shop, &["rollback", "shop", "--wait", TIME])?.succeeds()?;
    is(shop, "blue", "web:1.0")?;
    upgrade(shop, &["--wait", TIME, "--set", "green.tag=2.0"])?.passes_silently()?;
    upgrade(shop, &["--wait", TIME, "--set", "active=green"])?.passes_silently()?;
    is(shop, "green", "web:2.0")
}

/// The idle colour runs, and one release writes both. The Service says what it expects, so the flip waits for the new
/// version: the same command, once more, ends the release. Nothing lands on the version before.
fn a_release_that_says_what_it_expects(shop: &Shop) -> Result<()> {
    install(shop, &[])?.passes_silently()?;
    let both = ["--set", "green.tag=2.0", "--set", "active=green", "--set", "expect=web:2.0"];
    let first = upgrade(shop, &both)?;
    first.is_refused("not-expected", &["Deployment app-green runs web:1.0, and the Service expects web:2.0"])?;
    is(shop, "blue", "web:2.0")?;
    shop.rolled_out("deployment/app-green")?;
    upgrade(shop, &both)?.passes_silently()?;
    is(shop, "green", "web:2.0")?;
    // The next one goes into the other colour.
    let next = ["--wait", TIME, "--set", "blue.tag=3.0", "--set", "active=blue", "--set", "expect=web:3.0"];
    upgrade(shop, &next)?.is_refused("not-expected", &["Deployment app-blue runs web:1.0"])?;
    shop.rolled_out("deployment/app-blue")?;
    upgrade(shop, &next)?.passes_silently()?;
    // A rollback by hand keeps the annotation, and passes.
    shop.kubectl(&["patch", "service", "app", "-p", r#"{"spec":{"selector":{"color":"green"}}}"#])?.succeeds()?;
    is(shop, "green", "web:2.0")
}

/// Helm rolls back all its writes, whether the live or the idle colour fails.
fn a_failing_release_is_rolled_back(shop: &Shop) -> Result<()> {
    install(shop, &[])?.passes_silently()?;
    let atomic = ["--rollback-on-failure", SHORT_TIME];
    let failing = upgrade(shop, &[&atomic, ["--set", "green.tag=2.0,green.pod=failing"].as_slice()].concat())?;
    ensure!(!failing.ok && failing.err.contains("rolled back"), "{}", failing.err);
    is(shop, "blue", "web:1.0")?;
    // With only one colour, a deployment replaces the version in place. So does a rollback.
    shop.kubectl(&["delete", "deployment", "app-green"])?.passes_silently()?;
    let failing = upgrade(shop, &[&atomic, ["--set", "blue.tag=2.0,blue.pod=failing"].as_slice()].concat())?;
    ensure!(!failing.ok && failing.err.contains("rolled back"), "{}", failing.err);
    shop.wait_for("deployment/app-blue", "{.spec.template.spec.containers[0].image}", "web:1.0")?;
    shop.rolled_out("deployment/app-blue")
}

fn a_label_of_both_templates_may_change(shop: &Shop) -> Result<()> {
    install(shop, &[])?.passes_silently()?;
    upgrade(shop, &["--wait", TIME, "--set", "labels.chart=shop-1.1"])?.passes_silently()?;
    upgrade(shop, &["--wait", TIME, "--set", "labels.chart=shop-1.2"])?.passes_silently()?;
    is(shop, "blue", "web:1.0")
}

/// One Deployment, and a Service that selects its version: that is not blue-green, so no release is denied.
fn a_version_in_the_one_selector_goes_on(shop: &Shop) -> Result<()> {
    helm(shop, &["install", "single", SINGLE, "--wait", TIME])?.passes_silently()?;
    let upgrade = ["upgrade", "single", SINGLE, "--wait", TIME, "--set", "tag=2.0"];
    // Nobody answers until the Deployment is rolled out, as without flipguard. The warning names the cure.
    helm(shop, &upgrade)?.succeeds()?;
    let selector = shop.selector("app")?;
    ensure!(selector.get("version").is_some_and(|version| version == "2.0"), "{selector:?}");
    helm(shop, &["uninstall", "single", "--wait", TIME])?.succeeds()
}

/// Helm 3 uses client-side apply, and so does Helm 4 for releases of Helm 3.
fn client_side_apply_behaves_the_same(shop: &Shop) -> Result<()> {
    install(shop, &["--server-side=false"])?.passes_silently()?;
    let client_side = ["--server-side=false", "--wait", TIME];
    upgrade(shop, &[&client_side, ["--set", "green.tag=2.0"].as_slice()].concat())?.passes_silently()?;
    upgrade(shop, &[&client_side, ["--set", "active=green"].as_slice()].concat())?.passes_silently()?;
    is(shop, "green", "web:2.0")?;
    upgrade(shop, &[&client_side, ["--set", "green.tag=3.0"].as_slice()].concat())?
        .is_refused("live-redeployed", &[])?;
    helm(shop, &["uninstall", "shop", "--wait", TIME])?.succeeds()
}
