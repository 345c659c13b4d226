//! What disturbs other tests: they run one at a time, after all others.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use controlplane::Guard;

use super::Test;
use super::shop::{Attempt, BLUE, GREEN, Pods, Shop};

pub(crate) const TESTS: &[Test] = &[
    ("alone::what_cannot_be_read_denies", what_cannot_be_read_denies),
    ("alone::a_registration_that_drifts_is_repaired", a_registration_that_drifts_is_repaired),
    ("alone::a_registration_that_is_missing_is_shown", a_registration_that_is_missing_is_shown),
    ("alone::manifests_apply_again_without_a_diff", manifests_apply_again_without_a_diff),
];

/// They end the guard of all other tests.
pub(crate) const WITHOUT_THE_GUARD: &[Test] = &[
    ("alone::in_the_trial_week_denials_warn", in_the_trial_week_denials_warn),
    ("alone::a_lost_ledger_is_waited_for", a_lost_ledger_is_waited_for),
    ("alone::what_is_given_up_grows_too_old", what_is_given_up_grows_too_old),
    ("alone::what_grew_too_old_unseen_is_remembered", what_grew_too_old_unseen_is_remembered),
    ("alone::concurrency_fresh_writes_nothing", concurrency_fresh_writes_nothing),
    ("registration::two_replicas_do_not_write_in_turns", super::registration::two_replicas_do_not_write_in_turns),
    ("certificates::files_are_exchanged_under_a_stream", super::certificates::files_are_exchanged_under_a_stream),
    ("install::with_kustomize", super::install::with_kustomize),
    ("install::with_helm", super::install::with_helm),
    ("image::guards_from_within", super::image::guards_from_within),
    // The last test: no flipguard runs afterwards.
    ("alone::with_every_replica_down_ordinary_work_goes_on", with_every_replica_down_ordinary_work_goes_on),
];

fn green_starts(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    shop.route("app", BLUE)?.passes_silently()
}

fn what_cannot_be_read_denies(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", BLUE)?.passes_silently()?;
    let binding = shop.plain_kubectl(&["get", "clusterrolebinding", "flipguard", "-o", "yaml"])?.out;
    shop.plain_kubectl(&["delete", "clusterrolebinding", "flipguard"])?.succeeds()?;
    let refused = shop.until("reads fail", || Ok(shop.route("app", GREEN)?.err.contains("cluster-unreadable")));
    let attempt = shop.route("app", GREEN)?;
    shop.apply(&binding)?.succeeds()?;
    refused?;
    ensure!(!attempt.ok, "it passed: {}", attempt.out);
    attempt.says("cannot decide (cluster-unreadable): cannot read service/app in namespace")?;
    attempt.says("is forbidden")?;
    shop.until("reads work again", || Ok(shop.route("app", GREEN)?.ok))
}

fn a_registration_that_drifts_is_repaired(shop: &Shop) -> Result<()> {
    green_starts(shop)?;
    let patch = r#"[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]"#;
    shop.plain_kubectl(&["patch", "validatingwebhookconfiguration", "flipguard", "--type=json", "-p", patch])?
        .succeeds()?;
    shop.until("it is repaired", || {
        let policy = "-o=jsonpath={.webhooks[0].failurePolicy}";
        Ok(shop.plain_kubectl(&["get", "validatingwebhookconfiguration", "flipguard", policy])?.out == "Fail")
    })?;
    shop.route("app", GREEN)?.is_refused("target-not-ready", &[])
}

fn a_registration_that_is_missing_is_shown(shop: &Shop) -> Result<()> {
    shop.plain_kubectl(&["delete", "validatingwebhookconfiguration", "flipguard"])?.succeeds()?;
    let shown = shop.until("it is shown", || {
        Ok(shop.guard.ask("/metrics")?.1.contains("flipguard_registered 0")
            && shop.guard.log()?.contains("there is no ValidatingWebhookConfiguration flipguard"))
    });
    ensure!(shop.guard.ask("/readyz")?.0.contains("200"), "a missing registration must not make it unready");
    let file = manifests_file(shop)?;
    shop.plain_kubectl(&["apply", "-f", &file])?.succeeds()?;
    shown?;
    shop.guard.wait_until_it_guards(shop.control_plane)
}

