//! `AdmissionReview` responses.

use std::collections::BTreeMap;

use base64::Engine;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde::Serialize;
use serde_json::json;

use super::{Unreadable, message};
use crate::labels::{Put, PutValue};
use crate::model::{Override, Tool};
use crate::rules::{Moved, Outcome, Verdict};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    /// A JSON Patch in base64; `None` where nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    /// `JSONPatch`. The API server rejects a patch without a type, and a type without a patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
}

/// `meta/v1` Status. Codes 409 and 422 are never used: on them, `kubectl apply --force` would delete and re-create.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "Kubernetes calls it so")]
struct Status {
    status: &'static str,
    message: String,
    reason: &'static str,
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
    /// The seconds after which client-go retries by itself. After its last try, it shows the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u32>,
}

#[derive(Serialize)]
struct Cause {
    reason: &'static str,
    message: String,
}

/// The answer to a judged change, as JSON.
#[must_use]
pub fn judged(uid: &str, verdict: &Verdict) -> Vec<u8> {
    encode(response(uid, verdict))
}

/// The answer to a Deployment, with the patch of its labels, as JSON.
#[must_use]
pub fn labelled(uid: &str, verdict: &Verdict, puts: &[Put]) -> Vec<u8> {
    let patch = patch(puts).and_then(|patch| serde_json::to_vec(&patch).ok());
    let patch = patch.map(|patch| base64::engine::general_purpose::STANDARD.encode(patch));
    encode(Response { patch_type: patch.as_ref().map(|_| "JSONPatch"), patch, ..response(uid, verdict) })
}

/// The JSON Patch (RFC 6902) that sets values in an object; `None` without values. The operation `add` replaces
/// existing values.
#[must_use]
pub fn patch(puts: &[Put]) -> Option<Patch> {
    let operation = |put: &Put| {
        let path = PointerBuf::from_tokens(&put.path);
        match &put.value {
            None => PatchOperation::Remove(RemoveOperation { path }),
            Some(PutValue::EmptyMap) => PatchOperation::Add(AddOperation { path, value: json!({}) }),
            Some(PutValue::Text(text)) => PatchOperation::Add(AddOperation { path, value: json!(text) }),
        }
    };
    (!puts.is_empty()).then(|| Patch(puts.iter().map(operation).collect()))
}

fn response<'a>(uid: &'a str, verdict: &Verdict) -> Response<'a> {
    let outcome = verdict.outcome();
    let status = match outcome {
        Outcome::Allowed => None,
        Outcome::Denied => Some(("Forbidden", 403, None)),
        Outcome::TryAgain => Some(("TooManyRequests", 429, Some(1))),
        Outcome::CannotJudge => Some(("ServiceUnavailable", 503, Some(1))),
    };
    Response {
        uid,
        allowed: outcome == Outcome::Allowed,
        patch: None,
        patch_type: None,
        status: status.map(|(reason, code, retry_after_seconds)| Status {
            status: "Failure",
            message: message::denial(verdict),
            reason,
            code,
            details: Some(Details {
                causes: verdict
                    .denying()
                    .map(|finding| Cause {
                        reason: finding.reason.code(),
                        message: message::printable(&finding.message),
                    })
                    .collect(),
                retry_after_seconds,
            }),
        }),
        warnings: message::warnings(verdict),
        audit_annotations: audit_annotations(verdict),
    }
}

/// What the API server adds to its audit event, allowed or not, as `NAME-OF-WEBHOOK/KEY`. The audit log is the one record
/// that neither a user nor flipguard can rewrite. Values that are empty are left out.
fn audit_annotations(verdict: &Verdict) -> BTreeMap<&'static str, String> {
    let mut all = BTreeMap::new();
    if !verdict.judged {
        return all;
    }
    let mut add = |key: &'static str, value: &str| {
        if !value.is_empty() {
            all.insert(key, message::printable(value));
        }
    };
    add("decision", verdict.outcome().name());
    let reasons: Vec<&str> = verdict.findings.iter().map(|(finding, _)| finding.reason.code()).collect();
    add("reasons", &reasons.join(","));
    add("act", verdict.act);
    if let Some(Moved { from, to, .. }) = &verdict.moved {
        add("from", from);
        add("to", to);
    }
    add("tool", verdict.tool.map_or("", Tool::name));
    add("policies", &verdict.policies.join(","));
    add("gates", &verdict.gates.join(", "));
    add("exemption", &verdict.exempted().join(","));
    if let Some(Override { until, reason }) = verdict.active_override.as_ref().filter(|_| verdict.is_overridden()) {
        add("override", &format!("until {until}: {reason}"));
    }
    add("history", verdict.history.as_deref().unwrap_or_default());
    all
}

/// The answer to a Deployment that cannot be parsed. It is allowed without labels: a missing label never causes a
/// denial.
#[must_use]
pub fn unlabelled(uid: &str, unreadable: &Unreadable) -> Vec<u8> {
    let warnings =
        vec![message::printable(&format!("flipguard adds no labels: {unreadable}")).chars().take(120).collect()];
    encode(Response { uid, allowed: true, warnings, ..Response::default() })
}

/// The answer to a review that cannot be parsed. It is denied under its uid.
#[must_use]
pub fn unreadable(uid: &str, unreadable: &Unreadable) -> Vec<u8> {
    encode(Response {
        uid,
        status: Some(Status {
            status: "Failure",
            message: message::printable(&format!("flipguard cannot read this review: {unreadable}")),
            reason: "BadRequest",
            code: 400,
            details: None,
        }),
        ..Response::default()
    })
}

fn encode(response: Response<'_>) -> Vec<u8> {
    let review = Review { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response };
    // Strings, numbers and maps with string keys always serialise. The API server would reject an empty body.
    serde_json::to_vec(&review).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::offline::case::Case;

    #[test]
    fn an_applied_override_is_in_the_audit_log() {
        let told = |case: &str| {
            let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/override").join(case);
            let review: Value =
                serde_json::from_slice(&judged("uid", &Case::load(&file).unwrap().verdict().unwrap())).unwrap();
            review.pointer("/response/auditAnnotations/override").cloned()
        };
        assert_eq!(told("lasts.yaml"), Some(Value::from("until 2030-01-01T00:30:00Z: the shop is on fire")));
        assert_eq!(told("past.yaml"), None);
    }
}
