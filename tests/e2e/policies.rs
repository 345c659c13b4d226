//! Policies: the CRD as the API server enforces it, and what a policy changes.

use anyhow::{Result, ensure};

use super::Test;
use super::shop::{Attempt, BLUE, GREEN, Shop};

pub(crate) const TESTS: &[Test] = &[
    ("policies::each_rule_of_the_schema_refuses_and_accepts", each_rule_of_the_schema_refuses_and_accepts),
    ("policies::the_columns_and_the_short_name", the_columns_and_the_short_name),
    ("policies::a_policy_counts_within_its_age", a_policy_counts_within_its_age),
    ("policies::a_programmed_policy_counts_at_once", a_programmed_policy_counts_at_once),
    ("policies::a_vendors_key_is_guarded_from_end_to_end", a_vendors_key_is_guarded_from_end_to_end),
    ("policies::a_bad_policy_is_set_aside_alone", a_bad_policy_is_set_aside_alone),
    ("policies::a_target_has_to_soak", a_target_has_to_soak),
];

/// A value that is refused, the words of the refusal, and one beside it that is accepted. Each is merged into a policy.
const VALUES: &[(&str, &str, &str)] = &[
    ("enforcement: Maybe", "spec.enforcement: Unsupported value", "enforcement: Warn"),
    ("dryRun: Maybe", "spec.dryRun: Unsupported value", "dryRun: Deny"),
    (
        "colours: {keys: [no key]}",
        "spec.colours.keys[0]: Invalid value",
        "colours: {keys: [porter.run/blue-green-value]}",
    ),
    ("colours: {keys: [a, a]}", "Duplicate value", "colours: {keys: [a, b]}"),
    ("colours: {names: [a b]}", "spec.colours.names[0]: Invalid value", "colours: {names: [red, Pink-2]}"),
    ("colours: {previewWords: ['']}", "spec.colours.previewWords[0]", "colours: {previewWords: []}"),
    (
        "rules: [{rule: taget-missing, action: Warn}]",
        "spec.rules[0].rule: Unsupported value",
        "rules: [{rule: target-missing, action: Warn}]",
    ),
    (
        "rules: [{rule: live-deleted, action: Perhaps}]",
        "spec.rules[0].action",
        "rules: [{rule: live-deleted, action: 'Off'}]",
    ),
    (
        "rules: [{rule: override-not-permitted, action: Warn}]",
        "this rule can be nothing but Deny",
        "rules: [{rule: override-not-permitted, action: Deny}]",
    ),
    (
        "rules: [{rule: live-deleted, action: Warn}, {rule: live-deleted, action: Deny}]",
        "Duplicate value",
        "rules: [{rule: live-deleted, action: Warn}, {rule: live-shrunk, action: Deny}]",
    ),
    ("flip: {minReadyPercent: 0}", "should be greater than or equal to 1", "flip: {minReadyPercent: 1}"),
    ("flip: {minReadyPercent: 101}", "should be less than or equal to 100", "flip: {minReadyPercent: 100}"),
    ("flip: {readinessBasis: Hope}", "spec.flip.readinessBasis: Unsupported value", "flip: {readinessBasis: Ready}"),
    ("flip: {parityPercent: 1001}", "should be less than or equal to 1000", "flip: {parityPercent: 0}"),
    ("live: {floor: 0}", "should be greater than or equal to 1", "live: {floor: 1000}"),
    ("live: {shrinkPercent: 0}", "should be greater than or equal to 1", "live: {shrinkPercent: 100}"),
    ("flip: {soak: 25h}", "it may be at most 24h", "flip: {soak: 24h}"),
    ("flip: {soak: long}", "spec.flip.soak: Invalid value", "flip: {soak: 90s}"),
    (
        "flip: {gates: [{name: smoke, kind: Approval, images: [a]}]}",
        "only a gate of kind Job has images",
        "flip: {gates: [{name: smoke, kind: Job, images: ['registry.example/smoke@sha256:*'], maxAge: 24h}]}",
    ),
    (
        "flip: {gates: [{name: smoke, kind: Job, maxAge: 721h}]}",
        "it must be from 1m to 720h",
        "flip: {gates: [{name: smoke, kind: Job, maxAge: 720h}]}",
    ),
    (
        "flip: {gates: [{name: smoke, kind: Test}]}",
        "spec.flip.gates[0].kind: Unsupported value",
        "flip: {gates: [{name: smoke, kind: Attestation}]}",
    ),
    (
        "flip: {gates: [{name: Smoke, kind: Job}]}",
        "spec.flip.gates[0].name: Invalid value",
        "flip: {gates: [{name: smoke, kind: Job}, {name: load, kind: Job}]}",
    ),
    (
        "rules: [{rule: gate-not-permitted, action: Warn}]",
        "this rule can be nothing but Deny",
        "rules: [{rule: gate-not-passed, action: Warn}]",
    ),
    ("rollback: {quarantine: 25h}", "it may be at most 24h", "rollback: {quarantine: 1h}"),
    ("rollback: {hold: 25h}", "it may be at most 24h", "rollback: {hold: 24h}"),
    ("rollback: {hold: soon}", "spec.rollback.hold: Invalid value", "rollback: {hold: 1h30m}"),
    ("rollback: {minReadyPercent: 101}", "should be less than or equal to 100", "rollback: {minReadyPercent: 100}"),
    ("override: {max: 30s}", "it must be from 1m to 1h", "override: {max: 1m}"),
    ("override: {max: 2h}", "it must be from 1m to 1h", "override: {max: 60m}"),
    ("labels: {mode: Perhaps}", "spec.labels.mode", "labels: {mode: 'Off'}"),
    ("labels: {podTemplate: Always}", "spec.labels.podTemplate: Unsupported value", "labels: {podTemplate: Never}"),
    ("labels: {colourKey: a/b/c}", "spec.labels.colourKey: Invalid value", "labels: {colourKey: example.com/colour}"),
    (
        "labels: {versionKey: '-'}",
        "spec.labels.versionKey: Invalid value",
        "labels: {versionKey: app.kubernetes.io/version}",
    ),
    (
        "namespaceSelector: {matchExpressions: [{key: a, operator: In}]}",
        "In and NotIn need values",
        "namespaceSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}",
    ),
    (
        "namespaceSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
        "Exists and DoesNotExist have none",
        "namespaceSelector: {matchExpressions: [{key: a, operator: Exists}]}",
    ),
];

