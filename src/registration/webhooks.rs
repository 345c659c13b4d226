//! The webhooks, rendered.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, ValidatingWebhook, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::model::ColourScheme;
use crate::rules::relevance::{self, Condition};

/// How long the API server waits for what can be denied, in seconds.
const GUARD_TIMEOUT: i32 = 5;

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
}

/// The validating webhooks. Every field that the API server would default is set, so that what is stored can be
/// compared with what is wanted.
#[must_use]
pub fn validating(endpoint: &Endpoint, colours: &ColourScheme, own_namespace: &str) -> Vec<ValidatingWebhook> {
    vec![ValidatingWebhook {
        name: "guard.flipguard.dev".to_owned(),
        client_config: WebhookClientConfig {
            url: Some(format!("{}{}", endpoint.url, endpoint.validate_path())),
            ca_bundle: Some(ByteString(endpoint.authority.clone().into_bytes())),
            service: None,
        },
        rules: Some(vec![RuleWithOperations {
            api_groups: Some(vec![String::new()]),
            api_versions: Some(vec!["v1".to_owned()]),
            resources: Some(vec!["services".to_owned()]),
            operations: Some(vec!["UPDATE".to_owned()]),
            scope: Some("Namespaced".to_owned()),
        }]),
        match_conditions: Some(
            relevance::service_update_conditions(colours).into_iter().map(match_condition).collect(),
        ),
        namespace_selector: Some(guarded_namespaces(own_namespace)),
        object_selector: Some(LabelSelector::default()),
        failure_policy: Some("Fail".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(GUARD_TIMEOUT),
        admission_review_versions: vec!["v1".to_owned()],
    }]
}

fn match_condition(condition: Condition) -> MatchCondition {
    MatchCondition { name: condition.name.to_owned(), expression: condition.expression }
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
