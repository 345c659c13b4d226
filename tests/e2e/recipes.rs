//! The policies of `examples/policies`, each applied as `docs/policy.md` says, and what each changes.

use anyhow::{Result, ensure};

use super::Test;
use super::shop::{BLUE, Shop};

pub(crate) const TESTS: &[Test] = &[
    ("recipes::a_trial_in_one_namespace", a_trial_in_one_namespace),
    ("recipes::a_mesh", a_mesh),
    ("recipes::a_night_scaler", a_night_scaler),
    ("recipes::a_teams_own_floor", a_teams_own_floor),
    ("recipes::a_vendors_key", a_vendors_key),
    ("recipes::policies_overlap", policies_overlap),
];

/// Labels the namespace, applies a recipe, and waits until its policies are programmed.
fn apply(shop: &Shop, file: &str, label: &str, policies: &[&str]) -> Result<()> {
    shop.plain_kubectl(&["label", "namespace", &shop.namespace, label])?.succeeds()?;
    let path = format!("{}/examples/policies/{file}", env!("CARGO_MANIFEST_DIR"));
    shop.plain_kubectl(&["apply", "-f", &path])?.succeeds()?;
    for policy in policies {
        let wait = ["wait", "--for=condition=Programmed", "--timeout=60s", &format!("bgpolicy/{policy}")];
        shop.plain_kubectl(&wait)?.succeeds()?;
    }
    Ok(())
}

fn delete(shop: &Shop, policies: &[&str]) -> Result<()> {
    shop.plain_kubectl(&[&["delete", "bgpolicy"], policies].concat())?.succeeds()
}

fn a_trial_in_one_namespace(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    apply(shop, "trial.yaml", "flipguard.dev/trial=", &["baseline", "trial"])?;
    let scale = || shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0", "--dry-run=server"]);
    scale()?.passes_with_warning(&["live-scaled-down", "would be denied"])?;
    shop.plain_kubectl(&["label", "namespace", &shop.namespace, "flipguard.dev/trial-"])?.succeeds()?;
    shop.until("the trial is over here", || Ok(!scale()?.ok))?;
    delete(shop, &["baseline", "trial"])
}

fn a_mesh(shop: &Shop) -> Result<()> {
    let (one, two) = ([("app", "shop"), ("version", "v1")], [("app", "shop"), ("version", "v2")]);
    shop.deploy_ready("shop-v1", &one, 1)?;
    shop.deploy_ready("shop-v2", &two, 1)?;
    shop.route("shop", &one)?.passes_silently()?;
    let delete_live = || shop.kubectl(&["delete", "deployment/shop-v1", "--dry-run=server"]);
    delete_live()?.is_refused("live-deleted", &[])?;
    apply(shop, "mesh.yaml", "mesh=enabled", &["mesh"])?;
    delete_live()?.passes_silently()?;
    delete(shop, &["mesh"])
}

