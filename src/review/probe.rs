//! The probe: a dry run by which flipguard learns whether the API server reaches it.
//!
//! A replica sends the API server a dry run of a Lease with a nonce. The API server calls flipguard, perhaps another
//! replica. That replica puts the nonce into a warning. The first replica finds the warning in the answer to its dry run.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::Unreadable;

/// `metadata.name` of the Lease. It is never stored, since every write of it is a dry run.
pub const LEASE: &str = "flipguard-probe";
/// The annotation of the Lease with the nonce.
pub const NONCE: &str = "flipguard.dev/probe";

/// The longest accepted nonce, in bytes.
const MAX_NONCE: usize = 64;

/// The warning that answers a probe with this nonce.
#[must_use]
pub fn warning(nonce: &str) -> String {
    format!("flipguard was reached: {nonce}")
}

#[derive(Deserialize)]
struct Review {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The answer to the review of a probe, as JSON: allowed, with its nonce in a warning.
///
/// # Errors
/// When the body is no review of a probe.
pub fn answer(body: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let unreadable = |uid, why: String| Unreadable { uid, why: format!("body is no review of a probe: {why}") };
    let text = std::str::from_utf8(body).map_err(|error| unreadable(None, error.to_string()))?;
    let Review { request } = json_skip::from_str(text).map_err(|error| unreadable(None, error.to_string()))?;
    let Request { uid, object: Object { metadata } } = request;
    let nonce = metadata.annotations.get(NONCE).filter(|nonce| is_nonce(nonce));
    let Some(nonce) = nonce else { return Err(unreadable(Some(uid), format!("it has no annotation {NONCE}"))) };
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": { "uid": uid, "allowed": true, "warnings": [warning(nonce)] },
    });
    Ok(answer.to_string().into_bytes())
}

fn is_nonce(text: &str) -> bool {
    (1..=MAX_NONCE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn review(nonce: &str) -> String {
        let metadata = json!({ "name": LEASE, "annotations": { NONCE: nonce, "other": "x" } });
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": { "uid": "u1", "operation": "CREATE", "dryRun": true, "object": { "metadata": metadata } },
        })
        .to_string()
    }

    #[test]
    fn a_probe_gets_its_nonce_back() {
        let answer: Value = serde_json::from_slice(&answer(review("a1b2").as_bytes()).unwrap()).unwrap();
        assert_eq!(
            answer.pointer("/response"),
            Some(&json!({ "uid": "u1", "allowed": true, "warnings": ["flipguard was reached: a1b2"] }))
        );
    }

    #[test]
    fn nothing_else_is_repeated() {
        for nonce in ["", "two words", "a\u{e9}", &"a".repeat(65)] {
            let unreadable = answer(review(nonce).as_bytes()).unwrap_err();
            assert_eq!(unreadable.uid.as_deref(), Some("u1"), "{nonce}");
        }
        for body in ["", "{}", r#"{"request":{"uid":"u1"}}"#] {
            assert_eq!(answer(body.as_bytes()).unwrap_err().uid, None, "{body}");
        }
    }
}
