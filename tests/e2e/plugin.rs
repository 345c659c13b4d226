//! The commands that write, called as the plugin of kubectl: real kubectl finds `kubectl-flipguard` on its PATH.

#![expect(clippy::indexing_slicing, reason = "a missing field of JSON is null, and fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Test;
use super::policies::programmed;
use super::shop::{Attempt, BLUE, GREEN, Pods, Shop, attempt, service, workload};

pub(crate) const TESTS: &[Test] = &[
    ("plugin::a_flip_and_the_way_back", a_flip_and_the_way_back),
    ("plugin::only_the_pin_changes", only_the_pin_changes),
    ("plugin::a_denied_flip_says_all", a_denied_flip_says_all),
    ("plugin::it_waits_until_the_target_is_ready", it_waits_until_the_target_is_ready),
    ("plugin::it_does_not_wait_in_vain", it_does_not_wait_in_vain),
    ("plugin::two_people_flip_at_once", two_people_flip_at_once),
    ("plugin::somebody_else_flips_meanwhile", somebody_else_flips_meanwhile),
    ("plugin::all_or_none", all_or_none),
    ("plugin::a_way_back_that_is_barred", a_way_back_that_is_barred),
    ("plugin::without_rights", without_rights),
    ("plugin::where_nobody_checks", where_nobody_checks),
    ("plugin::the_flags_of_kubectl", the_flags_of_kubectl),
    ("plugin::a_credential_plugin", a_credential_plugin),
    ("plugin::overrides", overrides),
    ("plugin::a_gate_is_run", a_gate_is_run),
    ("plugin::completion", completion),
    ("plugin::colours_on_a_terminal", colours_on_a_terminal),
];

/// A folder for PATH with the binary by its name as a plugin, and the program that completes for kubectl.
fn folder(shop: &Shop) -> Result<&'static Path> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    if FOLDER.get().is_none() {
        let folder = shop.control_plane.dir().join(format!("plugin-{}", shop.namespace));
        std::fs::create_dir_all(&folder)?;
        let script = Command::new(env!("CARGO_BIN_EXE_flipguard")).args(["completion", "kubectl"]).output()?;
        executable(&folder.join("kubectl_complete-flipguard"), &script.stdout)?;
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_flipguard"), folder.join("kubectl-flipguard"))?;
        let _ = FOLDER.set(folder);
    }
    FOLDER.get().map(PathBuf::as_path).context("no folder")
}

