//! Checks that the API server permits what flipguard needs.

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::connect::one_line;
use crate::install::{Granted, NAME, Permission, Place, needed};

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

/// Checks that this client has all permissions that flipguard needs, with or without labels.
///
/// # Errors
/// When a permission is missing, or the API server does not answer.
pub async fn check(client: &Client, own_namespace: &str, labels: bool) -> Result<(), AccessError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for (permission, verb) in each(labels) {
        let (resource_attributes, non_resource_attributes) = attributes(permission, verb, own_namespace);
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes, non_resource_attributes },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            missing.push(describe(permission, verb, own_namespace));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(AccessError::Missing { missing, namespace: own_namespace.to_owned() }) }
}

/// The permissions that flipguard's ServiceAccount needs and lacks, asked with the credentials of an admin.
///
/// # Errors
/// When the API server does not answer.
pub async fn missing_for_account(client: &Client, own_namespace: &str, labels: bool) -> kube::Result<Vec<String>> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{own_namespace}"), "system:authenticated"];
    let mut missing = Vec::new();
    for (permission, verb) in each(labels) {
        let (resource_attributes, non_resource_attributes) = attributes(permission, verb, own_namespace);
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{own_namespace}:{NAME}")),
                groups: Some(groups.iter().map(|group| (*group).to_owned()).collect()),
                resource_attributes,
                non_resource_attributes,
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            missing.push(describe(permission, verb, own_namespace));
        }
    }
    Ok(missing)
}

fn each(labels: bool) -> impl Iterator<Item = (&'static Permission, &'static str)> {
    needed(labels).flat_map(|permission| permission.verbs.iter().map(move |verb| (permission, *verb)))
}

fn attributes(
    permission: &Permission,
    verb: &str,
    own_namespace: &str,
) -> (Option<ResourceAttributes>, Option<NonResourceAttributes>) {
    let verb = Some(verb.to_owned());
    match permission.on {
        Granted::Url(path) => (None, Some(NonResourceAttributes { path: Some(path.to_owned()), verb })),
        Granted::Resource { group, resource, name } => {
            let attributes = ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                name: name.map(str::to_owned),
                namespace: (permission.place == Place::OwnNamespace).then(|| own_namespace.to_owned()),
                verb,
                ..ResourceAttributes::default()
            };
            (Some(attributes), None)
        }
    }
}

fn describe(permission: &Permission, verb: &str, own_namespace: &str) -> String {
    let (group, resource, name) = match permission.on {
        Granted::Url(path) => return format!("{verb} {path}"),
        Granted::Resource { group, resource, name } => (group, resource, name),
    };
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let name = name.map(|name| format!(" `{name}`")).unwrap_or_default();
    let own = permission.place == Place::OwnNamespace;
    let place = if own { format!(" in namespace {own_namespace}") } else { String::new() };
    format!("{verb} {resource}{group}{name}{place}")
}
