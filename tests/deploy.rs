//! The manifests in `deploy/` are the same as those of the binary.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use flipguard::install::{GATE_WEBHOOK, LABEL_WEBHOOK, PROBE_WEBHOOK, policy};
use flipguard::model::{ColourScheme, Enforcement};
use flipguard::registration::endpoint::{Address, Endpoint};
use flipguard::registration::webhooks::{Webhooks, mutating, validating};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn printed(args: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_flipguard")).args(args).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn read(path: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    Ok(std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?)
}

#[test]
fn the_base_is_fresh() -> Result<()> {
    let fresh = read("deploy/base/flipguard.yaml")? == printed(&["manifests"])?;
    assert!(fresh, "deploy/base/flipguard.yaml is stale; run: make docs");
    Ok(())
}

#[test]
fn the_generated_templates_are_fresh() -> Result<()> {
    for (part, template) in [
        ("rights", "rbac"),
        ("requests", "requests"),
        ("labels", "labels"),
        ("policies", "policies"),
        ("auditor-rights", "auditor-rights"),
    ] {
        let printed = printed(&["manifests", "--part", part, "--namespace", "{{ .Release.Namespace }}"])?;
        let stored = read(&format!("deploy/helm/flipguard/templates/{template}.yaml"))?;
        let stored = stored.strip_prefix("{{- if include \"flipguard.addsLabels\" . }}\n").unwrap_or(&stored);
        let stored = stored.strip_prefix("{{- if .Values.auditor.enabled }}\n").unwrap_or(stored);
        let stored = stored.strip_suffix("{{- end }}\n").unwrap_or(stored);
        assert!(stored == printed, "the chart's {template}.yaml is stale; run: make docs");
    }
    Ok(())
}

/// `kubectl apply` writes the whole object into an annotation, which may have 256 KiB.
#[test]
fn the_crd_is_small_and_helm_keeps_it() -> Result<()> {
    let crd = read("deploy/helm/flipguard/templates/policies.yaml")?;
    assert!(crd.len() < 100 * 1024, "{} bytes", crd.len());
    assert!(crd.contains("helm.sh/resource-policy: keep"), "an upgrade could delete all policies");
    assert!(!crd.contains("{{"), "Helm would read it as a template");
    Ok(())
}

#[test]
fn the_table_of_rights_is_fresh() -> Result<()> {
    assert!(read("docs/rights.md")? == printed(&["manifests", "--rights"])?, "docs/rights.md is stale; run: make docs");
    Ok(())
}

/// The policy for the registration allows what is rendered, and nothing besides.
#[test]
fn the_policy_fits_the_webhooks() {
    let address = Address::Service { namespace: "own".to_owned() };
    let endpoint = Endpoint { address, authority: String::new(), token: "token".to_owned() };
    let colours = ColourScheme::default();
    let webhooks = Webhooks {
        endpoint: &endpoint,
        colours: &colours,
        own_namespace: "own",
        exempt_users: &[],
        exempt_namespaces: &[],
        enforcement: Enforcement::Deny,
    };
    let policy = policy::registration("own", None).to_string();
    let mut rendered = BTreeSet::new();
    let mut names = Vec::new();
    for webhook in validating(&webhooks) {
        let rules = webhook.rules.into_iter().flatten().filter_map(|rule| rule.resources).flatten();
        if webhook.name != PROBE_WEBHOOK {
            rendered.extend(rules);
        }
        names.push(webhook.name);
    }
    let mutating = mutating(&webhooks);
    assert_eq!(mutating.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [LABEL_WEBHOOK, GATE_WEBHOOK]);
    let rules = mutating.into_iter().filter_map(|webhook| webhook.rules).flatten();
    rendered.extend(rules.filter_map(|rule| rule.resources).flatten());
    assert!(names.iter().all(|name| name.ends_with(".flipguard.dev")) && policy.contains("endsWith('.flipguard.dev')"));
    let allowed: BTreeSet<String> = policy::GUARDED.into_iter().map(str::to_owned).collect();
    assert_eq!(allowed, rendered, "src/install/policy.rs should allow the resources that are rendered, and no others");
    assert!(!allowed.iter().any(|resource| resource.contains('*') || resource.starts_with("pods")));
    // The expressions may use only functions of Kubernetes 1.30. No optional types, which some read differently.
    for newer in ["format.", ".?", "[?", "orValue", "semver", "cidr(", "ip(", "authorizer"] {
        assert!(!policy.contains(newer), "{newer}");
    }
}

