//! The history: who flipped what, and the proof that nothing was changed afterwards.

#![expect(clippy::indexing_slicing, reason = "a missing field of JSON is null, and fails the test")]

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Test;
use super::seeing::flipguard;
use super::shop::{BLUE, GREEN, Shop};

pub(crate) const TESTS: &[Test] = &[
    ("history::who_flipped_what", who_flipped_what),
    ("history::a_forged_history_is_found", a_forged_history_is_found),
    ("history::judged_requests_are_in_the_audit_log", judged_requests_are_in_the_audit_log),
];

/// Both colours run, and the Service has gone to green and back.
fn there_and_back(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    shop.route("app", GREEN)?.passes_silently()?;
    shop.route("app", BLUE)?.succeeds()
}

fn look(shop: &Shop, more: &[&str]) -> Result<super::shop::Attempt> {
    flipguard(shop, &[&["history", "-n", &shop.namespace], more].concat())
}

/// The entries, once there are so many.
fn entries(shop: &Shop, count: usize) -> Result<Vec<Value>> {
    let read = || -> Result<Vec<Value>> {
        let all: Value = serde_json::from_str(&look(shop, &["-o", "json"])?.out).context("no JSON")?;
        Ok(all["namespaces"][0]["entries"].as_array().cloned().unwrap_or_default())
    };
    let is_there = shop.until(&format!("{count} entries are in the history"), || Ok(read()?.len() >= count));
    let all = read()?;
    is_there.with_context(|| format!("{all:?}"))?;
    ensure!(all.len() == count, "{all:?}");
    Ok(all)
}