fn executable(path: &Path, text: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

/// `kubectl flipguard`, with these arguments.
fn command(shop: &Shop, args: &[&str]) -> Result<Command> {
    let kubectl = shop.control_plane.kubectl();
    let mut all = vec![folder(shop)?.to_path_buf()];
    // The plugin may call kubectl.
    all.extend(Path::new(kubectl.get_program()).parent().map(Path::to_path_buf));
    all.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new(kubectl.get_program());
    command.arg("flipguard").args(args).env("PATH", std::env::join_paths(all)?);
    command.env("KUBECONFIG", shop.control_plane.kubeconfig());
    Ok(command)
}

fn plugin(shop: &Shop, args: &[&str]) -> Result<Attempt> {
    attempt(command(shop, args)?, None)
}

/// The same in the namespace of the test.
fn here(shop: &Shop, args: &[&str]) -> Result<Attempt> {
    plugin(shop, &[args, &["-n", &shop.namespace]].concat())
}

fn json_of(attempt: &Attempt) -> Result<Value> {
    serde_json::from_str(&attempt.out).with_context(|| format!("{}{}", attempt.out, attempt.err))
}

/// The command has ended with this exit code.
fn ends(attempt: &Attempt, code: i32) -> Result<()> {
    ensure!(attempt.code == Some(code), "exit code {:?}, not {code}:\n{}{}", attempt.code, attempt.out, attempt.err);
    Ok(())
}

fn live(shop: &Shop, name: &str) -> Result<String> {
    Ok(shop.selector(name)?.remove("color").unwrap_or_default())
}

fn a_flip_and_the_way_back(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let trial = here(shop, &["flip", "app", "--to", "green", "--dry-run"])?;
    trial.succeeds()?;
    trial.says("service/app would flip from blue to green (dry run)")?;
    ensure!(live(shop, "app")? == "blue");
    let flip = here(shop, &["flip", "app", "--to", "green"])?;
    flip.passes_silently()?;
    ensure!(flip.out == "service/app flipped from blue to green\n", "{}", flip.out);
    ensure!(live(shop, "app")? == "green");
    let again = here(shop, &["flip", "service/app", "--to", "green", "-o", "json"])?;
    again.succeeds()?;
    ensure!(json_of(&again)?["services"][0]["result"] == "live-already", "{}", again.out);
    // The field manager is on record, and the way back is known from it.
    let manager = r#"-o=jsonpath={.metadata.managedFields[?(@.manager=="kubectl-flipguard")].operation}"#;
    ensure!(shop.kubectl(&["get", "service/app", "--show-managed-fields", manager])?.out == "Update");
    let back = here(shop, &["flip", "app", "--back", "-o", "json"])?;
    back.succeeds()?;
    let line = json_of(&back)?["services"][0].clone();
    ensure!((&line["from"], &line["to"], &line["result"]) == (&json!("green"), &json!("blue"), &json!("flipped")));
    ensure!(live(shop, "app")? == "blue");
    let unknown = here(shop, &["flip", "app", "--to", "red"])?;
    ends(&unknown, 1)?;
    unknown.says("Service app has no colour red: there are green and blue, which is live")?;
    let missing = here(shop, &["flip", "nope", "--to", "red"])?;
    ends(&missing, 2)?;
    missing.says("there is no Service nope in namespace")
}

/// A pin within a value, beside pairs and annotations that stay.
fn only_the_pin_changes(shop: &Shop) -> Result<()> {
    let (one, two) = ([("app", "cart-v1"), ("tier", "web")], [("app", "cart-v2"), ("tier", "web")]);
    shop.deploy_ready("cart-1", &one, 1)?;
    shop.deploy_ready("cart-2", &two, 1)?;
    shop.route("cart", &one)?.succeeds()?;
    let expected = here(shop, &["flip", "cart", "--to", "v2", "--expect", "web:7"])?;
    ends(&expected, 1)?;
    expected.says("(not-expected")?;
    here(shop, &["flip", "cart", "--to", "v2", "--expect", "web:1"])?.succeeds()?;
    let selector = shop.selector("cart")?;
    ensure!(selector["app"] == "cart-v2" && selector["tier"] == "web" && selector.len() == 2, "{selector:?}");
    let path = r"-o=jsonpath={.metadata.annotations.flipguard\.dev/expect}";
    ensure!(shop.kubectl(&["get", "service/cart", path])?.out == "web:1");
    let none = here(shop, &["flip", "cart", "--back", "--to", "v1"])?;
    ends(&none, 2)?;
    none.says("cannot be used with")
}

fn a_denied_flip_says_all(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy("app-green", GREEN, 3, Pods::Failing("ImagePullBackOff"))?;
    shop.wait_for_pods("color=green", 3, "ImagePullBackOff")?;
    let denied = here(shop, &["flip", "app", "--to", "green"])?;
    ends(&denied, 1)?;
    denied.is_refused("target-not-ready", &["0 of 3 pods ready", "kubectl -n ", "If you mean it: set"])?;
    let as_json = here(shop, &["flip", "app", "--to", "green", "-o", "json"])?;
    ends(&as_json, 1)?;
    let line = json_of(&as_json)?["services"][0].clone();
    ensure!(line["result"] == "denied" && line["codes"] == json!(["target-not-ready"]), "{line}");
    let trial = here(shop, &["flip", "app", "--to", "green", "--dry-run"])?;
    ends(&trial, 1)?;
    trial.says("would be denied now:")?;
    ensure!(live(shop, "app")? == "blue");
    Ok(())
}

/// Starts a command whose output goes to a file, and returns its path.
fn spawned(shop: &Shop, name: &str, args: &[&str]) -> Result<(Child, PathBuf)> {
    let log = shop.control_plane.dir().join(format!("{}-{name}.log", shop.namespace));
    let mut command = command(shop, args)?;
    let both = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
    let child = command.stdin(Stdio::null()).stdout(both.try_clone()?).stderr(both).spawn()?;
    Ok((child, log))
}

fn says(shop: &Shop, log: &Path, words: &str) -> Result<()> {
    shop.until(&format!("the command says `{words}`"), || Ok(std::fs::read_to_string(log)?.contains(words)))
}

fn it_waits_until_the_target_is_ready(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy("app-green", GREEN, 2, Pods::Starting)?;
    shop.wait_for_pods("color=green", 2, "Running")?;
    let args = ["flip", "app", "--to", "green", "--wait", "--timeout", "90s", "-n", &shop.namespace];
    let (mut child, log) = spawned(shop, "waits", &args)?;
    says(shop, &log, "app: waiting: target-not-ready: Deployment app-green has 0 of 2 pods ready")?;
    let one = shop.kubectl(&["get", "pods", "-l", "color=green", "-o=jsonpath={.items[0].metadata.name}"])?.out;
    shop.kubectl(&["annotate", "pod", &one, "--overwrite", "kwok.flipguard.dev/pod=ready"])?.succeeds()?;
    says(shop, &log, "app-green has 1 of 2 pods ready")?;
    ensure!(live(shop, "app")? == "blue");
    shop.pods_become("color=green", Pods::Ready)?;
    let status = child.wait()?;
    let text = std::fs::read_to_string(&log)?;
    ensure!(status.success() && text.ends_with("service/app flipped from blue to green\n"), "{text}");
    // Each change of the reason once, and no escape code: this is no terminal.
    let waiting: Vec<&str> = text.lines().filter(|line| line.contains("waiting: ")).collect();
    ensure!(waiting.windows(2).all(|two| two[0] != two[1]) && !text.contains('\u{1b}'), "{text}");
    // While it waited, dry runs asked: one denial is on record.
    let denied = shop.decisions()?.iter().filter(|line| line["outcome"] == "denied" && line["dry_run"] != true).count();
    ensure!(denied == 1, "{denied} denials:\n{:?}", shop.decisions()?);
    ensure!(live(shop, "app")? == "green");
    Ok(())
}

fn it_does_not_wait_in_vain(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    let late = here(shop, &["flip", "app", "--to", "green", "--wait", "--timeout", "3s"])?;
    ends(&late, 124)?;
    late.says("the time is up: ")?;
    late.says("denied the request: service")?;
    // A denial that no waiting resolves ends it at once: another webhook, or here a policy of the API server.
    let name = format!("no-{}", shop.namespace);
    shop.apply(&format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {{name: {name}}}, spec: \
         {{failurePolicy: Fail, matchConstraints: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {0}}}}}, \
         resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [UPDATE], resources: [services]}}]}}, \
         validations: [{{expression: 'false', message: not on a Friday}}]}}}}\n---\n\
         {{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {{name: {name}}}, \
         spec: {{policyName: {name}, validationActions: [Deny]}}}}\n",
        shop.namespace
    ))?
    .succeeds()?;
    let label = ["label", "service", "app", "--overwrite", "--dry-run=server", "x=y"];
    shop.until("the policy denies", || Ok(!shop.kubectl(&label)?.ok))?;
    shop.pods_become("color=green", Pods::Ready)?;
    shop.rolled_out("deployment/app-green")?;
    let never = here(shop, &["flip", "app", "--to", "green", "--wait", "--timeout", "10m"])?;
    shop.plain_kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", &name])?.succeeds()?;
    ends(&never, 1)?;
    never.says("not on a Friday")
}

