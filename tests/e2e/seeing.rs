//! The commands that look at a namespace and change nothing.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Test;
use super::shop::{Attempt, Shop, attempt};

pub(crate) const TESTS: &[Test] = &[
    ("seeing::who_says_each_setting", who_says_each_setting),
    ("seeing::what_a_policy_would_change", what_a_policy_would_change),
];

/// Runs flipguard as an administrator of the cluster.
fn flipguard(shop: &Shop, args: &[&str]) -> Result<Attempt> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_flipguard"));
    command.args(args).env("KUBECONFIG", shop.control_plane.kubeconfig());
    attempt(command, None)
}

fn json(attempt: &Attempt) -> Result<Value> {
    serde_json::from_str(&attempt.out).with_context(|| format!("{}{}", attempt.out, attempt.err))
}

/// A policy for the namespace of the test only.
fn policy(shop: &Shop, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: flipguard.dev/v1alpha1, kind: BlueGreenPolicy, metadata: {{name: {name}}}, spec: \
         {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}, {spec}}}}}\n",
        shop.namespace
    )
}

fn who_says_each_setting(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    let explain = |more: &[&str]| flipguard(shop, &[&["policy", "explain", "-n", &shop.namespace], more].concat());
    let said = |line: &str, attempt: &Attempt| {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = attempt.out.lines().any(|one| words(one) == line);
        ensure!(found, "no line `{line}` in:\n{}{}", attempt.out, attempt.err);
        Ok(())
    };
    let none = explain(&[])?;
    none.succeeds()?;
    said("policies: none", &none)?;
    said("live.floor 1 default", &none)?;
    let (one, two) = (format!("{}-a", shop.namespace), format!("{}-b", shop.namespace));
    shop.apply(&policy(shop, &one, "rollback: {hold: 10m}, live: {floor: 2}"))?.succeeds()?;
    shop.apply(&policy(shop, &two, "rollback: {hold: 2m}, rules: [{rule: held-deleted, action: Deny}]"))?.succeeds()?;
    let both = explain(&[])?;
    both.says(&format!("{one}, {two}").replace(", ", ""))
        .or_else(|_| both.says(&one))
        .and_then(|()| both.says(&two))?;
    said(&format!("rollback.hold 10 min policy {one}; {two} says 2 min"), &both)?;
    said(&format!("live.floor 2 policy {one}"), &both)?;
    said(&format!("rules.held-deleted Deny policy {two}"), &both)?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/min-replicas=3", "flipguard.dev/hold=5m"])?
        .succeeds()?;
    let service = explain(&["app"])?;
    said("live.floor 3 annotation flipguard.dev/min-replicas", &service)?;
    said(&format!("rollback.hold 10 min policy {one}; {two} says 2 min"), &service)?;
    let missing = explain(&["nope"])?;
    ensure!(!missing.ok);
    missing.says(&format!("there is no Service nope in namespace {}; there are app", shop.namespace))?;
    flipguard(shop, &["policy", "explain", "-n", "nowhere"])?
        .says("there is no namespace nowhere; name another with -n")?;
    shop.plain_kubectl(&["delete", "bgpolicy", &one, &two])?.succeeds()
}

/// A floor of 2 denies a scale that passes today; nothing is written by the look.
fn what_a_policy_would_change(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let folder = shop.control_plane.dir().join(&shop.namespace);
    std::fs::create_dir(&folder)?;
    let name = format!("{}-p", shop.namespace);
    let file = |spec: &str| -> Result<String> {
        let file = folder.join("policy.yaml");
        std::fs::write(&file, policy(shop, &name, spec))?;
        Ok(file.to_string_lossy().into_owned())
    };
    let test = |more: &[&str]| flipguard(shop, &[&["policy", "test", "-n", &shop.namespace], more].concat());
    let same = test(&["-f", &file("live: {floor: 1}")?])?;
    same.succeeds()?;
    same.says("nothing changes in 1 namespace")?;
    let stricter = test(&["-f", &file("live: {floor: 2}")?])?;
    ensure!(!stricter.ok, "{}", stricter.out);
    let line = format!("{}: scale deployment/app-blue to 1, live behind app: passes", shop.namespace);
    stricter.says(&line)?;
    stricter.says(&format!("denied: live-scaled-down (policy {name})"))?;
    stricter.says("1 denied that passes today")?;
    // In the whole cluster, too, and as JSON.
    let all = flipguard(shop, &["policy", "test", "-o", "json", "-f", &file("live: {floor: 2}")?])?;
    let found = json(&all)?;
    let is = |path: &str| found.pointer(path) == Some(&Value::Bool(true));
    ensure!(is("/complete") && is("/differences/0/deniesMore"), "{}", all.out);
    ensure!(found.pointer("/differences/1").is_none(), "{}", all.out);
    ensure!(!shop.plain_kubectl(&["get", "bgpolicy", &name])?.ok, "it was written");
    // What a policy demands ends with it.
    shop.apply(&policy(shop, &name, "live: {floor: 2}"))?.succeeds()?;
    let pruned = test(&["--prune", &name])?;
    pruned.succeeds()?;
    pruned.says("-> passes")?;
    test(&["--prune", "nobody"])?.says("there is no policy nobody to delete (--prune)")?;
    // A vendor's key makes a Service guarded that is not.
    let (a, b) = ([("app", "x"), ("porter.run/slot", "1")], [("app", "x"), ("porter.run/slot", "2")]);
    shop.deploy_ready("x-1", &a, 1)?;
    shop.deploy_ready("x-2", &b, 1)?;
    shop.route("x", &a)?.succeeds()?;
    let keys = test(&["-f", &file("live: {floor: 2}, colours: {keys: [color, 'porter.run/slot']}")?])?;
    keys.succeeds().or_else(|_| keys.says("denied"))?;
    shop.plain_kubectl(&["delete", "bgpolicy", &name])?.succeeds()
}
