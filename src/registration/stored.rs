//! The stored webhook configurations, and how a new rendering keeps the additions of others. Pure.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, ValidatingWebhook, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use semver::Version;

/// The annotation that empties a configuration for as long as it is there. Its value is the reason.
pub const SUSPEND: &str = "flipguard.dev/suspend";
/// The annotation with the version that rendered the configuration.
pub const RENDERED_BY: &str = "flipguard.dev/rendered-by";

/// A webhook of a validating or a mutating configuration.
pub trait Webhook: Clone + PartialEq {
    /// `name`, which is unique in the configuration.
    fn name(&self) -> &str;
    /// `clientConfig`: the address and the CA bundle.
    fn client_config(&self) -> &WebhookClientConfig;
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
    fn namespace_selector(&mut self) -> &mut Option<LabelSelector> {
        &mut self.namespace_selector
    }
}

/// Whether this version may fill in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// This version may fill it in.
    Free,
    /// An admin has suspended it, for this reason: it is emptied.
    Suspended(String),
    /// A newer version, which is named, has rendered it: it is left alone.
    Newer(String),
}

/// Whether this version may fill in a configuration, by its annotations.
#[must_use]
pub fn ownership(metadata: &ObjectMeta, version: &str) -> Ownership {
    let annotation = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key));
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

/// Whether the annotation names this version.
#[must_use]
pub fn is_rendered_by(metadata: &ObjectMeta, version: &str) -> bool {
    metadata.annotations.as_ref().and_then(|all| all.get(RENDERED_BY)).is_some_and(|by| by == version)
}

/// The rendering, with the entries that others have added to the `namespaceSelector` of a stored webhook of the same
/// name. Managed clusters exempt their own namespaces in this way, and repeat it when the entry is removed.
#[must_use]
pub fn with_additions<W: Webhook>(rendered: &[W], stored: &[W], own_namespace: &str) -> Vec<W> {
    let merged = |rendered: &W| {
        let mut wanted = rendered.clone();
        let Some(mut stored) = stored.iter().find(|stored| stored.name() == rendered.name()).cloned() else {
            return wanted;
        };
        let (Some(ours), Some(theirs)) = (wanted.namespace_selector(), stored.namespace_selector()) else {
            return wanted;
        };
        *ours = added(ours, theirs, own_namespace);
        wanted
    };
    rendered.iter().map(merged).collect()
}

/// The entries of a stored selector that are not rendered, in words.
#[must_use]
pub fn additions(rendered: &LabelSelector, stored: &LabelSelector, own_namespace: &str) -> Vec<String> {
    let labels = stored.match_labels.iter().flatten();
    let labels = labels
        .filter(|(key, _)| !rendered.match_labels.as_ref().is_some_and(|ours| ours.contains_key(*key)))
        .map(|(key, value)| format!("{key}={value}"));
    let expressions = foreign(rendered, stored, own_namespace).map(|more| {
        let values = more.values.as_ref().map_or_else(String::new, |values| format!(" ({})", values.join(", ")));
        format!("{} {}{values}", more.key, more.operator)
    });
    labels.chain(expressions).collect()
}

fn added(rendered: &LabelSelector, stored: &LabelSelector, own_namespace: &str) -> LabelSelector {
    let mut labels = stored.match_labels.clone().unwrap_or_default();
    labels.extend(rendered.match_labels.clone().unwrap_or_default());
    let foreign: Vec<_> = foreign(rendered, stored, own_namespace).cloned().collect();
    let ours = rendered.match_expressions.clone().unwrap_or_default();
    // The stored order stays. Otherwise both sides would reorder the entries for ever.
    let mut expressions = Vec::new();
    for expression in stored.match_expressions.iter().flatten() {
        if ours.contains(expression) || foreign.contains(expression) {
            expressions.push(expression.clone());
        }
    }
    for expression in ours {
        if !expressions.contains(&expression) {
            expressions.push(expression);
        }
    }
    LabelSelector {
        match_labels: Some(labels).filter(|labels| !labels.is_empty()),
        match_expressions: Some(expressions).filter(|expressions| !expressions.is_empty()),
    }
}