/// Both wait for the same colour. One flips, and the other finds it done.
fn two_people_flip_at_once(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    let args = ["flip", "app", "--to", "green", "--wait", "--timeout", "90s", "-n", &shop.namespace];
    let (mut first, first_log) = spawned(shop, "first", &args)?;
    let (mut second, second_log) = spawned(shop, "second", &args)?;
    for log in [&first_log, &second_log] {
        says(shop, log, "waiting: target-not-ready")?;
    }
    shop.pods_become("color=green", Pods::Ready)?;
    ensure!(first.wait()?.success() && second.wait()?.success());
    let texts = [std::fs::read_to_string(first_log)?, std::fs::read_to_string(second_log)?];
    let with = |words: &str| texts.iter().filter(|text| text.contains(words)).count();
    ensure!(with("service/app flipped from blue to green") == 1, "{texts:?}");
    ensure!(with("service/app: green is live already, by ") == 1, "{texts:?}");
    Ok(())
}

/// One waits for green. Meanwhile somebody flips to red, and that is not undone.
fn somebody_else_flips_meanwhile(shop: &Shop) -> Result<()> {
    const RED: &[(&str, &str)] = &[("app", "shop"), ("color", "red")];
    shop.blue_serves()?;
    shop.deploy_ready("app-red", RED, 1)?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    let args = ["flip", "app", "--to", "green", "--wait", "--timeout", "90s", "-n", &shop.namespace];
    let (mut child, log) = spawned(shop, "waits", &args)?;
    says(shop, &log, "waiting: target-not-ready")?;
    shop.apply_with(&service("app", RED), &["--field-manager=pipeline"])?.succeeds()?;
    shop.pods_become("color=green", Pods::Ready)?;
    let status = child.wait()?;
    let text = std::fs::read_to_string(log)?;
    ensure!(status.code() == Some(1), "{text}");
    ensure!(
        text.contains("somebody else has changed Service app meanwhile (") && text.contains("pipeline at "),
        "{text}"
    );
    ensure!(live(shop, "app")? == "red");
    Ok(())
}

/// Two colours of this app, ready, and a Service on blue with the label of all.
fn app(shop: &Shop, name: &str) -> Result<()> {
    for colour in ["blue", "green"] {
        shop.deploy_ready(&format!("{name}-{colour}"), &[("app", name), ("color", colour)], 1)?;
    }
    shop.route(name, &[("app", name), ("color", "blue")])?.succeeds()?;
    shop.kubectl(&["label", "service", name, "release=eight"])?.succeeds()
}

