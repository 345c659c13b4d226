//! Renders the webhooks.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, RuleWithOperations, ValidatingWebhook,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::endpoint::Endpoint;
use super::probe::WEBHOOK;
use crate::install::{GATE_WEBHOOK, LABEL_WEBHOOK};
use crate::model::{ColourScheme, Enforcement, GATE_LABEL};
use crate::review::probe::LEASE;
use crate::rules::conditions::{self, Condition, Unanswered};

/// `timeoutSeconds` of the webhooks that can deny.
const GUARD_TIMEOUT: i32 = 5;

/// `timeoutSeconds` of the webhooks that only warn. Without an answer, the write is admitted.
const ADVICE_TIMEOUT: i32 = 2;
/// `timeoutSeconds` of the webhook that adds labels. Without an answer, the write is admitted.
const LABEL_TIMEOUT: i32 = 2;
/// `timeoutSeconds` of the webhook that receives the probe.
const PROBE_TIMEOUT: i32 = 2;

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

/// The workloads that users write. A write of the status can change annotations, too.
const WORKLOADS: [&str; 6] =
    ["deployments", "statefulsets", "daemonsets", "deployments/status", "statefulsets/status", "daemonsets/status"];
/// The same, and ReplicaSets.
const WORKLOADS_AND_PARTS: [&str; 8] = [
    "deployments",
    "statefulsets",
    "daemonsets",
    "replicasets",
    "deployments/status",
    "statefulsets/status",
    "daemonsets/status",
    "replicasets/status",
];
const SCALABLE: [&str; 3] = ["deployments/scale", "statefulsets/scale", "replicasets/scale"];

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
    /// Namespaces that are not guarded, besides those of Kubernetes and flipguard itself.
    pub exempt_namespaces: &'a [String],
    /// With `Warn`, no webhook may stop a write: every `failurePolicy` is `Ignore`.
    pub enforcement: Enforcement,
}

/// The writes that a webhook receives, and how it treats those that flipguard does not answer.
struct WebhookSpec {
    name: &'static str,
    group: &'static str,
    resources: &'static [&'static str],
    operations: &'static [&'static str],
    conditions: Vec<Condition>,
    care: Care,
}

/// How a webhook treats a write without an answer, and how long it waits for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// The write fails (`failurePolicy: Fail`).
    Closed,
    /// The write is admitted: nothing shows that blue-green is in use. With an answer, it is denied like any other.
    Open,
    /// The write is admitted: at most, there is a warning about it.
    Advice,
}

/// The validating webhooks. A `guard` webhook receives the writes that can be dangerous, which fail without an answer. A
/// `guard-...-open` webhook receives those of workloads that mark no certain colour, which are admitted without one. An
/// `advise` webhook receives all others. Every field with a default is set, so that the stored webhooks can be compared
/// with these.
#[must_use]
pub fn validating(webhooks: &Webhooks<'_>) -> Vec<ValidatingWebhook> {
    let specs = guards(webhooks).into_iter().chain(of_gates(webhooks)).chain(advice(webhooks));
    let probe = probe(webhooks, webhooks.enforcement == Enforcement::Deny);
    specs.map(|spec| spec.webhook(webhooks)).chain([probe]).collect()
}

/// The users whose writes of workloads are never judged.
fn exempt_users(webhooks: &Webhooks<'_>) -> Vec<String> {
    CONTROLLERS.iter().map(|name| (*name).to_owned()).chain(webhooks.exempt_users.iter().cloned()).collect()
}