/// The same for exemptions, each as the fields that differ from a good one.
const EXEMPTIONS: &[(&str, &str, &str)] = &[
    ("reason: short", "should be at least 10 chars long", "reason: long enough"),
    ("rules: [opt-out-not-permitted]", "this rule cannot be lifted", "rules: [live-deleted]"),
    ("rules: []", "should have at least 1 items", "rules: [live-deleted, live-shrunk]"),
    ("services: ['a*b']", "spec.exemptions[0].services[0]: Invalid value", "services: ['a*', '*', a-b]"),
    (
        "subjects: [{kind: Group, name: ops}]",
        "an exemption of people needs an end",
        "{subjects: [{kind: Group, name: ops}], expires: '2031-01-01T00:00:00Z'}",
    ),
    (
        "{subjects: [{kind: Group, name: ops}], expires: tomorrow}",
        "spec.exemptions[0].expires",
        "{subjects: [{kind: User, name: eve}], expires: '2031-01-01T00:00:00Z'}",
    ),
    (
        "subjects: [{kind: ServiceAccount, name: scaler}]",
        "a ServiceAccount has a namespace, and nobody else has one",
        "subjects: [{kind: ServiceAccount, name: scaler, namespace: scaler}]",
    ),
    (
        "{subjects: [{kind: User, name: eve, namespace: scaler}], expires: '2031-01-01T00:00:00Z'}",
        "a ServiceAccount has a namespace, and nobody else has one",
        "{subjects: [{kind: User, name: eve}], expires: '2031-01-01T00:00:00Z'}",
    ),
];

