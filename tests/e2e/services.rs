//! Changes of a traffic Service that are denied, and the warnings on a flip.

use anyhow::{Result, ensure};

use super::Test;
use super::seeing::flipguard;
use super::shop::{BLUE, GREEN, Pods, Shop, map, service};

pub(crate) const TESTS: &[Test] = &[
    ("services::the_selector_is_not_emptied", the_selector_is_not_emptied),
    ("services::the_colour_stays_in_the_selector", the_colour_stays_in_the_selector),
    ("services::named_ports_are_found", named_ports_are_found),
    ("services::no_external_name_while_pods_serve", no_external_name_while_pods_serve),
    ("services::no_traffic_to_pods_that_are_not_ready", no_traffic_to_pods_that_are_not_ready),
    ("services::opting_out_needs_permission", opting_out_needs_permission),
    ("services::argo_rollouts_mark_needs_a_rollout", argo_rollouts_mark_needs_a_rollout),
    ("services::a_smaller_target_causes_a_warning", a_smaller_target_causes_a_warning),
    ("services::another_environment_causes_a_warning", another_environment_causes_a_warning),
    ("services::a_missing_probe_causes_a_warning", a_missing_probe_causes_a_warning),
    ("services::a_version_mismatch_causes_a_warning", a_version_mismatch_causes_a_warning),
    ("services::tools_get_hints", tools_get_hints),
];

/// A Deployment of two Pods with further fields in its container.
fn deploy_with(shop: &Shop, name: &str, labels: &[(&str, &str)], replicas: u32, container: &str) -> Result<()> {
    let mut all = vec![("name", name)];
    all.extend(labels);
    shop.apply(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: {replicas}, \
         selector: {{matchLabels: {{name: {name}}}}}, template: {{metadata: {{labels: {}}}, \
         spec: {{containers: [{{name: web, {container}}}]}}}}}}}}",
        map(&all)
    ))?
    .succeeds()?;
    shop.rolled_out(&format!("deployment/{name}"))
}

const PROBE: &str = "readinessProbe: {httpGet: {port: 8080}}";

fn the_selector_is_not_emptied(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    let refused = |args: &[&str]| {
        shop.kubectl(args)?.is_refused("selector-emptied", &["an empty selector freezes the endpoints"])
    };
    refused(&["patch", "service", "app", "--type=merge", "-p", r#"{"spec":{"selector":null}}"#])?;
    refused(&["patch", "service", "app", "--type=json", "-p", r#"[{"op":"remove","path":"/spec/selector"}]"#])?;
    refused(&[
        "patch",
        "service",
        "app",
        "--type=json",
        "-p",
        r#"[{"op":"replace","path":"/spec/selector","value":{}}]"#,
    ])?;
    // Waiting does not help, so a dry run is denied as well.
    refused(&["patch", "service", "app", "--dry-run=server", "--type=merge", "-p", r#"{"spec":{"selector":null}}"#])
}

fn the_colour_stays_in_the_selector(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    let patch = r#"[{"op":"remove","path":"/spec/selector/color"}]"#;
    shop.kubectl(&["patch", "service", "app", "--type=json", "-p", patch])?
        .is_refused("selector-unpinned", &["selector app=shop no longer picks one color"])?;
    // By a version that both colours have, both would serve.
    let version = |colour: &'static str| [("app", "two"), ("color", colour), ("version", "1")];
    shop.deploy_ready("two-blue", &version("blue"), 1)?;
    shop.deploy_ready("two-green", &version("green"), 1)?;
    shop.route("two", &[("app", "two"), ("color", "blue")])?.passes_silently()?;
    shop.replace(&service("two", &[("app", "two"), ("version", "1")]))?
        .is_refused("selector-unpinned", &["blue and green would all get traffic"])
}

fn named_ports_are_found(shop: &Shop) -> Result<()> {
    let container = |port: &str| format!("image: 'web:1', {PROBE}, ports: [{{name: {port}, containerPort: 8080}}]");
    deploy_with(shop, "app-blue", BLUE, 1, &container("http"))?;
    deploy_with(shop, "app-green", GREEN, 1, &container("web"))?;
    let service = |colour: &str, ports: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: app}}, \
             spec: {{selector: {{app: shop, color: {colour}}}, ports: [{ports}]}}}}"
        )
    };
    let http = "{port: 80, targetPort: http}";
    shop.apply(&service("blue", http))?.passes_silently()?;
    let words = "port 80 targets `http` (TCP), but Pod app-green-";
    shop.apply(&service("green", http))?.is_refused("port-unresolved", &[words, "declares web"])?;
    shop.apply(&service("blue", "{port: 80, targetPort: web}"))?.is_refused("port-unresolved", &["declares http"])?;
    let both = "{name: a, port: 80, targetPort: http}, {name: b, port: 90, targetPort: admin}";
    shop.apply(&service("blue", both))?.passes_with_warning(&["port-unresolved: port 90 targets `admin`"])?;
    shop.apply(&service("green", "{port: 80, targetPort: 8080}"))?.succeeds()
}