fn guards(webhooks: &Webhooks<'_>) -> Vec<WebhookSpec> {
    let Webhooks { colours, .. } = *webhooks;
    let exempt = exempt_users(webhooks);
    let with_collector: Vec<String> = exempt.iter().cloned().chain([GARBAGE_COLLECTOR.to_owned()]).collect();
    vec![
        WebhookSpec {
            name: "guard.flipguard.dev",
            group: "",
            // A write of the status can change annotations, too.
            resources: &["services", "services/status"],
            operations: &["UPDATE"],
            conditions: conditions::service_update_conditions(colours),
            care: Care::Closed,
        },
        WebhookSpec {
            name: "guard-new-services.flipguard.dev",
            group: "",
            resources: &["services"],
            operations: &["CREATE"],
            conditions: conditions::service_create_conditions(colours, Unanswered::Denied),
            care: Care::Closed,
        },
        WebhookSpec {
            name: "guard-workloads.flipguard.dev",
            group: "apps",
            resources: &WORKLOADS,
            operations: &["UPDATE", "DELETE"],
            conditions: conditions::workload_conditions(colours, &exempt, Unanswered::Denied),
            care: Care::Closed,
        },
        WebhookSpec {
            name: "guard-workloads-open.flipguard.dev",
            group: "apps",
            resources: &WORKLOADS,
            operations: &["UPDATE", "DELETE"],
            conditions: conditions::workload_conditions(colours, &exempt, Unanswered::Admitted),
            care: Care::Open,
        },
        WebhookSpec {
            name: "guard-replicasets.flipguard.dev",
            group: "apps",
            resources: &["replicasets", "replicasets/status"],
            operations: &["UPDATE", "DELETE"],
            conditions: conditions::workload_conditions(colours, &with_collector, Unanswered::Denied),
            care: Care::Closed,
        },
        WebhookSpec {
            name: "guard-replicasets-open.flipguard.dev",
            group: "apps",
            resources: &["replicasets", "replicasets/status"],
            operations: &["UPDATE", "DELETE"],
            conditions: conditions::workload_conditions(colours, &with_collector, Unanswered::Admitted),
            care: Care::Open,
        },
        WebhookSpec {
            name: "guard-scale.flipguard.dev",
            group: "apps",
            resources: &SCALABLE,
            operations: &["UPDATE"],
            conditions: conditions::scale_to_zero_conditions(colours, &exempt, Unanswered::Denied),
            care: Care::Closed,
        },
        WebhookSpec {
            name: "guard-scale-open.flipguard.dev",
            group: "apps",
            resources: &SCALABLE,
            operations: &["UPDATE"],
            conditions: conditions::scale_to_zero_conditions(colours, &exempt, Unanswered::Admitted),
            care: Care::Open,
        },
        WebhookSpec {
            name: "guard-overrides.flipguard.dev",
            group: "apps",
            resources: &["deployments", "statefulsets", "daemonsets", "replicasets"],
            operations: &["CREATE"],
            conditions: conditions::workload_create_conditions(colours, &exempt, true),
            care: Care::Closed,
        },
    ]
}

/// The webhooks for proofs of gates.
fn of_gates(webhooks: &Webhooks<'_>) -> Vec<WebhookSpec> {
    let exempt = exempt_users(webhooks);
    vec![
        WebhookSpec {
            name: "guard-gates.flipguard.dev",
            group: "apps",
            resources: &WORKLOADS_AND_PARTS,
            operations: &["UPDATE"],
            conditions: conditions::gate_conditions(&exempt),
            care: Care::Closed,
        },
        // No controller is exempt from these two: that of CronJobs creates Jobs, and that of ended Jobs deletes them.
        WebhookSpec {
            name: "guard-gate-jobs.flipguard.dev",
            group: "batch",
            resources: &["jobs", "jobs/status"],
            operations: &["CREATE", "UPDATE"],
            conditions: conditions::gate_job_conditions(),
            care: Care::Closed,
        },
        // Without an answer, the Job is deleted, and its proof is lost.
        WebhookSpec {
            name: "keep-gate-jobs.flipguard.dev",
            group: "batch",
            resources: &["jobs"],
            operations: &["DELETE", "UPDATE"],
            conditions: conditions::gate_job_delete_conditions(),
            care: Care::Open,
        },
    ]
}

