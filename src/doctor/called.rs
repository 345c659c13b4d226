//! Checks that the API server calls flipguard, and gets an answer.

use kube::Client;
use serde_json::json;

use super::{Check, Health};
use crate::cluster::dry_run;
use crate::model::Enforcement;
use crate::registration::probe::{self, NotReached};
use crate::telemetry::mask;

const CHECK: &str = "called";

/// The next step where the namespace of the dry run does not fit.
const ELSEWHERE: &str = "give a guarded namespace, in which you may create Deployments, with --probe-namespace";

/// The page that lists the causes of a failed call.
const CAUSES: &str = "docs/operations.md, `my webhook does not answer`: firewall, NetworkPolicy, hostNetwork, proxy";

/// Sends the probe by which flipguard itself learns whether it is reached.
pub(super) async fn by_a_probe(client: &Client, own_namespace: &str) -> Check {
    const CHECK: &str = "probe";
    match probe::send(client, own_namespace).await {
        Ok(()) => Check::ok(CHECK, "the API server reaches flipguard"),
        Err(NotReached::Failed(why)) => {
            Check::of(CHECK, Health::Broken, format!("the API server does not reach flipguard: {why}"), CAUSES)
        }
        Err(NotReached::Unanswered) => Check::of(
            CHECK,
            Health::Broken,
            "the API server admits a probe without an answer of flipguard",
            "see `registration`; with --enforcement warn, only the log of the API server says why a call failed",
        ),
        Err(why @ (NotReached::Denied { .. } | NotReached::Unsent(_))) => {
            let next = "run it with credentials that may create Leases there, such as a cluster admin's";
            Check::of(CHECK, Health::Unknown, why.to_string(), next)
        }
    }
}

/// Sends a dry run that flipguard must answer: a coloured Deployment with an override that cannot be parsed. A dry run
/// creates nothing.
pub(super) async fn through_the_api_server(client: &Client, namespace: &str, enforcement: Enforcement) -> Check {
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
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    match dry_run::create(client, &path, &deployment).await {
        Ok((status, words)) => judge(status, &words, namespace, enforcement),
        Err(why) => Check::of(CHECK, Health::Unknown, format!("cannot send a dry run: {why}"), "see `api-server`"),
    }
}

fn judge(status: u16, words: &str, namespace: &str, enforcement: Enforcement) -> Check {
    let first: String = mask(words.lines().next().unwrap_or_default()).chars().take(300).collect();
    if words.contains("failed calling webhook") && words.contains("flipguard.dev") {
        return Check::of(CHECK, Health::Broken, format!("the API server does not reach flipguard: {first}"), CAUSES);
    }
    if words.contains("override-not-permitted") {
        return Check::ok(CHECK, "the API server calls flipguard, and gets an answer");
    }
    if status == 404 && words.contains(&format!("namespaces \"{namespace}\" not found")) {
        let message = format!("a dry run needs a namespace, and {namespace} does not exist");
        return Check::of(CHECK, Health::Unknown, message, ELSEWHERE);
    }
    if words.contains("because it is being terminated") {
        let message = format!("a dry run needs a namespace, and {namespace} is being deleted");
        return Check::of(CHECK, Health::Unknown, message, ELSEWHERE);
    }
    match status {
        // RBAC names the user: `deployments.apps is forbidden: User "alice" cannot create resource ...`.
        401 | 403 if status == 401 || words.contains("is forbidden: User ") => {
            let message = format!("a dry run in namespace {namespace} was denied before it reached flipguard: {first}");
            Check::of(CHECK, Health::Unknown, message, ELSEWHERE)
        }
        200..=299 => {
            let message = match enforcement {
                Enforcement::Deny => {
                    format!("the API server does not call flipguard for a write in namespace {namespace}")
                }
                Enforcement::Warn => {
                    format!("the API server admits a write in namespace {namespace} without an answer of flipguard")
                }
            };
            Check::of(
                CHECK,
                Health::Broken,
                message,
                "see `registration`; if this namespace is exempt, give another with --probe-namespace",
            )
        }
        _ => {
            let message = format!("a dry run in namespace {namespace} was refused by something else: {first}");
            let next = "another webhook, a policy or a quota refuses it; give another namespace with --probe-namespace";
            Check::of(CHECK, Health::Unknown, message, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let health = |status, words| judge(status, words, "default", Enforcement::Deny).health;
        let denied =
            "admission webhook \"guard-overrides.flipguard.dev\" denied the request: override-not-permitted: x";
        assert_eq!(health(403, denied), Health::Ok);
        assert_eq!(health(201, "299 - \"override-not-permitted: would be refused\""), Health::Ok);
        let failed = "Internal error occurred: failed calling webhook \"guard-overrides.flipguard.dev\": refused";
        assert_eq!(health(500, failed), Health::Broken);
        let with_token = format!("{failed}: Post \"https://guard.example/validate/0123456789abcdef?timeout=5s\": EOF");
        let message = judge(500, &with_token, "default", Enforcement::Deny).message;
        assert!(message.ends_with("Post \"https://guard.example/validate/***?timeout=5s\": EOF"), "{message}");
        assert_eq!(health(201, ""), Health::Broken);
        let words = |status, words| judge(status, words, "default", Enforcement::Deny).message;
        let rbac = "deployments.apps is forbidden: User \"alice\" cannot create resource \"deployments\"";
        assert!(words(403, rbac).contains("was denied before it reached flipguard"));
        for (status, other) in [
            (403, "admission webhook \"validate.kyverno.svc\" denied the request: image not signed"),
            (403, "deployments.apps \"x\" is forbidden: exceeded quota: compute"),
            (403, "deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request"),
        ] {
            assert!(words(status, other).contains("was refused by something else"), "{other}");
            assert_eq!(health(status, other), Health::Unknown);
        }
        assert!(words(404, "namespaces \"default\" not found").ends_with("a namespace, and default does not exist"));
        let ending = "deployments.apps \"x\" is forbidden: unable to create new content in namespace default because it \
                      is being terminated";
        assert!(words(403, ending).ends_with("and default is being deleted"));
        assert_eq!(health(500, "failed calling webhook \"another.example\": refused"), Health::Unknown);
    }
}