fn each_rule_of_the_schema_refuses_and_accepts(shop: &Shop) -> Result<()> {
    for (bad, words, good) in VALUES {
        check(shop, bad, words, good, |text| Ok(serde_saphyr::from_str(text)?))?;
    }
    for (bad, words, good) in EXEMPTIONS {
        check(shop, bad, words, good, exemption)?;
    }
    let without =
        r#"{"apiVersion":"flipguard.dev/v1alpha1","kind":"BlueGreenPolicy","metadata":{"name":"x"},"spec":{}}"#;
    let refused = dry_run(shop, without)?;
    ensure!(!refused.ok, "a policy without a selector was accepted");
    refused.says("spec.namespaceSelector: Required value")
}

fn exemption(text: &str) -> Result<serde_json::Value> {
    let good = "{name: night, rules: [live-scaled-down], services: [app], reason: it sleeps at night, \
                subjects: [{kind: ServiceAccount, namespace: scaler, name: scaler}]}";
    let mut exemption: serde_json::Map<String, serde_json::Value> = serde_saphyr::from_str(good)?;
    let more: serde_json::Map<String, serde_json::Value> = serde_saphyr::from_str(text)?;
    exemption.extend(more);
    Ok(serde_json::json!({ "exemptions": [exemption] }))
}

fn check(shop: &Shop, bad: &str, words: &str, good: &str, spec: fn(&str) -> Result<serde_json::Value>) -> Result<()> {
    let refused = dry_run(shop, &policy(shop, spec(bad)?))?;
    ensure!(!refused.ok, "`{bad}` was accepted");
    ensure!(refused.err.contains(words), "`{bad}` does not say `{words}`:\n{}", refused.err);
    let accepted = dry_run(shop, &policy(shop, spec(good)?))?;
    ensure!(accepted.ok, "`{good}` was refused:\n{}", accepted.err);
    ensure!(accepted.err.is_empty(), "`{good}` is warned of:\n{}", accepted.err);
    Ok(())
}

fn policy(shop: &Shop, mut spec: serde_json::Value) -> String {
    if let Some(fields) = spec.as_object_mut() {
        fields.entry("namespaceSelector").or_insert_with(|| serde_json::json!({}));
    }
    let meta = serde_json::json!({ "name": format!("{}-x", shop.namespace) });
    let kind = "BlueGreenPolicy";
    serde_json::json!({ "apiVersion": "flipguard.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec })
        .to_string()
}

fn dry_run(shop: &Shop, manifest: &str) -> Result<Attempt> {
    let file = shop.control_plane.dir().join(format!("{}-policy.json", shop.namespace));
    std::fs::write(&file, manifest)?;
    shop.plain_kubectl(&["apply", "--dry-run=server", "-f", &file.to_string_lossy()])
}

fn the_columns_and_the_short_name(shop: &Shop) -> Result<()> {
    let name = format!("{}-columns", shop.namespace);
    let spec = serde_json::json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": shop.namespace } },
        "enforcement": "Deny",
    });
    let manifest = policy(shop, spec).replace(&format!("{}-x", shop.namespace), &name);
    shop.apply(&manifest)?.succeeds()?;
    let table = shop.plain_kubectl(&["get", "bgpolicy", &name])?;
    table.succeeds()?;
    let head = table.out.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(head == "NAME ENFORCEMENT NAMESPACES SERVICES ACCEPTED PROGRAMMED AGE", "{}", table.out);
    ensure!(table.out.contains("Deny"), "{}", table.out);
    let all = shop.plain_kubectl(&["get", "flipguard", "-o", "name"])?;
    ensure!(all.out.contains(&format!("bluegreenpolicy.flipguard.dev/{name}")), "{}{}", all.out, all.err);
    let explained = shop.plain_kubectl(&["explain", "bgpolicy.spec.live.floor"])?;
    ensure!(explained.out.contains("ready Pods that a change has to leave"), "{}", explained.out);
    shop.plain_kubectl(&["delete", "bgpolicy", &name])?.succeeds()
}

