//! What flipguard's ServiceAccount may do, and what a thief of its token may not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use controlplane::{Guard, as_yaml};
use flipguard::auditor::metrics::Look;
use flipguard::offline::case::Case;
use flipguard::report::{Looked, Report};
use flipguard::status::status;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::admission::on_runtime;
use super::shop::{Attempt, Shop, attempt};
use super::{FLAGS, Test};

pub(crate) const TESTS: &[Test] = &[
    ("rights::a_stolen_token_registers_nothing_else", a_stolen_token_registers_nothing_else),
    ("rights::a_stolen_token_creates_no_other_names", a_stolen_token_creates_no_other_names),
    ("rights::each_right_is_explained", each_right_is_explained),
    ("rights::a_token_file_is_read_again", a_token_file_is_read_again),
    ("rights::the_policies_name_fields_that_exist", the_policies_name_fields_that_exist),
    ("rights::the_alerts_name_metrics_that_exist", the_alerts_name_metrics_that_exist),
];

const OWN: &str = "flipguard-system";
const VALIDATING: &str = "validatingwebhookconfiguration";
const MUTATING: &str = "mutatingwebhookconfiguration";

/// Runs kubectl with the token of flipguard's ServiceAccount.
fn with_its_token(shop: &Shop, args: &[&str], input: Option<&str>) -> Result<Attempt> {
    let mut command = shop.control_plane.kubectl();
    command.arg("--kubeconfig").arg(shop.guard.kubeconfig()).args(args);
    attempt(command, input)
}

/// A patch of a registration as a dry run: nothing is stored, so other tests go on.
fn patches(shop: &Shop, kind: &str, patch: &Value) -> Result<Attempt> {
    let patch = patch.to_string();
    with_its_token(shop, &["patch", kind, "flipguard", "--type=json", "--dry-run=server", "-p", &patch], None)
}