fn advice(webhooks: &Webhooks<'_>) -> Vec<WebhookSpec> {
    let Webhooks { colours, .. } = *webhooks;
    let exempt = exempt_users(webhooks);
    vec![
        WebhookSpec {
            name: "advise-services.flipguard.dev",
            group: "",
            resources: &["services"],
            operations: &["DELETE"],
            conditions: conditions::service_delete_conditions(colours, &exempt),
            care: Care::Advice,
        },
        WebhookSpec {
            name: "advise-new-services.flipguard.dev",
            group: "",
            resources: &["services"],
            operations: &["CREATE"],
            conditions: conditions::service_create_conditions(colours, Unanswered::Admitted),
            care: Care::Advice,
        },
        WebhookSpec {
            name: "advise-selectors.flipguard.dev",
            group: "",
            resources: &["services"],
            operations: &["UPDATE"],
            conditions: conditions::plain_service_conditions(colours),
            care: Care::Advice,
        },
        WebhookSpec {
            name: "advise-workloads.flipguard.dev",
            group: "apps",
            resources: &["deployments", "statefulsets", "daemonsets", "replicasets"],
            operations: &["CREATE"],
            conditions: conditions::workload_create_conditions(colours, &exempt, false),
            care: Care::Advice,
        },
        WebhookSpec {
            name: "advise-scale.flipguard.dev",
            group: "apps",
            resources: &SCALABLE,
            operations: &["UPDATE"],
            conditions: conditions::scale_down_conditions(&exempt),
            care: Care::Advice,
        },
    ]
}

