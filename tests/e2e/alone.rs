//! Tests that disturb other tests. They run one at a time, after all others.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use controlplane::{ControlPlane, Guard, free_port};

use super::Test;
use super::shop::{Attempt, BLUE, GREEN, Pods, Shop};

pub(crate) const TESTS: &[Test] = &[
    ("alone::unreadable_objects_deny", unreadable_objects_deny),
    ("alone::a_registration_that_drifts_is_repaired", a_registration_that_drifts_is_repaired),
    ("alone::a_registration_that_is_missing_is_shown", a_registration_that_is_missing_is_shown),
    ("alone::manifests_apply_again_without_a_diff", manifests_apply_again_without_a_diff),
    ("auditor::follows_the_cluster", super::auditor::follows_the_cluster),
    ("recipes::the_crd_is_deleted", super::recipes::the_crd_is_deleted),
];

/// Tests that end the shared guard.
pub(crate) const WITHOUT_THE_GUARD: &[Test] = &[
    ("alone::denials_warn_without_enforcement", denials_warn_without_enforcement),
    ("alone::a_lost_ledger_delays_risky_changes", a_lost_ledger_delays_risky_changes),
    ("alone::abandoned_intents_expire", abandoned_intents_expire),
    ("alone::a_start_waits_for_its_api_server", a_start_waits_for_its_api_server),
    ("alone::expired_flips_are_recorded", expired_flips_are_recorded),
    ("alone::concurrency_fresh_writes_nothing", concurrency_fresh_writes_nothing),
    (
        "registration::two_replicas_do_not_overwrite_each_other",
        super::registration::two_replicas_do_not_overwrite_each_other,
    ),
    (
        "registration::nothing_waits_for_an_address_that_nobody_answers",
        super::registration::nothing_waits_for_an_address_that_nobody_answers,
    ),
    ("registration::a_trial_stops_nothing", super::registration::a_trial_stops_nothing),
    ("certificates::files_are_exchanged_under_a_stream", super::certificates::files_are_exchanged_under_a_stream),
    ("rights::without_labels", super::rights::without_labels),
    ("install::with_kustomize", super::install::with_kustomize),
    ("install::with_helm", super::install::with_helm),
    ("image::guards_from_within", super::image::guards_from_within),
    // These two come last: they leave no guard.
    ("alone::harmless_changes_pass_without_replicas", harmless_changes_pass_without_replicas),
    ("alone::writes_that_wait_are_exact", writes_that_wait_are_exact),
];

/// The ClusterRoleBinding of the shared guard.
const BINDING: &str = "flipguard:flipguard-system";

fn green_starts(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    shop.route("app", BLUE)?.passes_silently()
}

fn unreadable_objects_deny(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", BLUE)?.passes_silently()?;
    let binding = shop.plain_kubectl(&["get", "clusterrolebinding", BINDING, "-o", "yaml"])?.out;
    shop.plain_kubectl(&["delete", "clusterrolebinding", BINDING])?.succeeds()?;
    let refused = shop.until("reads fail", || Ok(shop.route("app", GREEN)?.err.contains("cluster-unreadable")));
    let attempt = shop.route("app", GREEN)?;
    shop.apply(&binding)?.succeeds()?;
    refused?;
    ensure!(!attempt.ok, "the flip was allowed: {}", attempt.out);
    attempt.says("cannot decide (cluster-unreadable): cannot read service/app in namespace")?;
    attempt.says("is forbidden")?;
    shop.until("reads work again", || Ok(shop.route("app", GREEN)?.ok))
}

fn a_registration_that_drifts_is_repaired(shop: &Shop) -> Result<()> {
    green_starts(shop)?;
    let patch = r#"[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]"#;
    shop.plain_kubectl(&["patch", "validatingwebhookconfiguration", "flipguard", "--type=json", "-p", patch])?
        .succeeds()?;
    shop.until("the registration is repaired", || {
        let policy = "-o=jsonpath={.webhooks[0].failurePolicy}";
        Ok(shop.plain_kubectl(&["get", "validatingwebhookconfiguration", "flipguard", policy])?.out == "Fail")
    })?;
    shop.route("app", GREEN)?.is_refused("target-not-ready", &[])
}