#[test]
fn the_versions_agree() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("deploy/helm/flipguard/Chart.yaml")?;
    assert!(chart.contains(&format!("\nversion: {version}\nappVersion: \"{version}\"\n")), "{chart}");
    let (major, minor) = flipguard::cluster::connect::OLDEST;
    let oldest = format!("{major}.{minor}");
    assert!(chart.contains(&format!("kubeVersion: \">={oldest}.0-0\"")), "{chart}");
    for document in ["README.md", "docs/operations.md"] {
        let words = read(document)?.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("Kubernetes {oldest} or newer")), "{document} names another oldest Kubernetes");
    }
    Ok(())
}

/// promtool, where it is installed.
fn promtool(args: &[&str]) -> Result<Option<std::process::Output>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).ok_or("no home")?;
    let installed = cache.join("flipguard/tools/bin/promtool");
    let promtool = if installed.is_file() { installed } else { "promtool".into() };
    let Ok(output) = Command::new(promtool).args(args).output() else {
        assert!(std::env::var_os("CI").is_none(), "promtool is not installed");
        eprintln!("skipped: promtool is not installed (tests/tools)");
        return Ok(None);
    };
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    Ok(Some(output))
}

fn yaml(path: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(&read(path)?)?)
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The alerts fire when they should: the rules, run by promtool. Each has a test in which it fires, and a section that says
/// what to do.
#[test]
fn the_alerts_fire() -> Result<()> {
    let tests = "tests/alerts/alerts.test.yaml";
    promtool(&["test", "rules", &Path::new(env!("CARGO_MANIFEST_DIR")).join(tests).to_string_lossy()])?;
    let (alerts, tests, operations) =
        (yaml("deploy/monitoring/alerts.yaml")?, yaml(tests)?, read("docs/operations.md")?);
    let cases: Vec<&Value> = items(&tests, "tests").flat_map(|test| items(test, "alert_rule_test")).collect();
    for rule in items(&alerts, "groups").flat_map(|group| items(group, "rules")) {
        let name = text(rule, "alert");
        let fires = |case: &&&Value| text(case, "alertname") == name && items(case, "exp_alerts").next().is_some();
        assert!(cases.iter().any(|case| fires(&case)), "no test in which {name} fires");
        assert!(operations.contains(&format!("\n### {name}\n")), "docs/operations.md has no section for {name}");
        assert!(rule.pointer("/annotations/summary").is_some(), "{name} has no summary");
    }
    Ok(())
}

/// The copies of the alerts and of the board are fresh.
#[test]
fn the_copies_for_prometheus_and_grafana_are_fresh() -> Result<()> {
    for file in ["alerts.yaml", "dashboard.json"] {
        let same = read(&format!("deploy/monitoring/{file}"))? == read(&format!("deploy/helm/flipguard/{file}"))?;
        assert!(same, "deploy/helm/flipguard/{file} is stale; run: make docs");
    }
    let rule = yaml("deploy/monitoring/prometheusrule.yaml")?;
    let same = rule.get("spec") == Some(&yaml("deploy/monitoring/alerts.yaml")?);
    assert!(same, "deploy/monitoring/prometheusrule.yaml is stale; run: make docs");
    let auditor = read("deploy/components/auditor/auditor.yaml")?;
    assert!(auditor == printed(&["manifests", "--part", "auditor"])?, "the component auditor is stale; run: make docs");
    Ok(())
}

