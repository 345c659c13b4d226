//! The life cycle of certificates, under a constant stream of admissions.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use controlplane::Guard;
use flipguard::certs::Identity;
use flipguard::certs::pem::{life_of, names_of};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::admission::on_runtime;
use super::shop::Shop;
use super::stream::Stream;
use super::{FLAGS, Test, tls};

pub(crate) const TESTS: &[Test] = &[
    ("certificates::ten_rotations_under_a_stream", ten_rotations_under_a_stream),
    ("certificates::the_token_is_exchanged_under_a_stream", the_token_is_exchanged_under_a_stream),
    ("certificates::a_leaf_is_renewed_by_the_clock", a_leaf_is_renewed_by_the_clock),
    ("certificates::a_lost_secret_is_restored", a_lost_secret_is_restored),
];

/// The identity is rotated ten times, each time with its authority. No admission fails.
fn ten_rotations_under_a_stream(shop: &Shop) -> Result<()> {
    let stream = Stream::start(shop)?;
    let first = secret(shop)?;
    let mut known = first.clone();
    for round in 1..=10 {
        in_own_namespace(shop, &["annotate", "secret", "flipguard", "flipguard.dev/rotate=now"])?;
        shop.until(&format!("rotation {round} is over"), || {
            let secret = secret(shop)?;
            Ok(secret.get("ca.crt") != known.get("ca.crt")
                && !secret.contains_key("old-ca.crt")
                && registered_bundle(shop)? == *secret.get("ca.crt").context("no authority")?
                && served(shop)? == der(secret.get("tls.crt").context("no leaf")?))
        })?;
        known = secret(shop)?;
    }
    let counts = stream.end()?;
    eprintln!(
        "ten rotations: {} allowed, {} refused, {} handshakes",
        counts.allowed, counts.refused, counts.handshakes
    );
    ensure!(known.get("token") == first.get("token"), "the token changed");
    ensure!(known.get("tls.crt") != first.get("tls.crt") && !known.contains_key("next-ca.crt"));
    let annotations = in_own_namespace(shop, &["get", "secret", "flipguard", "-o=jsonpath={.metadata.annotations}"])?;
    ensure!(!annotations.contains("rotate"), "the annotation should be removed: {annotations}");
    Ok(())
}

/// The token of the paths is exchanged three times: on request, by its age, and by hand. No admission fails, and no
/// former token is accepted for ever.
fn the_token_is_exchanged_under_a_stream(shop: &Shop) -> Result<()> {
    let stream = Stream::start(shop)?;
    let first = part(&secret(shop)?, "token").to_owned();
    ensure!(answers(shop, &first)?, "the registered token is not accepted");
    in_own_namespace(shop, &["annotate", "secret", "flipguard", "flipguard.dev/rotate-token=leaked"])?;
    let second = exchanged(shop, &first)?;
    let annotations = in_own_namespace(shop, &["get", "secret", "flipguard", "-o=jsonpath={.metadata.annotations}"])?;
    ensure!(!annotations.contains("rotate"), "the annotation should be removed: {annotations}");
    // A day is over.
    let yesterday = OffsetDateTime::now_utc() - time::Duration::days(1);
    let yesterday = yesterday.format(&time::format_description::well_known::Rfc3339)?;
    write(shop, &json!({ "token-issued": STANDARD.encode(yesterday) }))?;
    let third = exchanged(shop, &second)?;
    // By hand, as from a backup.
    write(shop, &json!({ "token": STANDARD.encode("0123456789abcdef0123456789abcdef") }))?;
    exchanged(shop, &third)?;
    let log = shop.guard.log()?;
    let printed = [&first, &second, &third].into_iter().filter(|token| log.contains(token.as_str())).count();
    ensure!(printed == 0, "{printed} tokens are in the log");
    stream.end().map(drop)
}

/// Waits until another token is registered, and this one is not accepted any more. Returns the other one.
fn exchanged(shop: &Shop, before: &str) -> Result<String> {
    shop.until("another token is registered", || {
        let now = secret(shop)?;
        let path = "-o=jsonpath={.webhooks[*].clientConfig.url}";
        let urls = ["validatingwebhookconfiguration", "mutatingwebhookconfiguration"]
            .map(|kind| shop.plain_kubectl(&["get", kind, "flipguard", path]));
        let [validating, mutating] = urls;
        let urls = validating?.out + " " + &mutating?.out;
        let ends = format!("/{}", part(&now, "token"));
        Ok(part(&now, "token") != before && urls.split_whitespace().all(|url| url.ends_with(&ends)))
    })?;
    shop.until("the former token is not accepted", || {
        Ok(!secret(shop)?.contains_key("old-token") && !answers(shop, before)?)
    })?;
    let now = part(&secret(shop)?, "token").to_owned();
    ensure!(answers(shop, &now)?, "the new token is not accepted");
    Ok(now)
}

