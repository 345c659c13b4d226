//! Renders the webhooks.

use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, RuleWithOperations, ServiceReference, ValidatingWebhook, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::install::{LABEL_WEBHOOK, NAME, SERVICE_PORT};
use crate::model::ColourScheme;
use crate::rules::filter::{self, Condition};

/// `timeoutSeconds` of the webhooks that can deny.
const GUARD_TIMEOUT: i32 = 5;

/// `timeoutSeconds` of the webhooks that only warn. Without an answer, the write is admitted.
const ADVICE_TIMEOUT: i32 = 2;
/// `timeoutSeconds` of the webhook that adds labels. Without an answer, the write is admitted.
const LABEL_TIMEOUT: i32 = 2;

/// The address that the API server calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A URL without a path: `https://127.0.0.1:10250`.
    Url(String),
    /// flipguard's own Service.
    Service {
        /// flipguard's own namespace.
        namespace: String,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Service { namespace } => write!(f, "https://{NAME}.{namespace}.svc:{SERVICE_PORT}"),
        }
    }
}

/// The address that the API server calls, and the means to recognise flipguard there.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// `caBundle`: the authorities to trust, in PEM.
    pub authority: String,
    /// The last segment of the paths.
    pub token: String,
}

impl Endpoint {
    /// The path of the validating endpoint.
    #[must_use]
    pub fn validate_path(&self) -> String {
        format!("/validate/{}", self.token)
    }

    fn client_config(&self, path: &str) -> WebhookClientConfig {
        let ca_bundle = Some(ByteString(self.authority.clone().into_bytes()));
        match &self.address {
            Address::Url(url) => WebhookClientConfig { url: Some(format!("{url}{path}")), ca_bundle, service: None },
            Address::Service { namespace } => WebhookClientConfig {
                url: None,
                ca_bundle,
                service: Some(ServiceReference {
                    namespace: namespace.clone(),
                    name: NAME.to_owned(),
                    path: Some(path.to_owned()),
                    port: Some(i32::from(SERVICE_PORT)),
                }),
            },
        }
    }
}

/// The controllers of Kubernetes whose writes are never judged: they only carry out changes that were judged before
/// (Kubernetes, `cmd/kube-controller-manager/app`, with service account credentials).
const CONTROLLERS: [&str; 6] = [
    "system:kube-controller-manager",
    "system:serviceaccount:kube-system:daemon-set-controller",
    "system:serviceaccount:kube-system:deployment-controller",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:replicaset-controller",
    "system:serviceaccount:kube-system:statefulset-controller",
];
/// The garbage collector deletes objects without an owner. Its deletions of ReplicaSets are never judged. All others
/// are, and it repeats the denied ones.
const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

/// The values that the rendering depends on.
#[derive(Debug, Clone, Copy)]
pub struct Webhooks<'a> {
    /// The endpoint that the API server calls.
    pub endpoint: &'a Endpoint,
    /// The labels and values that mark a colour.
    pub colours: &'a ColourScheme,
    /// flipguard's own namespace.
    pub own_namespace: &'a str,
    /// Users whose writes of workloads are never judged, besides the controllers of Kubernetes.
    pub exempt_users: &'a [String],
}

/// The writes that a webhook receives, and whether they wait for its answer.
struct WebhookSpec {
    name: &'static str,
    group: &'static str,
    resources: &'static [&'static str],
    operations: &'static [&'static str],
    conditions: Vec<Condition>,
    /// `failurePolicy`: `Fail` if true, else `Ignore`.
    fails_closed: bool,
}