/// A policy that selects by a label of the namespace: it counts once the label is there, and no more once it is deleted.
fn a_policy_counts_within_its_age(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let name = format!("{}-floor", shop.namespace);
    let spec = serde_json::json!({
        "namespaceSelector": { "matchLabels": { "floor-of": shop.namespace } },
        "live": { "floor": 2 },
    });
    let manifest = policy(shop, spec).replace(&format!("{}-x", shop.namespace), &name);
    shop.apply(&manifest)?.succeeds()?;
    let scale = || shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1", "--dry-run=server"]);
    scale()?.succeeds()?;
    let label = format!("floor-of={}", shop.namespace);
    shop.plain_kubectl(&["label", "namespace", &shop.namespace, &label])?.succeeds()?;
    shop.until("the policy counts", || Ok(!scale()?.ok))?;
    scale()?.says("would keep 1 of 3 ready pods; it needs 2")?;
    scale()?.says(&format!("Policy {name} says so."))?;
    // The other colour is not concerned.
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=1"])?.succeeds()?;
    shop.plain_kubectl(&["delete", "bgpolicy", &name])?.succeeds()?;
    shop.until("the policy is gone", || Ok(scale()?.ok))?;
    // Nobody says anything any more: all is as before.
    shop.kubectl(&["scale", "deployment/app-green", "--replicas=3"])?.succeeds()?;
    shop.rolled_out("deployment/app-green")?;
    shop.route("app", GREEN)?.succeeds()?;
    shop.route("app", BLUE)?.succeeds()
}

/// Applies a policy for the namespace of the test, and waits until it is programmed.
pub(crate) fn programmed(shop: &Shop, name: &str, spec: &str) -> Result<()> {
    let mut spec: serde_json::Map<String, serde_json::Value> = serde_saphyr::from_str(spec)?;
    let own = serde_json::json!({ "matchLabels": { "kubernetes.io/metadata.name": shop.namespace } });
    spec.insert("namespaceSelector".to_owned(), own);
    let manifest = policy(shop, spec.into()).replace(&format!("{}-x", shop.namespace), name);
    shop.apply(&manifest)?.succeeds()?;
    let wait = ["wait", "--for=condition=Programmed", "--timeout=60s", &format!("bgpolicy/{name}")];
    shop.plain_kubectl(&wait)?.succeeds()
}

