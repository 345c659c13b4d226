//! The registration: the replica that reconciles it, and the parts that are left unchanged.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use controlplane::Guard;
use flipguard::certs::TrustBundle;
use flipguard::model::ColourScheme;
use flipguard::registration::reconciler::{Config, WebhookReconciler};
use flipguard::registration::webhooks::Address;
use flipguard::telemetry::Metrics;
use tokio::sync::watch;

use super::admission::{client, on_runtime};
use super::shop::{BLUE, GREEN, Pods, Shop};
use super::{FLAGS, Test};

pub(crate) const TESTS: &[Test] = &[
    ("registration::additions_by_others_stay", additions_by_others_stay),
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

/// A reconciler reads the registration every three seconds. This time is enough for two reads.
const LOOKS: Duration = Duration::from_secs(7);

/// Managed clusters exempt their own namespaces by an entry in the selector, and restore the entry if it is removed.
fn additions_by_others_stay(shop: &Shop) -> Result<()> {
    let add = r#"[{"op":"add","path":"/webhooks/0/namespaceSelector/matchExpressions/0",
        "value":{"key":"control-plane","operator":"DoesNotExist"}},
        {"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]"#;
    patch(shop, VALIDATING, add)?;
    let add = r#"[{"op":"add","path":"/webhooks/0/namespaceSelector/matchLabels","value":{"managed":"no"}}]"#;
    patch(shop, MUTATING, add)?;
    shop.until("the drift is repaired", || Ok(read(shop, VALIDATING, "{.webhooks[0].failurePolicy}")? == "Fail"))?;
    let before = versions(shop)?;
    std::thread::sleep(LOOKS);
    ensure!(versions(shop)? == before, "the registration is written repeatedly");
    let keys = read(shop, VALIDATING, "{.webhooks[0].namespaceSelector.matchExpressions[*].key}")?;
    ensure!(keys == "control-plane kubernetes.io/metadata.name", "{keys}");
    let labels = read(shop, MUTATING, "{.webhooks[0].namespaceSelector.matchLabels}")?;
    ensure!(labels == r#"{"managed":"no"}"#, "{labels}");
    let remove = r#"[{"op":"remove","path":"/webhooks/0/namespaceSelector/matchExpressions/0"}]"#;
    patch(shop, VALIDATING, remove)?;
    patch(shop, MUTATING, r#"[{"op":"remove","path":"/webhooks/0/namespaceSelector/matchLabels"}]"#)
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
    ensure!(
        shop.guard.ask("/metrics")?.1.contains("flipguard_registered 1"),
        "a registration by a newer version counts too"
    );
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
        let wanted = Config {
            address: Address::Url(format!("https://{}", shop.guard.listen())),
            colours: ColourScheme::default(),
            own_namespace: "flipguard-system".to_owned(),
            exempt_users: Vec::new(),
            labels: true,
            version: "99.1.0".to_owned(),
            replica: "newer".to_owned(),
        };
        let mut newer =
            WebhookReconciler::new(client(shop).await?, wanted, trusted, registered, Arc::new(Metrics::default()));
        let quiet = async {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
            while read(shop, VALIDATING, by)? != "99.1.0" || read(shop, MUTATING, by)? != "99.1.0" {
                ensure!(tokio::time::Instant::now() < deadline, "the newer version does not take over");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            ensure!(holder()? == "newer");
            ensure!(
                read(shop, VALIDATING, "{.webhooks[0].timeoutSeconds}")? == "5",
                "the newer version writes the registration"
            );
            let before = versions(shop)?;
            tokio::time::sleep(LOOKS).await;
            ensure!(versions(shop)? == before, "two versions overwrite each other");
            anyhow::Ok(())
        };
        tokio::select! {
            ended = newer.run() => match ended {},
            done = quiet => done?,
        }
        newer.give_up().await;
        Ok(())
    })?;
    // A deliberate downgrade needs a manual step, which the log names.
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
