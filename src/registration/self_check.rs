//! A call of flipguard's own endpoint, as the API server would make it.

use std::time::Duration;

use kube::{Client, Config};
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use crate::certs::CertificateError;
use crate::certs::pem::certificates;
use crate::cluster::connect::one_line;

/// The longest time that connecting, and each read, may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The uid of the review; the answer repeats it.
const UID: &str = "self-check";

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The address is no URL.
    #[error("`{url}` is no URL: {why}")]
    Url {
        /// The address.
        url: String,
        /// What the parser reports.
        why: http::uri::InvalidUri,
    },
    /// The registered bundle cannot be used.
    #[error("the CA bundle cannot be used: {0}")]
    Bundle(#[from] CertificateError),
    /// The request could not be built.
    #[error("cannot build the request: {0}")]
    Request(#[from] http::Error),
    /// No answer came, or one with an HTTP error.
    #[error("{}", one_line(.0))]
    Call(#[from] kube::Error),
    /// The answer is not the answer to the review.
    #[error("another server answers there")]
    AnotherServer,
}

/// Sends a review to a URL, and trusts only the authorities of the endpoint.
///
/// # Errors
/// When no answer comes, or another server answers.
pub async fn call(url: &str, endpoint: &Endpoint) -> Result<(), CallError> {
    let address = url.parse().map_err(|why| CallError::Url { url: url.to_owned(), why })?;
    let mut config = Config::new(address);
    let authorities = certificates(&endpoint.authority)?;
    config.root_cert = Some(authorities.iter().map(|authority| authority.to_vec()).collect());
    config.connect_timeout = Some(TIMEOUT);
    config.read_timeout = Some(TIMEOUT);
    config.default_retry = false;
    let client = Client::try_from(config)?;
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": UID,
            "kind": { "group": "flipguard.dev", "version": "v1", "kind": "SelfCheck" },
            "resource": { "group": "flipguard.dev", "version": "v1", "resource": "selfchecks" },
            "operation": "CREATE",
        },
    });
    let request = http::Request::post(endpoint.validate_path())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(review.to_string().into_bytes())?;
    let answer: Value = client.request(request).await?;
    let uid = answer.pointer("/response/uid").and_then(Value::as_str);
    if uid == Some(UID) { Ok(()) } else { Err(CallError::AnotherServer) }
}
