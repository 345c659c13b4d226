//! Checks that the API server permits what flipguard needs.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::connect::one_line;
use crate::install::{NAME, NEEDED, Permission};

/// Why the permissions are not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// RBAC does not grant some of them.
    #[error(
        "missing permissions: {}; run as ServiceAccount {namespace}/{NAME}, to which `flipguard manifests --namespace \
         {namespace}` and the Helm chart grant them",
        .missing.join(", ")
    )]
    Missing {
        /// Each missing permission, by verb and resource.
        missing: Vec<String>,
        /// flipguard's own namespace, as it was given.
        namespace: String,
    },
    /// The API server does not answer the question.
    #[error("cannot check permissions: {}", one_line(.0))]
    Unknown(#[from] kube::Error),
}

/// Checks that this client has all permissions that flipguard needs.
///
/// # Errors
/// When a permission is missing, or the API server does not answer.
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
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            missing.push(describe(&permission, verb, own_namespace));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(AccessError::Missing { missing, namespace: own_namespace.to_owned() }) }
}

/// The permissions that flipguard's ServiceAccount needs and lacks, asked with the credentials of an admin.
///
/// # Errors
/// When the API server does not answer.
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