/// After `kubectl wait`, the next change is judged by the policy. The same for each later generation of it.
fn a_programmed_policy_counts_at_once(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let scale = || shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1", "--dry-run=server"]);
    scale()?.succeeds()?;
    for _ in 0..3 {
        programmed(shop, "floors", "live: {floor: 2}")?;
        let denied = scale()?;
        ensure!(!denied.ok, "judged by an older policy: {}", denied.err);
        denied.says("Policy floors says so.")?;
        programmed(shop, "floors", "live: {floor: 1}")?;
        scale()?.succeeds()?;
    }
    let read = |path: &str| Ok::<_, anyhow::Error>(shop.plain_kubectl(&["get", "bgpolicy", "floors", path])?.out);
    let (generation, observed) =
        (read("-o=jsonpath={.metadata.generation}")?, read("-o=jsonpath={.status.observedGeneration}")?);
    ensure!(generation == observed && generation == "6", "generation {generation}, observed {observed}");
    programmed(shop, "floors", "rules: [{rule: live-deleted, action: Warn}]")?;
    let softens = read("-o=jsonpath={.status.softens}")?;
    ensure!(softens == r#"["live-deleted"]"#, "{softens}");
    shop.plain_kubectl(&["delete", "bgpolicy", "floors"])?.succeeds()
}

/// With a vendor's key, all promises hold: the API server calls for deletions and updates of such workloads, too.
fn a_vendors_key_is_guarded_from_end_to_end(shop: &Shop) -> Result<()> {
    const KEY: &str = "porter.run/blue-green-value";
    let (one, two) = ([("app", "shop"), (KEY, "1")], [("app", "shop"), (KEY, "2")]);
    shop.deploy_ready("app-1", &one, 2)?;
    shop.deploy_ready("app-2", &two, 2)?;
    shop.route("app", &one)?.succeeds()?;
    let delete = || shop.kubectl(&["delete", "deployment/app-1", "--dry-run=server"]);
    delete()?.passes_silently()?;
    programmed(shop, "porter", &format!("colours: {{keys: [color, colour, slot, version, {KEY}]}}"))?;
    let denied = delete()?;
    ensure!(!denied.ok, "a live colour may be deleted");
    denied.says("(live-deleted")?;
    shop.kubectl(&["scale", "deployment/app-1", "--replicas=0"])?.says("(live-scaled-down")?;
    let missing = shop.route("app", &[("app", "shop"), (KEY, "3")])?;
    ensure!(!missing.ok, "a flip to nothing passed");
    missing.says("(target-missing")?;
    shop.route("app", &two)?.succeeds()?;
    // The other colour is live now.
    shop.kubectl(&["delete", "deployment/app-2", "--dry-run=server"])?.says("(live-deleted")?;
    shop.plain_kubectl(&["delete", "bgpolicy", "porter"])?.succeeds()
}

/// A policy of a later version that this one cannot read. It is set aside alone, its status says so, and what it forgives
/// does not count.
fn a_bad_policy_is_set_aside_alone(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    programmed(shop, "good", "live: {floor: 2}")?;
    // A later schema accepts another value.
    let add = r#"[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/dryRun/enum/-","value":"Later"}]"#;
    let crd = "bluegreenpolicies.flipguard.dev";
    shop.plain_kubectl(&["patch", "crd", crd, "--type=json", "-p", add])?.succeeds()?;
    let own = serde_json::json!({ "matchLabels": { "kubernetes.io/metadata.name": shop.namespace } });
    let spec = serde_json::json!({ "namespaceSelector": own, "dryRun": "Later", "enforcement": "Warn" });
    let manifest = policy(shop, spec).replace(&format!("{}-x", shop.namespace), "later");
    shop.until("the API server accepts the value", || Ok(shop.apply(&manifest)?.ok))?;
    shop.plain_kubectl(&["wait", "--for=condition=Accepted=false", "--timeout=60s", "bgpolicy/later"])?.succeeds()?;
    let why = "-o=jsonpath={.status.conditions[?(@.type=='Accepted')].message}";
    shop.plain_kubectl(&["get", "bgpolicy", "later", why])?.says("spec.dryRun: unknown variant `Later`")?;
    let scale = || shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1", "--dry-run=server"]);
    shop.until("it is set aside", || Ok(scale()?.err.contains("policy later is set aside")))?;
    scale()?.says("Policy good says so.")?;
    shop.plain_kubectl(&["delete", "bgpolicy", "later", "good"])?.succeeds()?;
    let remove = add.replace("\"add\"", "\"remove\"").replace("enum/-", "enum/2");
    shop.plain_kubectl(&["patch", "crd", crd, "--type=json", "-p", &remove])?.succeeds()
}

/// A target that is ready waits for as long as the policy wants; the way back does not. A version that a rollback left is
/// denied during its quarantine.
fn a_target_has_to_soak(shop: &Shop) -> Result<()> {
    programmed(shop, "soaks", "{flip: {soak: 20s}, rollback: {quarantine: 1h}}")?;
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    let early = shop.route("app", GREEN)?;
    for words in ["(not-soaked", "Deployment app-green has 0 of 2 pods ready for 20 s", "Retry in ", "policy soaks"] {
        early.says(words)?;
    }
    ensure!(!early.ok, "a flip to a target that has not soaked passed");
    shop.until("green has soaked", || Ok(shop.route("app", GREEN)?.ok))?;
    shop.route("app", BLUE)?.succeeds()?;
    let again = shop.route("app", GREEN)?;
    again.says("(returns-to-abandoned")?;
    again.says("Its quarantine (rollback.quarantine) lasts for another 60 min")?;
    ensure!(!again.ok, "a flip to the version that a rollback left passed");
    shop.plain_kubectl(&["delete", "bgpolicy", "soaks"])?.succeeds()
}
