//! Checks that the API server permits what flipguard needs.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::connect::one_line;
use crate::install::{Granted, NAME, Permission, Place, manifests_command, needed};

/// The number of permissions that are asked for at the same time.
const AT_ONCE: usize = 10;

/// Why the permissions are not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// RBAC does not grant some of them.
    #[error(
        "{user} lacks permissions: {}; run as ServiceAccount {namespace}/{NAME}, to which `{manifests}`{} them",
        .missing.join(", "),
        if *.outside { " grants" } else { " and the Helm chart grant" }
    )]
    Missing {
        /// The user that was asked for, in words.
        user: String,
        /// Each missing permission, by verb and resource.
        missing: Vec<String>,
        /// flipguard's own namespace, as it was given.
        namespace: String,
        /// The command that prints the manifests of this installation.
        manifests: String,
        /// Whether flipguard runs outside the cluster. The chart installs it inside.
        outside: bool,
    },
    /// The API server does not answer the question.
    #[error("cannot check permissions: {}", one_line(.0))]
    Unknown(#[from] kube::Error),
}

/// What a permission is asked for: a resource, or a path that is none.
type Attributes = (Option<ResourceAttributes>, Option<NonResourceAttributes>);

/// Checks that this client has all permissions that flipguard needs, with or without labels. `url` is the address of a
/// flipguard outside the cluster.
///
/// # Errors
/// When a permission is missing, or the API server does not answer.
pub async fn check(client: &Client, own_namespace: &str, labels: bool, url: Option<&str>) -> Result<(), AccessError> {
    let missing = missing(client, own_namespace, labels).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let user = user_of(client).await.map_or_else(|| "this user".to_owned(), |name| format!("user `{name}`"));
    let manifests = manifests_command(own_namespace, url);
    Err(AccessError::Missing { user, missing, namespace: own_namespace.to_owned(), manifests, outside: url.is_some() })
}

/// The permissions that flipguard needs and this client lacks.
///
/// # Errors
/// When the API server does not answer.
pub async fn missing(client: &Client, own_namespace: &str, labels: bool) -> kube::Result<Vec<String>> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    missing_of(own_namespace, labels, async |(resource_attributes, non_resource_attributes)| {
        let spec = SelfSubjectAccessReviewSpec { resource_attributes, non_resource_attributes };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    })
    .await
}

/// The permissions that flipguard's ServiceAccount needs and lacks, asked with the credentials of an admin.
///
/// # Errors
/// When the API server does not answer.
pub async fn missing_for_account(client: &Client, own_namespace: &str, labels: bool) -> kube::Result<Vec<String>> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{own_namespace}"), "system:authenticated"];
    missing_of(own_namespace, labels, async |(resource_attributes, non_resource_attributes)| {
        let spec = SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{own_namespace}:{NAME}")),
            groups: Some(groups.iter().map(|group| (*group).to_owned()).collect()),
            resource_attributes,
            non_resource_attributes,
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    })
    .await
}

/// Asks for each permission, several at the same time, and returns those that are denied.
async fn missing_of(
    own_namespace: &str,
    labels: bool,
    is_allowed: impl AsyncFn(Attributes) -> kube::Result<bool>,
) -> kube::Result<Vec<String>> {
    let asked = stream::iter(each(labels)).map(|(permission, verb)| {
        let answer = is_allowed(attributes(permission, verb, own_namespace));
        async move { Ok::<_, kube::Error>((describe(permission, verb, own_namespace), answer.await?)) }
    });
    let answers: Vec<(String, bool)> = asked.buffered(AT_ONCE).try_collect().await?;
    Ok(answers.into_iter().filter(|(_, is_allowed)| !is_allowed).map(|(permission, _)| permission).collect())
}

/// The name of this client's user, as the API server knows it; `None` where it does not say.
pub async fn user_of(client: &Client) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok()?;
    review.status?.user_info?.username
}

fn each(labels: bool) -> impl Iterator<Item = (&'static Permission, &'static str)> {
    needed(labels).flat_map(|permission| permission.verbs.iter().map(move |verb| (permission, *verb)))
}

fn attributes(permission: &Permission, verb: &str, own_namespace: &str) -> Attributes {
    let verb = Some(verb.to_owned());
    match permission.on {
        Granted::Url(path) => (None, Some(NonResourceAttributes { path: Some(path.to_owned()), verb })),
        Granted::Resource { group, resource, name } => {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let attributes = ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
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
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let group = if subresource.is_empty() { group } else { format!("{group}/{subresource}") };
    let name = name.map(|name| format!(" `{name}`")).unwrap_or_default();
    let own = permission.place == Place::OwnNamespace;
    let place = if own { format!(" in namespace {own_namespace}") } else { String::new() };
    format!("{verb} {resource}{group}{name}{place}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::cluster::fake::FakeApi;

    /// A slow control plane: one after the other, the questions would take longer than a start may.
    #[tokio::test(start_paused = true)]
    async fn permissions_are_asked_for_at_the_same_time() {
        let api = FakeApi::default();
        api.delay(Duration::from_secs(1));
        let started = Instant::now();
        assert!(check(&api.client(), "own", true, None).await.is_ok());
        let questions = each(true).count();
        assert!(started.elapsed() <= Duration::from_secs(5), "{questions} questions took {:?}", started.elapsed());
    }

    #[tokio::test]
    async fn the_user_and_the_namespace_are_named() {
        let api = FakeApi::default();
        api.deny(&["list pods", "update leases"]);
        let error = check(&api.client(), "own", true, None).await.unwrap_err().to_string();
        let words = "user `alice` lacks permissions: list pods, update leases.coordination.k8s.io `flipguard-keeper` in \
                     namespace own; run as ServiceAccount own/flipguard";
        assert!(error.starts_with(words), "{error}");
        assert!(error.ends_with("`flipguard manifests --namespace own` and the Helm chart grant them"), "{error}");
        let outside = check(&api.client(), "own", true, Some("https://guard.example")).await.unwrap_err().to_string();
        let words = "to which `flipguard manifests --namespace own --external-url https://guard.example` grants them";
        assert!(outside.ends_with(words), "{outside}");
    }
}
