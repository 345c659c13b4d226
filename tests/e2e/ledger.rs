//! The ledger: flips are recorded, the previous colour is held, rollbacks are easy, and abandoned changes block nothing
//! else.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::Test;
use super::admission::{client, on_runtime, send};
use super::shop::{BLUE, GREEN, Pods, Shop, service};
use super::tls::connect;

pub(crate) const TESTS: &[Test] = &[
    ("ledger::the_previous_colour_is_held", the_previous_colour_is_held),
    ("ledger::a_hold_on_the_service_denies", a_hold_on_the_service_denies),
    ("ledger::going_back_ends_the_hold", going_back_ends_the_hold),
    ("ledger::deleting_the_service_ends_the_hold", deleting_the_service_ends_the_hold),
    ("ledger::a_rollback_is_never_harder", a_rollback_is_never_harder),
    ("ledger::a_changed_template_is_no_rollback", a_changed_template_is_no_rollback),
    ("ledger::a_recreated_service_is_a_flip", a_recreated_service_is_a_flip),
    ("ledger::a_recreated_service_may_not_opt_out", a_recreated_service_may_not_opt_out),
    ("ledger::a_deleted_stack_can_be_reinstalled", a_deleted_stack_can_be_reinstalled),
    ("ledger::a_dry_run_writes_nothing", a_dry_run_writes_nothing),
    ("ledger::entries_are_readable", entries_are_readable),
    ("ledger::an_unreadable_ledger_denies", an_unreadable_ledger_denies),
    ("ledger::abandoned_intents_block_only_conflicts", abandoned_intents_block_only_conflicts),
    ("ledger::a_writer_who_never_commits_blocks_nobody_else", a_writer_who_never_commits_blocks_nobody_else),
    ("ledger::an_abandoned_flip_is_not_recorded", an_abandoned_flip_is_not_recorded),
    ("ledger::an_undelivered_answer_is_withdrawn", an_undelivered_answer_is_withdrawn),
    ("ledger::without_traffic_services_nothing_is_written", without_traffic_services_nothing_is_written),
];

const HOLD: &str = "flipguard.dev/hold=10m";

/// Deploys both colours and flips the Service from blue to green.
fn flipped(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.blue_serves()?;
    shop.has_an_age("app-blue")?;
    shop.route("app", GREEN)?.passes_silently()
}

fn the_previous_colour_is_held(shop: &Shop) -> Result<()> {
    flipped(shop)?;
    let scaled = shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0", "--dry-run=server"])?;
    scaled.passes_with_warning(&["held-scaled-down: Service app switched away from this Deployment"])?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?.passes_with_warning(&["held-scaled-down: "])?;
    shop.is_at_zero("app-blue")?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1"])?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.passes_with_warning(&["held-deleted: "])
}

fn a_hold_on_the_service_denies(shop: &Shop) -> Result<()> {
    flipped(shop)?;
    shop.kubectl(&["annotate", "service", "app", HOLD])?.succeeds()?;
    let scale = ["scale", "deployment/app-blue", "--replicas=0"];
    shop.kubectl(&scale)?
        .is_refused("held-scaled-down", &["Service app switched away from this Deployment", "Retry in"])?;
    let patch = r#"{"spec":{"replicas":0}}"#;
    shop.kubectl(&["patch", "deployment", "app-blue", "-p", patch])?.is_refused("held-scaled-down", &[])?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.is_refused("held-deleted", &["switch back to color=blue"])?;
    // The colour is still held. A tool that starts with a dry run gets a warning and continues.
    shop.kubectl(&[&scale[..], &["--dry-run=server"]].concat())?.passes_with_warning(&["would be denied now"])?;
    // The live colour is guarded as always. A scale-down that keeps enough Pods for a rollback is allowed.
    shop.kubectl(&["delete", "deployment", "app-green"])?.is_refused("live-deleted", &[])?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=3"])?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1"])?.succeeds()
}

