//! The commands that look at a namespace and change nothing.

#![expect(clippy::indexing_slicing, reason = "a missing field of JSON is null, and fails the test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flipguard::rules::Reason;
use serde_json::Value;

use super::Test;
use super::shop::{Attempt, GREEN, Pods, Shop, attempt};

pub(crate) const TESTS: &[Test] = &[
    ("seeing::who_says_each_setting", who_says_each_setting),
    ("seeing::what_a_policy_would_change", what_a_policy_would_change),
    ("seeing::an_imagined_flip_is_answered_as_a_dry_run", an_imagined_flip_is_answered_as_a_dry_run),
    ("seeing::status_tells_the_truth", status_tells_the_truth),
    ("seeing::status_without_rights", status_without_rights),
    ("seeing::an_audit_of_many_set_ups", an_audit_of_many_set_ups),
    ("seeing::the_page_on_the_loopback", the_page_on_the_loopback),
];

/// Runs flipguard as an administrator of the cluster.
pub(crate) fn flipguard(shop: &Shop, args: &[&str]) -> Result<Attempt> {
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
    both.says(&one)?;
    both.says(&two)?;
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
    ensure!(found["complete"] == true, "{}", all.out);
    ensure!(
        found["differences"][0]["deniesMore"] == true && found["differences"].as_array().map(Vec::len) == Some(1),
        "{}",
        all.out
    );
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
    shop.apply(&super::shop::service("x", &[("app", "x"), ("porter.run/blue-green-value", "1")]))?.succeeds()?;
    let keys = "live: {floor: 2}, colours: {keys: [color, porter.run/blue-green-value]}";
    test(&["-f", &file(keys)?])?.says(&format!("{}: Service x becomes guarded", shop.namespace))?;
    shop.plain_kubectl(&["delete", "bgpolicy", &name])?.succeeds()
}

/// Several healthy and broken set-ups in one namespace.
fn many_set_ups(shop: &Shop) -> Result<()> {
    let colour = |app: &'static str, key: &'static str, value: &'static str| [("app", app), (key, value)];
    let set_up = |app: &'static str, key: &'static str, values: [&'static str; 2], pods: u32| -> Result<()> {
        for value in values {
            shop.deploy_ready(&format!("{app}-{}", value.replace('.', "-")), &colour(app, key, value), pods)?;
        }
        shop.route(app, &colour(app, key, values[0]))?.succeeds()
    };
    set_up("well", "color", ["blue", "green"], 2)?;
    set_up("version", "version", ["1.0", "2.0"], 1)?;
    set_up("down", "slot", ["a", "b"], 1)?;
    set_up("small", "color", ["blue", "green"], 3)?;
    set_up("paused", "color", ["blue", "green"], 1)?;
    shop.kubectl(&["scale", "deployment/down-b", "--replicas=0"])?.succeeds()?;
    shop.kubectl(&["scale", "deployment/small-green", "--replicas=1"])?.succeeds()?;
    shop.kubectl(&["rollout", "pause", "deployment/paused-green"])?.succeeds()?;
    // By the name in a value, and a target that fails.
    shop.deploy_ready("name-blue", &[("app", "name-blue")], 1)?;
    shop.deploy("name-green", &[("app", "name-green")], 2, Pods::Failing("ImagePullBackOff"))?;
    shop.route("name", &[("app", "name-blue")])?.succeeds()?;
    shop.deploy_ready("alone-blue", &colour("alone", "color", "blue"), 1)?;
    shop.route("alone", &colour("alone", "color", "blue"))?.succeeds()?;
    shop.wait_for_pods("name=name-green", 2, "ImagePullBackOff")?;
    shop.wait_for_pods("name=down-b", 0, "Running")?;
    shop.wait_for_pods("name=small-green", 1, "Running")?;
    shop.wait_for("deployment/small-green", "{.status.replicas}", "1")
}

