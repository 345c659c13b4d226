//! Installing, upgrading and removing flipguard as an administrator does, with kustomize and with real Helm. The shared
//! guard has ended. kwok simulates the Pods, so the registration stays empty.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use controlplane::Guard;
use serde_json::Value;

use super::FLAGS;
use super::shop::{Attempt, BLUE, GREEN, Pods, Shop, attempt};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const OWN: &str = "flipguard-system";

/// The base, all overlays, and the base again. Each is applied twice, the second time without a diff.
pub(crate) fn with_kustomize(shop: &Shop) -> Result<()> {
    begins_without(shop)?;
    applies_twice(shop, "base")?;
    nothing_is_refused(shop)?;
    let mut status = std::process::Command::new(env!("CARGO_BIN_EXE_flipguard"));
    status.args(["status", "-n", &shop.namespace, "--kubeconfig"]).arg(shop.control_plane.kubeconfig());
    attempt(status, None)?.says(&format!("flipguard {}: 2 of 2 replicas ready\n", env!("CARGO_PKG_VERSION")))?;
    // The overlay uses kinds of cert-manager. The test's own CRDs suffice to show that the overlay is well-formed.
    shop.plain_kubectl(&[
        "apply",
        "-f",
        &file(shop, "cert-manager.yaml", &crds("cert-manager.io", ["Certificate", "Issuer"]))?,
    ])?
    .succeeds()?;
    shop.plain_kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?.succeeds()?;
    applies_twice(shop, "overlays/cert-manager")?;
    let mounted = own(
        shop,
        &[
            "get",
            "deployment",
            "flipguard",
            r#"-o=jsonpath={.spec.template.spec.volumes[?(@.name=="certificates")].secret.secretName}"#,
        ],
    )?;
    let certificate =
        own(shop, &["get", "certificates.cert-manager.io", "flipguard", "-o=jsonpath={.spec.secretName}"])?;
    ensure!(
        mounted == certificate && !mounted.is_empty(),
        "`{mounted}` is mounted, but the certificate is in `{certificate}`"
    );
    let names = own(shop, &["get", "certificates.cert-manager.io", "flipguard", "-o=jsonpath={.spec.dnsNames[0]}"])?;
    ensure!(names == format!("flipguard.{OWN}.svc"), "{names}");
    shop.plain_kubectl(&[
        "apply",
        "-f",
        &file(shop, "prometheus.yaml", &crds("monitoring.coreos.com", ["PrometheusRule", "PodMonitor"]))?,
    ])?
    .succeeds()?;
    shop.plain_kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?.succeeds()?;
    applies_twice(shop, "overlays/monitored")?;
    own(shop, &["rollout", "status", "deployment/flipguard-auditor", "--timeout=60s"])?;
    let board = own(shop, &["get", "configmap", "flipguard-dashboard", r"-o=jsonpath={.data.flipguard\.json}"])?;
    ensure!(board == std::fs::read_to_string(format!("{ROOT}/deploy/monitoring/dashboard.json"))?, "another board");
    applies_twice(shop, "overlays/host-network")?;
    // On the way back, Pod Security rightly warns about the Pods that are still to be deleted.
    shop.plain_kubectl(&["apply", "-k", &format!("{ROOT}/deploy/base")])?.succeeds()?;
    runs(shop)?;
    removed_in_any_order(shop)
}

