//! Asks the API server to call flipguard, and shows whether it did.
//!
//! A dry run of a Lease in flipguard's own namespace matches the webhook [`WEBHOOK`], and no other write does. Its answer
//! holds the nonce of the dry run only if the API server has called a replica of flipguard, with the registered address,
//! CA bundle and token.

use kube::Client;
use serde_json::json;

use crate::certs::CertificateError;
use crate::certs::authority::token;
use crate::cluster::dry_run;
use crate::install::PROBE_WEBHOOK;
use crate::review::probe::{LEASE, NONCE, warning};
use crate::telemetry::mask;

/// The name of the webhook that receives the probe.
pub const WEBHOOK: &str = PROBE_WEBHOOK;

/// Why the API server was not seen to reach flipguard, in words that stay the same while the cause does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReached {
    /// The call failed, with the API server's words.
    #[error("{0}")]
    Failed(String),
    /// The API server does not know the webhook yet, or ignores that its call failed.
    #[error("the API server admits a probe without an answer of flipguard")]
    Unanswered,
    /// The dry run did not get as far as the webhook.
    #[error("a dry run of Lease {LEASE} in namespace {namespace} is denied: {why}")]
    Denied {
        /// flipguard's own namespace.
        namespace: String,
        /// The API server's words.
        why: String,
    },
    /// No answer came.
    #[error("cannot send a dry run: {0}")]
    Unsent(String),
}

impl From<CertificateError> for NotReached {
    fn from(error: CertificateError) -> Self {
        Self::Unsent(error.to_string())
    }
}

/// Sends a probe.
///
/// # Errors
/// When the API server does not reach flipguard, or does not say so.
pub async fn send(client: &Client, namespace: &str) -> Result<(), NotReached> {
    let nonce = token()?;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": LEASE, "namespace": namespace, "annotations": { NONCE: nonce } },
    });
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let (status, words) = dry_run::create(client, &path, &lease).await.map_err(NotReached::Unsent)?;
    judge(status, &words, &nonce, namespace)
}

fn judge(status: u16, words: &str, nonce: &str, namespace: &str) -> Result<(), NotReached> {
    if words.contains(&warning(nonce)) {
        return Ok(());
    }
    if let Some((_, cause)) = words.split_once(&format!("failed calling webhook \"{WEBHOOK}\": ")) {
        return Err(NotReached::Failed(cause_of(cause)));
    }
    // 409: somebody has stored a Lease of this name. Admission comes first.
    if matches!(status, 200..=299 | 409) {
        return Err(NotReached::Unanswered);
    }
    let why = mask(words.lines().next().unwrap_or_default()).chars().take(300).collect();
    Err(NotReached::Denied { namespace: namespace.to_owned(), why })
}

/// The cause of a failed call, without its URL, which ends with the token, and without the local port, which changes with
/// each call.
fn cause_of(failure: &str) -> String {
    let cause = failure.strip_prefix("failed to call webhook: ").unwrap_or(failure);
    let after_url = cause.split_once("/probe/").and_then(|(_, rest)| rest.split_once("\": ")).map(|(_, rest)| rest);
    let words = after_url.unwrap_or(cause).lines().next().unwrap_or_default().split(' ');
    let remote = |word: &str| word.split_once("->").map_or(word, |(_, remote)| remote).to_owned();
    words.map(remote).collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_with_its_own_nonce() {
        let is = |status, words: &str| judge(status, words, "a1", "own");
        assert_eq!(is(201, "299 - \"flipguard was reached: a1\""), Ok(()));
        assert_eq!(is(403, "299 - \"flipguard was reached: a1\" denied by another webhook"), Ok(()));
        assert_eq!(is(201, "299 - \"flipguard was reached: b2\""), Err(NotReached::Unanswered));
        assert_eq!(is(201, ""), Err(NotReached::Unanswered));
        assert_eq!(is(409, "leases \"flipguard-probe\" already exists"), Err(NotReached::Unanswered));
        let denied = is(403, "leases is forbidden: quota\nmore").unwrap_err().to_string();
        assert_eq!(denied, "a dry run of Lease flipguard-probe in namespace own is denied: leases is forbidden: quota");
    }

    #[test]
    fn a_failed_call_is_told_without_token_and_local_port() {
        let failed = |cause: &str| {
            let words = format!("Internal error occurred: failed calling webhook \"{WEBHOOK}\": {cause}");
            judge(500, &words, "a1", "own").unwrap_err().to_string()
        };
        let url = "failed to call webhook: Post \"https://127.0.0.1:9/probe/s3cret?timeout=2s\": ";
        let of = |cause: &str| failed(&format!("{url}{cause}"));
        assert_eq!(
            of("dial tcp 127.0.0.1:9: connect: connection refused"),
            "dial tcp 127.0.0.1:9: connect: connection refused"
        );
        assert_eq!(of("context deadline exceeded"), "context deadline exceeded");
        assert_eq!(of("read tcp 10.0.0.1:40312->10.0.0.2:9: i/o timeout"), "read tcp 10.0.0.2:9: i/o timeout");
        assert_eq!(
            failed("failed to call webhook: the server could not find the requested resource"),
            "the server could not find the requested resource"
        );
        let service = "no endpoints available for service \"flipguard\"";
        assert_eq!(failed(&format!("failed to call webhook: {service}")), service);
    }
}