fn foreign<'a>(
    rendered: &'a LabelSelector,
    stored: &'a LabelSelector,
    own_namespace: &'a str,
) -> impl Iterator<Item = &'a LabelSelectorRequirement> {
    let ours = rendered.match_expressions.as_deref().unwrap_or_default();
    // Only flipguard itself exempts its own namespace by name: an entry of an older rendering is no addition.
    let older = move |entry: &LabelSelectorRequirement| {
        entry.key == "kubernetes.io/metadata.name"
            && entry.operator == "NotIn"
            && entry.values.iter().flatten().any(|value| value == own_namespace)
    };
    stored.match_expressions.iter().flatten().filter(move |entry| !ours.contains(entry) && !older(entry))
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
    use std::collections::BTreeMap;

    use k8s_openapi::api::admissionregistration::v1::ServiceReference;

    use super::*;

    fn metadata(annotations: &[(&str, &str)]) -> ObjectMeta {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }
    }

    #[test]
    fn whose_it_is() {
        let own = |annotations: &[(&str, &str)]| ownership(&metadata(annotations), "1.2.0");
        assert_eq!(own(&[]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "1.2.0")]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "1.1.9")]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "1.2.0-rc.1")]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "someone")]), Ownership::Free);
        assert_eq!(own(&[(RENDERED_BY, "1.10.0")]), Ownership::Newer("1.10.0".to_owned()));
        assert_eq!(own(&[(RENDERED_BY, "2.0.0"), (SUSPEND, "fire")]), Ownership::Suspended("fire".to_owned()));
        assert_eq!(own(&[(SUSPEND, "")]), Ownership::Suspended("no reason given".to_owned()));
        assert_eq!(own(&[(SUSPEND, "false")]), Ownership::Free);
    }

    fn not_in(key: &str, values: &[&str]) -> LabelSelectorRequirement {
        LabelSelectorRequirement {
            key: key.to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
        }
    }

    fn webhook(name: &str, expressions: &[LabelSelectorRequirement]) -> ValidatingWebhook {
        let selector = LabelSelector { match_expressions: Some(expressions.to_vec()), ..LabelSelector::default() };
        ValidatingWebhook { name: name.to_owned(), namespace_selector: Some(selector), ..ValidatingWebhook::default() }
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
    fn what_a_managed_cluster_adds_stays() {
        let ours = not_in("kubernetes.io/metadata.name", &["fg", "kube-node-lease", "kube-system"]);
        let gke = not_in("kubernetes.io/metadata.name", &["gke-managed-system", "kube-system"]);
        let aks = LabelSelectorRequirement {
            key: "control-plane".to_owned(),
            operator: "DoesNotExist".to_owned(),
            values: None,
        };
        let older = not_in("kubernetes.io/metadata.name", &["fg", "kube-system"]);
        let merge = |stored: &[LabelSelectorRequirement]| {
            let [merged] = with_additions(&[webhook("a", std::slice::from_ref(&ours))], &[webhook("a", stored)], "fg")
                .try_into()
                .unwrap();
            let mut merged: ValidatingWebhook = merged;
            merged.namespace_selector().clone().unwrap().match_expressions.unwrap()
        };
        let one = std::slice::from_ref;
        assert_eq!(merge(one(&ours)), one(&ours));
        assert_eq!(merge(&[]), one(&ours));
        assert_eq!(merge(&[ours.clone(), aks.clone()]), [ours.clone(), aks.clone()]);
        assert_eq!(merge(&[gke.clone(), ours.clone()]), [gke.clone(), ours.clone()], "in their order");
        assert_eq!(merge(&[aks.clone(), gke.clone()]), [aks.clone(), gke.clone(), ours.clone()]);
        assert_eq!(merge(&[older]), one(&ours), "what an older flipguard rendered is no addition");
        // Of another webhook, nothing is taken.
        let others = with_additions(&[webhook("a", one(&ours))], &[webhook("b", one(&aks))], "fg");
        assert_eq!(others, [webhook("a", one(&ours))]);
        // Labels as well.
        let mut stored = webhook("a", one(&ours));
        let labels = BTreeMap::from([("managed".to_owned(), "no".to_owned())]);
        stored.namespace_selector.as_mut().unwrap().match_labels = Some(labels);
        assert_eq!(with_additions(&[webhook("a", one(&ours))], &[stored.clone()], "fg"), [stored.clone()]);
        let selector = |webhook: &mut ValidatingWebhook| webhook.namespace_selector().clone().unwrap();
        let said = additions(&selector(&mut webhook("a", one(&ours))), &selector(&mut stored), "fg");
        assert_eq!(said, ["managed=no"]);
        let said = additions(&selector(&mut webhook("a", one(&ours))), &selector(&mut webhook("a", &[gke, aks])), "fg");
        let expected =
            ["kubernetes.io/metadata.name NotIn (gke-managed-system, kube-system)", "control-plane DoesNotExist"];
        assert_eq!(said, expected);
    }
}