/// What Grafana's own linter asks of a board (grafana/dashboard-linter, docs/rules): sidecars leave `__inputs` as they are,
/// and a counter says nothing but by its rate. All expressions are parsed by promtool.
#[test]
fn the_board_is_as_a_linter_wants_it() -> Result<()> {
    let board: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")?)?;
    assert!(board.get("__inputs").is_none() && text(&board, "uid") == "flipguard");
    assert_eq!(board.get("editable"), Some(&Value::Bool(false)));
    let variables: Vec<&str> =
        items(board.get("templating").ok_or("no templating")?, "list").map(|one| text(one, "name")).collect();
    assert_eq!(variables, ["datasource", "job"]);
    let (mut rules, mut titles) = (String::from("groups: [{name: board, rules: [\n"), BTreeSet::new());
    for panel in items(&board, "panels") {
        let title = text(panel, "title");
        assert!(!title.is_empty() && titles.insert(title), "a title is missing or there twice: {title}");
        assert!(text(panel, "description").ends_with('.'), "{title} has no description");
        let unit = panel.pointer("/fieldConfig/defaults/unit").and_then(Value::as_str);
        assert!(unit.is_some_and(|unit| !unit.is_empty()), "{title} has no unit");
        assert_eq!(panel.pointer("/datasource/uid").and_then(Value::as_str), Some("${datasource}"), "{title}");
        assert!(items(panel, "targets").next().is_some(), "{title} shows nothing");
        for target in items(panel, "targets") {
            let expression = text(target, "expr");
            let own = expression.matches("flipguard_").count();
            assert_eq!(own, expression.matches("job=~\"$job\"").count(), "{title}: {expression}");
            let counters =
                ["_total", "_bucket", "_sum", "_count"].map(|end| expression.matches(&format!("{end}{{")).count());
            let rates = expression.matches("[$__rate_interval]").count();
            assert_eq!(counters.iter().sum::<usize>(), rates, "{title}: {expression}");
            assert!(!text(target, "legendFormat").is_empty(), "{title} has no legend");
            let expression = expression.replace("$__rate_interval", "5m").replace("$job", ".+");
            rules.extend(["{record: 'board:x', expr: ", &Value::String(expression).to_string(), "},\n"]);
        }
    }
    for annotation in items(board.get("annotations").ok_or("no annotations")?, "list") {
        let expression = text(annotation, "expr").replace("$job", ".+");
        rules.extend(["{record: 'board:x', expr: ", &Value::String(expression).to_string(), "},\n"]);
    }
    rules.push_str("]}]\n");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("board.rules.yaml");
    std::fs::write(&file, rules)?;
    promtool(&["check", "rules", "--lint=none", &file.to_string_lossy()])?;
    Ok(())
}