/// The chart with all its values, compared with the output of `flipguard manifests`.
pub(crate) fn with_helm(shop: &Shop) -> Result<()> {
    begins_without(shop)?;
    the_chart_says_the_same(shop)?;
    shop.plain_kubectl(&["create", "namespace", OWN])?.succeeds()?;
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    shop.plain_kubectl(&["label", "namespace", OWN, restricted])?.succeeds()?;
    let chart = format!("{ROOT}/deploy/helm/flipguard");
    let release = |verb: &str, more: &[&str]| {
        let args = [&[verb, "flipguard", &chart, "--wait", "--timeout=60s"], more].concat();
        helm(shop, &args)
    };
    release("install", &[])?.succeeds()?;
    runs(shop)?;
    nothing_is_refused(shop)?;
    // An upgrade without changes writes only Helm's own record.
    let generation =
        || own(shop, &["get", "deployment,service,poddisruptionbudget", "-o=jsonpath={.items[*].metadata.generation}"]);
    let before = generation()?;
    release("upgrade", &[])?.succeeds()?;
    ensure!(generation()? == before, "an upgrade without changes wrote an object");
    // A guard fills in the registration, and an upgrade leaves it unchanged.
    let guard = guard(shop)?;
    let webhooks = || Ok::<_, anyhow::Error>(shop.plain_kubectl(&REGISTERED)?.out);
    let registered = webhooks()?;
    ensure!(registered.contains("guard.flipguard.dev"), "{registered}");
    let values = [
        "--set=enforcement=warn",
        "--set=networkPolicy.enabled=true",
        "--set=exemptUsers={a,b}",
        "--set=exemptNamespaces={c,d}",
        "--set=replicas=3",
        // The guard of the test has its address in the policy, by `kubectl apply`.
        "--force-conflicts",
    ];
    release("upgrade", &values)?.succeeds()?;
    runs(shop)?;
    let args = own(shop, &["get", "deployment", "flipguard", "-o=jsonpath={.spec.template.spec.containers[0].args}"])?;
    ensure!(args == r#"["serve","--enforcement=warn","--exempt-namespaces=c,d","--exempt-users=a,b"]"#, "{args}");
    let ports = own(shop, &["get", "networkpolicy", "flipguard", "-o=jsonpath={.spec.ingress[*].ports[*].port}"])?;
    ensure!(ports == "10250 8080", "{ports}");
    without_labels(shop, &chart)?;
    ensure!(webhooks()? == registered, "an upgrade changed the registration");
    wrong_values_are_refused(shop, &chart)?;
    // The host network.
    let privileged = "pod-security.kubernetes.io/enforce=privileged";
    shop.plain_kubectl(&["label", "--overwrite", "namespace", OWN, privileged])?.succeeds()?;
    release("upgrade", &["--reset-values", "--set=hostNetwork=true", "--set=port=10260", "--set=statusPort=10261"])?
        .succeeds()?;
    runs(shop)?;
    let ports = own(
        shop,
        &["get", "deployment", "flipguard", "-o=jsonpath={.spec.template.spec.containers[0].ports[*].containerPort}"],
    )?;
    ensure!(ports == "10260 10261", "{ports}");
    drop(guard);
    helm(shop, &["uninstall", "flipguard", "--wait", "--timeout=60s"])?.succeeds()?;
    ensure!(!shop.plain_kubectl(&REGISTERED)?.ok, "a webhook is still registered");
    flips_freely(shop)?;
    shop.plain_kubectl(&["delete", "namespace", OWN, "--timeout=90s"])?.succeeds()
}

/// Each message says what to write instead.
fn wrong_values_are_refused(shop: &Shop, chart: &str) -> Result<()> {
    let refused = |namespace: &str, set: &str, words: &str| {
        let refused = helm(shop, &["--namespace", namespace, "template", "flipguard", chart, "--set", set])?;
        ensure!(!refused.ok, "{set}: {}", refused.out);
        refused.says(words)
    };
    for (set, words) in [
        ("enforcement=maybe", "'/enforcement': value must be one of 'deny', 'warn'"),
        ("exemptNamespaces={Wrong_}", "/exemptNamespaces/0"),
        ("labels=false", "labels is false, and it has to be an object; set labels.enabled=false"),
        ("port=8080", "port and statusPort are both 8080"),
        ("statusPort=10250", "the defaults are port=10250 and statusPort=8080"),
        ("hostNetwork=true", "it is the kubelet's; set port=10260 and statusPort=10261"),
        ("hostNetwork=true,port=10260,statusPort=10250", "it is the kubelet's"),
        ("replicas=0", "set replicas=2, or enforcement=warn"),
    ] {
        refused(OWN, set, words)?;
    }
    helm(shop, &["template", "flipguard", chart, "--set", "replicas=0,enforcement=warn"])?.succeeds()?;
    // Its own namespace is never guarded, so it may not be one with apps.
    for namespace in ["default", "kube-system"] {
        let words = format!("cannot run in namespace {namespace}, because flipguard does not guard its own");
        refused(namespace, "replicas=2", &words)?;
        refused(namespace, "replicas=2", "--namespace flipguard-system --create-namespace")?;
    }
    Ok(())
}

/// Without labels, there is neither a mutating registration nor a right to write one.
fn without_labels(shop: &Shop, chart: &str) -> Result<()> {
    let may_patch = || {
        let account = format!("--as=system:serviceaccount:{OWN}:flipguard");
        let ask = ["auth", "can-i", "patch", "mutatingwebhookconfigurations/flipguard", &account];
        Ok::<_, anyhow::Error>(shop.plain_kubectl(&ask)?.out.trim().to_owned())
    };
    let registered =
        || Ok::<_, anyhow::Error>(shop.plain_kubectl(&["get", "mutatingwebhookconfiguration", "flipguard"])?.ok);
    ensure!(may_patch()? == "yes" && registered()?);
    let upgrade = |set: &str| {
        helm(shop, &["upgrade", "flipguard", chart, "--reuse-values", set, "--wait", "--timeout=60s"])?.succeeds()
    };
    upgrade("--set=labels.enabled=false")?;
    ensure!(may_patch()? == "no" && !registered()?, "{} {}", may_patch()?, registered()?);
    let args = own(shop, &["get", "deployment", "flipguard", "-o=jsonpath={.spec.template.spec.containers[0].args}"])?;
    ensure!(args.contains("--labels=false"), "{args}");
    upgrade("--set=labels.enabled=true")?;
    ensure!(may_patch()? == "yes" && registered()?);
    Ok(())
}

const REGISTERED: [&str; 4] = ["get", "validatingwebhookconfiguration", "flipguard", "-o=jsonpath={.webhooks[*].name}"];

/// The namespace, the permissions or the registration is deleted first. In the end nothing is left, and flips are not
/// blocked.
fn removed_in_any_order(shop: &Shop) -> Result<()> {
    let base = format!("{ROOT}/deploy/base");
    for first in [
        ["validatingwebhookconfiguration", "flipguard"],
        ["clusterrolebinding", "flipguard:flipguard-system"],
        ["namespace", OWN],
    ] {
        shop.plain_kubectl(&["apply", "-k", &base])?.succeeds()?;
        let guard = guard(shop)?;
        shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
        shop.plain_kubectl(&[&["delete", "--timeout=90s"], first.as_slice()].concat())?.succeeds()?;
        shop.plain_kubectl(&["delete", "-k", &base, "--ignore-not-found", "--timeout=90s"])?.succeeds()?;
        flips_freely(shop)?;
        ensure!(!shop.plain_kubectl(&["get", "namespace", OWN])?.ok, "the namespace still exists");
        // A guard that still runs does not restore the registration.
        ensure!(guard.process().is_running() || first == ["namespace", OWN]);
        ensure!(!shop.plain_kubectl(&REGISTERED)?.ok, "the webhook was registered again");
    }
    Ok(())
}

/// Removes everything that belongs to the shared guard.
fn begins_without(shop: &Shop) -> Result<()> {
    shop.without_the_guard()?;
    let base = format!("{ROOT}/deploy/base");
    shop.plain_kubectl(&["delete", "-k", &base, "--ignore-not-found", "--timeout=90s"])?.succeeds()
}

/// Starts a guard beside the Pods that kwok simulates, under the same ServiceAccount.
fn guard(shop: &Shop) -> Result<Guard> {
    let guard = Guard::start_beside(shop.control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), FLAGS)?;
    guard.wait_until_it_guards(shop.control_plane)?;
    Ok(guard)
}

