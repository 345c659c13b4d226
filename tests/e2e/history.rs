//! The history: who flipped what, and the proof that nothing was changed afterwards.

#![expect(clippy::indexing_slicing, reason = "a missing field of JSON is null, and fails the test")]

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use flipguard::history::{Entry, Head};
use flipguard::model::sha256;
use serde_json::{Value, json};

use super::Test;
use super::seeing::flipguard;
use super::shop::{BLUE, GREEN, Shop};

pub(crate) const TESTS: &[Test] = &[
    ("history::who_flipped_what", who_flipped_what),
    ("history::a_forged_history_is_found", a_forged_history_is_found),
    ("history::a_chain_that_is_written_anew_is_found", a_chain_that_is_written_anew_is_found),
    ("history::what_is_lost_stays_lost", what_is_lost_stays_lost),
    ("history::judged_requests_are_in_the_audit_log", judged_requests_are_in_the_audit_log),
];

/// Both colours run, and the Service has gone to green and back.
fn there_and_back(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    shop.has_an_age("app-blue")?;
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
    let template = flip["facts"]["templates"][0].as_str().context("no template")?;
    let hash = template.strip_prefix("deployment/app-green ").context("another workload")?;
    ensure!(hash.len() == 64, "{flip}");
    ensure!(flip["facts"]["images"].as_array().is_some_and(|images| !images.is_empty()), "{flip}");
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
    look(shop, &["nobody"])?.says("no entry of Service nobody is on record")?;
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
    shop.until("the audit log has a head", || Ok(verify()?.out.contains("found in the logs")))?;
    let whole = verify()?;
    whole.succeeds()?;
    whole.says("3 entries, chain intact from n=1; ")?;
    whole.says("the last entry is in no log yet")?;
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

/// The data of a history, as somebody forges them who may write ConfigMaps in flipguard's namespace.
type Data = BTreeMap<String, String>;

fn key(n: u64) -> String {
    format!("entry.{n:010}")
}

/// Links all entries anew, so that the chain holds. The numbers follow each other.
fn linked(data: &Data) -> Result<Data> {
    let mut new = data.clone();
    new.retain(|key, _| !key.starts_with("entry."));
    let mut before = data.get("base").and_then(|base| Head::parse(base)).context("no base")?;
    let mut after = None;
    for (_, line) in data.iter().filter(|(key, _)| key.starts_with("entry.")) {
        let mut entry: Entry = serde_json::from_str(line)?;
        (entry.n, entry.prev, entry.after) = (before.n + 1, before.hash, after.or(entry.after));
        after = Some(entry.at);
        let line = serde_json::to_string(&entry)?;
        before = Head { n: entry.n, hash: sha256(&line) };
        new.insert(key(entry.n), line);
    }
    new.insert("head".to_owned(), before.to_string());
    Ok(new)
}

/// A chain that agrees with itself and with the ledger is a forgery that only the audit log shows.
fn a_chain_that_is_written_anew_is_found(shop: &Shop) -> Result<()> {
    shop.blue_serves()?;
    shop.deploy_ready("app-green", GREEN, 2)?;
    for (count, colour) in [(1, GREEN), (2, BLUE), (3, GREEN), (4, BLUE)] {
        shop.route("app", colour)?.succeeds()?;
        entries(shop, count)?;
    }
    let log = shop.control_plane.dir().join("audit.log").to_string_lossy().into_owned();
    let verify = || look(shop, &["--verify", "--audit-log", &log]);
    shop.until("the audit log has three heads", || Ok(verify()?.out.contains("3 heads found in the logs, all agree")))?;
    let (history, ledger) = (format!("history-{}", shop.namespace), format!("ledger-{}", shop.namespace));
    let own = |args: &[&str]| shop.plain_kubectl(&[&["-n", "flipguard-system"], args].concat());
    let data = |name: &str| -> Result<Data> {
        Ok(serde_json::from_str(&own(&["get", "configmap", name, "-o=jsonpath={.data}"])?.out)?)
    };
    let put = |name: &str, data: &Data| {
        let patch = json!([{ "op": "replace", "path": "/data", "value": data }]).to_string();
        own(&["patch", "configmap", name, "--type=json", "-p", &patch])?.succeeds()
    };
    let (whole, known) = (data(&history)?, data(&ledger)?);
    let head = |data: &Data| data.get("head").cloned().context("no head");
    let line = |n: u64| whole.get(&key(n)).cloned().with_context(|| format!("no entry {n}"));
    let forged = |what: &str, forgery: &Data, says: &[&str]| -> Result<()> {
        put(&history, forgery)?;
        let mut agrees = known.clone();
        agrees.insert("head".to_owned(), head(forgery)?);
        put(&ledger, &agrees)?;
        let found = verify()?;
        ensure!(!found.ok, "it was not found: {what}\n{}", found.out);
        says.iter().try_for_each(|words| found.says(words)).with_context(|| what.to_owned())
    };
    let mut edited = whole.clone();
    edited.insert(key(2), line(2)?.replace("\"user\":\"", "\"user\":\"bob-"));
    let edited = linked(&edited)?;
    forged("edited", &edited, &["entry 2 was ", "entry 3 was ", " in a log, and is another one now"])?;
    let mut swapped = whole.clone();
    swapped.extend([(key(2), line(3)?), (key(3), line(2)?)]);
    forged("swapped", &linked(&swapped)?, &["entry 2 was ", "entry 3 was "])?;
    let mut shorter = whole.clone();
    shorter.remove(&key(3));
    shorter.remove(&key(4));
    forged("its end is cut off", &linked(&shorter)?, &["entry 3 (", ") is in a log, and is missing"])?;
    let mut without_one = whole.clone();
    without_one.remove(&key(2));
    forged("one is taken out", &linked(&without_one)?, &["entry 2 was ", "entry 3 was "])?;
    // The last entry is in no log yet, so only the ledger knows it. An entry that is added is in no log either.
    let mut appended = whole.clone();
    appended.insert(key(5), line(4)?);
    put(&ledger, &known)?;
    put(&history, &linked(&appended)?)?;
    verify()?
        .says("chain intact from n=1; 3 heads found in the logs, all agree; the last 2 entries are in no log yet")?;
    // Its beginning is cut off, as if it had grown too old.
    let base = |n: u64| Ok::<_, anyhow::Error>((String::from("base"), format!("{n} {}", sha256(&line(n)?))));
    let mut cut = whole.clone();
    for n in 1..=3 {
        cut.remove(&key(n));
        cut.extend([base(n)?]);
        let why = [format!("entries up to {n} are missing: entry {n} is of "), "and is kept for 180 days".to_owned()];
        forged("its beginning is cut off", &cut, &[&why[0], &why[1]])?;
    }
    // All of it, and the forger says that it was old.
    cut.retain(|key, _| !key.starts_with("entry."));
    cut.extend([
        base(4)?,
        ("head".to_owned(), head(&whole)?),
        ("baseAt".to_owned(), "2020-01-01T00:00:00Z".to_owned()),
    ]);
    forged("nothing is left", &cut, &["entry 2 is missing: it came after ", "entry 4 is missing: it came after "])?;
    put(&history, &whole)?;
    put(&ledger, &known)?;
    verify()?.succeeds()
}

/// flipguard goes on after a history that was deleted or cut, and the gap stays.
fn what_is_lost_stays_lost(shop: &Shop) -> Result<()> {
    there_and_back(shop)?;
    entries(shop, 2)?;
    let name = format!("history-{}", shop.namespace);
    shop.plain_kubectl(&["-n", "flipguard-system", "delete", "configmap", &name])?.succeeds()?;
    shop.route("app", GREEN)?.succeeds()?;
    let all = entries(shop, 1)?;
    ensure!(all[0]["n"] == 3, "it goes on after the entries that the ledger knows: {all:?}");
    let found = look(shop, &["--verify"])?;
    ensure!(!found.ok, "{}", found.out);
    found.says("entries 1 to 2 are missing")?;
    shop.route("app", BLUE)?.succeeds()?;
    entries(shop, 2)?;
    look(shop, &["--verify"])?.says("entries 1 to 2 are missing")
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