fn going_back_ends_the_hold(shop: &Shop) -> Result<()> {
    flipped(shop)?;
    shop.kubectl(&["annotate", "service", "app", HOLD])?.succeeds()?;
    shop.route("app", BLUE)?.passes_silently()?;
    // After a rollback, the abandoned colour is not held.
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=0"])?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-green"])?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.is_refused("live-deleted", &[])
}

fn deleting_the_service_ends_the_hold(shop: &Shop) -> Result<()> {
    flipped(shop)?;
    shop.kubectl(&["annotate", "service", "app", HOLD])?.succeeds()?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.is_refused("held-deleted", &[])?;
    shop.kubectl(&["delete", "service", "app"])?.succeeds()?;
    shop.kubectl(&["delete", "deployment", "app-blue", "app-green"])?.passes_silently()
}

/// A rollback needs half of the Pods ready; a flip forward needs all of them.
fn a_rollback_is_never_harder(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 2)?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    shop.route("app", BLUE)?.passes_silently()?;
    half_of(shop, "app-green")?;
    shop.route("app", GREEN)?.is_refused("target-not-ready", &["1 of 2 pods ready"])?;
    shop.kubectl(&["delete", "pods", "-l", "name=app-green"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    shop.route("app", GREEN)?.succeeds()?;
    half_of(shop, "app-blue")?;
    // The rollback needs neither all Pods ready nor as many as serve now. That there are fewer is said.
    shop.route("app", BLUE)?.passes_with_warning(&["capacity-below-live: "])
}

fn a_changed_template_is_no_rollback(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 2)?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("app", GREEN)?.passes_silently()?;
    shop.kubectl(&["set", "image", "deployment/app-blue", "web=web:2"])?.succeeds()?;
    shop.rolled_out("deployment/app-blue")?;
    half_of(shop, "app-blue")?;
    shop.route("app", BLUE)?.is_refused("target-not-ready", &["1 of 2 pods ready"])
}

/// Makes one of two Pods unready.
pub(crate) fn half_of(shop: &Shop, deployment: &str) -> Result<()> {
    let pods =
        shop.kubectl(&["get", "pods", "-l", &format!("name={deployment}"), "-o=jsonpath={.items[*].metadata.name}"])?;
    let first = pods.out.split(' ').next().context("no pods")?.to_owned();
    shop.kubectl(&["annotate", "pod", &first, "--overwrite", "kwok.flipguard.dev/pod=starting"])?.succeeds()?;
    shop.wait_for(&format!("deployment/{deployment}"), "{.status.readyReplicas}", "1")
}

fn a_recreated_service_is_a_flip(shop: &Shop) -> Result<()> {
    shop.deploy("app-green", GREEN, 1, Pods::Failing("ImagePullBackOff"))?;
    shop.blue_serves()?;
    shop.kubectl(&["delete", "service", "app"])?.passes_with_warning(&["service-deleted: "])?;
    shop.route("app", GREEN)?
        .passes_with_warning(&["service-recreated: a flip from color=blue", "To serve at once, select color=blue"])?;
    // Another name has no past, and back to what it had always passes.
    shop.route("app-too", GREEN)?.succeeds()?;
    shop.route("app", BLUE)?.passes_silently()?;
    // The Service exists again, so its deletion no longer counts.
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?.is_refused("live-scaled-down", &[])
}

fn a_recreated_service_may_not_opt_out(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.kubectl(&["delete", "service", "app"])?.succeeds()?;
    shop.kubectl(&["create", "role", "editor", "--verb=get,create,patch", "--resource=services"])?.succeeds()?;
    shop.kubectl(&["create", "rolebinding", "editors", "--role=editor", "--user=alice"])?.succeeds()?;
    for annotation in ["guard: \"false\"", "role: preview"] {
        let yaml = service("app", BLUE).replace(
            "metadata: {name: app}",
            &format!("metadata: {{name: app, annotations: {{flipguard.dev/{annotation}}}}}"),
        );
        shop.apply_with(&yaml, &["--as=alice"])?.is_refused("opt-out-not-permitted", &[])?;
    }
    shop.route("app", BLUE)?.passes_silently()
}