fn no_external_name_while_pods_serve(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    let patch = r#"{"spec":{"type":"ExternalName","externalName":"other.example","clusterIP":"","clusterIPs":null}}"#;
    shop.kubectl(&["patch", "service", "app", "--type=merge", "-p", patch])?
        .is_refused("type-external-name", &["would bypass the 1 ready pod"])?;
    shop.pods_become("name=app-blue", Pods::Starting)?;
    shop.wait_for("deployment/app-blue", "{.status.readyReplicas}", "")?;
    shop.kubectl(&["patch", "service", "app", "--type=merge", "-p", patch])?.passes_silently()
}

fn no_traffic_to_pods_that_are_not_ready(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    let patch = r#"{"spec":{"publishNotReadyAddresses":true}}"#;
    shop.kubectl(&["patch", "service", "app", "-p", patch])?.is_refused("publishes-not-ready", &[])?;
    shop.route("app-blue-headless", BLUE)?.passes_silently()?;
    shop.kubectl(&["patch", "service", "app-blue-headless", "-p", patch])?.passes_silently()
}

fn opting_out_needs_permission(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    let namespace = &shop.namespace;
    shop.kubectl(&["create", "role", "editor", "--verb=get,patch,update", "--resource=services,services/status"])?
        .succeeds()?;
    shop.kubectl(&["create", "rolebinding", "editors", "--role=editor", "--user=alice", "--group=on-call"])?
        .succeeds()?;
    shop.apply(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: override, namespace: {namespace}}}, \
         rules: [{{apiGroups: [flipguard.dev], resources: [bluegreenpolicies], resourceNames: [app], verbs: [override]}}]}}"
    ))?
    .succeeds()?;
    shop.kubectl(&["create", "rolebinding", "override", "--role=override", "--group=on-call"])?.succeeds()?;
    let alice = |note: &str| shop.kubectl(&["--as=alice", "annotate", "service", "app", "--overwrite", note]);
    alice("flipguard.dev/guard=false")?
        .is_refused("opt-out-not-permitted", &["while it serves 1 pod", "ask for verb override"])?;
    alice("flipguard.dev/role=preview")?.is_refused("opt-out-not-permitted", &[])?;
    alice("argo-rollouts.argoproj.io/managed-by-rollouts=none")?
        .is_refused("opt-out-not-permitted", &["names no Rollout"])?;
    alice("note=anything")?.passes_silently()?;
    // Annotations can also be written through the status. No rule applies to the status itself.
    let status = |patch: &str| {
        shop.kubectl(&["--as=alice", "patch", "service", "app", "--subresource=status", "--type=merge", "-p", patch])
    };
    status(r#"{"metadata":{"annotations":{"flipguard.dev/guard":"false"}}}"#)?
        .is_refused("opt-out-not-permitted", &[])?;
    status(r#"{"metadata":{"annotations":{"note":"more"}}}"#)?.passes_silently()?;
    // The user gets the verb through a group.
    let bob = |note: &str| {
        shop.kubectl(&["--as=bob", "--as-group=on-call", "annotate", "service", "app", "--overwrite", note])
    };
    bob("flipguard.dev/guard=false")?.passes_silently()?;
    // The opt-out applies at once. The history has it, since later flips are not in it.
    shop.route("app", &[("app", "nothing"), ("color", "red")])?.passes_silently()?;
    let history = || flipguard(shop, &["history", "-n", &shop.namespace, "-o", "json"]);
    shop.until("the history has the opt-out", || Ok(history()?.out.contains("\"act\": \"opted-out\"")))
}

fn argo_rollouts_mark_needs_a_rollout(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.kubectl(&["create", "role", "editor", "--verb=get,patch", "--resource=services"])?.succeeds()?;
    shop.kubectl(&["create", "rolebinding", "editors", "--role=editor", "--user=argo"])?.succeeds()?;
    shop.apply(
        "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: rollouts.argoproj.io}, \
         spec: {group: argoproj.io, scope: Namespaced, names: {plural: rollouts, kind: Rollout}, versions: [{name: \
         v1alpha1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}",
    )?
    .succeeds()?;
    shop.plain_kubectl(&["wait", "--for=condition=Established", "crd/rollouts.argoproj.io", "--timeout=60s"])?
        .succeeds()?;
    let mark = "argo-rollouts.argoproj.io/managed-by-rollouts=shop";
    shop.kubectl(&["--as=argo", "annotate", "service", "app", mark])?
        .is_refused("opt-out-not-permitted", &["names no Rollout"])?;
    shop.until("the Rollout exists", || {
        Ok(shop.apply("{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: shop}}")?.ok)
    })?;
    shop.kubectl(&["--as=argo", "annotate", "service", "app", mark])?.passes_silently()
}

fn a_smaller_target_causes_a_warning(shop: &Shop) -> Result<()> {
    shop.deploy_ready("app-blue", BLUE, 3)?;
    shop.deploy_ready("app-green", GREEN, 1)?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("app", GREEN)?
        .passes_with_warning(&["capacity-below-live: the target has 1 ready pod, the current colour 3"])?;
    shop.route("app", BLUE)?.passes_silently()
}

fn another_environment_causes_a_warning(shop: &Shop) -> Result<()> {
    let container = |value: &str| format!("image: 'web:1', {PROBE}, env: [{{name: LEVEL, value: {value}}}]");
    deploy_with(shop, "app-blue", BLUE, 1, &container("info"))?;
    deploy_with(shop, "app-green", GREEN, 1, &container("debug"))?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("app", GREEN)?.passes_with_warning(&["environment-differs: ", "containers[web].env[LEVEL].value"])
}

fn a_missing_probe_causes_a_warning(shop: &Shop) -> Result<()> {
    deploy_with(shop, "app-blue", BLUE, 1, "image: 'web:1'")?;
    deploy_with(shop, "app-green", GREEN, 1, "image: 'web:2'")?;
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("app", GREEN)?.passes_with_warning(&["no-readiness-probe: Deployment app-green has no readiness probe"])
}

fn a_version_mismatch_causes_a_warning(shop: &Shop) -> Result<()> {
    let labels = |version: &'static str| [("app", "shop"), ("version", version)];
    deploy_with(shop, "app-one", &labels("1.0"), 1, &format!("image: 'web:1.0', {PROBE}"))?;
    deploy_with(shop, "app-two", &labels("2.0"), 1, &format!("image: 'web:1.9', {PROBE}"))?;
    shop.route("app", &labels("1.0"))?.passes_silently()?;
    shop.route("app", &labels("2.0"))?
        .passes_with_warning(&["version-mismatch: Deployment app-two has the label version=2.0 but runs web:1.9"])
}

fn tools_get_hints(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    let by = |manager: &str| {
        let manager = format!("--field-manager={manager}");
        shop.apply_with(&service("app", GREEN), &["--server-side", "--force-conflicts", &manager])
    };
    by("argocd-controller")?.is_refused("target-not-ready", &["Argo CD retries by itself"])?;
    by("kustomize-controller")?.is_refused("target-not-ready", &["Flux retries at its next interval"])?;
    by("helm")?.is_refused("target-not-ready", &["Run the same helm upgrade again"])?;
    let plain = by("somebody")?;
    ensure!(!plain.err.contains("Flux") && !plain.err.contains("helm"), "{}", plain.err);
    Ok(())
}
