//! The report of the doctor on a healthy flipguard, and on each fault.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::shop::{Attempt, Shop, attempt};
use super::{FLAGS, Test};

pub(crate) const TESTS: &[Test] = &[("doctor::finds_each_illness", finds_each_illness)];

pub(crate) fn doctor(shop: &Shop, args: &[&str]) -> Result<Attempt> {
    let exempt = FLAGS.get(1).context("no exempt users")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    command.args(["doctor", "--kubeconfig"]).arg(shop.control_plane.kubeconfig()).args(["--exempt-users", exempt]);
    command.args(args);
    attempt(command, None)
}

/// The health and the message of one check.
fn says(shop: &Shop, check: &str) -> Result<(String, String)> {
    let json = doctor(shop, &["--output", "json"])?;
    let checks: Vec<Value> = serde_json::from_str(&json.out).with_context(|| json.err.clone())?;
    let text = |check: &Value, key: &str| check.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    // Of several results, the worst counts.
    let mut found: Vec<_> = checks.iter().filter(|one| text(one, "check") == check).collect();
    found.sort_by_key(|one| text(one, "health") == "ok");
    let found = found.first().with_context(|| format!("no {check} in {}", json.out))?;
    Ok((text(found, "health"), format!("{} / {}", text(found, "message"), text(found, "nextStep"))))
}

pub(crate) fn is(shop: &Shop, check: &str, health: &str, words: &str) -> Result<()> {
    let (is, says) = says(shop, check)?;
    ensure!(is == health && says.contains(words), "{check} should be {health} and say `{words}`; it is {is}: {says}");
    Ok(())
}

/// What is missing in them is no illness of its own.
fn namespaces_that_do_not_exist(shop: &Shop) -> Result<()> {
    let elsewhere = doctor(shop, &["--probe-namespace", "nowhere"])?;
    elsewhere.says("unknown  called        a dry run needs a namespace, and nowhere does not exist")?;
    elsewhere.says("give a guarded namespace, in which you may create Deployments, with --probe-namespace")?;
    let nowhere = doctor(shop, &["--namespace", "nowhere"])?;
    ensure!(!nowhere.ok);
    nowhere.says("BROKEN   namespace     namespace nowhere does not exist, so no flipguard is installed in it")?;
    nowhere.says("BROKEN   registration  another flipguard, in namespace flipguard-system")?;
    for check in ["replicas", "rights", "certificate", "probe"] {
        ensure!(!nowhere.out.contains(&format!("  {check} ")), "{check} says more than it can: {}", nowhere.out);
    }
    Ok(())
}