fn is_forbidden(attempt: &Attempt, policy: &str, words: &str) -> Result<()> {
    ensure!(!attempt.ok, "it should be denied: {words}");
    attempt.says(&format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {words}"))
}

fn a_stolen_token_registers_nothing_else(shop: &Shop) -> Result<()> {
    let replace =
        |path: &str, value: Value| json!({ "op": "replace", "path": format!("/webhooks/0/{path}"), "value": value });
    let url = format!("https://{}", shop.guard.listen());
    let another = |name: &str, group: &str, resource: &str, selector: Value| {
        json!([{ "op": "add", "path": "/webhooks/-", "value": {
            "name": name,
            "clientConfig": { "url": format!("{url}/validate/x") },
            "rules": [{ "apiGroups": [group], "apiVersions": ["*"], "operations": ["*"], "resources": [resource] }],
            "namespaceSelector": selector,
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        } }])
    };
    let only = |operator: &str, namespace: &str| {
        json!({ "matchExpressions": [
            { "key": "kubernetes.io/metadata.name", "operator": operator, "values": [namespace] },
        ] })
    };
    let rest = only("NotIn", "kube-system");
    let service = json!({ "name": "evil", "namespace": "default", "path": "/" });
    let address = "flipguard registers only its own address";
    let resources = "flipguard registers only for Services, workloads and Jobs";
    let gates = "flipguard registers only for Jobs that are a test for a gate";
    let system = "flipguard leaves out the namespace kube-system";
    let probe = "flipguard registers its probe only for its own namespace";
    let labels = "flipguard changes only Deployments and Jobs, and never waits for that";
    let denied = [
        (VALIDATING, json!([replace("rules/0/resources", json!(["*"]))]), resources),
        (VALIDATING, json!([replace("rules/0/resources", json!(["*/*"]))]), resources),
        (VALIDATING, json!([replace("rules/0/resources", json!(["services", "secrets"]))]), resources),
        (VALIDATING, json!([replace("rules/0/apiGroups", json!(["*"]))]), resources),
        (VALIDATING, json!([replace("rules/0/apiGroups", json!(["rbac.authorization.k8s.io"]))]), resources),
        (VALIDATING, json!([replace("clientConfig/url", json!("https://evil.example/validate/x"))]), address),
        (VALIDATING, json!([replace("clientConfig/url", json!(format!("{url}0/validate/x")))]), address),
        (VALIDATING, json!([replace("clientConfig", json!({ "service": service }))]), address),
        (VALIDATING, json!([replace("namespaceSelector", json!({}))]), system),
        (VALIDATING, json!([replace("namespaceSelector", only("NotIn", "elsewhere"))]), system),
        (VALIDATING, json!([replace("namespaceSelector", only("In", "kube-system"))]), system),
        (
            VALIDATING,
            another("evil.example.com", "", "services", rest.clone()),
            "flipguard registers only webhooks whose",
        ),
        (VALIDATING, another("more.flipguard.dev", "", "pods", rest.clone()), resources),
        (VALIDATING, another("more.flipguard.dev", "batch", "jobs", rest.clone()), gates),
        (MUTATING, json!([replace("rules/0/apiGroups", json!(["batch"]))]), gates),
        (MUTATING, json!([replace("rules/0/resources", json!(["jobs"]))]), labels),
        (VALIDATING, another("probe.flipguard.dev", "", "pods", only("In", OWN)), probe),
        (VALIDATING, another("probe.flipguard.dev", "coordination.k8s.io", "leases", rest.clone()), probe),
        (MUTATING, json!([replace("rules/0/resources", json!(["pods"]))]), resources),
        (MUTATING, json!([replace("rules/0/resources", json!(["deployments", "statefulsets"]))]), labels),
        (MUTATING, json!([replace("failurePolicy", json!("Fail"))]), labels),
        (MUTATING, json!([replace("name", json!("guard.flipguard.dev"))]), labels),
        (MUTATING, json!([replace("clientConfig/url", json!("https://evil.example/mutate/x"))]), address),
        (MUTATING, another("more.flipguard.dev", "apps", "deployments", rest.clone()), labels),
    ];
    for (kind, patch, words) in denied {
        // The probe of the test replaces that of flipguard, if there is one.
        let patch = without_the_probe(shop, kind, patch)?;
        is_forbidden(&patches(shop, kind, &patch)?, "flipguard.flipguard-system", words)
            .with_context(|| patch.to_string())?;
    }
    // The rest of its own registration is its own, and the probe in its own namespace is as well.
    let probe = another("probe.flipguard.dev", "coordination.k8s.io", "leases", only("In", OWN));
    let allowed = [
        (VALIDATING, json!([replace("timeoutSeconds", json!(7))])),
        (VALIDATING, json!([{ "op": "remove", "path": "/webhooks" }])),
        (VALIDATING, without_the_probe(shop, VALIDATING, probe)?),
        (MUTATING, json!([replace("timeoutSeconds", json!(7))])),
    ];
    for (kind, patch) in allowed {
        patches(shop, kind, &patch)?.succeeds()?;
    }
    // The policy is about this account only.
    let everything = json!([replace("rules/0/resources", json!(["*"]))]).to_string();
    let admin = ["patch", VALIDATING, "flipguard", "--type=json", "--dry-run=server", "-p", &everything];
    shop.plain_kubectl(&admin)?.succeeds()
}

/// Puts the removal of the stored probe before a patch that adds one.
fn without_the_probe(shop: &Shop, kind: &str, patch: Value) -> Result<Value> {
    if kind == MUTATING || !patch.to_string().contains("probe.flipguard.dev") {
        return Ok(patch);
    }
    let names = shop.plain_kubectl(&["get", kind, "flipguard", "-o=jsonpath={.webhooks[*].name}"])?.out;
    let Some(at) = names.split(' ').position(|name| name == "probe.flipguard.dev") else { return Ok(patch) };
    let mut patches = vec![json!({ "op": "remove", "path": format!("/webhooks/{at}") })];
    patches.extend(patch.as_array().context("no patch")?.iter().cloned());
    Ok(json!(patches))
}

fn a_stolen_token_creates_no_other_names(shop: &Shop) -> Result<()> {
    let creates = |kind: &str, api: &str, name: &str, more: &str| {
        let object = format!("{{apiVersion: {api}, kind: {kind}, metadata: {{name: {name}, namespace: {OWN}{more}}}}}");
        with_its_token(shop, &["create", "--dry-run=server", "-f", "-"], Some(&as_yaml(&object)))
    };
    let secret = "flipguard writes only the Secret flipguard, and never a token of a ServiceAccount";
    is_forbidden(&creates("Secret", "v1", "more", "")?, "flipguard-namespace.flipguard-system", secret)?;
    let token = ", annotations: {kubernetes.io/service-account.name: flipguard}";
    is_forbidden(&creates("Secret", "v1", "flipguard", token)?, "flipguard-namespace.flipguard-system", secret)?;
    let maps = "flipguard creates only ConfigMaps of its own";
    is_forbidden(&creates("ConfigMap", "v1", "more", "")?, "flipguard-namespace.flipguard-system", maps)?;
    let lease = creates("Lease", "coordination.k8s.io/v1", "more", "")?;
    is_forbidden(&lease, "flipguard-namespace.flipguard-system", "flipguard writes only Leases of its own")?;
    let others = "flipguard changes only ConfigMaps with the label app.kubernetes.io/managed-by=flipguard";
    let change = |what: &[&str], input: Option<&str>| -> Result<()> {
        let done = with_its_token(shop, &[&["-n", OWN, "--dry-run=server"], what].concat(), input)?;
        is_forbidden(&done, "flipguard-config-maps.flipguard-system", others)
    };
    change(&["delete", "configmap", "kube-root-ca.crt"], None)?;
    // The label is no way around it: the old object has none.
    let labelled = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: kube-root-ca.crt, namespace: {OWN}, \
         labels: {{app.kubernetes.io/managed-by: flipguard}}}}}}"
    );
    change(&["replace", "-f", "-"], Some(&as_yaml(&labelled)))?;
    creates("ConfigMap", "v1", "ledger-of-a-namespace", "")?.succeeds()?;
    // It exists, and admission comes first.
    creates("Secret", "v1", "flipguard", "")?.says("already exists")
}