fn all_or_none(shop: &Shop) -> Result<()> {
    for name in ["one", "two", "six"] {
        app(shop, name)?;
    }
    let all = |more: &[&str]| here(shop, &[&["flip", "--all", "-l", "release=eight", "--to", "green"], more].concat());
    let colours = || -> Result<Vec<String>> { ["one", "six", "two"].iter().map(|name| live(shop, name)).collect() };
    // One that would be denied stops all before the first.
    shop.pods_become("app=two,color=green", Pods::Failing("CrashLoopBackOff"))?;
    shop.wait_for_pods("app=two,color=green", 1, "CrashLoopBackOff")?;
    let denied = all(&[])?;
    ends(&denied, 1)?;
    denied.says("No Service was flipped: two cannot be flipped now.")?;
    ensure!(colours()? == ["blue", "blue", "blue"]);
    // Ctrl-C ends it while it waits, before the first flip.
    let args = ["flip", "--all", "-l", "release=eight", "--to", "green", "--wait", "-n", &shop.namespace];
    let (mut child, log) = spawned(shop, "interrupted", &args)?;
    says(shop, &log, "two: waiting: target-not-ready")?;
    ensure!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
    let status = child.wait()?;
    ensure!(status.code() == Some(130), "{status}: {}", std::fs::read_to_string(&log)?);
    says(shop, &log, "No Service was flipped: two cannot be flipped now.")?;
    shop.pods_become("app=two,color=green", Pods::Ready)?;
    shop.rolled_out("deployment/two-green")?;
    let trial = all(&["--dry-run"])?;
    trial.succeeds()?;
    trial.says("service/two would flip from blue to green (dry run)")?;
    // A denial that only the real flip meets: a policy of the API server that dry runs pass.
    let name = bars(shop, "two", "request.dryRun || object.spec.selector.color == oldObject.spec.selector.color")?;
    let back = all(&["-o", "json"])?;
    bars_no_more(shop, "two", &name)?;
    ends(&back, 1)?;
    back.says("two is barred")?;
    back.says("one: blue: it was flipped to green, and has gone back")?;
    back.says("six: blue: it was flipped to green, and has gone back")?;
    back.says("two: blue: its flip failed, see above")?;
    let found = json_of(&back)?;
    let results: Vec<&str> =
        found["services"].as_array().into_iter().flatten().filter_map(|one| one["result"].as_str()).collect();
    ensure!(results == ["flipped-back", "flipped-back", "denied"], "{found}");
    ensure!(colours()? == ["blue", "blue", "blue"]);
    let done = all(&[])?;
    done.succeeds()?;
    ensure!(colours()? == ["green", "green", "green"], "{}", done.out);
    all(&[])?.says("service/six: green is live already")?;
    here(shop, &["flip", "--all", "-l", "release=nine", "--to", "green"])?.says("no traffic Service in namespace")
}

/// A policy of the API server that lets a change of a Service pass only by an expression. It counts when this returns.
fn bars(shop: &Shop, service: &str, expression: &str) -> Result<String> {
    let name = format!("bars-{service}-{}", shop.namespace);
    shop.apply(&format!(
        "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {{name: {name}}}, spec: \
         {{failurePolicy: Fail, matchConstraints: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {0}}}}}, \
         resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [UPDATE], resources: [services], resourceNames: \
         [{service}]}}]}}, validations: [{{expression: \"!has(object.metadata.labels) || !('probe' in \
         object.metadata.labels)\", message: it counts}}, {{expression: \"{expression}\", message: {service} is \
         barred}}]}}}}\n---\n\
         {{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {{name: {name}}}, \
         spec: {{policyName: {name}, validationActions: [Deny]}}}}\n",
        shop.namespace
    ))?
    .succeeds()?;
    shop.until("the policy counts", || is_barred(shop, service))?;
    Ok(name)
}

/// Deletes such a policy. It no longer counts when this returns.
fn bars_no_more(shop: &Shop, service: &str, policy: &str) -> Result<()> {
    let kinds = "validatingadmissionpolicybinding,validatingadmissionpolicy";
    shop.plain_kubectl(&["delete", kinds, policy])?.succeeds()?;
    shop.until("the policy counts no more", || Ok(!is_barred(shop, service)?))
}

fn is_barred(shop: &Shop, service: &str) -> Result<bool> {
    let probe = ["label", "service", service, "--overwrite", "--dry-run=server", "probe=y"];
    Ok(shop.kubectl(&probe)?.err.contains("it counts"))
}