fn finds_each_illness(shop: &Shop) -> Result<()> {
    let kubectl = |args: &[&str]| shop.plain_kubectl(args)?.succeeds();
    shop.guard.wait_until_it_guards(shop.control_plane)?;
    let healthy = doctor(shop, &[])?;
    healthy.succeeds()?;
    for words in [
        "ok       api-server    Kubernetes v1.",
        "ok       rights        ServiceAccount flipguard-system/flipguard has all permissions that it needs",
        "ok       namespace     no app is in flipguard-system, which is not guarded",
        "ok       replicas      flipguard runs outside the cluster",
        "ok       certificate   valid until ",
        "ok       registration ",
        "ok       labels ",
        " webhooks, as this version renders them",
        "ok       bundle        the API server trusts the certificate",
        "ok       policies      there are none: the flags of serve count",
        "ok       own-writes    the API server limits what flipguard's ServiceAccount may write",
        "ok       endpoint      https://127.0.0.1:",
        "ok       probe         the API server reaches flipguard",
        "ok       called        the API server calls flipguard, and gets an answer",
    ] {
        healthy.says(words)?;
    }
    ensure!(!doctor(shop, &["--probe-namespace", "kube-system"])?.ok, "an exempt namespace should not pass as a probe");
    namespaces_that_do_not_exist(shop)?;

    // Changed by a user and by a managed cluster. The reconciler is suspended, because it would repair the change
    // before the doctor sees it.
    shop.guard.process().suspend()?;
    let patch = r#"[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"},
        {"op":"add","path":"/webhooks/0/namespaceSelector/matchExpressions/0",
        "value":{"key":"control-plane","operator":"DoesNotExist"}},
        {"op":"add","path":"/webhooks/0/namespaceSelector/matchLabels","value":{"flipguard":"on"}}]"#;
    kubectl(&["patch", "validatingwebhookconfiguration", "flipguard", "--type=json", "-p", patch])?;
    is(shop, "registration", "broken", "guard.flipguard.dev: failurePolicy")?;
    let all = doctor(shop, &[])?;
    ensure!(!all.ok);
    all.says("warning  registration  others have added to its namespaceSelector: control-plane DoesNotExist")?;
    all.says("BROKEN   registration  a namespaceSelector admits only some namespaces: flipguard=on")?;
    all.says("BROKEN   probe         the API server does not reach flipguard: context deadline exceeded")?;
    all.says("BROKEN   called        the API server does not reach flipguard")?;
    shop.guard.process().resume()?;
    shop.until("the registration is repaired", || {
        Ok(says(shop, "called")?.0 == "ok" && says(shop, "registration")?.0 == "warning")
    })?;
    doctor(shop, &[])?.succeeds()?;
    let patch = r#"[{"op":"remove","path":"/webhooks/0/namespaceSelector/matchExpressions/0"}]"#;
    kubectl(&["patch", "validatingwebhookconfiguration", "flipguard", "--type=json", "-p", patch])?;

    // Suspended, and then missing.
    let suspend = |annotation: &str| kubectl(&["annotate", "mutatingwebhookconfiguration", "flipguard", annotation]);
    suspend("flipguard.dev/suspend=labels hurt")?;
    is(shop, "labels", "broken", "suspended: labels hurt / to resume, remove the annotation flipguard.dev/suspend")?;
    suspend("flipguard.dev/suspend-")?;

    // An app in flipguard's own namespace.
    let apply = ["-n", "flipguard-system", "create", "service", "clusterip", "shop", "--tcp=80"];
    kubectl(&apply)?;
    kubectl(&["-n", "flipguard-system", "set", "selector", "service/shop", "app=shop,color=blue"])?;
    is(
        shop,
        "namespace",
        "warning",
        "Service shop in flipguard-system is not guarded, because flipguard runs in that",
    )?;
    kubectl(&["-n", "flipguard-system", "delete", "service", "shop"])?;

    // A policy that binds nobody, or that somebody has widened.
    let binding = "validatingadmissionpolicybinding";
    let audit = r#"{"spec":{"validationActions":["Audit"]}}"#;
    kubectl(&["patch", binding, "flipguard-namespace.flipguard-system", "--type=merge", "-p", audit])?;
    is(
        shop,
        "own-writes",
        "warning",
        "the binding flipguard-namespace.flipguard-system is not as this version renders it / apply the out",
    )?;
    let both = r#"{"spec":{"validationActions":["Deny","Audit"]}}"#;
    kubectl(&["patch", binding, "flipguard-namespace.flipguard-system", "--type=merge", "-p", both])?;
    is(shop, "own-writes", "ok", "the API server limits")?;
    let widen = r#"[{"op":"remove","path":"/spec/validations/0"}]"#;
    kubectl(&["patch", "validatingadmissionpolicy", "flipguard.flipguard-system", "--type=json", "-p", widen])?;
    is(shop, "own-writes", "warning", "the policy flipguard.flipguard-system is not as this version renders it")?;
    let url = format!("https://{}", shop.guard.listen());
    let mut manifests = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    manifests.args(["manifests", "--external-url", &url, "--part", "requests"]);
    shop.apply(&attempt(manifests, None)?.out)?.succeeds()?;
    is(shop, "own-writes", "ok", "the API server limits")?;

    // Permissions, verb by verb.
    let binding = shop.plain_kubectl(&["get", "rolebinding", "-n", "flipguard-system", "flipguard", "-o", "json"])?.out;
    kubectl(&["delete", "rolebinding", "-n", "flipguard-system", "flipguard"])?;
    let missing =
        is(shop, "rights", "broken", "get leases.coordination.k8s.io `flipguard-keeper` in namespace flipguard-system");
    let file = shop.control_plane.dir().join("binding.json");
    std::fs::write(&file, binding)?;
    kubectl(&["create", "-f", &file.to_string_lossy()])?;
    missing?;

    // A user without read permissions gets a clear message, and a script gets an exit code.
    let nobody = shop.control_plane.client_kubeconfig("nobody", &[])?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    command.args(["doctor", "--kubeconfig"]).arg(nobody);
    let nobody = attempt(command, None)?;
    ensure!(!nobody.ok);
    nobody.says("unknown  registration  cannot get the ValidatingWebhookConfiguration")?;
    nobody.says("run it with credentials that may, such as a cluster admin")?;
    shop.until("all checks pass again", || Ok(doctor(shop, &[])?.ok))
}
