//! The registration: the replica that reconciles it, and the parts that are left unchanged.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use controlplane::{Gate, Guard, Place, free_port};
use flipguard::certs::TrustBundle;
use flipguard::model::{ColourScheme, Enforcement};
use flipguard::registration::endpoint::Address;
use flipguard::registration::reconciler::{Config, WebhookReconciler};
use flipguard::server::Readiness;
use flipguard::telemetry::Metrics;
use tokio::sync::watch;

use super::admission::{client, on_runtime};
use super::doctor::doctor;
use super::seeing::flipguard;
use super::shop::{Attempt, BLUE, GREEN, PATIENCE, Pods, Shop, service};
use super::{FLAGS, Test};

pub(crate) const TESTS: &[Test] = &[
    ("registration::edits_are_repaired_and_told", edits_are_repaired_and_told),
    ("registration::only_exemptions_by_others_stay", only_exemptions_by_others_stay),
    ("registration::the_first_of_two_installations_guards", the_first_of_two_installations_guards),
    ("registration::suspended_by_an_annotation", suspended_by_an_annotation),
    ("registration::a_newer_rendering_is_left_alone", a_newer_rendering_is_left_alone),
];

const VALIDATING: &str = "validatingwebhookconfiguration";
const MUTATING: &str = "mutatingwebhookconfiguration";

fn read(shop: &Shop, kind: &str, path: &str) -> Result<String> {
    let read = shop.plain_kubectl(&["get", kind, "flipguard", &format!("-o=jsonpath={path}")])?;
    read.succeeds()?;
    Ok(read.out)
}

fn patch(shop: &Shop, kind: &str, patch: &str) -> Result<()> {
    shop.plain_kubectl(&["patch", kind, "flipguard", "--type=json", "-p", patch])?.succeeds()
}

/// The resource versions of both configurations, to detect writes.
fn versions(shop: &Shop) -> Result<(String, String)> {
    let version = "{.metadata.resourceVersion}";
    Ok((read(shop, VALIDATING, version)?, read(shop, MUTATING, version)?))
}

/// The webhooks of both configurations, without the fields that the API server manages.
fn webhooks(shop: &Shop) -> Result<String> {
    Ok(read(shop, VALIDATING, "{.webhooks}")? + &read(shop, MUTATING, "{.webhooks}")?)
}

fn metric(guard: &Guard, name: &str) -> Result<u64> {
    let (_, metrics) = guard.ask("/metrics")?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in {metrics}"))?.parse()?)
}

/// A reconciler reads the registration every three seconds. This time is enough for two reads.
const LOOKS: Duration = Duration::from_secs(7);