/// Applies a folder until its Pods run, applies it again without a change, and compares.
fn applies_twice(shop: &Shop, folder: &str) -> Result<()> {
    let folder = format!("{ROOT}/deploy/{folder}");
    shop.plain_kubectl(&["apply", "-k", &folder])?.passes_silently()?;
    runs(shop)?;
    let again = shop.plain_kubectl(&["apply", "-k", &folder])?;
    again.passes_silently()?;
    // kubectl always sends the selector of a PodDisruptionBudget again. The diff shows that it is unchanged.
    let same = |line: &&str| !line.ends_with(" unchanged") && !line.starts_with("poddisruptionbudget");
    let changed: Vec<&str> = again.out.lines().filter(same).collect();
    ensure!(changed.is_empty(), "{folder}: the second apply changed {changed:?}");
    let diff = shop.plain_kubectl(&["diff", "-k", &folder])?;
    ensure!(diff.ok && diff.out.is_empty(), "{folder}: {}{}", diff.out, diff.err);
    Ok(())
}

/// Waits until its Pods are admitted, scheduled on different nodes, and ready.
fn runs(shop: &Shop) -> Result<()> {
    own(shop, &["rollout", "status", "deployment/flipguard", "--timeout=60s"])?;
    let nodes =
        own(shop, &["get", "pods", "-l", "app.kubernetes.io/name=flipguard", "-o=jsonpath={.items[*].spec.nodeName}"])?;
    ensure!(nodes.contains("node-1") && nodes.contains("node-2"), "the Pods run on {nodes}");
    Ok(())
}

/// An empty registration denies nothing and delays nothing.
fn nothing_is_refused(shop: &Shop) -> Result<()> {
    let registered = shop.plain_kubectl(&REGISTERED)?;
    registered.succeeds()?;
    ensure!(registered.out.is_empty(), "{}", registered.out);
    flips_freely(shop)
}

fn flips_freely(shop: &Shop) -> Result<()> {
    shop.route("app", BLUE)?.passes_silently()?;
    shop.route("app", GREEN)?.passes_silently()
}

fn helm(shop: &Shop, args: &[&str]) -> Result<Attempt> {
    let mut command = shop.control_plane.helm();
    command.args(["-n", OWN]).args(args);
    attempt(command, None)
}

fn own(shop: &Shop, args: &[&str]) -> Result<String> {
    let attempt = shop.plain_kubectl(&[&["-n", OWN], args].concat())?;
    attempt.succeeds()?;
    Ok(attempt.out)
}