/// The webhook that receives the probe. It matches one dry run in flipguard's own namespace, which only flipguard sends.
/// With `Fail`, the answer to that dry run says why a call failed.
#[must_use]
pub fn probe(webhooks: &Webhooks<'_>, fails_closed: bool) -> ValidatingWebhook {
    let Webhooks { endpoint, own_namespace, .. } = *webhooks;
    let expression = format!(
        "has(request.dryRun) && request.dryRun && has(object.metadata.name) && object.metadata.name == '{LEASE}'"
    );
    ValidatingWebhook {
        name: WEBHOOK.to_owned(),
        client_config: endpoint.probe_config(),
        rules: Some(vec![rule("coordination.k8s.io", &["leases"], &["CREATE"])]),
        match_conditions: Some(match_conditions(vec![Condition { name: "is-the-probe", expression }])),
        namespace_selector: Some(by_name("In", vec![own_namespace.to_owned()])),
        object_selector: Some(LabelSelector::default()),
        failure_policy: Some(if fails_closed { "Fail" } else { "Ignore" }.to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(PROBE_TIMEOUT),
        admission_review_versions: vec!["v1".to_owned()],
    }
}

impl WebhookSpec {
    fn webhook(self, webhooks: &Webhooks<'_>) -> ValidatingWebhook {
        let endpoint = webhooks.endpoint;
        let timeout = if self.care == Care::Advice { ADVICE_TIMEOUT } else { GUARD_TIMEOUT };
        let fails = self.care == Care::Closed && webhooks.enforcement == Enforcement::Deny;
        let policy = if fails { "Fail" } else { "Ignore" };
        ValidatingWebhook {
            name: self.name.to_owned(),
            client_config: endpoint.client_config(&endpoint.validate_path()),
            rules: Some(vec![rule(self.group, self.resources, self.operations)]),
            match_conditions: Some(match_conditions(self.conditions)),
            namespace_selector: Some(guarded_namespaces(webhooks)),
            object_selector: Some(if self.group == "batch" { gate_jobs() } else { LabelSelector::default() }),
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
    let Webhooks { endpoint, colours, .. } = *webhooks;
    let labels = MutatingWebhook {
        name: LABEL_WEBHOOK.to_owned(),
        client_config: endpoint.client_config(&format!("/mutate/{}", endpoint.token)),
        rules: Some(vec![rule("apps", &["deployments"], &["CREATE", "UPDATE"])]),
        match_conditions: Some(match_conditions(conditions::label_conditions(colours))),
        namespace_selector: Some(guarded_namespaces(webhooks)),
        object_selector: Some(LabelSelector::default()),
        failure_policy: Some("Ignore".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(LABEL_TIMEOUT),
        admission_review_versions: vec!["v1".to_owned()],
    };
    let gates = MutatingWebhook {
        name: GATE_WEBHOOK.to_owned(),
        rules: Some(vec![rule("batch", &["jobs"], &["CREATE"])]),
        match_conditions: None,
        object_selector: Some(gate_jobs()),
        timeout_seconds: Some(GUARD_TIMEOUT),
        ..labels.clone()
    };
    vec![labels, gates]
}

/// The Jobs that are a test for a gate.
fn gate_jobs() -> LabelSelector {
    let is_there = LabelSelectorRequirement { key: GATE_LABEL.to_owned(), operator: "Exists".to_owned(), values: None };
    LabelSelector { match_labels: None, match_expressions: Some(vec![is_there]) }
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

/// All namespaces, except those that the cluster and flipguard itself need to start, and those that an admin exempts.
fn guarded_namespaces(webhooks: &Webhooks<'_>) -> LabelSelector {
    let own = ["kube-node-lease", "kube-system", webhooks.own_namespace].map(str::to_owned);
    let mut exempt: Vec<String> = own.into_iter().chain(webhooks.exempt_namespaces.iter().cloned()).collect();
    exempt.sort();
    exempt.dedup();
    by_name("NotIn", exempt)
}

fn by_name(operator: &str, names: Vec<String>) -> LabelSelector {
    LabelSelector {
        match_labels: None,
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: operator.to_owned(),
            values: Some(names),
        }]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::endpoint::Address;

    const POLICIES: [Enforcement; 2] = [Enforcement::Deny, Enforcement::Warn];

    fn rendered(
        enforcement: Enforcement,
        exempt_namespaces: &[String],
    ) -> (Vec<ValidatingWebhook>, Vec<MutatingWebhook>) {
        let address = Address::Url("https://guard.example".to_owned());
        let endpoint = Endpoint { address, authority: String::new(), token: "t".to_owned() };
        let colours = ColourScheme::default();
        let webhooks = Webhooks {
            endpoint: &endpoint,
            colours: &colours,
            own_namespace: "own",
            exempt_users: &[],
            exempt_namespaces,
            enforcement,
        };
        (validating(&webhooks), mutating(&webhooks))
    }

    #[test]
    fn a_trial_stops_nothing() {
        let [denies, warns] = POLICIES.map(|enforcement| rendered(enforcement, &[]).0);
        let fails = |webhooks: &[ValidatingWebhook]| {
            webhooks.iter().filter(|webhook| webhook.failure_policy.as_deref() == Some("Fail")).count()
        };
        assert!(fails(&denies) > 4, "the guards fail closed");
        assert_eq!(fails(&warns), 0);
        // Nothing else differs, least of all the time that the API server waits.
        for (mut denies, warns) in denies.into_iter().zip(warns) {
            denies.failure_policy.clone_from(&warns.failure_policy);
            assert_eq!(denies, warns);
        }
    }

    #[test]
    fn exempt_namespaces_are_exempt_from_every_webhook_but_the_probe() {
        let (validating, mutating) = rendered(Enforcement::Deny, &["kube-system".to_owned(), "builds".to_owned()]);
        let selectors =
            validating.into_iter().filter(|webhook| webhook.name != WEBHOOK).map(|one| one.namespace_selector);
        for selector in selectors.chain(mutating.into_iter().map(|one| one.namespace_selector)) {
            let exempt = ["builds", "kube-node-lease", "kube-system", "own"].map(str::to_owned).to_vec();
            assert_eq!(selector, Some(by_name("NotIn", exempt)));
        }
    }

    #[test]
    fn an_address_is_compared_without_path_and_bundle() {
        let at = |address: &Address| Endpoint {
            address: address.clone(),
            authority: "theirs".to_owned(),
            token: "t".to_owned(),
        };
        let url = Address::Url("https://guard.example:1".to_owned());
        let longer = Address::Url("https://guard.example:10".to_owned());
        let service = Address::Service { namespace: "own".to_owned() };
        let other = Address::Service { namespace: "other".to_owned() };
        let all = [url, longer, service, other];
        for (here, one) in all.iter().enumerate() {
            for (there, other) in all.iter().enumerate() {
                let config = Endpoint { authority: "ours".to_owned(), ..at(other) }.client_config("/validate/x");
                assert_eq!(at(one).is_called_by(&config), here == there, "{one} and {other}");
            }
        }
    }
}