fn who_flipped_what(shop: &Shop) -> Result<()> {
    look(shop, &[])?.says("no flip is on record")?;
    there_and_back(shop)?;
    let all = entries(shop, 2)?;
    let (flip, back) = (&all[0], &all[1]);
    ensure!(flip["act"] == "flip" && back["act"] == "rollback", "{all:?}");
    ensure!(
        flip["facts"]["from"] == "blue" && flip["facts"]["to"] == "green" && flip["facts"]["ready"] == "2/2",
        "{flip}"
    );
    ensure!(flip["facts"]["groups"][0] == "system:masters" && flip["user"] != "", "{flip}");
    let text = look(shop, &[])?;
    text.says("blue → green")?;
    text.says("green → blue")?;
    let status = flipguard(shop, &["status", "app", "-n", &shop.namespace])?;
    status.says("last flips:")?;
    status.says("rollback green → blue, web:1, by ")?;
    status.says("Settings of the namespace are the defaults (flipguard policy explain")?;
    let (_, metrics) = shop.guard.ask("/metrics")?;
    let counted = format!("flipguard_flips_total{{service_namespace=\"{}\",act=\"rollback\"}} 1", shop.namespace);
    ensure!(metrics.contains(&counted), "{metrics}");
    text.says("2 entries; --verify checks that none was changed")?;
    // Helm's field manager has a name of its own, and others are named as they are.
    shop.kubectl(&[
        "patch",
        "service",
        "app",
        "--field-manager=helm",
        "-p",
        r#"{"spec":{"selector":{"color":"green"}}}"#,
    ])?
    .succeeds()?;
    let helm = entries(shop, 3)?;
    ensure!(helm[2]["facts"]["tool"] == "helm" && helm[2]["manager"] == "helm", "{helm:?}");
    ensure!(look(shop, &["-o", "jsonl"])?.out.lines().filter(|line| line.contains(&shop.namespace)).count() == 3);
    ensure!(look(shop, &["-o", "csv"])?.out.lines().count() == 4);
    look(shop, &["-o", "markdown"])?.says("| flip | blue → green |")?;
    look(shop, &["nobody"])?.says("0 entries")?;
    look(shop, &["app", "--since", "1h"])?.says("3 entries")?;
    flipguard(shop, &["history", "-A", "app"])?.says(&format!("{}\n", shop.namespace))?;
    // A change that other admission denies afterwards never committed, so it is not there.
    shop.kubectl(&["delete", "service", "app"])?.succeeds()?;
    let gone = entries(shop, 4)?;
    ensure!(gone[3]["act"] == "deleted" && gone[3]["from"]["color"] == "green", "{gone:?}");
    // Nothing waits in the ledger any more.
    let ledger = format!("ledger-{}", shop.namespace);
    let data = shop.plain_kubectl(&["-n", "flipguard-system", "get", "configmap", &ledger, "-o=jsonpath={.data}"])?;
    ensure!(!data.out.contains("settled.") && data.out.contains(r#""head":"4 "#), "{}", data.out);
    Ok(())
}

fn a_forged_history_is_found(shop: &Shop) -> Result<()> {
    there_and_back(shop)?;
    entries(shop, 2)?;
    // Later decisions have the head in the audit log.
    shop.route("app", GREEN)?.succeeds()?;
    entries(shop, 3)?;
    let log = shop.control_plane.dir().join("audit.log");
    let log = log.to_string_lossy().into_owned();
    let verify = || look(shop, &["--verify", "--audit-log", &log]);
    shop.until("the audit log has a head", || Ok(verify()?.out.contains("heads found")))?;
    let whole = verify()?;
    whole.succeeds()?;
    whole.says("3 entries, chain intact from n=1; ")?;
    whole.says("all agree")?;
    let name = format!("history-{}", shop.namespace);
    let own = |args: &[&str]| shop.plain_kubectl(&[&["-n", "flipguard-system"], args].concat());
    let stored = own(&["get", "configmap", &name, "-o", "json"])?.out;
    let restore = || own(&["replace", "--force", "-f", &written(shop, &stored)?])?.succeeds();
    let forged = |patch: &str, says: &str| -> Result<()> {
        own(&["patch", "configmap", &name, "--type=json", "-p", patch])?.succeeds()?;
        let found = verify()?;
        ensure!(!found.ok, "it was not found: {patch}");
        found.says(says)?;
        restore()
    };
    let stored_map: Value = serde_json::from_str(&stored)?;
    let second = stored_map["data"]["entry.0000000002"].as_str().context("no entry 2")?;
    let bob = second.replace("\"user\":\"", "\"user\":\"bob-");
    let value = serde_json::to_string(&bob)?;
    let replace = format!(r#"[{{"op":"replace","path":"/data/entry.0000000002","value":{value}}}]"#);
    forged(&replace, "entry 3 does not follow entry 2: it was changed")?;
    forged(r#"[{"op":"remove","path":"/data/entry.0000000002"}]"#, "entries 2 to 2 are missing")?;
    forged(r#"[{"op":"remove","path":"/data/entry.0000000003"}]"#, "the last entry is 2 ")?;
    // A whole chain that is written anew agrees with itself, and not with the audit log.
    own(&["delete", "configmap", &name])?.succeeds()?;
    let found = look(shop, &["--verify"])?;
    ensure!(!found.ok, "{}", found.out);
    found.says("the ledger knows entry 3, and it is missing here or another one")?;
    restore()?;
    verify()?.succeeds()
}

/// Writes a manifest without the fields that the API server sets.
fn written(shop: &Shop, object: &str) -> Result<String> {
    let mut object: Value = serde_json::from_str(object)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, _| ["name", "namespace", "labels"].contains(&key.as_str()));
    }
    let file = shop.control_plane.dir().join(format!("history-{}.json", shop.namespace));
    std::fs::write(&file, object.to_string())?;
    Ok(file.to_string_lossy().into_owned())
}

/// Allowed or denied, the audit event tells what was decided, and what it was about.
fn judged_requests_are_in_the_audit_log(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.route("app", GREEN)?.is_refused("target-missing", &[])?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    shop.route("app", GREEN)?.passes_silently()?;
    let log = shop.control_plane.dir().join("audit.log");
    let has = |annotations: &[(&str, &str)]| -> Result<bool> {
        let text = std::fs::read_to_string(&log)?;
        let mut events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(events.any(|event| {
            let is_here = event["objectRef"]["namespace"] == shop.namespace;
            let has =
                |(key, value): &(&str, &str)| event["annotations"][format!("guard.flipguard.dev/{key}")] == *value;
            is_here && annotations.iter().all(has)
        }))
    };
    let denied =
        [("decision", "denied"), ("reasons", "target-missing"), ("act", "flip"), ("from", "blue"), ("to", "green")];
    shop.until("the denial is in the audit log", || has(&denied))?;
    let allowed = [("decision", "allowed"), ("act", "flip"), ("from", "blue"), ("to", "green")];
    shop.until("the flip is in the audit log", || has(&allowed))
}
