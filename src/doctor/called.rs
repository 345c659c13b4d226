//! Checks that the API server calls flipguard, and gets an answer.

use http::{Request, header};
use http_body_util::BodyExt;
use kube::Client;
use serde_json::{Value, json};

use super::{Check, Health};
use crate::cluster::connect::one_line;
use crate::telemetry::mask;

const CHECK: &str = "called";

/// Sends a dry run that flipguard must answer: a coloured Deployment with an override that cannot be parsed. A dry run
/// creates nothing.
pub(super) async fn through_the_api_server(client: &Client, namespace: &str) -> Check {
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "generateName": "flipguard-doctor-",
            "namespace": namespace,
            "annotations": { "flipguard.dev/override": "is it read" },
        },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": "flipguard-doctor" } },
            "template": {
                "metadata": { "labels": { "app": "flipguard-doctor", "color": "blue" } },
                "spec": {
                    "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
                    "containers": [{
                        "name": "none",
                        "image": "none",
                        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                    }],
                },
            },
        },
    });
    match ask(client, namespace, &deployment).await {
        Ok((status, words)) => judge(status, &words, namespace),
        Err(why) => Check::of(CHECK, Health::Unknown, format!("cannot send a dry run: {why}"), "see `api-server`"),
    }
}

/// The HTTP status, and the words of the answer: the message and all warnings.
async fn ask(client: &Client, namespace: &str, object: &Value) -> Result<(u16, String), String> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All");
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(object.to_string().into_bytes().into())
        .map_err(|error| error.to_string())?;
    let answer = client.send(request).await.map_err(|error| one_line(&error))?;
    let status = answer.status().as_u16();
    let warnings = answer.headers().get_all(header::WARNING).iter().filter_map(|value| value.to_str().ok());
    let mut words: Vec<String> = warnings.map(str::to_owned).collect();
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    words.extend(body.get("message").and_then(Value::as_str).map(str::to_owned));
    Ok((status, words.join(" ")))
}

fn judge(status: u16, words: &str, namespace: &str) -> Check {
    let first: String = mask(words.lines().next().unwrap_or_default()).chars().take(300).collect();
    if words.contains("failed calling webhook") && words.contains("flipguard.dev") {
        let next = "docs/operations.md, `my webhook does not answer`: firewall, NetworkPolicy, hostNetwork, proxy";
        return Check::of(CHECK, Health::Broken, format!("the API server does not reach flipguard: {first}"), next);
    }
    if words.contains("override-not-permitted") {
        return Check::ok(CHECK, "the API server calls flipguard, and gets an answer");
    }
    match status {
        401 | 403 => {
            let message = format!("a dry run in namespace {namespace} was denied before it reached flipguard: {first}");
            Check::of(
                CHECK,
                Health::Unknown,
                message,
                "give a namespace where you may create Deployments with --probe-namespace",
            )
        }
        200..=299 => {
            let message = format!("the API server does not call flipguard for a write in namespace {namespace}");
            Check::of(
                CHECK,
                Health::Broken,
                message,
                "see `registration`; if this namespace is exempt, give another with --probe-namespace",
            )
        }
        _ => {
            let message = format!("a dry run in namespace {namespace} failed for another reason: {first}");
            Check::of(CHECK, Health::Unknown, message, "give another namespace with --probe-namespace")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let health = |status, words| judge(status, words, "default").health;
        let denied =
            "admission webhook \"guard-overrides.flipguard.dev\" denied the request: override-not-permitted: x";
        assert_eq!(health(403, denied), Health::Ok);
        assert_eq!(health(201, "299 - \"override-not-permitted: would be refused\""), Health::Ok);
        let failed = "Internal error occurred: failed calling webhook \"guard-overrides.flipguard.dev\": refused";
        assert_eq!(health(500, failed), Health::Broken);
        let with_token = format!("{failed}: Post \"https://guard.example/validate/0123456789abcdef?timeout=5s\": EOF");
        let message = judge(500, &with_token, "default").message;
        assert!(message.ends_with("Post \"https://guard.example/validate/***?timeout=5s\": EOF"), "{message}");
        assert_eq!(health(201, ""), Health::Broken);
        assert_eq!(health(403, "deployments.apps is forbidden: quota"), Health::Unknown);
        assert_eq!(health(500, "failed calling webhook \"another.example\": refused"), Health::Unknown);
    }
}
