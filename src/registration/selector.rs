//! The entries that others add to a `namespaceSelector`: those that exempt namespaces stay. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::stored::Webhook;

/// The rendering, with the entries that others have added to the `namespaceSelector` of a stored webhook of the same
/// name, if they exempt namespaces. Managed clusters exempt their own namespaces in this way, and repeat it when the
/// entry is removed. An entry that admits only some namespaces would switch off the guard everywhere else.
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

/// The entries of others that stay, in words, each once.
#[must_use]
pub fn additions<W: Webhook>(rendered: &[W], stored: &[W], own_namespace: &str) -> Vec<String> {
    said(rendered, stored, |ours, theirs| {
        foreign(ours, theirs, own_namespace).filter(|entry| exempts(entry)).map(in_words).collect()
    })
}

/// The entries of others that limit the guard to some namespaces, in words, each once. They do not stay.
#[must_use]
pub fn limits<W: Webhook>(rendered: &[W], stored: &[W], own_namespace: &str) -> Vec<String> {
    said(rendered, stored, |ours, theirs| {
        let is_ours = |key: &String| ours.match_labels.as_ref().is_some_and(|ours| ours.contains_key(key));
        let labels = theirs.match_labels.iter().flatten().filter(|(key, _)| !is_ours(key));
        let labels = labels.map(|(key, value)| format!("{key}={value}"));
        let entries = foreign(ours, theirs, own_namespace).filter(|entry| !exempts(entry)).map(in_words);
        labels.chain(entries).collect()
    })
}

fn said<W: Webhook>(
    rendered: &[W],
    stored: &[W],
    of: impl Fn(&LabelSelector, &LabelSelector) -> Vec<String>,
) -> Vec<String> {
    let mut all = Vec::new();
    for rendered in rendered {
        let Some(mut stored) = stored.iter().find(|stored| stored.name() == rendered.name()).cloned() else { continue };
        if let (Some(ours), Some(theirs)) = (rendered.clone().namespace_selector(), stored.namespace_selector()) {
            all.extend(of(ours, theirs));
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Whether an entry can only take namespaces out.
fn exempts(entry: &LabelSelectorRequirement) -> bool {
    matches!(entry.operator.as_str(), "NotIn" | "DoesNotExist")
}

fn in_words(entry: &LabelSelectorRequirement) -> String {
    let values = entry.values.as_ref().map_or_else(String::new, |values| format!(" ({})", values.join(", ")));
    format!("{} {}{values}", entry.key, entry.operator)
}

fn added(rendered: &LabelSelector, stored: &LabelSelector, own_namespace: &str) -> LabelSelector {
    let foreign: Vec<_> = foreign(rendered, stored, own_namespace).filter(|entry| exempts(entry)).cloned().collect();
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
        match_labels: rendered.match_labels.clone(),
        match_expressions: Some(expressions).filter(|expressions| !expressions.is_empty()),
    }
}

fn foreign<'a>(
    rendered: &'a LabelSelector,
    stored: &'a LabelSelector,
    own_namespace: &'a str,
) -> impl Iterator<Item = &'a LabelSelectorRequirement> {
    let ours = rendered.match_expressions.as_deref().unwrap_or_default();
    // Only flipguard itself exempts its own namespace by name: an entry of another rendering is no addition.
    let rendered_before = move |entry: &LabelSelectorRequirement| {
        entry.key == "kubernetes.io/metadata.name"
            && entry.operator == "NotIn"
            && entry.values.iter().flatten().any(|value| value == own_namespace)
    };
    stored.match_expressions.iter().flatten().filter(move |entry| !ours.contains(entry) && !rendered_before(entry))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::admissionregistration::v1::ValidatingWebhook;

    use super::*;

    fn entry(key: &str, operator: &str, values: &[&str]) -> LabelSelectorRequirement {
        let values = values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        LabelSelectorRequirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: Some(values).filter(|values| !values.is_empty()),
        }
    }

    fn not_in(key: &str, values: &[&str]) -> LabelSelectorRequirement {
        entry(key, "NotIn", values)
    }

    fn webhook(name: &str, expressions: &[LabelSelectorRequirement]) -> ValidatingWebhook {
        let selector = LabelSelector { match_expressions: Some(expressions.to_vec()), ..LabelSelector::default() };
        ValidatingWebhook { name: name.to_owned(), namespace_selector: Some(selector), ..ValidatingWebhook::default() }
    }

    fn ours() -> LabelSelectorRequirement {
        not_in("kubernetes.io/metadata.name", &["fg", "kube-node-lease", "kube-system"])
    }

    #[test]
    fn what_a_managed_cluster_adds_stays() {
        let ours = ours();
        let gke = not_in("kubernetes.io/metadata.name", &["gke-managed-system", "kube-system"]);
        let aks = entry("control-plane", "DoesNotExist", &[]);
        let before = not_in("kubernetes.io/metadata.name", &["fg", "kube-system"]);
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
        assert_eq!(merge(&[before]), one(&ours), "what flipguard rendered before is no addition");
        // Of another webhook, nothing is taken.
        let others = with_additions(&[webhook("a", one(&ours))], &[webhook("b", one(&aks))], "fg");
        assert_eq!(others, [webhook("a", one(&ours))]);
        let said = additions(&[webhook("a", one(&ours))], &[webhook("a", &[gke, aks])], "fg");
        let expected =
            ["control-plane DoesNotExist", "kubernetes.io/metadata.name NotIn (gke-managed-system, kube-system)"];
        assert_eq!(said, expected);
    }

    /// A leftover of somebody's trial would otherwise switch off the guard in every other namespace.
    #[test]
    fn what_limits_the_guard_is_removed() {
        let rendered = [webhook("a", &[ours()])];
        let mut stored = webhook("a", &[entry("team", "In", &["shop"]), ours(), entry("tier", "Exists", &[])]);
        let labels = BTreeMap::from([("flipguard".to_owned(), "on".to_owned())]);
        stored.namespace_selector.as_mut().unwrap().match_labels = Some(labels);
        let stored = [stored];
        assert_eq!(with_additions(&rendered, &stored, "fg"), rendered);
        assert_eq!(limits(&rendered, &stored, "fg"), ["flipguard=on", "team In (shop)", "tier Exists"]);
        assert!(additions(&rendered, &stored, "fg").is_empty());
        // The probe is rendered with such an entry of its own.
        let probe = [webhook("p", &[entry("kubernetes.io/metadata.name", "In", &["fg"])])];
        assert!(limits(&probe, &probe, "fg").is_empty());
        assert_eq!(with_additions(&probe, &probe, "fg"), probe);
    }
}
