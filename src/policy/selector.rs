//! Which namespaces a policy selects.

use super::resource::{NamespaceSelector, Operator, Requirement};
use crate::model::Labels;

/// The label that every namespace has, with its name (Kubernetes, since 1.22).
const NAME: &str = "kubernetes.io/metadata.name";

impl NamespaceSelector {
    /// Whether the selector selects a namespace. `None` where that depends on labels which are not known.
    #[must_use]
    pub fn selects(&self, namespace: &str, labels: Option<&Labels>) -> Option<bool> {
        let value = |key: &str| match (key, labels) {
            (NAME, _) => Known::Is(Some(namespace)),
            (_, Some(labels)) => Known::Is(labels.get(key).map(String::as_str)),
            (_, None) => Known::Unknown,
        };
        let by_label = self.match_labels.iter().map(|(key, wanted)| match value(key) {
            Known::Is(value) => Some(value == Some(wanted)),
            Known::Unknown => None,
        });
        let by_expression = self.match_expressions.iter().map(|requirement| match value(&requirement.key.0) {
            Known::Is(value) => Some(requirement.holds(value)),
            Known::Unknown => None,
        });
        let all: Vec<Option<bool>> = by_label.chain(by_expression).collect();
        // What is surely not selected stays so, whatever the unknown labels are.
        if all.contains(&Some(false)) {
            return Some(false);
        }
        if all.contains(&None) { None } else { Some(true) }
    }

    /// Whether the labels of a namespace must be read to know whether it is selected: a name alone does not tell.
    #[must_use]
    pub fn needs_labels(&self, namespace: &str) -> bool {
        self.selects(namespace, None).is_none()
    }
}

/// The value of a label, or that it is not known.
enum Known<'a> {
    Is(Option<&'a str>),
    Unknown,
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let is_listed = || value.is_some_and(|value| self.values.iter().any(|listed| listed == value));
        match self.operator {
            Operator::In => is_listed(),
            Operator::NotIn => !is_listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: Option<&[(&str, &str)]>) -> Option<bool> {
        let selector: NamespaceSelector = serde_saphyr::from_str(selector).unwrap();
        let labels: Option<Labels> =
            labels.map(|labels| labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect());
        selector.selects("shop", labels.as_ref())
    }

    #[test]
    fn labels_and_expressions() {
        let none = Some(&[][..]);
        let production = Some(&[("env", "production")][..]);
        assert_eq!(selects("{}", None), Some(true), "everything, without any read");
        for (selector, in_production, without_labels) in [
            ("matchLabels: {env: production}", true, false),
            ("matchExpressions: [{key: env, operator: In, values: [staging, production]}]", true, false),
            ("matchExpressions: [{key: env, operator: NotIn, values: [production]}]", false, true),
            ("matchExpressions: [{key: env, operator: Exists}]", true, false),
            ("matchExpressions: [{key: env, operator: DoesNotExist}]", false, true),
        ] {
            assert_eq!(selects(selector, production), Some(in_production), "{selector}");
            assert_eq!(selects(selector, none), Some(without_labels), "{selector}");
            assert_eq!(selects(selector, None), None, "{selector}");
        }
    }

    #[test]
    fn a_name_needs_no_read() {
        assert_eq!(selects("matchLabels: {kubernetes.io/metadata.name: shop}", None), Some(true));
        assert_eq!(selects("matchLabels: {kubernetes.io/metadata.name: pay}", None), Some(false));
        let both = "matchLabels: {kubernetes.io/metadata.name: pay, env: production}";
        assert_eq!(selects(both, None), Some(false), "the rest does not matter");
    }
}