/// Whether flipguard accepts a token: with another, a path does not exist.
fn answers(shop: &Shop, token: &str) -> Result<bool> {
    let address = shop.guard.listen().to_string();
    let status = on_runtime(tls::post(&address, &format!("/validate/{token}")))?;
    Ok(status != 404)
}

/// A certificate is renewed after two thirds of its life, and after its end.
fn a_leaf_is_renewed_by_the_clock(shop: &Shop) -> Result<()> {
    let stream = Stream::start(shop)?;
    for days_ago in [250, 400] {
        let before = identity(&secret(shop)?)?;
        let names = names_of(&before.leaf);
        let then = OffsetDateTime::now_utc() - time::Duration::days(days_ago);
        let aged = before.clone().renewed(&names, then)?;
        write(shop, &json!({ "tls.crt": STANDARD.encode(&aged.leaf), "tls.key": STANDARD.encode(&aged.leaf_key) }))?;
        shop.until("a new certificate is served", || {
            let secret = identity(&secret(shop)?)?;
            let life = life_of(&secret.leaf).context("no leaf")?;
            Ok(life.until > OffsetDateTime::now_utc() + time::Duration::days(360)
                && served(shop)? == der(&secret.leaf)
                && secret.authority == before.authority)
        })?;
        let until = life_of(part(&secret(shop)?, "tls.crt")).context("no leaf")?.until.unix_timestamp();
        let metric = format!("flipguard_certificate_not_after_seconds{{certificate=\"leaf\"}} {until}");
        shop.until("the metric has the new end of life", || Ok(shop.guard.ask("/metrics")?.1.contains(&metric)))?;
    }
    ensure!(
        shop.guard.ask("/metrics")?.1.contains("flipguard_certificate_not_after_seconds{certificate=\"authority\"}")
    );
    stream.end().map(drop)
}

/// The Secret is deleted, truncated, or loses its token. The running replica restores it from memory.
fn a_lost_secret_is_restored(shop: &Shop) -> Result<()> {
    let stream = Stream::start(shop)?;
    let whole = secret(shop)?;
    let is_back = |what: &str| shop.until(what, || Ok(secret(shop).is_ok_and(|now| now == whole)));
    in_own_namespace(shop, &["delete", "secret", "flipguard"])?;
    is_back("it is back after its deletion")?;
    write(shop, &json!({ "token": STANDARD.encode("short") }))?;
    is_back("it is back with its token")?;
    write(shop, &json!({ "ca.crt": null, "ca.key": null, "tls.crt": null, "tls.key": null, "token": null }))?;
    is_back("it is back after it was emptied")?;
    // Half a certificate needs no memory: the authority signs another one.
    let half = part(&whole, "tls.crt").chars().take(300).collect::<String>();
    write(shop, &json!({ "tls.crt": STANDARD.encode(half) }))?;
    shop.until("another certificate is served", || {
        let now = secret(shop)?;
        Ok(part(&now, "tls.crt") != part(&whole, "tls.crt")
            && life_of(part(&now, "tls.crt")).is_some()
            && served(shop)? == der(part(&now, "tls.crt")))
    })?;
    ensure!(part(&secret(shop)?, "ca.crt") == part(&whole, "ca.crt"));
    // An authority that can no longer sign is replaced in time.
    write(shop, &json!({ "ca.key": STANDARD.encode("gone") }))?;
    shop.until("there is another authority", || {
        let now = secret(shop)?;
        Ok(part(&now, "ca.crt") != part(&whole, "ca.crt")
            && !now.contains_key("old-ca.crt")
            && served(shop)? == der(part(&now, "tls.crt")))
    })?;
    stream.end().map(drop)
}