/// The validating webhooks. A `guard` webhook receives the writes that can be dangerous, which fail without an answer.
/// An `advise` webhook receives all others. Every field with a default is set, so that the stored webhooks can be
/// compared with these.
#[must_use]
pub fn validating(webhooks: &Webhooks<'_>) -> Vec<ValidatingWebhook> {
    let Webhooks { endpoint, colours, own_namespace, exempt_users } = *webhooks;
    let controllers = CONTROLLERS.iter().map(|name| (*name).to_owned());
    let exempt: Vec<String> = controllers.chain(exempt_users.iter().cloned()).collect();
    let with_collector: Vec<String> = exempt.iter().cloned().chain([GARBAGE_COLLECTOR.to_owned()]).collect();
    let scalable = &["deployments/scale", "statefulsets/scale", "replicasets/scale"];
    let specs = [
        WebhookSpec {
            name: "guard.flipguard.dev",
            group: "",
            // A write of the status can change annotations, too.
            resources: &["services", "services/status"],
            operations: &["CREATE", "UPDATE"],
            conditions: filter::service_update_conditions(colours),
            fails_closed: true,
        },
        WebhookSpec {
            name: "guard-workloads.flipguard.dev",
            group: "apps",
            resources: &[
                "deployments",
                "statefulsets",
                "daemonsets",
                "deployments/status",
                "statefulsets/status",
                "daemonsets/status",
            ],
            operations: &["UPDATE", "DELETE"],
            conditions: filter::workload_conditions(colours, &exempt),
            fails_closed: true,
        },
        WebhookSpec {
            name: "guard-replicasets.flipguard.dev",
            group: "apps",
            resources: &["replicasets", "replicasets/status"],
            operations: &["UPDATE", "DELETE"],
            conditions: filter::workload_conditions(colours, &with_collector),
            fails_closed: true,
        },
        WebhookSpec {
            name: "guard-scale.flipguard.dev",
            group: "apps",
            resources: scalable,
            operations: &["UPDATE"],
            conditions: filter::scale_conditions(true, &exempt),
            fails_closed: true,
        },
        WebhookSpec {
            name: "advise-services.flipguard.dev",
            group: "",
            resources: &["services"],
            operations: &["DELETE"],
            conditions: filter::service_delete_conditions(colours, &exempt),
            fails_closed: false,
        },
        WebhookSpec {
            name: "advise-selectors.flipguard.dev",
            group: "",
            resources: &["services"],
            operations: &["UPDATE"],
            conditions: filter::plain_service_conditions(colours),
            fails_closed: false,
        },
        WebhookSpec {
            name: "advise-workloads.flipguard.dev",
            group: "apps",
            resources: &["deployments", "statefulsets", "daemonsets", "replicasets"],
            operations: &["CREATE"],
            conditions: filter::workload_create_conditions(colours, &exempt, false),
            fails_closed: false,
        },
        WebhookSpec {
            name: "guard-overrides.flipguard.dev",
            group: "apps",
            resources: &["deployments", "statefulsets", "daemonsets", "replicasets"],
            operations: &["CREATE"],
            conditions: filter::workload_create_conditions(colours, &exempt, true),
            fails_closed: true,
        },
        WebhookSpec {
            name: "advise-scale.flipguard.dev",
            group: "apps",
            resources: scalable,
            operations: &["UPDATE"],
            conditions: filter::scale_conditions(false, &exempt),
            fails_closed: false,
        },
    ];
    specs.into_iter().map(|spec| spec.webhook(endpoint, own_namespace)).collect()
}

impl WebhookSpec {
    fn webhook(self, endpoint: &Endpoint, own_namespace: &str) -> ValidatingWebhook {
        let (policy, timeout) = if self.fails_closed { ("Fail", GUARD_TIMEOUT) } else { ("Ignore", ADVICE_TIMEOUT) };
        ValidatingWebhook {
            name: self.name.to_owned(),
            client_config: endpoint.client_config(&endpoint.validate_path()),
            rules: Some(vec![rule(self.group, self.resources, self.operations)]),
            match_conditions: Some(match_conditions(self.conditions)),
            namespace_selector: Some(guarded_namespaces(own_namespace)),
            object_selector: Some(LabelSelector::default()),
            failure_policy: Some(policy.to_owned()),
            match_policy: Some("Equivalent".to_owned()),
            // A judged write changes the ledger, and an overridden one creates an Event; a dry run does neither.
            side_effects: "NoneOnDryRun".to_owned(),
            timeout_seconds: Some(timeout),
            admission_review_versions: vec!["v1".to_owned()],
        }
    }
}

/// The mutating webhooks, with every field set as well.
#[must_use]
pub fn mutating(webhooks: &Webhooks<'_>) -> Vec<MutatingWebhook> {
    let Webhooks { endpoint, colours, own_namespace, .. } = *webhooks;
    vec![MutatingWebhook {
        name: LABEL_WEBHOOK.to_owned(),
        client_config: endpoint.client_config(&format!("/mutate/{}", endpoint.token)),
        rules: Some(vec![rule("apps", &["deployments"], &["CREATE", "UPDATE"])]),
        match_conditions: Some(match_conditions(filter::label_conditions(colours))),
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

fn rule(group: &str, resources: &[&str], operations: &[&str]) -> RuleWithOperations {
    let one = |text: &str| Some(vec![text.to_owned()]);
    let all = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
    RuleWithOperations {
        api_groups: one(group),
        api_versions: one("v1"),
        resources: all(resources),
        operations: all(operations),
        scope: Some("Namespaced".to_owned()),
    }
}

fn match_conditions(conditions: Vec<Condition>) -> Vec<MatchCondition> {
    conditions
        .into_iter()
        .map(|condition| MatchCondition { name: condition.name.to_owned(), expression: condition.expression })
        .collect()
}

/// All namespaces, except those that the cluster and flipguard itself need to start.
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