fn a_registration_that_is_missing_is_shown(shop: &Shop) -> Result<()> {
    shop.plain_kubectl(&["delete", "validatingwebhookconfiguration", "flipguard"])?.succeeds()?;
    // The command is that of this installation. That of one inside the cluster would replace its policy.
    let command = format!(
        "there is no ValidatingWebhookConfiguration flipguard; apply the output of `flipguard manifests --namespace \
         flipguard-system --external-url https://{}`",
        shop.guard.listen()
    );
    let shown = shop.until("the missing registration is reported", || {
        Ok(shop.guard.ask("/metrics")?.1.contains("flipguard_registered 0") && shop.guard.log()?.contains(&command))
    });
    ensure!(shop.guard.ask("/readyz")?.0.contains("200"), "a missing registration must not make it unready");
    let file = manifests_file(shop)?;
    shop.plain_kubectl(&["apply", "-f", &file])?.succeeds()?;
    shown?;
    shop.guard.wait_until_it_guards(shop.control_plane)
}

/// The manifests with which the guard was installed.
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

/// Replaces the shared guard by one that only warns.
fn denials_warn_without_enforcement(shop: &Shop) -> Result<()> {
    green_starts(shop)?;
    shop.without_the_guard()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_flipguard"));
    let trial = Guard::start(shop.control_plane, binary, &["--enforcement", "warn"])?;
    shop.route("app", GREEN)?.passes_with_warning(&["target-not-ready: not enforced: would be denied"])?;
    let (_, metrics) = trial.ask("/metrics")?;
    ensure!(metrics.contains("flipguard_would_deny_total{rule=\"target-not-ready\"} 1"), "{metrics}");
    Ok(())
}

/// Starts a guard in place of the shared one, if that still runs.
fn another_guard(shop: &Shop, flags: &[&str]) -> Result<Guard> {
    shop.without_the_guard()?;
    let flags = [super::FLAGS, flags].concat();
    Guard::start(shop.control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), &flags)
}

/// The changes of a lost ledger may still commit until their time limit is over.
fn a_lost_ledger_delays_risky_changes(shop: &Shop) -> Result<()> {
    let guard = another_guard(shop, &["--unsafe-intent-ttl", "3s"])?;
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", GREEN)?.succeeds()?;
    // Once the history has the last flip, nothing but a change reads the ledger.
    let drained = || super::ledger::is_drained(shop);
    let delete = || {
        let ledger = format!("ledger-{}", shop.namespace);
        drained()?;
        shop.plain_kubectl(&["-n", "flipguard-system", "delete", "configmap", &ledger])?.succeeds()
    };
    delete()?;
    // kubectl retries by itself for ten seconds, so the first answer is read from the log.
    let started = Instant::now();
    shop.route("app", BLUE)?.passes_silently()?;
    ensure!(started.elapsed() > Duration::from_secs(2), "the change did not have to wait");
    let log = std::fs::read_to_string(guard.process().log_path())?;
    ensure!(log.contains("changes that it held may still be committed, so dangerous changes are denied"), "{log}");
    ensure!(log.contains("the ledger was lost, and begins anew"), "{log}");
    // This replica remembers the ledger, also where its entry in the index is deleted too.
    delete()?;
    let forget = format!(r#"[{{"op":"remove","path":"/data/{}"}}]"#, shop.namespace);
    let index = ["-n", "flipguard-system", "patch", "configmap", "flipguard-ledgers", "--type=json", "-p", &forget];
    shop.plain_kubectl(&index)?.succeeds()?;
    let started = Instant::now();
    shop.route("app", GREEN)?.passes_silently()?;
    ensure!(started.elapsed() > Duration::from_secs(2), "the change did not have to wait");
    // The same with everything: the ledgers, the index and the records.
    drained()?;
    shop.plain_kubectl(&["-n", "flipguard-system", "delete", "configmap", "--all"])?.succeeds()?;
    let started = Instant::now();
    shop.route("app", BLUE)?.passes_silently()?;
    ensure!(started.elapsed() > Duration::from_secs(2), "the change did not have to wait");
    let log = std::fs::read_to_string(guard.process().log_path())?;
    ensure!(log.contains("the index of the ledgers was lost, and begins anew"), "{log}");
    // Another replica that starts now knows from the registration that there was an index.
    guard.process().terminate()?;
    guard.process().wait(Duration::from_secs(20)).context("flipguard does not end on SIGTERM")?;
    shop.plain_kubectl(&["-n", "flipguard-system", "delete", "configmap", "--all"])?.succeeds()?;
    let guard = another_guard(shop, &["--unsafe-intent-ttl", "3s"])?;
    let log = std::fs::read_to_string(guard.process().log_path())?;
    ensure!(log.contains("ConfigMap flipguard-ledgers was deleted"), "{log}");
    shop.route("app", GREEN)?.passes_silently()
}

/// An intent expires once it has been watched for longer than any change can take.
fn abandoned_intents_expire(shop: &Shop) -> Result<()> {
    let guard = another_guard(shop, &["--unsafe-intent-ttl", "3s"])?;
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    super::ledger::give_up(shop, "deployment/app-green", &["scale", "deployment/app-green", "--replicas=0"])?;
    // The intent is watched from its first read on. kubectl retries by itself.
    shop.route("app", GREEN)?.passes_silently()?;
    let log = std::fs::read_to_string(guard.process().log_path())?;
    ensure!(log.contains(r#""outcome":"try-again""#), "the change did not have to wait");
    Ok(())
}

/// A replica starts while the API server cannot be reached, and then lacks a permission. It waits, and says for what.
fn a_start_waits_for_its_api_server(shop: &Shop) -> Result<()> {
    shop.without_the_guard()?;
    let forwarder = Forwarder::to(shop.control_plane)?;
    let binary = Path::new(env!("CARGO_BIN_EXE_flipguard"));
    let guard = Guard::start_unready(shop.control_plane, binary, &forwarder.kubeconfig, super::FLAGS)?;
    let says = |words: &str| {
        shop.until(&format!("/readyz says `{words}`"), || {
            Ok(guard.ask("/readyz").is_ok_and(|(status, body)| status.contains("503") && body.contains(words)))
        })
    };
    says("starting: cannot reach the API server")?;
    ensure!(guard.ask("/livez")?.0.contains("200"));
    let binding = shop.plain_kubectl(&["get", "clusterrolebinding", BINDING, "-o", "yaml"])?.out;
    shop.plain_kubectl(&["delete", "clusterrolebinding", BINDING])?.succeeds()?;
    forwarder.open()?;
    says("user `system:serviceaccount:flipguard-system:flipguard` lacks permissions: get deployments.apps")?;
    shop.apply(&binding)?.succeeds()?;
    guard.wait_until_it_guards(shop.control_plane)?;
    ensure!(guard.ask("/readyz")?.0.contains("200"));
    // One process all the time, and one line for each obstacle.
    let log = guard.log()?;
    ensure!(log.matches("cannot reach the API server").count() == 1, "{log}");
    guard.process().ensure_running()
}

/// A way to the API server that is closed at first.
struct Forwarder {
    kubeconfig: PathBuf,
    listen: SocketAddr,
    api_server: SocketAddr,
}

impl Forwarder {
    fn to(control_plane: &ControlPlane) -> Result<Self> {
        let own = control_plane.service_account_kubeconfig("flipguard-system", "flipguard")?;
        let text = std::fs::read_to_string(own)?;
        let url = text.split("server: https://").nth(1).and_then(|rest| rest.lines().next()).context("no server")?;
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let kubeconfig = control_plane.dir().join("forwarded.kubeconfig");
        std::fs::write(&kubeconfig, text.replace(url, &listen.to_string()))?;
        Ok(Self { kubeconfig, listen, api_server: url.parse()? })
    }

    /// Opens the way, until the end of the process.
    fn open(&self) -> Result<()> {
        let (listener, api_server) = (TcpListener::bind(self.listen)?, self.api_server);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(api_server) else { continue };
                let ends = [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))];
                for (from, to) in ends {
                    std::thread::spawn(move || std::io::copy(&mut from?, &mut to?));
                }
            }
        });
        Ok(())
    }
}