/// `kubectl auth can-i --list` shows nothing that docs/rights.md does not explain.
fn each_right_is_explained(shop: &Shop) -> Result<()> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rights.md"))?;
    let (by_kubernetes, table) = page.split_once("| where |").context("no table")?;
    for namespace in [OWN, &shop.namespace] {
        let list = with_its_token(shop, &["-n", namespace, "auth", "can-i", "--list"], None)?;
        list.succeeds()?;
        let mut rows = 0;
        for row in list.out.lines().skip(1) {
            let is_explained = explains(table, by_kubernetes, namespace, row).with_context(|| row.to_owned())?;
            ensure!(is_explained, "docs/rights.md does not explain this right in namespace {namespace}: {row}");
            rows += 1;
        }
        ensure!(rows > 10, "{}", list.out);
    }
    Ok(())
}

fn explains(table: &str, by_kubernetes: &str, namespace: &str, row: &str) -> Option<bool> {
    // RESOURCES [NON-RESOURCE URLS] [RESOURCE NAMES] [VERBS]
    let (resource, lists) = row.split_once('[')?;
    let lists: Vec<&str> = lists.split('[').map(|list| list.trim().trim_end_matches(']')).collect();
    let [urls, names, verbs] = lists.as_slice() else { return None };
    let resource = resource.trim();
    if !urls.is_empty() {
        let root = urls.split('/').nth(1)?;
        return Some(*verbs == "get" && by_kubernetes.contains(&format!("`/{root}")));
    }
    let only = if names.is_empty() { String::new() } else { format!(", only `{names}`") };
    let what = format!("| `{resource}`{only} |");
    let verbs = format!("| {} |", verbs.replace(' ', ", "));
    let is_in_table = table.lines().any(|line| {
        line.contains(&what) && line.contains(&verbs) && (namespace == OWN || line.starts_with("| everywhere"))
    });
    let plain = resource.split('.').next()?;
    Some(is_in_table || by_kubernetes.contains(&format!("`{plain}`")))
}