/// The second Service is denied, and the first one cannot go back. It says so, and how everything is.
fn a_way_back_that_is_barred(shop: &Shop) -> Result<()> {
    app(shop, "one")?;
    app(shop, "two")?;
    let two = bars(shop, "two", "request.dryRun || object.spec.selector.color == oldObject.spec.selector.color")?;
    let one = bars(shop, "one", "object.spec.selector.color == 'green'")?;
    let stuck = here(shop, &["flip", "--all", "-l", "release=eight", "--to", "green"])?;
    bars_no_more(shop, "two", &two)?;
    bars_no_more(shop, "one", &one)?;
    ends(&stuck, 1)?;
    stuck.says("one: green: it was flipped to green, and could not go back: ")?;
    stuck.says("one is barred")?;
    stuck.says("two: blue: its flip failed, see above")?;
    stuck.says("What is stuck needs you: flipguard flip SERVICE --to COLOUR -n ")?;
    ensure!((live(shop, "one")?, live(shop, "two")?) == ("green".to_owned(), "blue".to_owned()));
    Ok(())
}

/// The role `view` may look and not flip. Without the right to read the ledger, the way back is not known.
fn without_rights(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    for (user, role) in [("viewer", "view"), ("editor", "edit")] {
        let (name, role) = (format!("{user}-{role}"), format!("--clusterrole={role}"));
        shop.kubectl(&["create", "rolebinding", &name, &role, &format!("--user={user}")])?.succeeds()?;
    }
    let as_user = |user: &str, args: &[&str]| {
        let kubeconfig = shop.control_plane.client_kubeconfig(user, &[])?;
        here(shop, &[args, &["--kubeconfig", &kubeconfig.to_string_lossy()]].concat())
    };
    let viewer = as_user("viewer", &["flip", "app", "--to", "green"])?;
    ends(&viewer, 2)?;
    viewer.says("User \"viewer\" cannot patch resource \"services\"")?;
    let nobody = as_user("nobody", &["flip", "app", "--to", "green"])?;
    ends(&nobody, 2)?;
    nobody.says("forbidden")?;
    let back = as_user("editor", &["flip", "app", "--back"])?;
    ends(&back, 2)?;
    back.says("the last flip is not known, since the ledger of namespace")?;
    back.says("say --to COLOUR")?;
    let editor = as_user("editor", &["flip", "app", "--to", "green"])?;
    editor.succeeds()?;
    editor.says("note: whether flipguard checks this flip is unknown: ")?;
    ensure!(live(shop, "app")? == "green");
    Ok(())
}

/// An opt-out, and a flipguard that is not there.
fn where_nobody_checks(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let there = here(shop, &["flip", "app", "--to", "green", "--flipguard-namespace", "elsewhere"])?;
    there.says("note: whether flipguard checks this flip is unknown: ")?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/guard=false"])?.succeeds()?;
    let stopped = here(shop, &["flip", "app", "--to", "blue"])?;
    ends(&stopped, 1)?;
    stopped.says(
        "WARNING: flipguard does not check this flip: it leaves app alone, since annotation flipguard.dev/guard",
    )?;
    stopped.says("add --unguarded")?;
    ensure!(live(shop, "app")? == "green");
    let forced = here(shop, &["flip", "app", "--to", "blue", "--unguarded"])?;
    forced.succeeds()?;
    forced.says("WARNING: flipguard does not check this flip")?;
    // A namespace of Kubernetes is never guarded.
    let name = "plugin-unguarded";
    for (colour, labels) in [("blue", BLUE), ("green", GREEN)] {
        let yaml = workload("Deployment", &format!("{name}-{colour}"), labels, 0, Pods::Ready, "web:1");
        shop.apply_with(&yaml, &["-n", "kube-node-lease"])?.succeeds()?;
    }
    shop.apply_with(&service(name, BLUE), &["-n", "kube-node-lease"])?.succeeds()?;
    let exempt = plugin(shop, &["flip", name, "--to", "green", "-n", "kube-node-lease"])?;
    for object in [format!("service/{name}"), format!("deployment/{name}-blue"), format!("deployment/{name}-green")] {
        shop.plain_kubectl(&["-n", "kube-node-lease", "delete", &object])?.succeeds()?;
    }
    ends(&exempt, 1)?;
    exempt.says("WARNING: flipguard does not check this flip: this namespace is exempt")
}

