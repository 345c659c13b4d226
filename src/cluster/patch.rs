//! One write for a person, with all that the API server says about it.

use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use kube::Client;
use serde_json::Value;

use super::connect::{causes, one_line};
use crate::model::printable;

/// The field manager of what people write with flipguard.
pub const MANAGER: &str = "kubectl-flipguard";

/// The answer to a write, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// The object, or a Status; null where it is no JSON.
    pub body: Value,
    /// The warnings.
    pub warnings: Vec<String>,
}

/// Merges a change into an object (RFC 7396). With `metadata.resourceVersion` in it, any other version is a conflict.
///
/// # Errors
/// When no answer comes, in one line. Whether the object was changed is not known then.
pub async fn merge(client: &Client, path: &str, change: &Value, dry_run: bool) -> Result<Said, String> {
    write(client, Method::PATCH, path, "application/merge-patch+json", change, dry_run).await
}

/// Creates an object.
///
/// # Errors
/// The same.
pub async fn create(client: &Client, path: &str, object: &Value) -> Result<Said, String> {
    write(client, Method::POST, path, "application/json", object, false).await
}

async fn write(
    client: &Client,
    method: Method,
    path: &str,
    kind: &str,
    body: &Value,
    dry_run: bool,
) -> Result<Said, String> {
    let dry_run = if dry_run { "&dryRun=All" } else { "" };
    let request = Request::builder()
        .method(method)
        .uri(format!("{path}?fieldManager={MANAGER}{dry_run}"))
        .header(header::CONTENT_TYPE, kind)
        .body(body.to_string().into_bytes().into())
        .map_err(|error| error.to_string())?;
    let answer = client.send(request).await.map_err(|error| one_line(&error))?;
    let (status, warnings) = (answer.status().as_u16(), warnings(answer.headers()));
    let body = answer.into_body().collect().await.map_err(|error| causes(&error))?.to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Said { status, body, warnings })
}

/// The texts of the headers `Warning: 299 - "text"` (RFC 9111, 5.5).
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let text = |value: &http::HeaderValue| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let quoted = value.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
        let text = quoted.map_or(value.clone(), |(text, _)| text.replace("\\\"", "\"").replace("\\\\", "\\"));
        printable(&text).into_owned()
    };
    headers.get_all(header::WARNING).iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn warnings_are_unquoted() {
        let mut headers = HeaderMap::new();
        headers.append(header::WARNING, HeaderValue::from_static(r#"299 - "say \"it\" and \\n""#));
        headers.append(header::WARNING, HeaderValue::from_bytes("299 - \"grün \u{202e}\"".as_bytes()).unwrap());
        headers.append(header::WARNING, HeaderValue::from_static("odd"));
        assert_eq!(warnings(&headers), [r#"say "it" and \n"#, "grün \\u{202e}", "odd"]);
    }
}