fn file(shop: &Shop, name: &str, text: &str) -> Result<String> {
    let path = shop.control_plane.dir().join(name);
    std::fs::write(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}

/// Compares objects, whatever their order and comments. The chart contains no Namespace.
fn the_chart_says_the_same(shop: &Shop) -> Result<()> {
    same(shop, &[], &[])?;
    same(
        shop,
        &["--set=enforcement=warn", "--set=labels.enabled=false", "--set=networkPolicy.enabled=true"],
        &["--enforcement=warn", "--labels=false", "--network-policy"],
    )?;
    the_auditor_is_the_same(shop)?;
    // Only the chart has alerts.
    let template = ["template", "flipguard", &format!("{ROOT}/deploy/helm/flipguard"), "--set=alerts.enabled=true"];
    let alerts = helm(shop, &template)?;
    alerts.succeeds()?;
    let alerts = objects(&alerts.out)?;
    let (_, rule) = alerts.iter().find(|(name, _)| name == "PrometheusRule/flipguard").context("no PrometheusRule")?;
    let plain: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(format!("{ROOT}/deploy/monitoring/alerts.yaml"))?)?;
    ensure!(rule.get("spec") == Some(&plain), "the PrometheusRule is not the file: {rule:#}");
    Ok(())
}

/// The auditor of the chart is that of the component, and the board is the file.
fn the_auditor_is_the_same(shop: &Shop) -> Result<()> {
    let chart = format!("{ROOT}/deploy/helm/flipguard");
    let values = ["--set=auditor.enabled=true", "--set=dashboard.enabled=true"];
    let chart = helm(shop, &[&["template", "flipguard", &chart], values.as_slice()].concat())?;
    chart.succeeds()?;
    let chart = objects(&chart.out)?;
    let component = std::fs::read_to_string(format!("{ROOT}/deploy/components/auditor/auditor.yaml"))?;
    for (name, object) in objects(&component)? {
        let same = chart.iter().find(|(other, own)| {
            *other == name && own.pointer("/metadata/namespace") == object.pointer("/metadata/namespace")
        });
        let (_, same) = same.with_context(|| format!("the chart has no {name}"))?;
        ensure!(*same == object, "{name} is, in the chart,\n{same:#}\nand in the component,\n{object:#}");
    }
    let board = chart.iter().find(|(name, _)| name == "ConfigMap/flipguard-dashboard").context("no board")?;
    let text = board.1.pointer("/data/flipguard.json").and_then(Value::as_str).unwrap_or_default();
    let plain = std::fs::read_to_string(format!("{ROOT}/deploy/monitoring/dashboard.json"))?;
    ensure!(serde_json::from_str::<Value>(text)? == serde_json::from_str::<Value>(&plain)?, "another board");
    let args = ["--set=auditor.enabled=true", "--set=auditor.reports=nowhere"];
    let wrong = helm(shop, &[&["template", "x", &format!("{ROOT}/deploy/helm/flipguard")], args.as_slice()].concat())?;
    wrong.says("/auditor/reports")
}

fn same(shop: &Shop, values: &[&str], flags: &[&str]) -> Result<()> {
    let chart = format!("{ROOT}/deploy/helm/flipguard");
    let chart = helm(shop, &[&["template", "flipguard", &chart], values].concat())?;
    chart.succeeds()?;
    let manifests =
        std::process::Command::new(env!("CARGO_BIN_EXE_flipguard")).arg("manifests").args(flags).output()?;
    let (chart, manifests) = (objects(&chart.out)?, objects(&String::from_utf8(manifests.stdout)?)?);
    for (name, object) in &manifests {
        if name == "Namespace/flipguard-system" {
            continue;
        }
        let same = chart.iter().find(|(other, _)| other == name).with_context(|| format!("the chart has no {name}"))?;
        ensure!(same.1 == *object, "{name} is, in the chart,\n{:#}\nand in the manifests,\n{object:#}", same.1);
    }
    ensure!(chart.len() + 1 == manifests.len(), "the chart has more than the manifests");
    Ok(())
}

fn objects(yaml: &str) -> Result<Vec<(String, Value)>> {
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(yaml)?;
    let name = |object: Value| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        (format!("{}/{}", text("/kind"), text("/metadata/name")), object)
    };
    Ok(documents.into_iter().flatten().map(name).collect())
}

fn crds(group: &str, kinds: [&str; 2]) -> String {
    kinds.map(|kind| crd(group, kind)).concat()
}

/// A CRD that accepts everything, in the place of another project's.
fn crd(group: &str, kind: &str) -> String {
    let singular = kind.to_lowercase();
    format!(
        "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {{name: {singular}s.{group}}}\n\
         spec: {{group: {group}, scope: Namespaced, names: {{kind: {kind}, plural: {singular}s, singular: {singular}}}, \
         versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: \
         {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}]}}\n"
    )
}