fn a_night_scaler(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let edit = ["create", "rolebinding", "scaler", "--clusterrole=edit"];
    shop.kubectl(&[&edit[..], &["--serviceaccount=kube-downscaler:kube-downscaler"]].concat())?.succeeds()?;
    let scale = |user: &[&str]| shop.kubectl(&[&["scale", "deployment/app-blue", "--replicas=0"], user].concat());
    let scaler = ["--as=system:serviceaccount:kube-downscaler:kube-downscaler"];
    scale(&scaler)?.is_refused("live-scaled-down", &[])?;
    apply(shop, "night-scaler.yaml", "sleeps=at-night", &["night"])?;
    scale(&[])?.is_refused("live-scaled-down", &[])?;
    let passed = scale(&scaler)?;
    passed.passes_with_warning(&["exemption night-scaler of policy night lifts it", "OPS-17"])?;
    let exempted = shop.decisions()?.into_iter().filter(|decision| decision["exempted"] == "night/night-scaler");
    ensure!(exempted.count() == 1, "the log does not name the exemption");
    // The status says since when it is known, and when it was used.
    for field in ["since", "lastUsed"] {
        let path = format!("-o=jsonpath={{.status.exemptions.night-scaler.{field}}}");
        let read = || Ok(shop.plain_kubectl(&["get", "bgpolicy", "night", &path])?.out.contains('T'));
        shop.until(&format!("the status has {field}"), read)?;
    }
    let (_, metrics) = shop.guard.ask("/metrics")?;
    ensure!(metrics.contains(r#"flipguard_exempted_total{rule="live-scaled-down"}"#), "{metrics}");
    delete(shop, &["night"])
}

fn a_teams_own_floor(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    apply(shop, "team-floor.yaml", "team=shop", &["team-shop"])?;
    let denied = shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1", "--dry-run=server"])?;
    ensure!(!denied.ok, "{}", denied.out);
    denied.says("denied (live-scaled-down, policy team-shop): ")?;
    denied.says("it needs 2")?;
    let versions = shop.decisions()?;
    let named =
        versions.iter().any(|decision| decision["policies"].as_str().unwrap_or_default().contains("team-shop@"));
    ensure!(named, "the log does not name the policy and its generation");
    // The counts of the status: this namespace, and its one Service.
    shop.until("the status counts", || {
        let path = "-o=jsonpath={.status.namespaces}/{.status.services}";
        Ok(shop.plain_kubectl(&["get", "bgpolicy", "team-shop", path])?.out == "1/1")
    })?;
    delete(shop, &["team-shop"])
}

fn a_vendors_key(shop: &Shop) -> Result<()> {
    const KEY: &str = "porter.run/blue-green-value";
    let (one, two) = ([("app", "shop"), (KEY, "1")], [("app", "shop"), (KEY, "2")]);
    shop.deploy_ready("app-1", &one, 1)?;
    shop.deploy_ready("app-2", &two, 1)?;
    shop.route("app", &one)?.succeeds()?;
    apply(shop, "vendors-key.yaml", "platform=porter", &["vendor"])?;
    shop.kubectl(&["delete", "deployment/app-1", "--dry-run=server"])?.is_refused("live-deleted", &[])?;
    shop.route("app", &[("app", "shop"), (KEY, "3")])?.is_refused("target-missing", &[])?;
    shop.route("app", &two)?.passes_silently()?;
    delete(shop, &["vendor"])
}

/// Two policies for one namespace, then a third: the stricter counts, and each status names the others.
fn policies_overlap(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 4)?;
    shop.route("app", BLUE)?.passes_silently()?;
    let policy = |name: &str, spec: &str| {
        let own = format!("namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}", shop.namespace);
        let meta = format!("apiVersion: flipguard.dev/v1alpha1\nkind: BlueGreenPolicy\nmetadata: {{name: {name}}}");
        shop.apply(&format!("{meta}\nspec: {{{own}, {spec}}}\n"))?.succeeds()?;
        let wait = ["wait", "--for=condition=Programmed", "--timeout=60s", &format!("bgpolicy/{name}")];
        shop.plain_kubectl(&wait)?.succeeds()
    };
    let scale = |to: u32| {
        let replicas = format!("--replicas={to}");
        shop.kubectl(&["scale", "deployment/app-blue", &replicas, "--dry-run=server"])
    };
    policy("overlap-a", "live: {floor: 2}, labels: {colourKey: color}")?;
    policy(
        "overlap-b",
        "live: {floor: 3}, labels: {colourKey: slot}, rules: [{rule: live-scaled-down, action: Warn}]",
    )?;
    // The one that says the action softens it; the floor is that of the stricter one.
    scale(2)?.passes_with_warning(&["it needs 3"])?;
    policy("overlap-c", "rules: [{rule: live-scaled-down, action: Deny}]")?;
    let denied = scale(2)?;
    ensure!(!denied.ok, "{}", denied.out);
    denied.says("denied (live-scaled-down, policy overlap-b): ")?;
    denied.says("it needs 3")?;
    scale(3)?.succeeds()?;
    let status = |path: &str| shop.plain_kubectl(&["get", "bgpolicy", "overlap-b", &format!("-o=jsonpath={path}")]);
    shop.until("the others are named", || {
        let (overlaps, partly) = (status("{.status.overlaps}")?, status("{.status.conditions[2].message}")?);
        let others: Vec<String> = serde_json::from_str(&overlaps.out).unwrap_or_default();
        let both = ["overlap-a", "overlap-c"].iter().all(|other| others.iter().any(|named| named == other));
        Ok(both && partly.out.contains("labels.colourKey (overlap-a)"))
    })?;
    shop.plain_kubectl(&["delete", "bgpolicy", "overlap-a", "overlap-b", "overlap-c"])?.succeeds()
}

/// Without the CRD, the flags count, and everybody who looks is told. With it, policies count again.
pub(crate) fn the_crd_is_deleted(shop: &Shop) -> Result<()> {
    const CRD: &str = "bluegreenpolicies.flipguard.dev";
    shop.blue_is_live()?;
    apply(shop, "team-floor.yaml", "team=shop", &["team-shop"])?;
    let scale = || shop.kubectl(&["scale", "deployment/app-blue", "--replicas=1", "--dry-run=server"]);
    ensure!(!scale()?.ok, "the floor does not count");
    // The number of policies is on the Lease.
    shop.until("the Lease has it on record", || {
        let path = r"-o=jsonpath={.metadata.annotations.flipguard\.dev/policies}";
        let lease = ["get", "lease", "-n", "flipguard-system", "flipguard-keeper", path];
        Ok(shop.plain_kubectl(&lease)?.out == "1")
    })?;
    let crd = shop.plain_kubectl(&["get", "crd", CRD, "-o", "json"])?.out;
    shop.plain_kubectl(&["delete", "crd", CRD])?.succeeds()?;
    shop.until("the flags count", || Ok(scale()?.ok))?;
    shop.kubectl(&["scale", "deployment/app-blue", "--replicas=0", "--dry-run=server"])?
        .is_refused("live-scaled-down", &[])?;
    shop.until("the metric says it", || {
        Ok(shop.guard.ask("/metrics")?.1.contains(r#"flipguard_policies{state="crd-missing"} 1"#))
    })?;
    ensure!(shop.guard.ask("/readyz")?.0.contains("200"), "it must stay ready");
    super::doctor::is(
        shop,
        "policies",
        "broken",
        "the CRD bluegreenpolicies.flipguard.dev is gone, and 1 policy with it",
    )?;
    shop.until("an Event says it", || {
        let events = ["get", "events", "-n", "flipguard-system", "-o=jsonpath={.items[*].message}"];
        Ok(shop.plain_kubectl(&events)?.out.contains("is gone, and these policies with it: team-shop"))
    })?;
    let mut crd: serde_json::Value = serde_json::from_str(&crd)?;
    if let Some(metadata) = crd.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.retain(|field, _| ["name", "labels", "annotations"].contains(&field.as_str()));
    }
    shop.apply(&crd.to_string())?.succeeds()?;
    shop.until("policies can be written again", || {
        Ok(apply(shop, "team-floor.yaml", "team=shop", &["team-shop"]).is_ok())
    })?;
    ensure!(!scale()?.ok, "the floor does not count");
    super::doctor::is(shop, "policies", "ok", "all count: team-shop")?;
    delete(shop, &["team-shop"])?;
    shop.until("the deletion is told", || {
        let events = ["get", "events", "-n", "flipguard-system", "-o=jsonpath={.items[*].message}"];
        Ok(shop.plain_kubectl(&events)?.out.contains("no change is judged by these policies any more: team-shop"))
    })
}