/// Helm's uninstall, and an install of a new version within a minute.
fn a_deleted_stack_can_be_reinstalled(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.kubectl(&["delete", "service", "app"])?.succeeds()?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.passes_silently()?;
    shop.route("app", GREEN)?.passes_silently()?;
    shop.deploy_ready("app-green", GREEN, 1)
}

fn a_dry_run_writes_nothing(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.blue_serves()?;
    shop.apply_with(&service("app", GREEN), &["--dry-run=server"])?.succeeds()?;
    ensure!(
        !shop.plain_kubectl(&["-n", "flipguard-system", "get", "configmap", &ledger(shop)])?.ok,
        "a dry run wrote to the ledger"
    );
    shop.route("app", GREEN)?.succeeds()?;
    // A moment later, the flip is in the history, and nothing more is written.
    is_drained(shop)?;
    let before = data(shop)?;
    shop.apply_with(&service("app", BLUE), &["--dry-run=server"])?.succeeds()?;
    shop.kubectl(&["delete", "deployment", "app-blue", "--dry-run=server"])?.succeeds()?;
    ensure!(data(shop)? == before, "a dry run wrote to the ledger");
    Ok(())
}

fn entries_are_readable(shop: &Shop) -> Result<()> {
    flipped(shop)?;
    let ledger = data(shop)?;
    // A moment after the answer, the history has the flip, and the intent is gone.
    if ledger.get("head").is_none() {
        let flip = entry(&ledger, "intent.").or_else(|_| entry(&ledger, "settled."))?;
        ensure!(flip.contains(r#""to":{"app":"shop","color":"green"}"#), "{flip}");
    }
    // The next change finds that the flip committed.
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?.succeeds()?;
    let flip = data(shop)?.get("flip.app").and_then(Value::as_str).unwrap_or_default().to_owned();
    ensure!(flip.contains(r#""from":{"app":"shop","color":"blue"}"#) && flip.contains(r#""user":"admin""#), "{flip}");
    // A deletion leaves a tombstone, and the creation of the same Service removes it.
    shop.kubectl(&["delete", "service", "app"])?.succeeds()?;
    shop.route("app", GREEN)?.succeeds()?;
    if let Ok(made) = entry(&data(shop)?, "intent.") {
        let uid = shop.kubectl(&["get", "service", "app", "-o=jsonpath={.metadata.uid}"])?.out;
        ensure!(!uid.is_empty() && made.contains(&format!(r#""uid":"{uid}","base":"""#)), "{made}");
    }
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=0"])?.is_refused("live-scaled-down", &[])?;
    let data = data(shop)?.to_string();
    ensure!(!data.contains("tombstone") && !data.contains("intent."), "{data}");
    Ok(())
}

fn an_unreadable_ledger_denies(shop: &Shop) -> Result<()> {
    flipped(shop)?;
    let ledger = ledger(shop);
    let patch =
        |patch: &str| shop.plain_kubectl(&["-n", "flipguard-system", "patch", "configmap", &ledger, "-p", patch]);
    // A newer release may have added a key. It is kept, and the rest is used.
    patch(r#"{"data":{"surprise":"42"}}"#)?.succeeds()?;
    shop.route("app", BLUE)?.succeeds()?;
    ensure!(data(shop)?.get("surprise").is_some_and(|value| value == "42"), "the key is lost");
    shop.route("app", GREEN)?.succeeds()?;
    // A format that does not exist yet. Nobody is told to delete it.
    patch(r#"{"data":{"format":"7"}}"#)?.succeeds()?;
    let newer = shop.kubectl(&["delete", "deployment", "app-green"])?;
    newer.is_refused("cluster-unreadable", &["a newer flipguard has written it, in format 7", "Finish the upgrade"])?;
    ensure!(!newer.err.contains("delete configmap"), "{}", newer.err);
    patch(r#"{"data":{"format":"1"}}"#)?.succeeds()?;
    shop.route("app", BLUE)?.is_refused("cluster-unreadable", &["its format is `1`", "kubectl -n flipguard-system"])?;
    patch(r#"{"data":{"format":"2"},"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}"#)?.succeeds()?;
    shop.route("app", BLUE)?.is_refused("cluster-unreadable", &["it is not flipguard's"])?;
    // An advisory change is not denied.
    shop.kubectl(&["delete", "service", "app"])?.passes_with_warning(&["cluster-unreadable: "])
}

/// The Pods of the other app.
fn other(color: &str) -> [(&str, &str); 2] {
    [("app", "other"), ("color", color)]
}

/// Two apps in one namespace, each with both colours ready and blue live.
fn with_another_app(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.blue_serves()?;
    shop.deploy_ready("other-blue", &other("blue"), 1)?;
    shop.deploy_ready("other-green", &other("green"), 1)?;
    shop.route("other", &other("blue"))?.succeeds()
}

/// Another webhook denies a request that flipguard has allowed. Only changes whose verdict depends on the recorded
/// intent have to wait.
fn abandoned_intents_block_only_conflicts(shop: &Shop) -> Result<()> {
    with_another_app(shop)?;
    give_up(shop, "deployment/app-green", &["scale", "deployment/app-green", "--replicas=0"])?;
    let intent = entry(&data(shop)?, "intent.")?;
    ensure!(intent.contains(r#""object":"deployment/app-green""#), "{intent}");
    let waits = || -> Result<usize> {
        let lines = shop.decisions()?.into_iter();
        Ok(lines.filter(|line| line.get("outcome").and_then(Value::as_str) == Some("try-again")).count())
    };
    // Neither other apps of the namespace nor independent changes are delayed.
    shop.route("other", &other("green"))?.passes_silently()?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.is_refused("live-deleted", &[])?;
    ensure!(waits()? == 0, "a change had to wait");
    // The flip to green depends on the intent. It has to wait, and the message names the intent.
    let flip = shop.route("app", GREEN)?;
    flip.is_refused(
        "concurrent-change",
        &["conflicts with a change in progress: the scaling of deployment/app-green to 0 by admin"],
    )?;
    ensure!(waits()? > 1, "the client did not retry");
    // Any change of the intent's object ends the wait.
    shop.kubectl(&["label", "deployment", "app-green", "--overwrite", "try=again"])?.succeeds()?;
    shop.route("app", GREEN)?.passes_silently()
}

/// A pipeline sets another label of the Pods again and again, and another webhook denies each. It may fill its own share of
/// the ledger, and nothing more.
fn a_writer_who_never_commits_blocks_nobody_else(shop: &Shop) -> Result<()> {
    with_another_app(shop)?;
    shop.has_an_age("other-blue")?;
    shop.route("other", &other("green"))?.passes_silently()?;
    let it = "request.name == 'app-green' && request.userInfo.username == 'admin'";
    shop.apply(&blocker(&shop.namespace, it, "deployments"))?.succeeds()?;
    let label = ["label", "deployment/app-green", "--overwrite", "try=it"];
    shop.until("the other webhook denies", || Ok(shop.kubectl(&label)?.err.contains("blocker")))?;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/app-green", shop.namespace);
    on_runtime(async {
        let client = client(shop).await?;
        for number in 0..70 {
            let labels = json!({ "build": number.to_string() });
            let change = json!({ "spec": { "template": { "metadata": { "labels": labels } } } });
            let error = send(&client, "PATCH", &path, &change).await.err().context("nobody denied it")?.to_string();
            ensure!(error.contains("blocker") || error.contains("flipguard"), "{error}");
        }
        Ok(())
    })?;
    // The answer of the other webhook came first, or ours.
    let data = data(shop)?;
    let pending = data.as_object().context("no data")?.iter().filter(|(key, _)| key.starts_with("intent."));
    let of_green = pending.filter(|(_, text)| text.to_string().contains("deployment/app-green")).count();
    ensure!(of_green == 8, "{of_green} changes are pending: {data}");
    let words = "more than 8 changes of deployment/app-green by this user are pending";
    let refused = shop.decisions()?.iter().filter(|line| line.to_string().contains(words)).count();
    ensure!(refused >= 60, "{refused} had no room");
    // Another app is rolled back at once, and nobody waits.
    shop.route("other", &other("blue"))?.passes_silently()?;
    shop.kubectl(&["set", "image", "deployment/other-green", "web=web:2"])?.succeeds()?;
    // Somebody else still can change the same object.
    let ops = ["--as=ops", "--as-group=system:masters"];
    shop.kubectl(&[&["set", "image", "deployment/app-green", "web=web:mended"], &ops[..]].concat())?.succeeds()?;
    shop.plain_kubectl(&["delete", "validatingwebhookconfiguration", &shop.namespace])?.succeeds()?;
    // That has voided all pending changes, so the flip waits for the rollout alone.
    shop.rolled_out("deployment/app-green")?;
    shop.route("app", GREEN)?.succeeds()
}

/// The API server closes the connection while flipguard still judges. The change then counts as denied, and its intent
/// is withdrawn.
fn an_undelivered_answer_is_withdrawn(shop: &Shop) -> Result<()> {
    flipped(shop)?;
    let read = shop.kubectl(&["get", "service", "app", "-o=json"])?;
    let old: Value = serde_json::from_str(&read.out)?;
    let mut new = old.clone();
    let color = new.pointer_mut("/spec/selector/color").context("no selector")?;
    *color = "blue".into();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "given-up", "operation": "UPDATE", "name": "app", "namespace": shop.namespace,
            "kind": { "group": "", "version": "v1", "kind": "Service" },
            "resource": { "group": "", "version": "v1", "resource": "services" },
            "userInfo": { "username": "admin" }, "dryRun": false, "object": new, "oldObject": old,
        },
    })
    .to_string();
    let url = ["get", "validatingwebhookconfiguration", "flipguard", "-o=jsonpath={.webhooks[0].clientConfig.url}"];
    let url = shop.plain_kubectl(&url)?.out;
    let (address, path) = url.trim_start_matches("https://").split_once('/').context("no URL")?;
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{review}",
        review.len()
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let noticed = format!(r#""namespace":"{}""#, shop.namespace);
    // Either side may be faster. The request is repeated until the client closes the connection first.
    shop.until("the closed connection is logged", || {
        runtime.block_on(async {
            let mut stream = connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            stream.shutdown().await?;
            anyhow::Ok(())
        })?;
        let log = shop.guard.log()?;
        Ok(log.lines().any(|line| line.contains("the client left before the answer") && line.contains(&noticed)))
    })?;
    // The intents of delivered answers stay in the ledger as long as they can commit. Those of undelivered answers are
    // removed.
    let answered = || -> Result<usize> {
        let lines = shop.decisions()?.into_iter();
        Ok(lines.filter(|line| line.get("uid").and_then(Value::as_str) == Some("given-up")).count())
    };
    shop.until("every recorded intent has a delivered answer", || {
        let intents = data(shop)?;
        let intents = intents.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("intent."));
        let written: usize = intents
            .filter_map(|(_, entry)| serde_json::from_str::<Value>(entry.as_str()?).ok())
            .filter_map(|intent| intent.get("ids")?.as_array().map(Vec::len))
            .sum();
        Ok(written == answered()?)
    })?;
    shop.kubectl(&["delete", "deployment", "app-blue"])?.succeeds()
}

/// An abandoned flip does not block a rollback. Reading the Service shows that the flip did not commit.
fn an_abandoned_flip_is_not_recorded(shop: &Shop) -> Result<()> {
    flipped(shop)?;
    shop.deploy_ready("app-red", &[("app", "shop"), ("color", "red")], 1)?;
    give_up(shop, "service/app", &["set", "selector", "service", "app", "app=shop,color=red"])?;
    shop.route("app", BLUE)?.passes_silently()?;
    let lines = shop.decisions()?;
    let waited = |line: &&Value| line.get("outcome").and_then(Value::as_str) == Some("try-again");
    ensure!(lines.iter().filter(waited).count() == 0, "a change had to wait");
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=0"])?.passes_silently()?;
    let data = data(shop)?.to_string();
    ensure!(!data.contains("red"), "{data}");
    Ok(())
}

/// Another webhook denies a request that flipguard has allowed, and is deleted afterwards.
pub(crate) fn give_up(shop: &Shop, object: &str, request: &[&str]) -> Result<()> {
    let (resource, name) = object.split_once('/').context("no object")?;
    let label = ["label", object, "--overwrite", "try=it"];
    let it = format!("request.name == '{name}'");
    shop.apply(&blocker(&shop.namespace, &it, &format!("{resource}s")))?.succeeds()?;
    shop.until("the other webhook denies", || Ok(shop.kubectl(&label)?.err.contains("blocker")))?;
    let refused = shop.kubectl(request)?;
    ensure!(!refused.ok && refused.err.contains("blocker"), "{}", refused.err);
    // The webhook is gone once a write without any change passes.
    shop.plain_kubectl(&["delete", "validatingwebhookconfiguration", &shop.namespace])?.succeeds()?;
    let nothing = ["label", object, "--overwrite", "try=it", "--dry-run=server"];
    shop.until("the other webhook is gone", || Ok(shop.kubectl(&nothing)?.ok))
}

/// A webhook without a server, for some objects of a namespace.
pub(crate) fn blocker(namespace: &str, which: &str, resources: &str) -> String {
    format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {{name: {namespace}}}, \
         webhooks: [{{name: blocker.example.com, clientConfig: {{url: 'https://127.0.0.1:1/'}}, sideEffects: None, \
         failurePolicy: Fail, timeoutSeconds: 1, admissionReviewVersions: [v1], \
         namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}, \
         matchConditions: [{{name: green, expression: \"{which}\"}}], \
         rules: [{{apiGroups: ['*'], apiVersions: [v1], operations: [UPDATE], \
         resources: [{resources}, {resources}/scale]}}]}}]}}\n"
    )
}

fn without_traffic_services_nothing_is_written(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 2)?;
    shop.route("app-blue", BLUE)?.passes_silently()?;
    shop.route("plain", &[("app", "shop")])?.passes_silently()?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0"])?.passes_silently()?;
    shop.kubectl(&["delete", "deployment/app-blue"])?.passes_silently()?;
    ensure!(
        !shop.plain_kubectl(&["-n", "flipguard-system", "get", "configmap", &ledger(shop)])?.ok,
        "there is a ledger"
    );
    Ok(())
}

fn ledger(shop: &Shop) -> String {
    format!("ledger-{}", shop.namespace)
}

/// Waits until the history has all flips, and the ledger none.
pub(crate) fn is_drained(shop: &Shop) -> Result<()> {
    shop.until("the last flip has left the ledger", || {
        let data = data(shop)?;
        let waits = data.to_string().contains("settled.") || data.to_string().contains("intent.");
        Ok(data.get("head").is_some() && !waits)
    })
}

fn data(shop: &Shop) -> Result<Value> {
    let read = shop.plain_kubectl(&["-n", "flipguard-system", "get", "configmap", &ledger(shop), "-o=json"])?;
    let object: Value = serde_json::from_str(&read.out).with_context(|| read.err.clone())?;
    Ok(object.get("data").cloned().unwrap_or_default())
}

/// The value of the first key with this prefix.
fn entry(data: &Value, prefix: &str) -> Result<String> {
    let all = data.as_object().context("no data")?;
    let found = all.iter().find(|(key, _)| key.starts_with(prefix));
    Ok(found.and_then(|(_, value)| value.as_str()).with_context(|| format!("no {prefix} in {data}"))?.to_owned())
}