/// The law: for each Service and each of its other colours, the imagined flip has the findings of a server-side dry run.
fn an_imagined_flip_is_answered_as_a_dry_run(shop: &Shop) -> Result<()> {
    many_set_ups(shop)?;
    let status = flipguard(shop, &["status", "-n", &shop.namespace, "-o", "json"])?;
    let found = json(&status)?;
    let services = found["namespaces"][0]["services"].as_array().cloned().unwrap_or_default();
    ensure!(services.len() == 7, "{}", status.out);
    let (mut flips, mut denied) = (0, 0);
    for service in &services {
        let name = service["name"].as_str().unwrap_or_default();
        for colour in service["colours"].as_array().into_iter().flatten().filter(|colour| !colour["flip"].is_null()) {
            let pinned = shop.selector(name)?.into_iter().find(|(key, _)| key != "app" || name == "name");
            let (key, value) = pinned.context("no pin")?;
            let live = service["colours"][0]["colour"].as_str().unwrap_or_default();
            let to = value.replace(live, colour["colour"].as_str().unwrap_or_default());
            let patch = serde_json::json!({ "spec": { "selector": { key: to } } }).to_string();
            let dry_run = shop.kubectl(&["patch", "service", name, "--dry-run=server", "-p", &patch])?;
            let codes = |list: &str| -> Vec<String> {
                let all = colour["flip"][list].as_array().into_iter().flatten();
                all.filter_map(|code| code.as_str().map(str::to_owned)).collect()
            };
            for code in codes("denies").iter().chain(&codes("warns")) {
                ensure!(dry_run.err.contains(code.as_str()), "{name} to {to}: {code} is not in:\n{}", dry_run.err);
            }
            let said = [codes("denies"), codes("warns")].concat();
            let is_code = |word: &str| Reason::ALL.iter().any(|reason| reason.code() == word);
            let words = dry_run.err.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
            for code in words.filter(|word| is_code(word)) {
                ensure!(said.iter().any(|own| own == code), "{name} to {to}: only the dry run says {code}");
            }
            if colour["flip"]["decision"] == "passes" && codes("warns").is_empty() {
                dry_run.passes_silently()?;
            }
            denied += usize::from(!codes("denies").is_empty());
            flips += 1;
        }
    }
    ensure!((flips, denied) == (6, 3), "{flips} flips, {denied} denied:\n{}", status.out);
    Ok(())
}

/// An audit finds what is wrong, takes its own JSON as a baseline, and shows what is accepted.
fn an_audit_of_many_set_ups(shop: &Shop) -> Result<()> {
    many_set_ups(shop)?;
    let audit = |more: &[&str]| flipguard(shop, &[&["audit", "-n", &shop.namespace], more].concat());
    let first = audit(&["-o", "json"])?;
    let found = json(&first)?;
    ensure!(found["complete"] == true && found["skipped"] == serde_json::json!([]), "{}", first.out);
    let has = |code: &str, name: &str| {
        let all = found["findings"].as_array().into_iter().flatten();
        all.into_iter().any(|one| one["code"] == code && one["name"] == name)
    };
    for (code, name) in [
        ("no-way-back", "down"),
        ("no-way-back", "alone"),
        ("no-way-back", "name"),
        ("flip-would-be-denied", "paused"),
        ("capacity-below-live", "small"),
        ("no-pdb", "well"),
    ] {
        ensure!(has(code, name), "no {code} about {name}:\n{}", first.out);
    }
    ensure!(!has("no-way-back", "well") && !has("flip-would-be-denied", "version"), "{}", first.out);
    // Nothing is an error here, and two warnings of one Service are accepted.
    audit(&[])?.succeeds()?;
    ensure!(!audit(&["--fail-on", "warning"])?.ok, "there are warnings");
    let baseline = shop.control_plane.dir().join(format!("{}.json", shop.namespace));
    std::fs::write(&baseline, &first.out)?;
    let same = audit(&["--fail-on", "info", "--baseline", &baseline.to_string_lossy()])?;
    same.succeeds()?;
    same.says("as before")?;
    let budget = "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: well}, spec: {minAvailable: 1,
        selector: {matchLabels: {app: well, color: blue}}}}";
    shop.apply(budget)?.succeeds()?;
    let accept = "flipguard.dev/accept=no-way-back: a new version comes every night";
    shop.kubectl(&["annotate", "service", "down", accept])?.succeeds()?;
    let fixed = audit(&["--baseline", &baseline.to_string_lossy()])?;
    fixed.says(&format!("fixed: no-pdb/Service/{}/well/blue", shop.namespace))?;
    fixed.says("accepted: a new version comes every night")?;
    let wide = audit(&["-o", "wide"])?;
    wide.says(&format!("info flip-would-be-denied {}/Service/paused: ", shop.namespace))?;
    flipguard(shop, &["audit", "-o", "markdown"])?.says("| severity | check | object | finding |")
}

