//! The webhooks, rendered.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, RuleWithOperations, ValidatingWebhook, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::model::ColourScheme;
use crate::rules::relevance::{self, Condition};

/// How long the API server waits for what can be denied, in seconds.
const GUARD_TIMEOUT: i32 = 5;

/// How long the API server waits for labels, in seconds; without an answer it goes on.
const LABEL_TIMEOUT: i32 = 2;

/// Where the API server finds flipguard, and how it knows it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address without a path: `https://127.0.0.1:10250`.
    pub url: String,
    /// The authority to trust, in PEM.
    pub authority: String,
    /// The last segment of the path.
    pub token: String,
}

impl Endpoint {
    /// The path of the validating endpoint.
    #[must_use]
    pub fn validate_path(&self) -> String {
        format!("/validate/{}", self.token)
    }

    fn client_config(&self, path: &str) -> WebhookClientConfig {
        WebhookClientConfig {
            url: Some(format!("{}{path}", self.url)),
            ca_bundle: Some(ByteString(self.authority.clone().into_bytes())),
            service: None,
        }
    }
}

/// The validating webhooks. Every field that the API server would default is set, so that what is stored can be
/// compared with what is wanted.
#[must_use]
pub fn validating(endpoint: &Endpoint, colours: &ColourScheme, own_namespace: &str) -> Vec<ValidatingWebhook> {
    vec![ValidatingWebhook {
        name: "guard.flipguard.dev".to_owned(),
        client_config: endpoint.client_config(&endpoint.validate_path()),
        rules: Some(vec![rule("", "services", &["UPDATE"])]),
        match_conditions: Some(match_conditions(relevance::service_update_conditions(colours))),
        namespace_selector: Some(guarded_namespaces(own_namespace)),
        object_selector: Some(LabelSelector::default()),
        failure_policy: Some("Fail".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(GUARD_TIMEOUT),
        admission_review_versions: vec!["v1".to_owned()],
    }]
}

/// The mutating webhooks, likewise.
#[must_use]
pub fn mutating(endpoint: &Endpoint, colours: &ColourScheme, own_namespace: &str) -> Vec<MutatingWebhook> {
    vec![MutatingWebhook {
        name: "label.flipguard.dev".to_owned(),
        client_config: endpoint.client_config(&format!("/mutate/{}", endpoint.token)),
        rules: Some(vec![rule("apps", "deployments", &["CREATE", "UPDATE"])]),
        match_conditions: Some(match_conditions(relevance::label_conditions(colours))),
        namespace_selector: Some(guarded_namespaces(own_namespace)),
        object_selector: Some(LabelSelector::default()),
        failure_policy: Some("Ignore".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(LABEL_TIMEOUT),
        admission_review_versions: vec!["v1".to_owned()],
    }]
}

fn rule(group: &str, resource: &str, operations: &[&str]) -> RuleWithOperations {
    let one = |text: &str| Some(vec![text.to_owned()]);
    RuleWithOperations {
        api_groups: one(group),
        api_versions: one("v1"),
        resources: one(resource),
        operations: Some(operations.iter().map(|operation| (*operation).to_owned()).collect()),
        scope: Some("Namespaced".to_owned()),
    }
}

fn match_conditions(conditions: Vec<Condition>) -> Vec<MatchCondition> {
    conditions
        .into_iter()
        .map(|condition| MatchCondition { name: condition.name.to_owned(), expression: condition.expression })
        .collect()
}

/// All namespaces but those that the cluster and flipguard itself need to come up.
fn guarded_namespaces(own_namespace: &str) -> LabelSelector {
    let mut exempt = vec!["kube-node-lease".to_owned(), "kube-system".to_owned(), own_namespace.to_owned()];
    exempt.sort();
    exempt.dedup();
    LabelSelector {
        match_labels: None,
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(exempt),
        }]),
    }
}