/// Two contexts in one kubeconfig, impersonation, a token, and an address.
fn the_flags_of_kubectl(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let admin: Value = serde_saphyr::from_str(&std::fs::read_to_string(shop.control_plane.kubeconfig())?)?;
    let (mut two, url) = (admin.clone(), admin["clusters"][0]["cluster"]["server"].as_str().unwrap_or_default());
    let (cluster, user) = (&admin["contexts"][0]["context"]["cluster"], &admin["contexts"][0]["context"]["user"]);
    two["contexts"] = json!([
        { "name": "here", "context": { "cluster": cluster, "user": user, "namespace": shop.namespace } },
        { "name": "nowhere", "context": { "cluster": "nowhere", "user": user } },
    ]);
    let nowhere = json!({ "name": "nowhere", "cluster": { "server": "https://127.0.0.1:1" } });
    two["clusters"] = json!([admin["clusters"][0], nowhere]);
    two["current-context"] = json!("nowhere");
    let file = shop.control_plane.dir().join(format!("{}-two.kubeconfig", shop.namespace));
    std::fs::write(&file, two.to_string())?;
    let file = file.to_string_lossy();
    let with = |args: &[&str]| plugin(shop, &[&["status", "-o", "name", "--kubeconfig", &file], args].concat());
    let unreachable = with(&[])?;
    ends(&unreachable, 2)?;
    unreachable.says("https://127.0.0.1:1")?;
    let context = with(&["--context", "here"])?;
    ensure!(context.out == "service/app\n", "{}{}", context.out, context.err);
    with(&["--context", "there"])?.says("it has no context `there` (--context), only here, nowhere")?;
    with(&["--user", "eve"])?.says("it has no user `eve` (--user), only ")?;
    let cluster = cluster.as_str().unwrap_or_default();
    ensure!(with(&["--cluster", cluster, "-n", &shop.namespace])?.out == "service/app\n");
    // The address alone: then its certificate is that of the other cluster, which has no authority.
    with(&["--server", url, "-n", &shop.namespace])?.says("cannot trust the API server")?;
    let server = with(&["--cluster", cluster, "--server", "https://127.0.0.1:1"])?;
    server.says("cannot reach the API server at https://127.0.0.1:1")?;
    // Impersonation: the user has no right, and gets one by a group.
    let here = |args: &[&str]| with(&[&["--context", "here"], args].concat());
    let told = |args: &[&str]| plugin(shop, &[&["history", "--context", "here", "--kubeconfig", &file], args].concat());
    told(&["--as", "mallory"])?.says("User \"mallory\" cannot get resource")?;
    shop.kubectl(&["create", "rolebinding", "team", "--clusterrole=view", "--group=team"])?.succeeds()?;
    ensure!(here(&["--as", "mallory", "--as-group", "team", "--as-uid", "7"])?.out == "service/app\n");
    let alone = here(&["--as-group", "team"])?;
    ends(&alone, 2)?;
    alone.says("--as <USER>")?;
    // A token, in place of the certificate.
    shop.kubectl(&["create", "serviceaccount", "robot"])?.succeeds()?;
    let token = shop.kubectl(&["create", "token", "robot"])?.out;
    let robot = format!("User \"system:serviceaccount:{}:robot\" cannot get resource", shop.namespace);
    told(&["--token", token.trim()])?.says(&robot)?;
    here(&["--request-timeout", "soon"])?.says("it must be a number with a unit, such as 30s")?;
    ensure!(here(&["--request-timeout", "30s"])?.out == "service/app\n");
    // Called as a plugin, the help says how, and where flags go.
    let help = plugin(shop, &["--help"])?;
    help.says("Usage: kubectl flipguard <COMMAND>")?;
    help.says("Flags before the word flipguard belong to kubectl")?;
    let flip = plugin(shop, &["flip", "--help"])?;
    flip.says("Usage: kubectl flipguard flip [OPTIONS]")?;
    // The flags of the command come before those of kubectl.
    let at = |words: &str| flip.out.find(words).with_context(|| format!("no {words} in:\n{}", flip.out));
    ensure!(at("--to <COLOUR>")? < at("The cluster:")? && at("The cluster:")? < at("--as-group")?, "{}", flip.out);
    Ok(())
}

/// A credential plugin, as clouds have one: it prints a token.
fn a_credential_plugin(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    shop.kubectl(&["create", "serviceaccount", "robot"])?.succeeds()?;
    let account = format!("--serviceaccount={}:robot", shop.namespace);
    shop.kubectl(&["create", "rolebinding", "robot", "--clusterrole=edit", &account])?.succeeds()?;
    let token = shop.kubectl(&["create", "token", "robot"])?.out;
    let script = shop.control_plane.dir().join(format!("{}-login", shop.namespace));
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": { "token": token.trim() },
    });
    let text =
        format!("#!/bin/sh\n[ \"$1\" = token ] && [ \"$WHO\" = robot ] || exit 7\ncat <<'END'\n{credential}\nEND\n");
    executable(&script, text.as_bytes())?;
    let mut config: Value = serde_saphyr::from_str(&std::fs::read_to_string(shop.control_plane.kubeconfig())?)?;
    let mut exec = |argument: &str| -> Result<Attempt> {
        config["users"][0]["user"] = json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": script, "args": [argument],
            "env": [{ "name": "WHO", "value": "robot" }], "interactiveMode": "Never",
        } });
        let file = shop.control_plane.dir().join(format!("{}-exec.kubeconfig", shop.namespace));
        std::fs::write(&file, config.to_string())?;
        here(shop, &["flip", "app", "--to", "green", "--kubeconfig", &file.to_string_lossy()])
    };
    let wrong = exec("nothing")?;
    ends(&wrong, 2)?;
    wrong.says("the credentials plugin `")?;
    wrong.says("ended with exit status: 7")?;
    exec("token")?.succeeds()?;
    ensure!(live(shop, "app")? == "green");
    Ok(())
}