/// What was applied to install the guard.
fn manifests_file(shop: &Shop) -> Result<String> {
    let url = format!("https://{}", shop.guard.listen());
    let manifests = std::process::Command::new(env!("CARGO_BIN_EXE_flipguard"))
        .args(["manifests", "--external-url", &url])
        .output()?;
    let file = shop.control_plane.dir().join("manifests.yaml");
    std::fs::write(&file, manifests.stdout)?;
    Ok(file.to_string_lossy().into_owned())
}

fn manifests_apply_again_without_a_diff(shop: &Shop) -> Result<()> {
    let file = manifests_file(shop)?;
    let diff = shop.plain_kubectl(&["diff", "-f", &file])?;
    ensure!(diff.ok && diff.out.is_empty(), "{}{}", diff.out, diff.err);
    shop.plain_kubectl(&["apply", "-f", &file])?.succeeds()?;
    green_starts(shop)?;
    shop.route("app", GREEN)?.is_refused("target-not-ready", &[])
}

/// The guard of all other tests makes room for one that only warns.
fn in_the_trial_week_denials_warn(shop: &Shop) -> Result<()> {
    green_starts(shop)?;
    shop.without_the_guard()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_flipguard"));
    let trial = Guard::start(shop.control_plane, binary, &["--enforcement", "warn"])?;
    shop.route("app", GREEN)?.passes_with_warning(&["target-not-ready: not enforced: would be denied"])?;
    let (_, metrics) = trial.ask("/metrics")?;
    ensure!(metrics.contains("flipguard_would_deny_total{rule=\"target-not-ready\"} 1"), "{metrics}");
    Ok(())
}

/// The guard of all other tests makes room, if it is still there.
fn another_guard(shop: &Shop, flags: &[&str]) -> Result<Guard> {
    shop.without_the_guard()?;
    let flags = [super::FLAGS, flags].concat();
    Guard::start(shop.control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), &flags)
}

