//! The annotations of the stored webhook configurations: whether this flipguard may fill them in. Pure.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, ValidatingWebhook, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ManagedFieldsEntry, ObjectMeta};
use semver::Version;
use serde::Serialize;

/// The annotation that empties a configuration for as long as it is there. Its value is the reason.
pub const SUSPEND: &str = "flipguard.dev/suspend";
/// The annotation with the version that rendered the configuration.
pub const RENDERED_BY: &str = "flipguard.dev/rendered-by";
/// The annotation with the namespace of the installation that keeps the configuration.
pub const OWNER: &str = "flipguard.dev/owner";

/// A webhook of a validating or a mutating configuration.
pub trait Webhook: Clone + PartialEq + Serialize {
    /// `name`, which is unique in the configuration.
    fn name(&self) -> &str;
    /// `clientConfig`: the address and the CA bundle.
    fn client_config(&self) -> &WebhookClientConfig;
    /// `failurePolicy`: whether a write fails without an answer.
    fn failure_policy(&self) -> Option<&str>;
    /// `namespaceSelector`: the namespaces of the writes that it receives.
    fn namespace_selector(&mut self) -> &mut Option<LabelSelector>;
}

impl Webhook for ValidatingWebhook {
    fn name(&self) -> &str {
        &self.name
    }
    fn client_config(&self) -> &WebhookClientConfig {
        &self.client_config
    }
    fn failure_policy(&self) -> Option<&str> {
        self.failure_policy.as_deref()
    }
    fn namespace_selector(&mut self) -> &mut Option<LabelSelector> {
        &mut self.namespace_selector
    }
}

impl Webhook for MutatingWebhook {
    fn name(&self) -> &str {
        &self.name
    }
    fn client_config(&self) -> &WebhookClientConfig {
        &self.client_config
    }
    fn failure_policy(&self) -> Option<&str> {
        self.failure_policy.as_deref()
    }
    fn namespace_selector(&mut self) -> &mut Option<LabelSelector> {
        &mut self.namespace_selector
    }
}

/// Whether this flipguard may fill in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// This flipguard may fill it in.
    Free,
    /// An admin has suspended it, for this reason: it is emptied.
    Suspended(String),
    /// A newer version, which is named, has rendered it: it is left alone.
    Newer(String),
    /// Another installation keeps it, in this namespace: it is left alone.
    Another(String),
}

/// Whether a flipguard of this version and namespace may fill in a configuration, by its annotations.
#[must_use]
pub fn ownership(metadata: &ObjectMeta, version: &str, own_namespace: &str) -> Ownership {
    let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key));
    if let Some(owner) = annotation(OWNER).filter(|owner| !owner.is_empty() && *owner != own_namespace) {
        return Ownership::Another(owner.clone());
    }
    if let Some(reason) = annotation(SUSPEND).filter(|reason| reason.as_str() != "false") {
        // In an emergency, an annotation without a value counts too.
        let reason = if reason.is_empty() { "no reason given" } else { reason };
        return Ownership::Suspended(reason.to_owned());
    }
    let by = annotation(RENDERED_BY).and_then(|by| Version::parse(by).ok());
    match (by, Version::parse(version)) {
        (Some(by), Ok(own)) if by > own => Ownership::Newer(by.to_string()),
        _ => Ownership::Free,
    }
}

/// The command that hands both configurations over to the installation in a namespace.
#[must_use]
pub fn hand_over(namespace: &str) -> String {
    format!(
        "kubectl annotate --overwrite validatingwebhookconfiguration,mutatingwebhookconfiguration flipguard \
         {OWNER}={namespace}"
    )
}

/// The annotations that are not those of this version and namespace, in words.
#[must_use]
pub fn wrong_annotations(metadata: &ObjectMeta, version: &str, own_namespace: &str) -> Vec<String> {
    let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
    let wrong = [(RENDERED_BY, version), (OWNER, own_namespace)].into_iter();
    wrong.filter(|(key, wanted)| annotation(key) != Some(wanted)).map(|(key, _)| format!("annotation {key}")).collect()
}

/// The address of a webhook, without its path, which ends with a token.
#[must_use]
pub fn address_of<W: Webhook>(webhook: &W) -> Option<String> {
    let WebhookClientConfig { url, service, .. } = webhook.client_config();
    if let Some(service) = service {
        return Some(format!("Service {}/{}", service.namespace, service.name));
    }
    let (scheme, rest) = url.as_ref()?.split_once("://")?;
    Some(format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()))
}

/// The field manager that last wrote a configuration, and when; `None` where that is `own`. Of two in the same second, it
/// is the other one. The API server records no manager that only removes fields.
#[must_use]
pub fn last_writer(metadata: &ObjectMeta, own: &str) -> Option<String> {
    let entries = metadata.managed_fields.iter().flatten();
    let time = |entry: &&ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0);
    let last = entries.max_by_key(|entry| (time(entry), entry.manager.as_deref() != Some(own)))?;
    last.manager.as_deref().filter(|manager| *manager != own)?;
    let time = last.time.as_ref().map(|time| format!(" at {}", time.0)).unwrap_or_default();
    Some(format!("{}{time}", last.manager.as_deref().unwrap_or_default()))
}