/// Files are replaced as the kubelet replaces a mounted Secret: by moving a symbolic link. The shared guard has ended.
pub(crate) fn files_are_exchanged_under_a_stream(shop: &Shop) -> Result<()> {
    let folder = shop.control_plane.dir().join("certificates");
    std::fs::create_dir(&folder)?;
    let names = ["127.0.0.1".to_owned()];
    let bring = |number: usize| -> Result<Identity> {
        let identity = Identity::issue(&names, OffsetDateTime::now_utc())?;
        let version = folder.join(format!("..version-{number}"));
        std::fs::create_dir(&version)?;
        std::fs::write(version.join("ca.crt"), &identity.authority)?;
        std::fs::write(version.join("tls.crt"), &identity.leaf)?;
        std::fs::write(version.join("tls.key"), &identity.leaf_key)?;
        let link = folder.join("..new");
        symlink(&version, &link)?;
        std::fs::rename(&link, folder.join("..data"))?;
        Ok(identity)
    };
    let first = bring(0)?;
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), folder.join(file))?;
    }
    shop.without_the_guard()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_flipguard"));
    let folder_text = folder.to_string_lossy().into_owned();
    let flags = [FLAGS, &["--certificates", &folder_text]].concat();
    let guard = Guard::start(shop.control_plane, binary, &flags)?;
    let served = || on_runtime(tls::served(&guard.listen().to_string())).map(|leaf| der(&leaf));
    ensure!(served()? == der(&first.leaf), "the certificate from the files should be served");
    // The old authority stays trusted for a while, because other replicas may still serve its certificate.
    shop.until("only the authority from the files is trusted", || Ok(registered_bundle(shop)? == first.authority))?;
    let stream = Stream::start(shop)?;
    for round in 1..=3 {
        let next = bring(round)?;
        shop.until("the new certificate is served, and only its authority is trusted", || {
            Ok(served()? == der(&next.leaf) && registered_bundle(shop)? == next.authority)
        })?;
    }
    // A certificate that does not match its key is not served.
    let last = served()?;
    std::fs::write(folder.join("..version-3").join("tls.key"), &first.leaf_key)?;
    shop.until("the error is logged", || {
        Ok(guard.log()?.contains("cannot reconcile the certificate") && guard.log()?.contains("(--certificates)"))
    })?;
    ensure!(served()? == last);
    stream.end().map(drop)
}

fn in_own_namespace(shop: &Shop, args: &[&str]) -> Result<String> {
    let attempt = shop.plain_kubectl(&[&["-n", "flipguard-system"], args].concat())?;
    attempt.succeeds()?;
    Ok(attempt.out)
}

fn secret(shop: &Shop) -> Result<BTreeMap<String, String>> {
    let secret: Value = serde_json::from_str(&in_own_namespace(shop, &["get", "secret", "flipguard", "-o", "json"])?)?;
    let data: BTreeMap<String, String> = serde_json::from_value(secret.get("data").cloned().unwrap_or_default())?;
    data.into_iter().map(|(key, value)| Ok((key, String::from_utf8(STANDARD.decode(value)?)?))).collect()
}

/// The value of one key; empty if absent.
fn part<'a>(secret: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    secret.get(key).map_or("", String::as_str)
}

fn identity(secret: &BTreeMap<String, String>) -> Result<Identity> {
    let text = |key: &str| secret.get(key).cloned().with_context(|| format!("no {key}"));
    Ok(Identity {
        authority: text("ca.crt")?,
        authority_key: text("ca.key")?,
        leaf: text("tls.crt")?,
        leaf_key: text("tls.key")?,
        token: text("token")?,
        ..Identity::default()
    })
}

fn write(shop: &Shop, data: &Value) -> Result<()> {
    let patch = json!({ "data": data }).to_string();
    in_own_namespace(shop, &["patch", "secret", "flipguard", "--type=merge", "-p", &patch]).map(drop)
}

fn registered_bundle(shop: &Shop) -> Result<String> {
    let path = "-o=jsonpath={.webhooks[0].clientConfig.caBundle}";
    let read = shop.plain_kubectl(&["get", "validatingwebhookconfiguration", "flipguard", path])?;
    Ok(String::from_utf8(STANDARD.decode(read.out)?)?)
}

fn served(shop: &Shop) -> Result<Vec<u8>> {
    on_runtime(tls::served(&shop.guard.listen().to_string())).map(|leaf| der(&leaf))
}

/// The first certificate of a PEM text, whatever its line breaks.
fn der(pem: &str) -> Vec<u8> {
    flipguard::certs::pem::certificates(pem)
        .ok()
        .and_then(|all| all.into_iter().next())
        .map(|certificate| certificate.to_vec())
        .unwrap_or_default()
}
