//! Compares the registered webhooks with the webhooks that this version renders.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::{Api, Client};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::cluster::values_of;
use super::{Check, Health, Target, policies};
use crate::certs::Identity;
use crate::certs::pem::{is_trusted, names_of};
use crate::install::NAME;
use crate::install::manifests::LABELS;
use crate::model::ColourScheme;
use crate::registration::configuration::Configuration;
use crate::registration::self_check::call;
use crate::registration::stored::{Ownership, SUSPEND, Webhook, additions, ownership, token_of, with_additions};
use crate::registration::webhooks::{Address, Endpoint, Webhooks};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What both configurations are compared with.
struct Expected<'a> {
    client: &'a Client,
    own_namespace: &'a str,
    exempt_users: &'a [String],
    identity: Option<&'a Identity>,
}

/// Checks both configurations, and the endpoint that they name.
pub(super) async fn registered(
    client: &Client,
    target: &Target,
    identity: Option<&Identity>,
    args: &[String],
    labels: bool,
) -> Vec<Check> {
    let exempt_users = target.exempt_users.clone().unwrap_or_else(|| values_of("--exempt-users", args));
    let expected = Expected { client, own_namespace: &target.namespace, exempt_users: &exempt_users, identity };
    let mut endpoint = None;
    let mut checks =
        expected.check::<ValidatingWebhookConfiguration>("registration", "nothing is guarded", &mut endpoint).await;
    checks.extend(if labels {
        expected.check::<MutatingWebhookConfiguration>("labels", "no labels are added", &mut endpoint).await
    } else {
        vec![without_labels(client).await]
    });
    checks.push(policies::stored(client, &target.namespace, endpoint.as_ref().map(|it| &it.address)).await);
    if let Some(endpoint) = endpoint {
        checks.extend(bundle(&endpoint, identity));
        checks.extend(reached(&endpoint).await);
    }
    checks
}

impl Expected<'_> {
    /// Checks one configuration. The first one with webhooks sets the endpoint, and the next is compared with the same.
    async fn check<C: Configuration>(
        &self,
        check: &'static str,
        without: &str,
        endpoint: &mut Option<Endpoint>,
    ) -> Vec<Check> {
        let kind = C::kind(&());
        let stored = match Api::<C>::all(self.client.clone()).get_opt(NAME).await {
            Err(error) => return vec![Check::unknown(check, &format!("get the {kind}"), &error)],
            Ok(None) => {
                let again = format!("apply the output of `flipguard manifests --namespace {}`", self.own_namespace);
                return vec![Check::of(check, Health::Broken, format!("there is no {kind} {NAME}: {without}"), again)];
            }
            Ok(Some(stored)) => stored,
        };
        if endpoint.is_none() {
            let first = stored.webhooks().first();
            *endpoint = first.and_then(|webhook| endpoint_of(webhook.client_config(), self.identity));
        }
        let colours = ColourScheme::default();
        let rendered = endpoint.as_ref().filter(|_| !stored.webhooks().is_empty()).map(|endpoint| {
            let Self { own_namespace, exempt_users, .. } = *self;
            C::rendered(&Webhooks { endpoint, colours: &colours, own_namespace, exempt_users })
        });
        let ownership = ownership(stored.meta(), VERSION);
        compare(check, &ownership, stored.webhooks(), rendered.as_deref(), self.own_namespace)
    }
}

/// Checks that nothing of the labels is left where they are switched off. `kubectl apply` removes no object.
async fn without_labels(client: &Client) -> Check {
    const CHECK: &str = "labels";
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let mut left = Vec::new();
    match configurations.get_opt(NAME).await {
        Err(error) => return Check::unknown(CHECK, "get the MutatingWebhookConfiguration", &error),
        Ok(found) => left.extend(found.map(|_| format!("mutatingwebhookconfiguration/{NAME}"))),
    }
    match bindings.get_opt(LABELS).await {
        Err(error) => return Check::unknown(CHECK, &format!("get the ClusterRoleBinding {LABELS}"), &error),
        Ok(found) => left.extend(found.map(|_| format!("clusterrolebinding/{LABELS}"))),
    }
    if left.is_empty() {
        return Check::ok(CHECK, "switched off: flipguard has no right to change objects");
    }
    let left = left.join(" ");
    Check::of(
        CHECK,
        Health::Warning,
        format!("switched off, but there is still {left}"),
        format!("kubectl delete {left}"),
    )
}

/// The endpoint of a registered webhook, with the token of the Secret.
fn endpoint_of(config: &WebhookClientConfig, identity: Option<&Identity>) -> Option<Endpoint> {
    let address = match (&config.url, &config.service) {
        (Some(url), _) => {
            let uri: http::Uri = url.parse().ok()?;
            Address::Url(format!("https://{}", uri.authority()?))
        }
        (None, Some(service)) => Address::Service { namespace: service.namespace.clone() },
        (None, None) => return None,
    };
    // Without the Secret, the registered token cannot be checked. For a minute of each day, it is the old one.
    let registered = token_of(config);
    let token = match identity {
        Some(identity) if identity.old_token != registered => identity.token.clone(),
        _ => registered.to_owned(),
    };
    let authority = config.ca_bundle.as_ref().map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned());
    Some(Endpoint { address, authority: authority.unwrap_or_default(), token })
}