fn overrides(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy("app-green", GREEN, 1, Pods::Starting)?;
    let set = |more: &[&str]| here(shop, &[&["override", "app", "--reason", "the shop is on fire"], more].concat());
    let long = set(&["--for", "2h"])?;
    ends(&long, 2)?;
    long.says("--for 2h is too long: 1 h at most")?;
    let policy = &shop.namespace;
    programmed(shop, policy, "override: {max: 15m}")?;
    set(&["--for", "20m"])?.says(&format!("--for 20m is too long: 15 min at most, since policy {policy} says so"))?;
    let done = set(&["--for", "15m"])?;
    done.succeeds()?;
    done.says("override of service/app until ")?;
    done.says("Until then, denied changes of the Service and of every workload behind it pass with a warning.")?;
    let flip = here(shop, &["flip", "app", "--to", "green"])?;
    flip.passes_with_warning(&["allowed by override until", "the shop is on fire"])?;
    let end = || here(shop, &["override", "app", "--end"]);
    end()?.says("override of service/app ended")?;
    let annotations = shop.kubectl(&["get", "service/app", "-o=jsonpath={.metadata.annotations}"])?.out;
    ensure!(!annotations.contains("flipguard.dev/override"), "{annotations}");
    end()?.says("service/app has no override")?;
    shop.plain_kubectl(&["delete", "bgpolicy", policy])?.succeeds()?;
    // On a workload, and without the verb.
    here(shop, &["override", "deployment/app-blue", "--for", "5m", "--reason", "x"])?
        .says("denied changes of the workload, if its Pod template")?;
    shop.kubectl(&["create", "rolebinding", "editor", "--clusterrole=edit", "--user=editor"])?.succeeds()?;
    let denied = set(&["--for", "5m", "--as", "editor"])?;
    ends(&denied, 1)?;
    denied.is_refused("override-not-permitted", &["user editor may not override"])?;
    let no_reason = here(shop, &["override", "app", "--for", "5m"])?;
    ends(&no_reason, 2)?;
    no_reason.says("--reason <TEXT>")?;
    here(shop, &["override", "pod/x", "--end"])?.says("names no Service and no workload")
}

fn a_gate_is_run(shop: &Shop) -> Result<()> {
    const SMOKE: &str = "flip: {gates: [{name: smoke, kind: Job, images: ['registry.example/smoke:*']}]}";
    programmed(shop, &shop.namespace, SMOKE)?;
    shop.blue_is_live()?;
    let cron = |name: &str, more: &str, pod: &str| {
        format!(
            "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: {name}}}, spec: {{schedule: '0 0 1 1 *', suspend: true, \
             jobTemplate: {{spec: {{{more}template: {{metadata: {{annotations: {{kwok.flipguard.dev/pod: {pod}}}}}, spec: \
             {{restartPolicy: Never, containers: [{{name: test, image: 'registry.example/smoke:1'}}]}}}}}}}}}}}}\n"
        )
    };
    shop.apply(&cron("smoke", "ttlSecondsAfterFinished: 0, ", "ready"))?.succeeds()?;
    shop.apply(&cron("slow", "activeDeadlineSeconds: 2, ", "pending"))?.succeeds()?;
    let run = |args: &[&str]| here(shop, &[&["gate", "run", "smoke", "deployment/app-green"], args].concat());
    // It fails, and then it passes: also where its TTL deletes the Job at once.
    let failed = run(&["--from", "cronjob/slow", "--wait", "--timeout", "60s"])?;
    ends(&failed, 1)?;
    failed.says("has failed (DeadlineExceeded")?;
    ends(&here(shop, &["flip", "app", "--to", "green"])?, 1)?;
    let passed = run(&["--from", "cronjob/smoke", "--wait", "--timeout", "60s"])?;
    passed.succeeds()?;
    passed.says("is complete: gate smoke is passed")?;
    here(shop, &["flip", "app", "--to", "green", "--dry-run"])?.succeeds()?;
    // From a Job that has run: nothing that belongs to it is taken along.
    let name = failed.out.split_whitespace().next().unwrap_or_default();
    let again = run(&["--from", name, "--wait", "--timeout", "1s"])?;
    ends(&again, 124)?;
    again.says("still runs, and the time is up (1s)")?;
    // From a file.
    let file = shop.control_plane.dir().join(format!("{}-job.yaml", shop.namespace));
    let written = shop.kubectl(&["get", name, "-o", "yaml"])?.out.replace("pod: pending", "pod: ready");
    std::fs::write(&file, &written)?;
    run(&["-f", &file.to_string_lossy(), "--wait", "--timeout", "60s"])?.succeeds()?;
    std::fs::write(&file, "kind: Pod\napiVersion: v1\nmetadata: {name: x}\n")?;
    run(&["-f", &file.to_string_lossy()])?.says("cannot be run: it is a Pod; it must be a Job or a CronJob")?;
    run(&["--from", "smoke"])?.says("`smoke` (--from) names no Job and no CronJob")?;
    run(&["--from", "job/nope"])?.says("cannot read job/nope: ")?;
    // Without the verb.
    shop.kubectl(&["create", "rolebinding", "editor", "--clusterrole=edit", "--user=editor"])?.succeeds()?;
    let denied = run(&["--from", "cronjob/smoke", "--as", "editor"])?;
    ends(&denied, 1)?;
    denied.is_refused("gate-not-permitted", &["user editor may not pass gate smoke"])?;
    let name = plugin(shop, &["gate", "pass", "smoke", "deployment/app-green", "-n", "No Name"])?;
    name.says("no namespace can be named `No Name`")?;
    shop.plain_kubectl(&["delete", "bgpolicy", &shop.namespace])?.succeeds()
}

