//! Compares the registered webhooks with the webhooks that this version renders.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::{Api, Client};
use time::OffsetDateTime;

use super::{Check, Health, Settings, admission_policies};
use crate::certs::Identity;
use crate::certs::pem::{is_trusted, names_of};
use crate::install::manifests::labels_binding;
use crate::install::{NAME, manifests_command};
use crate::model::{ColourScheme, Enforcement};
use crate::registration::compare::differences;
use crate::registration::configuration::Configuration;
use crate::registration::endpoint::{Address, Endpoint};
use crate::registration::probe::WEBHOOK;
use crate::registration::selector::{additions, limits, with_additions};
use crate::registration::self_check::call;
use crate::registration::stored::{Ownership, SUSPEND, Webhook, address_of, hand_over, ownership, token_of};
use crate::registration::webhooks::Webhooks;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What both configurations are compared with.
struct Expected<'a> {
    client: &'a Client,
    own_namespace: &'a str,
    settings: &'a Settings,
    colours: &'a ColourScheme,
    identity: Option<&'a Identity>,
}

/// Checks both configurations, and the endpoint that they name.
pub(super) async fn registered(
    client: &Client,
    own_namespace: &str,
    settings: &Settings,
    colours: &ColourScheme,
    identity: Option<&Identity>,
) -> Vec<Check> {
    let expected = Expected { client, own_namespace, settings, colours, identity };
    let mut endpoint = None;
    let mut checks =
        expected.check::<ValidatingWebhookConfiguration>("registration", "nothing is guarded", &mut endpoint).await;
    checks.extend(if settings.labels {
        expected.check::<MutatingWebhookConfiguration>("labels", "no labels are added", &mut endpoint).await
    } else {
        vec![without_labels(client, own_namespace).await]
    });
    checks.push(admission_policies::stored(client, own_namespace, endpoint.as_ref().map(|it| &it.address)).await);
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
                let command = manifests_command(self.own_namespace, None);
                let again = format!(
                    "apply the output of `{command}`; for a flipguard outside the cluster, add its --external-url"
                );
                return vec![Check::of(check, Health::Broken, format!("there is no {kind} {NAME}: {without}"), again)];
            }
            Ok(Some(stored)) => stored,
        };
        if endpoint.is_none() {
            let first = stored.webhooks().first();
            *endpoint = first.and_then(|webhook| endpoint_of(webhook.client_config(), self.identity));
        }
        let rendered = endpoint.as_ref().filter(|_| !stored.webhooks().is_empty()).map(|endpoint| {
            let Self { own_namespace, settings: Settings { exempt_users, exempt_namespaces, enforcement, .. }, .. } =
                *self;
            C::rendered(&Webhooks {
                endpoint,
                colours: self.colours,
                own_namespace,
                exempt_users,
                exempt_namespaces,
                enforcement: *enforcement,
            })
        });
        let ownership = ownership(stored.meta(), VERSION, self.own_namespace);
        let compared = Compared { check, stored: stored.webhooks(), own_namespace: self.own_namespace };
        compared.checks(&ownership, rendered.as_deref(), self.settings.enforcement)
    }
}