/// Collects the CA bundles of webhooks, in PEM, each different bundle once.
pub(super) fn bundles<W: Webhook>(webhooks: &[W], into: &mut Vec<String>) {
    for webhook in webhooks {
        let bundle = webhook.client_config().ca_bundle.as_ref();
        let bundle = bundle.map_or_else(String::new, |ByteString(bytes)| String::from_utf8_lossy(bytes).into_owned());
        if !into.contains(&bundle) {
            into.push(bundle);
        }
    }
}

/// Collects the tokens of webhooks, each different token once.
pub(super) fn tokens<W: Webhook>(webhooks: &[W], into: &mut Vec<String>) {
    for webhook in webhooks {
        let token = token_of(webhook.client_config());
        if !into.iter().any(|known| known == token) {
            into.push(token.to_owned());
        }
    }
}

/// The last segment of the path that a webhook calls.
#[must_use]
pub fn token_of(config: &WebhookClientConfig) -> &str {
    let path = config.service.as_ref().and_then(|service| service.path.as_deref()).or(config.url.as_deref());
    path.and_then(|path| path.rsplit('/').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::ServiceReference;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn metadata(annotations: &[(&str, &str)]) -> ObjectMeta {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }
    }

    #[test]
    fn whose_it_is() {
        let own = |annotations: &[(&str, &str)]| ownership(&metadata(annotations), "1.2.0", "own");
        assert_eq!(own(&[]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "1.2.0")]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "1.1.9")]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "1.2.0-rc.1")]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "someone")]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "1.10.0")]), Ownership::Newer("1.10.0".to_owned()));
        assert_eq!(own(&[(RENDERED_BY, "2.0.0"), (SUSPEND, "fire")]), Ownership::Suspended("fire".to_owned()));
        assert_eq!(own(&[(SUSPEND, "")]), Ownership::Suspended("no reason given".to_owned()));
        assert_eq!(own(&[(SUSPEND, "false")]), Ownership::Free);
        assert_eq!(own(&[(OWNER, "own")]), Ownership::Free);
        assert_eq!(own(&[(OWNER, "")]), Ownership::Free);
        // Another's registration is not even emptied.
        let another = Ownership::Another("theirs".to_owned());
        assert_eq!(own(&[(OWNER, "theirs"), (SUSPEND, "fire"), (RENDERED_BY, "2.0.0")]), another);
    }

    #[test]
    fn each_token_is_collected_once() {
        let calls = |path: &str, url: bool| WebhookClientConfig {
            url: url.then(|| format!("https://127.0.0.1:10250{path}")),
            service: (!url).then(|| ServiceReference { path: Some(path.to_owned()), ..ServiceReference::default() }),
            ca_bundle: None,
        };
        let [mut a, mut b, mut c] = [(); 3].map(|()| ValidatingWebhook::default());
        a.client_config = calls("/validate/one", true);
        b.client_config = calls("/validate/one", false);
        c.client_config = calls("/mutate/two", false);
        let mut found = Vec::new();
        tokens(&[a, b, c], &mut found);
        assert_eq!(found, ["one", "two"]);
    }

    #[test]
    fn the_last_writer_is_named_and_an_address_has_no_path() {
        let entry = |manager: &str, second: i64| ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            time: k8s_openapi::jiff::Timestamp::from_second(second).ok().map(Time),
            ..ManagedFieldsEntry::default()
        };
        let last = |entries: &[(&str, i64)]| {
            let entries = entries.iter().map(|(manager, second)| entry(manager, *second)).collect();
            last_writer(&ObjectMeta { managed_fields: Some(entries), ..ObjectMeta::default() }, "flipguard")
        };
        assert_eq!(last(&[]), None);
        assert_eq!(last(&[("helm", 0), ("flipguard", 60)]), None, "helm is not to blame");
        assert_eq!(last(&[("kubectl-edit", 60), ("flipguard", 60)]).unwrap(), "kubectl-edit at 1970-01-01T00:01:00Z");

        let called = |url: Option<&str>, service: Option<ServiceReference>| ValidatingWebhook {
            client_config: WebhookClientConfig {
                url: url.map(str::to_owned),
                service,
                ..WebhookClientConfig::default()
            },
            ..ValidatingWebhook::default()
        };
        let url = called(Some("https://guard.example:1/validate/s3cret"), None);
        assert_eq!(address_of(&url).unwrap(), "https://guard.example:1");
        let service =
            ServiceReference { namespace: "a".to_owned(), name: "b".to_owned(), ..ServiceReference::default() };
        assert_eq!(address_of(&called(None, Some(service))).unwrap(), "Service a/b");
    }

    #[test]
    fn annotations_of_another_rendering_are_named() {
        let wrong = |annotations: &[(&str, &str)]| wrong_annotations(&metadata(annotations), "1.2.0", "own");
        assert!(wrong(&[(RENDERED_BY, "1.2.0"), (OWNER, "own")]).is_empty());
        assert_eq!(wrong(&[(RENDERED_BY, "1.1.0"), (OWNER, "own")]), ["annotation flipguard.dev/rendered-by"]);
        assert_eq!(wrong(&[(RENDERED_BY, "1.2.0")]), ["annotation flipguard.dev/owner"]);
    }
}
