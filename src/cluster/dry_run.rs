//! A dry run, with all that the API server says about it.

use http::{Request, header};
use http_body_util::BodyExt;
use kube::Client;
use serde_json::Value;

use super::connect::{causes, one_line};

/// Creates an object without storing it, under a path such as `/api/v1/namespaces/shop/services`. Returns the HTTP
/// status and the words of the answer: all warnings, and the message.
///
/// # Errors
/// When no answer comes, in one line.
pub async fn create(client: &Client, path: &str, object: &Value) -> Result<(u16, String), String> {
    let request = Request::post(format!("{path}?dryRun=All"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(object.to_string().into_bytes().into())
        .map_err(|error| error.to_string())?;
    let answer = client.send(request).await.map_err(|error| one_line(&error))?;
    let status = answer.status().as_u16();
    let warnings = answer.headers().get_all(header::WARNING).iter().filter_map(|value| value.to_str().ok());
    let mut words: Vec<String> = warnings.map(str::to_owned).collect();
    let body = answer.into_body().collect().await.map_err(|error| causes(&error))?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    words.extend(body.get("message").and_then(Value::as_str).map(str::to_owned));
    Ok((status, words.join(" ")))
}