/// What a person sees, and how the command ends.
fn status_tells_the_truth(shop: &Shop) -> Result<()> {
    let status = |more: &[&str]| flipguard(shop, &[&["status", "-n", &shop.namespace], more].concat());
    let empty = status(&[])?;
    empty.succeeds()?;
    empty.says("no traffic Service here")?;
    shop.blue_is_live()?;
    shop.route("app-preview", GREEN)?.succeeds()?;
    let quiet = status(&[])?;
    quiet.says("flip to green: passes")?;
    quiet.says("app-preview (preview, since its name says preview)")?;
    quiet.says("1 Service, none needs attention")?;
    ensure!(!quiet.out.contains('\u{1b}'), "a pipe is no terminal");
    ensure!(status(&["--color=always"])?.out.contains('\u{1b}'), "colour is asked for");
    ensure!(status(&["--ascii"])?.out.is_ascii(), "letters are asked for");
    ensure!(status(&["-o", "name"])?.out == "service/app\n");
    let wait = |goal: &str, timeout: &str| status(&["--wait", "--for", goal, "--timeout", timeout, "-o", "name"]);
    wait("flippable", "20s")?.succeeds()?;
    // After a flip, the previous colour is held and known with the one who flipped.
    shop.has_an_age("app-blue")?;
    shop.route("app", GREEN)?.succeeds()?;
    let flipped = status(&[])?;
    flipped.says("held for another ")?;
    flipped.says("ago by ")?;
    flipped.says("flip to blue: passes, as a rollback")?;
    wait("held-over", "1s")?.says("waiting: app: blue is held")?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/min-replicas=4"])?.succeeds()?;
    let below = status(&["--exit-code"])?;
    ensure!(!below.ok, "{}", below.out);
    below.says("1 of 1 Service needs attention: app: it has 3 ready of the 4 that it needs")?;
    status(&["nope"])?.says("there is no Service nope in")?;
    let selected = status(&["-l", "app=nothing", "-o", "json"])?;
    ensure!(json(&selected)?["namespaces"][0]["services"] == serde_json::json!([]), "{}", selected.out);
    let all = flipguard(shop, &["status", "-A", "-o", "name"])?;
    all.says(&format!("{} service/app\n", shop.namespace))?;
    Ok(())
}