/// The changes that a lost ledger held may still be committed until their ttl is over.
fn a_lost_ledger_is_waited_for(shop: &Shop) -> Result<()> {
    let guard = another_guard(shop, &["--intent-ttl", "3s"])?;
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", GREEN)?.succeeds()?;
    let delete = || {
        let ledger = format!("ledger-{}", shop.namespace);
        shop.plain_kubectl(&["-n", "flipguard-system", "delete", "configmap", &ledger])?.succeeds()
    };
    delete()?;
    // kubectl tries again by itself for ten seconds, so the first answer is read off the log.
    let started = Instant::now();
    shop.route("app", BLUE)?.passes_silently()?;
    ensure!(started.elapsed() > Duration::from_secs(2), "nobody waited");
    let log = std::fs::read_to_string(guard.process().log_path())?;
    ensure!(log.contains("changes that it held may still be committed, so dangerous changes are denied"), "{log}");
    ensure!(log.contains("the ledger was lost, and begins anew"), "{log}");
    // Without its name in the index it would be taken for a new one: that is for an admin who knows.
    delete()?;
    let forget = format!(r#"[{{"op":"remove","path":"/data/{}"}}]"#, shop.namespace);
    let index = ["-n", "flipguard-system", "patch", "configmap", "flipguard-ledgers", "--type=json", "-p", &forget];
    shop.plain_kubectl(&index)?.succeeds()?;
    shop.route("app", GREEN)?.passes_silently()
}

/// A pending change that is older than its ttl is not waited for.
fn what_is_given_up_grows_too_old(shop: &Shop) -> Result<()> {
    let guard = another_guard(shop, &["--intent-ttl", "3s"])?;
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    super::ledger::give_up(shop, "deployment/app-green", &["scale", "deployment/app-green", "--replicas=0"])?;
    // It is watched from the first look at it on; kubectl tries again by itself.
    shop.route("app", GREEN)?.passes_silently()?;
    let log = std::fs::read_to_string(guard.process().log_path())?;
    ensure!(log.contains(r#""outcome":"try-again""#), "nobody waited");
    Ok(())
}

/// A flip counts also where no request has read its Service since.
fn what_grew_too_old_unseen_is_remembered(shop: &Shop) -> Result<()> {
    let _guard = another_guard(shop, &["--intent-ttl", "2s"])?;
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", GREEN)?.passes_silently()?;
    // From here on it is watched. A dry run writes nothing down.
    let scale = ["scale", "deployment/app-blue", "--replicas=0"];
    shop.kubectl(&[&scale[..], &["--dry-run=server"]].concat())?.passes_with_warning(&["held-scaled-down: "])?;
    // It is about time alone: there is nothing to be seen of it.
    std::thread::sleep(Duration::from_secs(3));
    shop.kubectl(&scale)?.passes_with_warning(&["held-scaled-down: "])
}

fn concurrency_fresh_writes_nothing(shop: &Shop) -> Result<()> {
    let guard = another_guard(shop, &["--concurrency", "fresh"])?;
    green_starts(shop)?;
    shop.route("app", GREEN)?.is_refused("target-not-ready", &[])?;
    // Nothing is read but what it is judged on: four kinds of workloads, and Pods.
    let log = std::fs::read_to_string(guard.process().log_path())?;
    let refused = log.lines().find(|line| line.contains("target-not-ready")).context("it is not in the log")?;
    ensure!(refused.contains(r#""reads":5,"#), "{refused}");
    shop.pods_become("name=app-green", Pods::Ready)?;
    shop.rolled_out("deployment/app-green")?;
    shop.route("app", GREEN)?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-green"])?.is_refused("live-deleted", &[])?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.passes_silently()?;
    let ledger = format!("ledger-{}", shop.namespace);
    ensure!(!shop.plain_kubectl(&["-n", "flipguard-system", "get", "configmap", &ledger])?.ok, "there is a ledger");
    Ok(())
}

/// A change without danger waits for no other change.
fn with_every_replica_down_ordinary_work_goes_on(shop: &Shop) -> Result<()> {
    // Whatever ran before: one has guarded, and none is left.
    shop.without_the_guard()?;
    let last = Guard::start(shop.control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), super::FLAGS)?;
    shop.blue_serves()?;
    last.process().kill()?;
    last.process().wait(Duration::from_secs(20)).context("it does not end on SIGKILL")?;
    let plain = &[("app", "plain")];
    shop.deploy_ready("plain", plain, 2)?;
    shop.route("plain", plain)?.succeeds()?;
    shop.kubectl(&["scale", "deployment/plain", "--replicas=3"])?.succeeds()?;
    shop.rolled_out("deployment/plain")?;
    shop.kubectl(&["scale", "deployment/plain", "--replicas=1"])?.succeeds()?;
    shop.kubectl(&["set", "image", "deployment/plain", "web=web:2"])?.succeeds()?;
    shop.rolled_out("deployment/plain")?;
    // To 0 by a manifest is denied as well. A Scale has no labels, so the filter cannot see whether it is coloured.
    shop.kubectl(&["patch", "deployment", "plain", "-p", r#"{"spec":{"replicas":0}}"#])?.succeeds()?;
    shop.kubectl(&["scale", "deployment/plain", "--replicas=1"])?.succeeds()?;
    let to_nothing = shop.kubectl(&["scale", "deployment/plain", "--replicas=0"])?;
    ensure!(!to_nothing.ok, "a scale to nothing should wait");
    to_nothing.says("failed calling webhook")?;
    shop.kubectl(&["delete", "deployment/plain", "service/plain"])?.succeeds()?;
    // Colours come up.
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=3"])?.succeeds()?;
    shop.kubectl(&["label", "service", "app", "team=shop"])?.succeeds()?;
    // Only what could be dangerous waits.
    let waits = |attempt: Attempt| {
        ensure!(!attempt.ok, "it should wait for flipguard");
        attempt.says("failed calling webhook")
    };
    waits(shop.route("app", GREEN)?)?;
    waits(shop.route("another", GREEN)?)?;
    waits(shop.kubectl(&["set", "image", "deployment/app-blue", "web=web:2"])?)?;
    waits(shop.kubectl(&["delete", "deployment", "app-blue"])?)?;
    waits(shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?)?;
    shop.plain_kubectl(&["delete", "namespace", &shop.namespace, "--timeout=90s"])?.succeeds()
}
