//! What flipguard may do in the cluster, and whether it really may.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::connect::one_line;

/// One thing that flipguard must be allowed to do. The manifests grant exactly these, and the start checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, in the plural.
    pub resource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// The one object that it is limited to, if any.
    pub name: Option<&'static str>,
    /// Whether it is needed in all namespaces, or in flipguard's own alone.
    pub everywhere: bool,
}

/// The name of flipguard's Secret, ServiceAccount, roles and registration.
pub const NAME: &str = "flipguard";

/// All that flipguard must be allowed to do.
pub const NEEDED: [Permission; 19] = [
    reads("apps", "deployments"),
    reads("apps", "statefulsets"),
    reads("apps", "daemonsets"),
    reads("apps", "replicasets"),
    reads("apps", "controllerrevisions"),
    reads("", "pods"),
    reads("", "services"),
    Permission { group: "argoproj.io", resource: "rollouts", verbs: &["get"], name: None, everywhere: true },
    // Beside the object that they are about.
    Permission { group: "", resource: "events", verbs: &["create"], name: None, everywhere: true },
    Permission {
        group: "authorization.k8s.io",
        resource: "subjectaccessreviews",
        verbs: &["create"],
        name: None,
        everywhere: true,
    },
    Permission {
        group: "admissionregistration.k8s.io",
        resource: "mutatingwebhookconfigurations",
        verbs: &["get", "patch"],
        name: Some(NAME),
        everywhere: true,
    },
    Permission {
        group: "admissionregistration.k8s.io",
        resource: "validatingwebhookconfigurations",
        verbs: &["get", "patch"],
        name: Some(NAME),
        everywhere: true,
    },
    Permission { group: "", resource: "secrets", verbs: &["get", "update"], name: Some(NAME), everywhere: false },
    // The ledgers: one ConfigMap for each namespace with traffic Services, and an index.
    Permission {
        group: "",
        resource: "configmaps",
        verbs: &["get", "create", "update", "delete"],
        name: None,
        everywhere: false,
    },
    // Whether a namespace is gone, and its ledger with it.
    Permission { group: "", resource: "namespaces", verbs: &["get"], name: None, everywhere: true },
    // RBAC cannot limit `create` to a name: the name is not known when it is checked.
    Permission { group: "", resource: "secrets", verbs: &["create"], name: None, everywhere: false },
    Permission {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["get", "update"],
        name: Some("flipguard-keeper"),
        everywhere: false,
    },
    Permission { group: "coordination.k8s.io", resource: "leases", verbs: &["create"], name: None, everywhere: false },
    // Whether its own Service can be called yet.
    Permission {
        group: "discovery.k8s.io",
        resource: "endpointslices",
        verbs: &["list"],
        name: None,
        everywhere: false,
    },
];

const fn reads(group: &'static str, resource: &'static str) -> Permission {
    Permission { group, resource, verbs: &["get", "list"], name: None, everywhere: true }
}

/// Why the check of permissions failed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Some are missing.
    #[error(
        "missing permissions: {}; apply the output of `flipguard manifests`, which grants them to its ServiceAccount",
        .0.join(", ")
    )]
    Missing(Vec<String>),
    /// The API server did not say.
    #[error("cannot check permissions: {0}")]
    Unknown(String),
}

/// Asks the API server whether this client may do all that is needed.
///
/// # Errors
/// When something is missing, named by verb and resource, or when the API server does not say.
pub async fn check(client: &Client, own_namespace: &str) -> Result<(), AccessError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for (permission, verb) in each() {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes(&permission, verb, own_namespace)),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| AccessError::Unknown(one_line(&error)))?;
        if !answer.status.is_some_and(|status| status.allowed) {
            missing.push(describe(&permission, verb, own_namespace));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(AccessError::Missing(missing)) }
}

/// What flipguard's own ServiceAccount may not do, though it is needed; asked by somebody else.
///
/// # Errors
/// When the API server does not say.
pub async fn missing_for_account(client: &Client, own_namespace: &str) -> kube::Result<Vec<String>> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{own_namespace}"), "system:authenticated"];
    let mut missing = Vec::new();
    for (permission, verb) in each() {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{own_namespace}:{NAME}")),
                groups: Some(groups.iter().map(|group| (*group).to_owned()).collect()),
                resource_attributes: Some(attributes(&permission, verb, own_namespace)),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            missing.push(describe(&permission, verb, own_namespace));
        }
    }
    Ok(missing)
}

fn each() -> impl Iterator<Item = (Permission, &'static str)> {
    NEEDED.into_iter().flat_map(|permission| permission.verbs.iter().map(move |verb| (permission, *verb)))
}

fn attributes(permission: &Permission, verb: &str, own_namespace: &str) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(permission.group.to_owned()),
        resource: Some(permission.resource.to_owned()),
        name: permission.name.map(str::to_owned),
        namespace: (!permission.everywhere).then(|| own_namespace.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    }
}

fn describe(permission: &Permission, verb: &str, own_namespace: &str) -> String {
    let group = if permission.group.is_empty() { String::new() } else { format!(".{}", permission.group) };
    let name = permission.name.map(|name| format!(" `{name}`")).unwrap_or_default();
    let place = if permission.everywhere { String::new() } else { format!(" in namespace {own_namespace}") };
    format!("{verb} {}{group}{name}{place}", permission.resource)
}