/// Without the right to read the ledger, holds are unknown. Without the right to list Pods, nothing is said of flips.
fn status_without_rights(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    let namespace = shop.namespace.as_str();
    let account = |name: &str, resources: &str| -> Result<Vec<String>> {
        shop.kubectl(&["create", "serviceaccount", name])?.succeeds()?;
        let role = format!("{namespace}-{name}");
        shop.plain_kubectl(&["create", "clusterrole", &role, "--verb=get,list", &format!("--resource={resources}")])?
            .succeeds()?;
        let subject = format!("--serviceaccount={namespace}:{name}");
        shop.plain_kubectl(&["create", "clusterrolebinding", &role, &format!("--clusterrole={role}"), &subject])?
            .succeeds()?;
        let token = shop.kubectl(&["create", "token", name])?.out;
        let config = shop.control_plane.dir().join(format!("{role}.kubeconfig"));
        let admin = std::fs::read_to_string(shop.control_plane.kubeconfig())?;
        let mut config_of: Value = serde_saphyr::from_str(&admin)?;
        config_of["users"][0]["user"] = serde_json::json!({ "token": token.trim() });
        std::fs::write(&config, config_of.to_string())?;
        Ok(vec![
            "status".to_owned(),
            "-n".to_owned(),
            namespace.to_owned(),
            "--kubeconfig".to_owned(),
            config.to_string_lossy().into_owned(),
        ])
    };
    let policies = "bluegreenpolicies.flipguard.dev";
    let workloads =
        "services,deployments.apps,statefulsets.apps,daemonsets.apps,replicasets.apps,controllerrevisions.apps";
    let run = |args: Vec<String>| flipguard(shop, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let reader = run(account("reader", &format!("{policies},{workloads},pods"))?)?;
    reader.succeeds()?;
    let lacking = "holds and last flips are unknown; whether flipguard guards is unknown";
    reader.says(&format!("note: you lack rights to know all (-o wide says which): {lacking}"))?;
    reader.says("live")?;
    reader.says("enforcement Deny, if flipguard guards")?;
    let wide =
        run([account("wide-reader", &format!("{policies},{workloads},pods"))?, vec!["-o=wide".to_owned()]].concat())?;
    wide.says("holds and last flips are unknown: cannot read the ledger of namespace")?;
    wide.says("note: whether flipguard guards is unknown: cannot read ValidatingWebhookConfiguration flipguard: ")?;
    // An audit skips what it may not list of the kinds that it can do without.
    let mut audit = account("auditor", &format!("{policies},{workloads},pods"))?;
    if let Some(first) = audit.first_mut() {
        "audit".clone_into(first);
    }
    let skips = run(audit)?;
    skips.succeeds()?;
    skips.says(&format!("skipped: ingresses in namespace {namespace}: "))?;
    skips.says(&format!("skipped: poddisruptionbudgets in namespace {namespace}: "))?;
    // RBAC forbids the kinds of other projects, too; those that are not served are no news.
    ensure!(!skips.out.contains("routes.route.openshift.io"), "{}", skips.out);
    // Without the right to list policies, it says what counts instead.
    let unruled = run(account("unruled", &format!("{workloads},pods"))?)?;
    unruled.succeeds()?;
    unruled.says("; the policies are unknown, so flags and defaults count here; ")?;
    unruled.says("live")?;
    let blind = run(account("blind", &format!("{policies},{workloads}"))?)?;
    ensure!(!blind.ok, "{}", blind.out);
    blind.says(&format!("cannot read pods in namespace {namespace}: "))?;
    blind.says("forbidden")
}

/// Sends a request to an address, and returns the status line, the header and the body.
fn send(address: SocketAddr, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Only who has the address sees the page, and it changes nothing.
fn the_page_on_the_loopback(shop: &Shop) -> Result<()> {
    shop.blue_is_live()?;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_flipguard"));
    command.args(["ui", "-n", &shop.namespace, "--kubeconfig"]).arg(shop.control_plane.kubeconfig());
    let ui = shop.control_plane.spawn(&format!("ui-{}", shop.namespace), command)?;
    shop.until("the address is printed", || Ok(ui.log_tail().contains("http://127.0.0.1:")))?;
    let log = ui.log_tail();
    let url = log.lines().find_map(|line| line.split("http://").nth(1)).context("no address")?;
    let (host, path) = url.split_once('/').context("no path")?;
    let address: SocketAddr = host.parse()?;
    let ask = |method: &str, path: &str, host: &str| {
        send(address, &format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    let page = ask("GET", path, host)?;
    ensure!(page.starts_with("HTTP/1.1 200 "), "{page}");
    ensure!(page.contains(&format!("{} / app", shop.namespace)) && page.contains("blue live 3/3"), "{page}");
    ensure!(page.contains("cache-control: no-store") && page.contains("x-frame-options: DENY"), "{page}");
    ensure!(ask("GET", path, "evil.example")?.starts_with("HTTP/1.1 403 "), "another host is answered");
    ensure!(ask("POST", path, host)?.starts_with("HTTP/1.1 405 "), "a POST is answered");
    ensure!(ask("GET", "", host)?.starts_with("HTTP/1.1 404 ") && ask("GET", "x/", host)?.starts_with("HTTP/1.1 404 "));
    // It is fresh again after 5 s.
    shop.pods_become("color=blue", Pods::Failing("CrashLoopBackOff"))?;
    shop.until("the page tells of it", || Ok(ask("GET", path, host)?.contains("blue live 0/3")))?;
    // Ctrl-C ends it at once, beside a connection that has sent half of a request and one that was answered.
    let mut half = TcpStream::connect(address)?;
    half.write_all(format!("GET /{path} HTTP/1.1\r\nHost: ").as_bytes())?;
    let mut answered = TcpStream::connect(address)?;
    answered.set_read_timeout(Some(Duration::from_secs(20)))?;
    answered.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    answered.read_exact(&mut [0; 12])?;
    ui.interrupt()?;
    ensure!(ui.wait(Duration::from_secs(10)).is_some_and(|status| status.success()), "{}", ui.log_tail());
    drop((answered, half));
    Ok(())
}