fn compare<W: Webhook + Serialize>(
    check: &'static str,
    ownership: &Ownership,
    stored: &[W],
    rendered: Option<&[W]>,
    own_namespace: &str,
) -> Vec<Check> {
    let wait =
        "a replica fills it in once it is ready; the log of the replica that holds the Lease says what it waits for";
    match (ownership, rendered) {
        (Ownership::Suspended(why), _) => {
            let resume = format!("to resume, remove the annotation {SUSPEND}");
            vec![Check::of(check, Health::Broken, format!("suspended: {why}"), resume)]
        }
        (_, None) => vec![Check::of(
            check,
            Health::Broken,
            "it has no webhooks, so the API server does not call flipguard",
            wait,
        )],
        (Ownership::Newer(by), Some(_)) => {
            let message = format!("version {by} rendered it, and this is version {VERSION}");
            vec![Check::of(check, Health::Warning, message, "run `flipguard doctor` of that version")]
        }
        (Ownership::Free, Some(rendered)) => {
            let differs = differences(&with_additions(rendered, stored, own_namespace), stored);
            let mut checks = vec![if differs.is_empty() {
                Check::ok(check, format!("{} webhooks, as this version renders them", stored.len()))
            } else {
                let message = format!("differs from what this version renders: {}", differs.join("; "));
                Check::of(check, Health::Broken, message, "a replica repairs it within seconds; if not, see `keeper`")
            }];
            let foreign = foreign(rendered, stored, own_namespace);
            if !foreign.is_empty() {
                let message = format!("others have added to its namespaceSelector: {}", foreign.join("; "));
                checks.push(Check::of(
                    check,
                    Health::Warning,
                    message,
                    "check that this exempts no namespace that should be guarded",
                ));
            }
            checks
        }
    }
}

/// The fields in which each webhook differs.
fn differences<W: Webhook + Serialize>(wanted: &[W], stored: &[W]) -> Vec<String> {
    let fields = |webhook: &W| match serde_json::to_value(webhook) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let mut differences = Vec::new();
    for wanted in wanted {
        let Some(stored) = stored.iter().find(|stored| stored.name() == wanted.name()) else {
            differences.push(format!("{} is missing", wanted.name()));
            continue;
        };
        let (left, right) = (fields(wanted), fields(stored));
        let mut names: Vec<&String> =
            left.keys().chain(right.keys()).filter(|key| left.get(*key) != right.get(*key)).collect();
        names.sort();
        names.dedup();
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
            differences.push(format!("{}: {}", wanted.name(), names.join(", ")));
        }
    }
    let unknown = stored.iter().filter(|stored| wanted.iter().all(|wanted| wanted.name() != stored.name()));
    differences.extend(unknown.map(|webhook| format!("{} is not flipguard's", webhook.name())));
    differences
}

fn foreign<W: Webhook>(rendered: &[W], stored: &[W], own_namespace: &str) -> Vec<String> {
    let mut all = Vec::new();
    for rendered in rendered {
        let Some(mut stored) = stored.iter().find(|stored| stored.name() == rendered.name()).cloned() else { continue };
        if let (Some(ours), Some(theirs)) = (rendered.clone().namespace_selector(), stored.namespace_selector()) {
            all.extend(additions(ours, theirs, own_namespace));
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Checks that the API server trusts the certificate in the Secret.
fn bundle(endpoint: &Endpoint, identity: Option<&Identity>) -> Option<Check> {
    const CHECK: &str = "bundle";
    let leaf = &identity?.leaf;
    let name = names_of(leaf).into_iter().next()?;
    Some(match is_trusted(&endpoint.authority, leaf, &name, OffsetDateTime::now_utc()) {
        Ok(()) => Check::ok(CHECK, "the API server trusts the certificate in the Secret"),
        Err(error) => {
            let message = format!("the API server does not trust the certificate in the Secret: {error}");
            Check::of(CHECK, Health::Broken, message, "a replica repairs it within seconds; if not, see `keeper`")
        }
    })
}

/// Calls an endpoint with a URL. A Service can only be called from inside the cluster.
async fn reached(endpoint: &Endpoint) -> Option<Check> {
    const CHECK: &str = "endpoint";
    let Address::Url(url) = &endpoint.address else { return None };
    Some(match call(url, endpoint).await {
        Ok(()) => Check::ok(CHECK, format!("{url} answers, with a certificate that is trusted")),
        Err(why) => {
            let message = format!("{url} does not answer a call from here: {why}");
            Check::of(CHECK, Health::Warning, message, "see `called`, since only the API server has to reach it")
        }
    })
}