/// Each edit by hand is undone within seconds, with one log line that names the field, its editor and the right way.
fn edits_are_repaired_and_told(shop: &Shop) -> Result<()> {
    let right = webhooks(shop)?;
    let before = metric(shop.guard, "flipguard_registration_repairs_total")?;
    let stranger = r#"{"name":"z.example.com","sideEffects":"None","admissionReviewVersions":["v1"],
        "failurePolicy":"Ignore","clientConfig":{"url":"https://127.0.0.1:1/z"}}"#;
    let add = format!(r#"{{"op":"add","path":"/webhooks/-","value":{stranger}}}"#);
    let edits = [
        (
            r#"{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}"#,
            "guard.flipguard.dev: failurePolicy is Ignore, not Fail",
        ),
        (
            r#"{"op":"replace","path":"/webhooks/1/rules/0/operations","value":["UPDATE"]}"#,
            "guard-new-services.flipguard.dev: rules",
        ),
        (
            r#"{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":30}"#,
            "guard.flipguard.dev: timeoutSeconds is 30, not 5",
        ),
        (
            r#"{"op":"add","path":"/webhooks/0/matchConditions/-","value":{"name":"never","expression":"false"}}"#,
            "guard.flipguard.dev: matchConditions",
        ),
        (r#"{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}"#, "guard.flipguard.dev: clientConfig.caBundle"),
        (r#"{"op":"remove","path":"/webhooks/0"}"#, "guard.flipguard.dev is missing"),
        (&add, "z.example.com is not flipguard's"),
    ];
    for (number, (edit, found)) in (1..).zip(edits) {
        patch(shop, VALIDATING, &format!("[{edit}]"))?;
        let done = || metric(shop.guard, "flipguard_registration_repairs_total");
        shop.until(&format!("repair {number} is counted"), || Ok(done()? == before + number))?;
        ensure!(webhooks(shop)? == right, "not repaired: {found}");
        let log = shop.guard.log()?;
        let line = log.lines().rfind(|line| line.contains("repaired the registration")).context("no log line")?;
        for words in [found, "flipguard.dev/suspend", "ValidatingWebhookConfiguration", "WARN"] {
            ensure!(line.contains(words), "`{words}` is missing in {line}");
        }
        // The API server records no editor that only removes fields.
        let removes = edit.contains(r#""op":"remove""#);
        ensure!(removes || line.contains(r#""by":"kubectl-patch at 20"#), "the editor is missing in {line}");
    }
    ensure!(shop.guard.log()?.contains("another client keeps writing it, "), "seven edits in a row should be noticed");
    // Another order does the same, so it stays.
    let order = r#"[{"op":"move","from":"/webhooks/0","path":"/webhooks/1"}]"#;
    patch(shop, VALIDATING, order)?;
    let moved = versions(shop)?;
    std::thread::sleep(LOOKS);
    ensure!(versions(shop)? == moved, "another order was repaired");
    patch(shop, VALIDATING, order)
}

/// Managed clusters exempt their own namespaces by an entry in the selector, and restore the entry if it is removed. An
/// entry that admits only some namespaces would switch off the guard elsewhere.
fn only_exemptions_by_others_stay(shop: &Shop) -> Result<()> {
    let add = r#"[{"op":"add","path":"/webhooks/0/namespaceSelector/matchExpressions/0",
        "value":{"key":"control-plane","operator":"DoesNotExist"}},
        {"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]"#;
    patch(shop, VALIDATING, add)?;
    let add = r#"[{"op":"add","path":"/webhooks/0/namespaceSelector/matchLabels","value":{"flipguard":"on"}},
        {"op":"add","path":"/webhooks/0/namespaceSelector/matchExpressions/0",
        "value":{"key":"team","operator":"In","values":["shop"]}}]"#;
    patch(shop, MUTATING, add)?;
    shop.until("the drift is repaired", || Ok(read(shop, VALIDATING, "{.webhooks[0].failurePolicy}")? == "Fail"))?;
    shop.until("the entries that limit the guard are removed", || {
        let selector = read(shop, MUTATING, "{.webhooks[0].namespaceSelector}")?;
        Ok(!selector.contains("matchLabels") && !selector.contains("team"))
    })?;
    shop.until("the log says so", || {
        let log = shop.guard.log()?;
        Ok(log.contains("a namespaceSelector admits only flipguard=on; a namespaceSelector admits only team In (shop)")
            && log.contains("to exempt namespaces, use --exempt-namespaces"))
    })?;
    shop.until("what stays is logged, too", || {
        Ok(shop.guard.log()?.contains(r#""additions":"control-plane DoesNotExist""#)
            && metric(shop.guard, "flipguard_selector_additions")? == 1)
    })?;
    let before = versions(shop)?;
    std::thread::sleep(LOOKS);
    ensure!(versions(shop)? == before, "the registration is written repeatedly");
    let keys = read(shop, VALIDATING, "{.webhooks[0].namespaceSelector.matchExpressions[*].key}")?;
    ensure!(keys == "control-plane kubernetes.io/metadata.name", "{keys}");
    let remove = r#"[{"op":"remove","path":"/webhooks/0/namespaceSelector/matchExpressions/0"}]"#;
    patch(shop, VALIDATING, remove)
}

/// A second installation neither writes in turns with the first, nor takes its rights. An admin hands over.
fn the_first_of_two_installations_guards(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    shop.route("app", BLUE)?.passes_silently()?;
    let before = versions(shop)?;
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let url = format!("https://{listen}");
    let place = Place { namespace: "second", listen, url: &url };
    // It has no ledgers, and cannot know the changes in those of the other one: it waits until they can no longer commit.
    let flags = [FLAGS, &["--unsafe-intent-ttl", "3s"]].concat();
    let second = Guard::install_at(shop.control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), &place, &flags)?;
    let owns = "namespace flipguard-system owns ValidatingWebhookConfiguration flipguard";
    let hand_over = |to: &str| {
        let both = "validatingwebhookconfiguration,mutatingwebhookconfiguration";
        let owner = format!("flipguard.dev/owner={to}");
        shop.plain_kubectl(&["annotate", "--overwrite", both, "flipguard", &owner])?.succeeds()
    };
    shop.until("the second one says who owns the registration", || {
        let log = second.log()?;
        Ok(log.contains(owns) && log.contains("to hand it over to this one: kubectl annotate --overwrite"))
    })?;
    let (ready, notes) = second.ask("/readyz")?;
    ensure!(ready.contains("200") && notes.contains(owns), "{ready}: {notes}");
    ensure!(metric(&second, "flipguard_registered")? == 0 && metric(shop.guard, "flipguard_registered")? == 1);
    let said = doctor(shop, &["--namespace", "second"])?;
    said.says("BROKEN   registration  another flipguard, in namespace flipguard-system, called at https://127.0.0.1:")?;
    std::thread::sleep(LOOKS);
    ensure!(versions(shop)? == before, "the second installation wrote the registration");
    // The first one still has its rights, and judges.
    shop.route("app", GREEN)?.is_refused("target-not-ready", &[])?;
    let judged = |guard: &Guard| -> Result<usize> { Ok(guard.log()?.matches(&shop.namespace).count()) };
    ensure!(judged(&second)? == 0);

    hand_over("second")?;
    shop.until("the second one is registered", || Ok(metric(&second, "flipguard_registered")? == 1))?;
    shop.until("the first one says who owns it now", || {
        Ok(shop.guard.log()?.contains("namespace second owns ValidatingWebhookConfiguration flipguard"))
    })?;
    second.wait_until_it_guards(shop.control_plane)?;
    shop.until("the second one judges", || {
        let flip = shop.route("app", GREEN)?;
        Ok(flip.err.contains("(target-not-ready): ") && judged(&second)? > 0)
    })?;

    hand_over("flipguard-system")?;
    shop.until("the first one is registered", || Ok(metric(shop.guard, "flipguard_registered")? == 1))?;
    second.process().terminate()?;
    // Without a webhook, nothing is left of the entries by which the second one exempted itself.
    patch(shop, VALIDATING, r#"[{"op":"remove","path":"/webhooks"}]"#)?;
    patch(shop, MUTATING, r#"[{"op":"remove","path":"/webhooks"}]"#)?;
    shop.until("the first one guards again", || {
        let selector = read(shop, VALIDATING, "{.webhooks[0].namespaceSelector.matchExpressions[*].values}")?;
        Ok(!selector.contains("second") && read(shop, VALIDATING, "{.webhooks[0].name}")? == "guard.flipguard.dev")
    })?;
    shop.plain_kubectl(&["delete", "namespace", "second", "--timeout=90s"])?.succeeds()?;
    shop.plain_kubectl(&["delete", "clusterrolebinding", "flipguard:second"])?.succeeds()?;
    shop.guard.wait_until_it_guards(shop.control_plane)
}

fn suspended_by_an_annotation(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("app", GREEN)?.is_refused("target-not-ready", &[])?;
    let both = format!("{VALIDATING}/flipguard,{MUTATING}/flipguard").replace(',', " ");
    let annotate = |annotation: &str| {
        let mut args = vec!["annotate"];
        args.extend(both.split(' '));
        args.push(annotation);
        shop.plain_kubectl(&args)?.succeeds()
    };
    annotate("flipguard.dev/suspend=the shop is on fire")?;
    shop.until("nothing is registered", || {
        Ok(read(shop, VALIDATING, "{.webhooks}")?.is_empty() && read(shop, MUTATING, "{.webhooks}")?.is_empty())
    })?;
    shop.until("flips are not judged", || {
        let flip = shop.route("app", GREEN)?;
        Ok(flip.ok && flip.err.is_empty())
    })?;
    shop.until("the suspension is reported", || {
        let says = "flipguard.dev/suspend on ValidatingWebhookConfiguration flipguard: the shop is on fire";
        Ok(shop.guard.ask("/metrics")?.1.contains("flipguard_registered 0") && shop.guard.log()?.contains(says))
    })?;
    ensure!(shop.guard.ask("/readyz")?.0.contains("200"), "being suspended must not make it unready");
    // Those who look are told.
    let why = "not guarded: flipguard is suspended: the shop is on fire (annotation flipguard.dev/suspend)";
    flipguard(shop, &["status", "-n", &shop.namespace])?.says(why)?;
    let audit = flipguard(shop, &["audit", "-o", "wide"])?;
    ensure!(!audit.ok, "{}", audit.out);
    audit.says("error not-guarding /ValidatingWebhookConfiguration/flipguard: flipguard is suspended")?;
    let before = versions(shop)?;
    std::thread::sleep(LOOKS);
    ensure!(versions(shop)? == before, "the registration is written repeatedly");
    annotate("flipguard.dev/suspend-")?;
    shop.until("flipguard guards again", || Ok(shop.guard.ask("/metrics")?.1.contains("flipguard_registered 1")))?;
    shop.guard.wait_until_it_guards(shop.control_plane)?;
    shop.route("app", BLUE)?.succeeds()
}

/// A newer version takes over the registration. The older one never overwrites it, however long both run.
fn a_newer_rendering_is_left_alone(shop: &Shop) -> Result<()> {
    let by = "{.metadata.annotations.flipguard\\.dev/rendered-by}";
    ensure!(read(shop, VALIDATING, by)? == env!("CARGO_PKG_VERSION"));
    let bundle = read(shop, VALIDATING, "{.webhooks[0].clientConfig.caBundle}")?;
    // A change by another program, with other values and a newer version.
    let newer = r#"[{"op":"add","path":"/metadata/annotations/flipguard.dev~1rendered-by","value":"99.0.0"},
        {"op":"replace","path":"/webhooks/0/timeoutSeconds","value":7}]"#;
    patch(shop, VALIDATING, newer)?;
    patch(shop, MUTATING, newer)?;
    let holder = || -> Result<String> {
        let args = ["-n", "flipguard-system", "get", "lease", "flipguard-keeper", "-o=jsonpath={.spec.holderIdentity}"];
        Ok(shop.plain_kubectl(&args)?.out)
    };
    shop.until("the older version releases the Lease", || Ok(holder()?.is_empty()))?;
    shop.until("nobody keeps it, and that is said", || {
        Ok(metric(shop.guard, "flipguard_registered")? == 0
            && shop.guard.log()?.contains("none of its replicas holds the Lease; this version takes over in 2m"))
    })?;
    let before = versions(shop)?;
    std::thread::sleep(LOOKS);
    ensure!(versions(shop)? == before && read(shop, VALIDATING, "{.webhooks[0].timeoutSeconds}")? == "7");
    // The newer version runs beside the older one. It writes the registration once, and then neither writes.
    on_runtime(async {
        let template = "-o=go-template={{index .data \"ca.crt\" | base64decode}}|{{.data.token | base64decode}}";
        let trust = shop.plain_kubectl(&["-n", "flipguard-system", "get", "secret", "flipguard", template])?.out;
        let (bundle, token) = trust.split_once('|').context("no identity")?;
        let (_trust, trusted) = watch::channel(TrustBundle { bundle: bundle.to_owned(), token: token.to_owned() });
        let (registered, _registered) = watch::channel(None);
        let config = |version: &str, takeover| Config {
            address: Address::Url(format!("https://{}", shop.guard.listen())),
            colours: ColourScheme::default(),
            own_namespace: "flipguard-system".to_owned(),
            enforcement: Enforcement::Deny,
            exempt_users: Vec::new(),
            exempt_namespaces: Vec::new(),
            labels: true,
            version: version.to_owned(),
            replica: format!("replica-{version}"),
            takeover,
        };
        let client = client(shop).await?;
        let reconciler = |config| {
            let (metrics, readiness) = (Arc::new(Metrics::default()), Arc::new(Readiness::default()));
            WebhookReconciler::new(client.clone(), config, trusted.clone(), registered.clone(), metrics, readiness)
        };
        let mut newer = reconciler(config("99.1.0", Duration::from_secs(120)));
        let quiet = async {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while read(shop, VALIDATING, by)? != "99.1.0" || read(shop, MUTATING, by)? != "99.1.0" {
                ensure!(tokio::time::Instant::now() < deadline, "the newer version does not take over");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            ensure!(holder()? == "replica-99.1.0");
            ensure!(
                read(shop, VALIDATING, "{.webhooks[0].timeoutSeconds}")? == "5",
                "the newer version writes the registration"
            );
            let before = versions(shop)?;
            tokio::time::sleep(LOOKS).await;
            ensure!(versions(shop)? == before, "two versions overwrite each other");
            ensure!(metric(shop.guard, "flipguard_registered")? == 1, "a newer version that keeps it counts, too");
            anyhow::Ok(())
        };
        tokio::select! {
            ended = newer.run() => match ended {},
            done = quiet => done?,
        }
        newer.give_up().await;
        // The newer version is gone for good. An older one takes over after a while.
        let mut older = reconciler(config(env!("CARGO_PKG_VERSION"), Duration::from_secs(2)));
        let taken_over = async {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            let own = env!("CARGO_PKG_VERSION");
            while read(shop, VALIDATING, by)? != own || read(shop, MUTATING, by)? != own {
                ensure!(tokio::time::Instant::now() < deadline, "nobody takes over");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            ended = older.run() => match ended {},
            done = taken_over => done?,
        }
        older.give_up().await;
        Ok(())
    })?;
    shop.until("the shared guard keeps it again", || Ok(metric(shop.guard, "flipguard_registered")? == 1))?;
    // An admin need not wait.
    patch(shop, VALIDATING, newer)?;
    patch(shop, MUTATING, newer)?;
    let older = r#"[{"op":"remove","path":"/metadata/annotations/flipguard.dev~1rendered-by"}]"#;
    patch(shop, VALIDATING, older)?;
    patch(shop, MUTATING, older)?;
    shop.until("the older version writes the registration again", || {
        Ok(read(shop, VALIDATING, by)? == env!("CARGO_PKG_VERSION")
            && read(shop, MUTATING, by)? == env!("CARGO_PKG_VERSION"))
    })?;
    ensure!(read(shop, VALIDATING, "{.webhooks[0].clientConfig.caBundle}")? == bundle);
    Ok(())
}

/// A URL that answers flipguard itself, but not the API server. Nothing depends on it, and everything says why.
pub(crate) fn nothing_waits_for_an_address_that_nobody_answers(shop: &Shop) -> Result<()> {
    shop.without_the_guard()?;
    remove_the_registration(shop)?;
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let gate = Gate::closed_for(shop.control_plane.api_server().id(), listen)?;
    let url = format!("https://{}", gate.listen());
    let place = Place { namespace: "flipguard-system", listen, url: &url };
    let guard = Guard::install_at(shop.control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), &place, FLAGS)?;
    shop.until("the log says why", || {
        let log = guard.log()?;
        Ok(log.contains("not registered: the API server does not reach flipguard") && log.contains("deadline exceeded"))
    })?;
    ensure!(read(shop, VALIDATING, "{.webhooks[*].name}")? == "probe.flipguard.dev");
    ensure!(read(shop, MUTATING, "{.webhooks}")?.is_empty());
    // Nothing is denied, and nothing waits.
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    let started = Instant::now();
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("app", GREEN)?.passes_silently()?;
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=0"])?.passes_silently()?;
    shop.kubectl(&["set", "image", "deployment/app-green", "web=web:2"])?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.passes_silently()?;
    ensure!(started.elapsed() < Duration::from_secs(5), "the changes took {:?}", started.elapsed());
    let why = "the API server does not reach flipguard: context deadline exceeded";
    let (ready, notes) = guard.ask("/readyz")?;
    ensure!(ready.contains("200") && notes.contains(why), "{ready}: {notes}");
    ensure!(metric(&guard, "flipguard_registered")? == 0 && metric(&guard, "flipguard_last_reached_seconds")? == 0);
    let said = doctor(shop, &[])?;
    said.says("BROKEN   registration  it holds only the probe: the API server was not yet seen to reach flipguard")?;
    said.says(&format!("BROKEN   probe         {why}"))?;
    ensure!(!said.ok);
    gate.open();
    guard.wait_until_it_guards(shop.control_plane)?;
    shop.until("everything says so", || {
        Ok(metric(&guard, "flipguard_registered")? == 1
            && metric(&guard, "flipguard_last_reached_seconds")? > 1_700_000_000
            && guard.ask("/readyz")?.1 == "ok\n")
    })?;
    doctor(shop, &[])?.says("ok       probe         the API server reaches flipguard")
}

/// While flipguard only warns, its end stops nothing. Exempt namespaces are not even warned in.
pub(crate) fn a_trial_stops_nothing(shop: &Shop) -> Result<()> {
    shop.without_the_guard()?;
    remove_the_registration(shop)?;
    let exempt = format!("{}-exempt", shop.namespace);
    let flags = ["--enforcement", "warn", "--exempt-namespaces", &exempt];
    let guard =
        Guard::start(shop.control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), &[FLAGS, &flags].concat())?;
    for kind in [VALIDATING, MUTATING] {
        let policies = read(shop, kind, "{.webhooks[*].failurePolicy}")?;
        ensure!(!policies.is_empty() && policies.split(' ').all(|policy| policy == "Ignore"), "{kind}: {policies}");
    }
    let log = guard.log()?;
    ensure!(log.contains(&format!(r#""failure_policy":"Ignore","exempt_namespaces":"{exempt}""#)), "{log}");
    let said = doctor(shop, &["--enforcement", "warn", "--exempt-namespaces", &exempt])?;
    said.says("webhooks, as this version renders them; --enforcement is warn, so each has failurePolicy Ignore")?;
    said.succeeds()?;
    ensure!(!doctor(shop, &["--enforcement", "warn"])?.ok, "the exempt namespaces are a difference");

    let changes = |words: &dyn Fn(Attempt) -> Result<()>| {
        words(shop.route("app", GREEN)?)?;
        words(shop.route("another", GREEN)?)?;
        words(shop.kubectl(&["set", "image", "deployment/app-green", "web=web:2"])?)?;
        words(shop.kubectl(&["scale", "deployment/app-green", "--replicas=0"])?)?;
        words(shop.kubectl(&["delete", "deployment", "app-green"])?)
    };
    shop.deploy_ready("app-blue", BLUE, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    shop.route("app", BLUE)?.passes_silently()?;
    changes(&|attempt| attempt.succeeds())?;
    ensure!(metric_of_rule(&guard, "target-not-ready")?, "the flip should have been warned of");
    // In an exempt namespace, the same flip is not judged.
    shop.plain_kubectl(&["create", "namespace", &exempt])?.succeeds()?;
    let in_exempt = format!("--namespace={exempt}");
    for colour in [BLUE, GREEN] {
        shop.apply_with(&service("app", colour), &[&in_exempt])?.passes_silently()?;
    }
    ensure!(!guard.log()?.contains(&format!(r#""namespace":"{exempt}""#)), "an exempt namespace was judged");

    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    shop.route("app", BLUE)?.succeeds()?;
    guard.process().kill()?;
    guard.process().wait(Duration::from_secs(20)).context("flipguard does not end on SIGKILL")?;
    changes(&|attempt| attempt.passes_silently())?;
    let webhooks = read(shop, VALIDATING, "{.webhooks[*].name}")?;
    ensure!(webhooks.contains("guard.flipguard.dev"), "it should still be registered: {webhooks}");
    Ok(())
}

fn metric_of_rule(guard: &Guard, rule: &str) -> Result<bool> {
    Ok(guard.ask("/metrics")?.1.contains(&format!("flipguard_would_deny_total{{rule=\"{rule}\"}}")))
}

/// Deletes both configurations. The next installation creates them empty.
fn remove_the_registration(shop: &Shop) -> Result<()> {
    let both = "validatingwebhookconfiguration,mutatingwebhookconfiguration";
    shop.plain_kubectl(&["delete", both, "flipguard", "--ignore-not-found"])?.succeeds()
}

/// Two replicas of the same version with different settings. The shared guard has ended.
pub(crate) fn two_replicas_do_not_overwrite_each_other(shop: &Shop) -> Result<()> {
    shop.without_the_guard()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_flipguard"));
    let first = Guard::start(shop.control_plane, binary, FLAGS)?;
    let url = |guard: &Guard| format!("https://{}/", guard.listen());
    let second = Guard::start_beside(shop.control_plane, binary, FLAGS)?;
    shop.until("the second replica waits", || Ok(second.log()?.contains("keeps it (Lease flipguard-keeper)")))?;
    let before = versions(shop)?;
    std::thread::sleep(LOOKS);
    ensure!(versions(shop)? == before, "both replicas write");
    let called = || read(shop, VALIDATING, "{.webhooks[0].clientConfig.url}");
    ensure!(called()?.starts_with(&url(&first)));
    // A replica that ends releases the Lease at once.
    first.process().terminate()?;
    shop.until("the second replica takes over", || Ok(called()?.starts_with(&url(&second))))?;
    // After a replica is killed, another one takes over when the Lease expires.
    let third = Guard::start_beside(shop.control_plane, binary, FLAGS)?;
    second.process().kill()?;
    shop.until("the third replica takes over", || Ok(called()?.starts_with(&url(&third))))?;
    third.wait_until_it_guards(shop.control_plane)?;
    Ok(())
}