fn completion(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let complete = |args: &[&str]| plugin(shop, &[&["__complete"], args].concat());
    let namespace = shop.namespace.as_str();
    let lines = |args: &[&str]| -> Result<Vec<String>> {
        let done = complete(args)?;
        done.succeeds()?;
        Ok(done.out.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect())
    };
    // A loaded machine may take longer than a key press may: then there is no candidate, and it is asked again.
    let comes = |args: &[&str], expected: &[&str]| {
        shop.until(&format!("{args:?} is completed"), || Ok(lines(args)? == expected))
    };
    ensure!(lines(&["fl"])? == ["flip", ":4"], "{:?}", lines(&["fl"])?);
    ensure!(lines(&["status", "-o", "w"])? == ["wide", ":4"]);
    ensure!(lines(&["status", "--kubeconfig", ""])? == [":0"]);
    let begun = namespace.trim_end_matches('n');
    comes(&["flip", "-n", begun], &[namespace, ":4"])?;
    comes(&["flip", "-n", namespace, ""], &["app", ":4"])?;
    comes(&["flip", "-n", namespace, "app", "--to", ""], &["green", ":4"])?;
    comes(&["gate", "run", "smoke", "-n", namespace, "deployment/app-g"], &["deployment/app-green", ":4"])?;
    // Whatever fails is no candidate.
    ensure!(lines(&["flip", "--kubeconfig", "/nowhere", ""])? == [":4"]);
    ensure!(lines(&["flip", "-n", namespace, "nope", "--to", ""])? == [":4"]);
    // kubectl itself asks the program of the plugin.
    let mut kubectl = command(shop, &[])?;
    let path = kubectl.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path.map(ToOwned::to_owned));
    kubectl = Command::new(kubectl.get_program());
    kubectl.args(["__complete", "flipguard", "fl"]).env("PATH", path.context("no PATH")?);
    let asked = attempt(kubectl, None)?;
    asked.succeeds()?;
    ensure!(asked.out.starts_with("flip\t"), "{}{}", asked.out, asked.err);
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = plugin(shop, &["completion", shell])?;
        script.succeeds()?;
        script.says("flipguard")?;
    }
    Ok(())
}

/// `script` of util-linux runs a command on a terminal.
fn colours_on_a_terminal(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let on_terminal = |words: &str, no_color: bool| -> Result<Attempt> {
        let plain = command(shop, &[])?;
        let mut script = Command::new("script");
        let line = format!("'{}' {words} -n {}", folder(shop)?.join("kubectl-flipguard").display(), shop.namespace);
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        script.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        script.env_remove("CI");
        if no_color {
            script.env("NO_COLOR", "1");
        } else {
            script.env_remove("NO_COLOR");
        }
        attempt(script, None).context("`script` (util-linux) cannot be run; tests/tools installs it")
    };
    let coloured = on_terminal("status", false)?;
    ensure!(coloured.ok && coloured.out.contains("\u{1b}[") && coloured.out.contains("green"), "{}", coloured.out);
    ensure!(!on_terminal("status", true)?.out.contains('\u{1b}'), "NO_COLOR is set");
    ensure!(!here(shop, &["status"])?.out.contains('\u{1b}'), "this is no terminal");
    // The exit code and the words of a flip are the same on a terminal.
    let flip = on_terminal("flip app --to green", false)?;
    ensure!(flip.ok && flip.out.contains("service/app flipped from blue to green"), "{}", flip.out);
    Ok(())
}