/// Checks that nothing of the labels is left where they are switched off. `kubectl apply` removes no object.
async fn without_labels(client: &Client, own_namespace: &str) -> Check {
    const CHECK: &str = "labels";
    let binding = labels_binding(own_namespace);
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let mut left = Vec::new();
    match configurations.get_opt(NAME).await {
        Err(error) => return Check::unknown(CHECK, "get the MutatingWebhookConfiguration", &error),
        Ok(found) => left.extend(found.map(|_| format!("mutatingwebhookconfiguration/{NAME}"))),
    }
    match bindings.get_opt(&binding).await {
        Err(error) => return Check::unknown(CHECK, &format!("get the ClusterRoleBinding {binding}"), &error),
        Ok(found) => left.extend(found.map(|_| format!("clusterrolebinding/{binding}"))),
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

/// The stored webhooks of one configuration.
struct Compared<'a, W> {
    check: &'static str,
    stored: &'a [W],
    own_namespace: &'a str,
}

impl<W: Webhook> Compared<'_, W> {
    fn checks(&self, ownership: &Ownership, rendered: Option<&[W]>, enforcement: Enforcement) -> Vec<Check> {
        match (ownership, rendered) {
            (Ownership::Another(owner), _) => {
                let address = self.stored.first().and_then(address_of);
                let address = address.map(|address| format!(", called at {address}")).unwrap_or_default();
                let message =
                    format!("another flipguard, in namespace {owner}{address}, owns it: this one does not guard");
                let next =
                    format!("remove one of the two; to hand it over to this one: {}", hand_over(self.own_namespace));
                vec![self.broken(message, next)]
            }
            (Ownership::Suspended(why), _) => {
                let resume = format!("to resume, remove the annotation {SUSPEND}");
                vec![self.broken(format!("suspended: {why}"), resume)]
            }
            (_, None) => {
                let wait = "a replica fills it in once the API server reaches flipguard; see `probe`, and the log of the \
                            replica that holds the Lease";
                vec![self.broken("it has no webhooks, so the API server does not call flipguard", wait)]
            }
            (Ownership::Newer(by), Some(_)) => {
                let message = format!("version {by} rendered it, and this is version {VERSION}");
                vec![self.warning(message, "run `flipguard doctor` of that version")]
            }
            (Ownership::Free, Some(_)) if self.stored.iter().all(|webhook| webhook.name() == WEBHOOK) => {
                let message = "it holds only the probe: the API server was not yet seen to reach flipguard, so nothing \
                               is guarded";
                vec![self.broken(message, "see `probe`")]
            }
            (Ownership::Free, Some(rendered)) => {
                [vec![self.difference(rendered, enforcement)], self.selectors(rendered)].concat()
            }
        }
    }

    fn difference(&self, rendered: &[W], enforcement: Enforcement) -> Check {
        let differs = differences(&with_additions(rendered, self.stored, self.own_namespace), self.stored);
        if !differs.is_empty() {
            let message = format!("differs from what this version renders: {}", differs.join("; "));
            let next = "a replica repairs it within seconds; if not, see `keeper`; for a flipguard outside the cluster, \
                        give doctor the flags of `serve`: --enforcement, --exempt-users, --exempt-namespaces, --labels";
            return self.broken(message, next);
        }
        let count = self.stored.len();
        let webhooks = if count == 1 { "webhook" } else { "webhooks" };
        let warns = match enforcement {
            Enforcement::Deny => "",
            Enforcement::Warn => "; --enforcement is warn, so each has failurePolicy Ignore and stops nothing",
        };
        Check::ok(self.check, format!("{count} {webhooks}, as this version renders them{warns}"))
    }

    /// What others have added to the `namespaceSelector`s.
    fn selectors(&self, rendered: &[W]) -> Vec<Check> {
        let mut checks = Vec::new();
        let limits = limits(rendered, self.stored, self.own_namespace);
        if !limits.is_empty() {
            let message = format!("a namespaceSelector admits only some namespaces: {}", limits.join("; "));
            let next = "a replica removes that within seconds; to exempt namespaces, use --exempt-namespaces, or an \
                        entry with NotIn or DoesNotExist";
            checks.push(self.broken(message, next));
        }
        let additions = additions(rendered, self.stored, self.own_namespace);
        if !additions.is_empty() {
            let message = format!("others have added to its namespaceSelector: {}", additions.join("; "));
            checks.push(self.warning(message, "check that this exempts no namespace that should be guarded"));
        }
        checks
    }

    fn broken(&self, message: impl Into<String>, next: impl Into<String>) -> Check {
        Check::of(self.check, Health::Broken, message, next)
    }

    fn warning(&self, message: impl Into<String>, next: impl Into<String>) -> Check {
        Check::of(self.check, Health::Warning, message, next)
    }
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