/// A flip whose intent expired without a further read is still recorded.
fn expired_flips_are_recorded(shop: &Shop) -> Result<()> {
    let _guard = another_guard(shop, &["--unsafe-intent-ttl", "2s"])?;
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", GREEN)?.passes_silently()?;
    // The intent is watched from here on. A dry run writes nothing.
    let scale = ["scale", "deployment/app-blue", "--replicas=0"];
    shop.kubectl(&[&scale[..], &["--dry-run=server"]].concat())?.passes_with_warning(&["held-scaled-down: "])?;
    // Only time passes; no event can be waited for.
    std::thread::sleep(Duration::from_secs(3));
    shop.kubectl(&scale)?.passes_with_warning(&["held-scaled-down: "])
}

fn concurrency_fresh_writes_nothing(shop: &Shop) -> Result<()> {
    let guard = another_guard(shop, &["--concurrency", "fresh"])?;
    green_starts(shop)?;
    shop.route("app", GREEN)?.is_refused("target-not-ready", &[])?;
    // Only the deciding objects are read: four kinds of workloads, and Pods. The policies are read once in two seconds.
    let log = std::fs::read_to_string(guard.process().log_path())?;
    let refused = log.lines().find(|line| line.contains("target-not-ready")).context("the denial is not in the log")?;
    ensure!([5, 6].iter().any(|reads| refused.contains(&format!(r#""reads":{reads},"#))), "{refused}");
    shop.pods_become("name=app-green", Pods::Ready)?;
    shop.rolled_out("deployment/app-green")?;
    shop.route("app", GREEN)?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-green"])?.is_refused("live-deleted", &[])?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.passes_silently()?;
    let ledger = format!("ledger-{}", shop.namespace);
    ensure!(!shop.plain_kubectl(&["-n", "flipguard-system", "get", "configmap", &ledger])?.ok, "there is a ledger");
    Ok(())
}

fn start_the_last_guard(shop: &Shop) -> Result<Guard> {
    shop.without_the_guard()?;
    Guard::start(shop.control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), super::FLAGS)
}

fn kill(guard: &Guard) -> Result<()> {
    guard.process().kill()?;
    guard.process().wait(Duration::from_secs(20)).context("flipguard does not end on SIGKILL")?;
    Ok(())
}

fn writes_that_wait_are_exact(shop: &Shop) -> Result<()> {
    kill(&start_the_last_guard(shop)?)?;
    super::filter::writes_that_wait_are_exact(shop)
}

/// Harmless changes do not depend on flipguard.
fn harmless_changes_pass_without_replicas(shop: &Shop) -> Result<()> {
    // One guard has run, and none is left, whichever tests ran before.
    let last = start_the_last_guard(shop)?;
    shop.blue_serves()?;
    kill(&last)?;
    let waits = |attempt: Attempt| {
        ensure!(!attempt.ok, "the change should fail without flipguard");
        attempt.says("failed calling webhook")
    };
    let plain = &[("app", "plain")];
    shop.deploy_ready("plain", plain, 2)?;
    shop.route("plain", plain)?.succeeds()?;
    shop.kubectl(&["scale", "deployment/plain", "--replicas=3"])?.succeeds()?;
    shop.rolled_out("deployment/plain")?;
    shop.kubectl(&["scale", "deployment/plain", "--replicas=1"])?.succeeds()?;
    shop.kubectl(&["set", "image", "deployment/plain", "web=web:2"])?.succeeds()?;
    shop.rolled_out("deployment/plain")?;
    shop.kubectl(&["scale", "deployment/plain", "--replicas=0"])?.succeeds()?;
    shop.kubectl(&["delete", "deployment/plain", "service/plain"])?.succeeds()?;
    // A label `version`, as a mesh wants it on every workload, is no sign of blue-green.
    let mesh = &[("app", "mesh"), ("version", "v1")];
    shop.deploy_ready("mesh", mesh, 2)?;
    shop.route("mesh", &[("app", "mesh")])?.succeeds()?;
    shop.kubectl(&["set", "image", "deployment/mesh", "web=web:2"])?.succeeds()?;
    shop.rolled_out("deployment/mesh")?;
    shop.kubectl(&["rollout", "undo", "deployment/mesh"])?.succeeds()?;
    shop.kubectl(&["scale", "deployment/mesh", "--replicas=0"])?.succeeds()?;
    // An override needs permission everywhere, so it waits.
    let overriding = "flipguard.dev/override=2030-01-01T00:00:00Z now";
    waits(shop.kubectl(&["annotate", "deployment", "mesh", overriding])?)?;
    shop.kubectl(&["delete", "deployment/mesh", "service/mesh"])?.succeeds()?;
    // New colours can be deployed.
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=3"])?.succeeds()?;
    shop.kubectl(&["label", "service", "app", "team=shop"])?.succeeds()?;
    shop.route("another", GREEN)?.succeeds()?;
    // Only risky changes fail.
    waits(shop.route("app", GREEN)?)?;
    waits(shop.kubectl(&["set", "image", "deployment/app-blue", "web=web:2"])?)?;
    waits(shop.kubectl(&["delete", "deployment", "app-blue"])?)?;
    waits(shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?)?;
    // A Scale shows no labels of the template. The name of the workload shows the colour, too.
    let by_name = labelled_in_the_template_alone("cart-green-2");
    shop.apply(&by_name)?.succeeds()?;
    waits(shop.kubectl(&["scale", "deployment/cart-green-2", "--replicas=0"])?)?;
    shop.apply(&labelled_in_the_template_alone("evergreen"))?.succeeds()?;
    shop.kubectl(&["scale", "deployment/evergreen", "--replicas=0"])?.succeeds()?;
    shop.plain_kubectl(&["delete", "namespace", &shop.namespace, "--timeout=90s"])?.succeeds()
}

/// A Deployment with a colour that its own selector does not have.
fn labelled_in_the_template_alone(name: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name} }}
spec:
  replicas: 1
  selector: {{ matchLabels: {{ own: {name} }} }}
  template:
    metadata: {{ labels: {{ own: {name}, color: green }} }}
    spec: {{ containers: [{{ name: web, image: \"web:1\" }}] }}
"
    )
}
