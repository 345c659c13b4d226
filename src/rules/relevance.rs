//! Which writes can matter to a rule at all.
//!
//! The same table is rendered twice: as a predicate for the rules, and as CEL match conditions that the API server
//! evaluates before it calls anybody. What the predicate accepts, the conditions accept; so ordinary writes cost
//! nothing, and nothing that a rule could refuse slips past.

use std::fmt::Write as _;

use crate::model::{ColourScheme, Role, Service, annotation};

/// One CEL expression of a webhook's `matchConditions`; all of them must hold for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its name, unique within the webhook.
    pub name: &'static str,
    /// The expression. It is total: the API server refuses the write where one fails to evaluate.
    pub expression: String,
}

/// Whether an update of a Service is judged: its routing moves, and its old or new object is a traffic Service. What
/// opts out counts as opted out at once.
#[must_use]
pub fn service_update(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    let opted_out = match new.role(colours) {
        Role::Unguarded(_) => true,
        Role::Preview => new.meta.annotation(annotation::ROLE).is_some(),
        Role::Traffic | Role::Plain => false,
    };
    let guarded = [old, new].iter().any(|service| service.role(colours) == Role::Traffic);
    old.routed() != new.routed() && guarded && !opted_out
}

/// The conditions under which the API server calls for an update of a Service.
#[must_use]
pub fn service_update_conditions(colours: &ColourScheme) -> Vec<Condition> {
    let mut pinned = format!("k in {}", list(&colours.keys));
    if !colours.names.is_empty() {
        let _ = write!(pinned, " || s[k] in {}", list(&colours.names));
        for name in &colours.names {
            let _ = write!(pinned, " || s[k].endsWith({})", quote(&format!("-{name}")));
        }
    }
    vec![
        Condition {
            name: "routing-moves",
            expression: format!("{} != {}", selector_of("object"), selector_of("oldObject")),
        },
        Condition {
            name: "colour-pinned",
            expression: format!(
                "[{}, {}].exists(s, s.exists(k, {pinned})) || [{}, {}].exists(role, role == 'traffic')",
                selector_of("object"),
                selector_of("oldObject"),
                annotation_of("object", annotation::ROLE),
                annotation_of("oldObject", annotation::ROLE),
            ),
        },
    ]
}

fn selector_of(object: &str) -> String {
    format!("{object}.?spec.?selector.orValue({{}})")
}

fn annotation_of(object: &str, key: &str) -> String {
    format!("{object}.?metadata.?annotations[?{}].orValue('')", quote(key))
}

fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A CEL string literal.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_survive_quotes() {
        assert_eq!(quote(r"it's a \"), r"'it\'s a \\'");
    }
}