/// A mounted token is replaced within the hour. flipguard reads it again within a minute, and goes on.
fn a_token_file_is_read_again(shop: &Shop) -> Result<()> {
    let file = shop.control_plane.dir().join("token-file");
    let token = |account: &str| -> Result<()> {
        shop.kubectl(&["create", "serviceaccount", account])?.succeeds()?;
        let token = shop.kubectl(&["create", "token", account])?;
        token.succeeds()?;
        Ok(std::fs::write(&file, token.out.trim())?)
    };
    token("first")?;
    let kubeconfig = kubeconfig_with_token_file(shop, &file)?;
    on_runtime(async {
        let client = flipguard::cluster::connect::connect(Some(&kubeconfig)).await?;
        let reviews: Api<SelfSubjectReview> = Api::all(client);
        let whoami = async || -> Result<String> {
            let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
            review.status.and_then(|status| status.user_info?.username).context("nobody")
        };
        let is = |account: &str| format!("system:serviceaccount:{}:{account}", shop.namespace);
        ensure!(whoami().await? == is("first"));
        token("second")?;
        let deadline = Instant::now() + Duration::from_secs(120);
        while whoami().await? != is("second") {
            ensure!(Instant::now() < deadline, "the file is not read again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    })
}

/// The API server compares each expression of a policy with the fields of the objects.
fn the_policies_name_fields_that_exist(shop: &Shop) -> Result<()> {
    for policy in ["flipguard", "flipguard-namespace", "flipguard-config-maps"] {
        let policy = &format!("{policy}.{OWN}");
        let read = |path: &str| {
            let path = format!("-o=jsonpath={path}");
            Ok::<_, anyhow::Error>(shop.plain_kubectl(&["get", "validatingadmissionpolicy", policy, &path])?.out)
        };
        shop.until("the policy is checked", || {
            Ok(read("{.status.observedGeneration}")? == read("{.metadata.generation}")?)
        })?;
        let warnings = read("{.status.typeChecking.expressionWarnings}")?;
        ensure!(warnings.is_empty(), "{policy}: {warnings}");
    }
    Ok(())
}

/// Where the metrics of `serve` are registered.
const REGISTERED: &str = include_str!("../../src/telemetry/metrics.rs");

/// Every metric of flipguard in an alert or on the board is one of `serve` or of the auditor.
fn the_alerts_name_metrics_that_exist(shop: &Shop) -> Result<()> {
    let served = shop.guard.ask("/metrics")?.1;
    let case = Case::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/audit/no-pdb.yaml"))?;
    let (snapshot, policy) = case.at_rest()?;
    let status = status(&snapshot, &policy, &|_| true);
    let mut report = Report::new(String::new(), snapshot.at, vec![]);
    report.add(Looked { at: snapshot.at, status, findings: case.audit()? });
    let look = Look {
        are_reports_written: Some(true),
        report: Some(&report),
        last_success: Some(snapshot.at),
        took: Duration::from_secs(1),
        is_complete: true,
    };
    let metrics = served + &flipguard::auditor::metrics::text(&look);
    for file in ["alerts.yaml", "dashboard.json"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring").join(file))?;
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let named: BTreeSet<&str> = words.filter(|word| word.starts_with("flipguard_")).collect();
        ensure!(named.len() >= 12, "{named:?}");
        for name in named {
            let ends = ["_total", "_bucket", "_sum", "_count"];
            let family = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            // A family that nothing has been counted in is not in the text yet.
            let registered = format!("\"{}\"", family.trim_start_matches("flipguard_"));
            let is_there = metrics.contains(&format!("# TYPE {family} ")) || REGISTERED.contains(&registered);
            ensure!(is_there, "{file}: there is no metric {name}");
        }
    }
    Ok(())
}

fn kubeconfig_with_token_file(shop: &Shop, token: &Path) -> Result<PathBuf> {
    let folder = shop.control_plane.dir();
    let (authority, kubeconfig) = (folder.join("token-file.ca.crt"), folder.join("token-file.kubeconfig"));
    std::fs::write(&authority, shop.control_plane.ca_pem())?;
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "there",
        "clusters": [{ "name": "there", "cluster": {
            "server": shop.control_plane.url(), "certificate-authority": authority,
        } }],
        "users": [{ "name": "there", "user": { "tokenFile": token } }],
        "contexts": [{ "name": "there", "context": { "cluster": "there", "user": "there" } }],
    });
    std::fs::write(&kubeconfig, text.to_string())?;
    Ok(kubeconfig)
}

/// Without labels, flipguard needs no right to change objects, and adds none. The shared guard has ended.
pub(crate) fn without_labels(shop: &Shop) -> Result<()> {
    shop.without_the_guard()?;
    shop.plain_kubectl(&["delete", MUTATING, "flipguard", "--ignore-not-found"])?.succeeds()?;
    let rights = ["clusterrolebinding/flipguard-labels:flipguard-system", "clusterrole/flipguard-labels"];
    shop.plain_kubectl(&[&["delete", "--ignore-not-found"], rights.as_slice()].concat())?.succeeds()?;
    let flags = [FLAGS, &["--labels=false"]].concat();
    let guard = Guard::start_beside(shop.control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), &flags)?;
    guard.wait_until_it_guards(shop.control_plane)?;
    ensure!(guard.ask("/metrics")?.1.contains("flipguard_registered 1"), "it does not say that it guards");
    shop.apply(DEPLOYMENT)?.passes_silently()?;
    let labels = shop.kubectl(&["get", "deployment", "app-blue", "-o=jsonpath={.metadata.labels}"])?;
    ensure!(labels.ok && labels.out.is_empty(), "{}", labels.out);
    let doctor = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flipguard"));
        command.args(["doctor", "--labels=false", "--kubeconfig"]).arg(shop.control_plane.kubeconfig());
        command.args(["--exempt-users", FLAGS.get(1).context("no exempt users")?]);
        attempt(command, None)
    };
    let healthy = doctor()?;
    healthy.succeeds()?;
    healthy.says("ok       labels        switched off: flipguard has no right to change objects")?;
    healthy.says("ok       rights        ServiceAccount flipguard-system/flipguard has all permissions")?;
    // As `kubectl apply` leaves them, which deletes nothing.
    let mut manifests = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    manifests.args(["manifests", "--part", "labels"]);
    shop.apply(&attempt(manifests, None)?.out)?.succeeds()?;
    doctor()?.says(
        "kubectl delete mutatingwebhookconfiguration/flipguard clusterrolebinding/flipguard-labels:flipguard-system",
    )
}

const DEPLOYMENT: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: app-blue}, spec: {replicas: 1, \
    selector: {matchLabels: {app: shop}}, template: {metadata: {labels: {app: shop, color: blue}}, \
    spec: {containers: [{name: web, image: 'web:1.2.3'}]}}}}";