#[test]
fn the_build_takes_no_more_than_it_names() -> Result<()> {
    let ignored = read(".dockerignore")?;
    let mut rules = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "everything is left out first");
    let named: Vec<&str> = rules.map(|rule| rule.strip_prefix('!').unwrap_or("not a name")).collect();
    assert_eq!(named, ["Cargo.toml", "Cargo.lock", "crates", "src", "tests", "dist"]);
    let dockerfile = read("Dockerfile")?;
    assert!(dockerfile.contains(&format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION"))), "another version");
    let toolchain = read("rust-toolchain.toml")?;
    let channel = toolchain.split('"').nth(1).and_then(|channel| channel.rsplit_once('.')).ok_or("no channel")?.0;
    assert!(dockerfile.contains(&format!("/rust:{channel}-")), "the image is built with another Rust than {channel}");
    let tools = read("tests/tools")?;
    let auditable =
        tools.split("cargo-auditable@").nth(1).and_then(|rest| rest.split(' ').next()).ok_or("no version")?;
    assert!(dockerfile.contains(&format!("--version {auditable} cargo-auditable")), "{auditable}");
    Ok(())
}

/// Nothing that is a verb or a resource of its own is granted by a pattern, and nothing may touch a user's object.
#[test]
fn rights_have_nothing_to_spare() -> Result<()> {
    let rights = printed(&["manifests", "--part", "rights"])? + &printed(&["manifests", "--part", "labels"])?;
    assert!(!rights.contains("'*'") && !rights.contains("\"*\""), "{rights}");
    let (cluster, own) = rights.split_once("kind: Role\n").ok_or("no Role")?;
    for verb in ["update", "delete", "deletecollection", "watch", "escalate", "bind", "impersonate"] {
        assert!(!cluster.contains(&format!("- {verb}\n")), "cluster-wide: {verb}");
    }
    assert!(own.contains("- flipguard-keeper\n"));
    Ok(())
}

/// `serve --certificates` accepts the files of the script.
#[test]
fn the_scripts_certificates_can_be_served() -> Result<()> {
    if !Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "openssl is not installed");
        eprintln!("skipped: openssl is not installed");
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("certs");
    drop(std::fs::remove_dir_all(&folder));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make.sh");
    let make = |names: &[&str]| -> Result<()> {
        let output = Command::new(&script).arg(&folder).args(names).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let read = |name: &str| {
        let now = time::OffsetDateTime::now_utc() + time::Duration::minutes(1);
        flipguard::certs::files::Files::of(&folder).read(name, "token", now)
    };
    make(&[])?;
    let first = read("flipguard.flipguard-system.svc")?;
    assert!(read("guard.example").is_err());
    make(&["guard.example", "192.0.2.7"])?;
    let second = read("guard.example")?;
    read("192.0.2.7")?;
    assert_eq!(first.bundle, second.bundle, "the authority stays");
    Ok(())
}

/// An action by its tag is whatever its owner says tomorrow. And what only a workflow does, nobody can try on a machine.
#[test]
fn workflows_pin_actions_and_call_make() -> Result<()> {
    let is_pinned = |action: &str| {
        let (_, hash) = action.split_once('@').unwrap_or_default();
        hash.len() == 40 && hash.chars().all(|digit| digit.is_ascii_hexdigit())
    };
    for name in ["ci", "nightly", "release"] {
        let file = format!(".github/workflows/{name}.yaml");
        let workflow = yaml(&file)?;
        assert_eq!(workflow.get("permissions"), Some(&serde_json::json!({})), "{file}: rights are given to each job");
        let jobs = workflow.get("jobs").and_then(Value::as_object).ok_or("no jobs")?;
        for (job, content) in jobs {
            assert!(content.get("permissions").is_some() && content.get("timeout-minutes").is_some(), "{file}: {job}");
            for step in items(content, "steps") {
                let (uses, run) = (text(step, "uses"), text(step, "run"));
                assert!(uses.is_empty() || is_pinned(uses), "{file}: {job} uses `{uses}` without its hash");
                assert!(run.is_empty() || run.contains("make "), "{file}: {job} runs `{run}`, which is no make target");
            }
        }
    }
    Ok(())
}

/// Each version that `make conformance` knows has a row, and no row is of another release of flipguard.
#[test]
fn the_conformance_is_of_this_version() -> Result<()> {
    let page = read("docs/conformance.md")?;
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| 1."))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let own = env!("CARGO_PKG_VERSION");
    for row in &rows {
        let [_, version, release, flipguard, tests, ..] = row.as_slice() else { return Err("a row is short".into()) };
        assert!(
            [own, "-"].contains(flipguard),
            "the row of {version} is of flipguard {flipguard}; run make conformance"
        );
        assert_eq!(*release == "-", *tests == "-", "{version}");
        assert!(*tests == "-" || tests.ends_with(" passed, 0 failed"), "Kubernetes {version}: {tests}");
    }
    let versions: Vec<&str> = rows.iter().filter_map(|row| row.get(1).copied()).collect();
    assert_eq!(versions, ["1.30", "1.33", "1.36", "1.37"]);
    Ok(())
}

/// krew refuses a manifest that has no platform, or one with a sum that is none.
#[test]
fn the_manifest_for_krew_is_whole() -> Result<()> {
    let filled = read("deploy/krew/head.yaml")?.replace("VERSION", "0.1.0")
        + &read("deploy/krew/platform.yaml")?
            .replace("SYSTEM", "linux")
            .replace("ARCH", "arm64")
            .replace("ADDRESS", "https://example.invalid/a.tar.gz")
            .replace("SUM", &"0".repeat(64));
    let manifest: Value = serde_saphyr::from_str(&filled)?;
    assert_eq!(manifest.pointer("/spec/version").and_then(Value::as_str), Some("v0.1.0"));
    assert_eq!(manifest.pointer("/spec/platforms/0/bin").and_then(Value::as_str), Some("kubectl-flipguard"));
    assert_eq!(manifest.pointer("/spec/platforms/0/sha256").and_then(Value::as_str).map(str::len), Some(64));
    assert!(manifest.pointer("/spec/shortDescription").and_then(Value::as_str).is_some_and(|words| words.len() <= 50));
    Ok(())
}
