//! What is registered, against what it should be.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::cluster::values_of;
use super::{Check, Health, Target};
use crate::certs::Identity;
use crate::certs::pem::{is_trusted, names_of};
use crate::install::NAME;
use crate::model::ColourScheme;
use crate::registration::self_check::call;
use crate::registration::stored::{Ownership, SUSPEND, Webhook, additions, ownership, with_additions};
use crate::registration::webhooks::{self, Address, Endpoint, Webhooks};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) async fn both(client: &Client, target: &Target, identity: Option<&Identity>, args: &[String]) -> Vec<Check> {
    let exempt = target.exempt_users.clone().unwrap_or_else(|| values_of("--exempt-users", args));
    let colours = ColourScheme::default();
    let mut checks = Vec::new();
    let mut endpoint = None;
    let validating = Api::<ValidatingWebhookConfiguration>::all(client.clone()).get_opt(NAME).await;
    checks.extend(match validating {
        Err(error) => vec![Check::unknown("registration", "get the ValidatingWebhookConfiguration", &error)],
        Ok(None) => vec![missing("registration", "ValidatingWebhookConfiguration", "nothing is guarded", target)],
        Ok(Some(stored)) => {
            let webhooks = stored.webhooks.unwrap_or_default();
            let first = webhooks.first().map(|webhook| webhook.client_config.clone());
            endpoint = first.and_then(|config| endpoint_of(&config, identity));
            let rendered = endpoint.as_ref().map(|endpoint| {
                let own_namespace = &target.namespace;
                webhooks::validating(&Webhooks { endpoint, colours: &colours, own_namespace, exempt_users: &exempt })
            });
            compare(
                "registration",
                &ownership(&stored.metadata, VERSION),
                &webhooks,
                rendered.as_deref(),
                &target.namespace,
            )
        }
    });
    let mutating = Api::<MutatingWebhookConfiguration>::all(client.clone()).get_opt(NAME).await;
    checks.extend(match mutating {
        Err(error) => vec![Check::unknown("labels", "get the MutatingWebhookConfiguration", &error)],
        Ok(None) => vec![missing("labels", "MutatingWebhookConfiguration", "no labels are added", target)],
        Ok(Some(stored)) => {
            let webhooks = stored.webhooks.unwrap_or_default();
            let rendered = endpoint.as_ref().map(|endpoint| {
                let own_namespace = &target.namespace;
                webhooks::mutating(&Webhooks { endpoint, colours: &colours, own_namespace, exempt_users: &exempt })
            });
            compare("labels", &ownership(&stored.metadata, VERSION), &webhooks, rendered.as_deref(), &target.namespace)
        }
    });
    if let Some(endpoint) = endpoint {
        checks.extend(bundle(&endpoint, identity));
        checks.extend(reached(&endpoint).await);
    }
    checks
}

fn missing(check: &'static str, kind: &str, so: &str, target: &Target) -> Check {
    let again = format!("to come back, apply the output of `flipguard manifests --namespace {}`", target.namespace);
    Check::of(check, Health::Broken, format!("there is no {kind} {NAME}: {so}"), again)
}

/// Where the API server calls now, with the token that it should use.
fn endpoint_of(config: &WebhookClientConfig, identity: Option<&Identity>) -> Option<Endpoint> {
    let (address, path) = match (&config.url, &config.service) {
        (Some(url), _) => {
            let uri: http::Uri = url.parse().ok()?;
            (Address::Url(format!("https://{}", uri.authority()?)), uri.path().to_owned())
        }
        (None, Some(service)) => {
            (Address::Service { namespace: service.namespace.clone() }, service.path.clone().unwrap_or_default())
        }
        (None, None) => return None,
    };
    // Where the Secret cannot be read, the registered token is taken on trust.
    let token = identity.map_or_else(|| path.rsplit('/').next().unwrap_or_default().to_owned(), |it| it.token.clone());
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
    let wait = "it is filled in once a replica is ready; the log of the keeper says what it waits for";
    match (ownership, rendered) {
        (Ownership::Suspended(why), _) => {
            let resume = format!("to resume, take the annotation {SUSPEND} off");
            vec![Check::of(check, Health::Broken, format!("suspended: {why}"), resume)]
        }
        (_, None) => vec![Check::of(check, Health::Broken, "it is empty: the API server calls nobody", wait)],
        (Ownership::Newer(by), Some(_)) => {
            let message = format!("version {by} has rendered it, and this is {VERSION}");
            vec![Check::of(check, Health::Warning, message, "ask the doctor of that version")]
        }
        (Ownership::Free, Some(rendered)) => {
            let differs = differences(&with_additions(rendered, stored, own_namespace), stored);
            let mut checks = vec![if differs.is_empty() {
                Check::ok(check, format!("{} webhooks, as they should be", stored.len()))
            } else {
                let message = format!("not as it should be: {}", differs.join("; "));
                Check::of(check, Health::Broken, message, "the keeper repairs it within seconds; if not, see `keeper`")
            }];
            let foreign = foreign(rendered, stored, own_namespace);
            if !foreign.is_empty() {
                let message = format!("others have added to it, and flipguard keeps it: {}", foreign.join("; "));
                checks.push(Check::of(
                    check,
                    Health::Warning,
                    message,
                    "see that it exempts no namespace that should be guarded",
                ));
            }
            checks
        }
    }
}

/// In which fields each webhook differs.
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

/// Whether what the API server trusts is what flipguard serves.
fn bundle(endpoint: &Endpoint, identity: Option<&Identity>) -> Option<Check> {
    const CHECK: &str = "bundle";
    let leaf = &identity?.leaf;
    let name = names_of(leaf).into_iter().next()?;
    Some(match is_trusted(&endpoint.authority, leaf, &name, OffsetDateTime::now_utc()) {
        Ok(()) => Check::ok(CHECK, "the API server trusts the certificate in the Secret"),
        Err(error) => {
            let message = format!("the API server does not trust the certificate in the Secret: {error}");
            Check::of(CHECK, Health::Broken, message, "the keeper repairs it within seconds; if not, see `keeper`")
        }
    })
}

/// By URL, anybody can try; a Service is reached from inside only.
async fn reached(endpoint: &Endpoint) -> Option<Check> {
    const CHECK: &str = "endpoint";
    let Address::Url(url) = &endpoint.address else { return None };
    Some(match call(url, endpoint).await {
        Ok(()) => Check::ok(CHECK, format!("{url} answers, with a certificate that is trusted")),
        Err(why) => {
            let message = format!("{url} does not answer a call from here: {why}");
            Check::of(CHECK, Health::Warning, message, "see `called`: what counts is whether the API server reaches it")
        }
    })
}
