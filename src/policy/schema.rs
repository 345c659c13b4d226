//! Whether the API server would accept a policy: the schema of the CRD, walked offline.
//!
//! The API server has the last word. This names what it would refuse, before anything is sent.

use regex::Regex;
use serde_json::{Map, Value};

use super::resource;
use crate::rules::Reason;

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field: `spec.live.floor`.
    pub field: String,
    /// What is wrong with it, and what it must be.
    pub why: String,
}

/// Everything that the API server would refuse in a policy.
///
/// # Errors
/// When the schema cannot be made, which a test rules out.
pub fn faults(policy: &Value) -> serde_json::Result<Vec<Fault>> {
    let crd = resource::crd(&Value::Null)?;
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap_or(&Value::Null);
    let mut walk = Walk::default();
    match policy.get("spec") {
        Some(spec) => walk.value("spec", spec, schema),
        None => walk.fault("spec", "it is missing".to_owned()),
    }
    Ok(walk.faults)
}

#[derive(Default)]
struct Walk {
    faults: Vec<Fault>,
}

impl Walk {
    fn fault(&mut self, field: &str, why: String) {
        self.faults.push(Fault { field: field.to_owned(), why });
    }

    fn value(&mut self, field: &str, value: &Value, schema: &Value) {
        let before = self.faults.len();
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        match (kind, value) {
            ("object", Value::Object(object)) => self.object(field, object, schema),
            ("array", Value::Array(items)) => self.array(field, items, schema),
            ("string", Value::String(text)) => self.text(field, text, schema),
            ("integer", Value::Number(number)) if number.is_i64() => self.number(field, number.as_i64(), schema),
            _ => self.fault(field, format!("`{value}` is no {}", in_words(kind))),
        }
        // The expressions of the CRD expect values of the right form.
        if self.faults.len() == before {
            for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                let message = rule.get("message").and_then(Value::as_str).unwrap_or_default();
                if holds(message, value) == Some(false) {
                    self.fault(field, format!("`{}`: {message}", shown(value)));
                }
            }
        }
    }

    fn object(&mut self, field: &str, object: &Map<String, Value>, schema: &Value) {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                self.fault(&format!("{field}.{name}"), "it is missing, and must be set".to_owned());
            }
        }
        let at_most = schema.get("maxProperties").and_then(Value::as_u64);
        self.bound(field, object.len(), "entries", None, at_most);
        let known = schema.get("properties").and_then(Value::as_object);
        for (name, value) in object {
            let path = format!("{field}.{name}");
            match (known.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema)) => self.value(&path, value, schema),
                (None, None) => {
                    let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                    self.fault(&path, format!("there is no such field; these are known: {}", names.join(", ")));
                }
            }
        }
    }

    fn array(&mut self, field: &str, items: &[Value], schema: &Value) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        self.bound(field, items.len(), "items", bound("minItems"), bound("maxItems"));
        for (index, item) in items.iter().enumerate() {
            let path = format!("{field}[{index}]");
            self.value(&path, item, schema.get("items").unwrap_or(&Value::Null));
            let key = key_of(item, schema);
            if key.is_some() && items.iter().take(index).any(|other| key_of(other, schema) == key) {
                self.fault(&path, format!("`{}` is there twice", shown(item)));
            }
        }
    }

    fn text(&mut self, field: &str, text: &str, schema: &Value) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        self.bound(field, text.chars().count(), "characters", bound("minLength"), bound("maxLength"));
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            if !allowed.contains(&text) {
                let nearest = allowed.iter().min_by_key(|known| distance(known, text)).filter(|_| allowed.len() > 5);
                let choice = nearest.map_or_else(|| allowed.join(", "), |known| format!("{known}, perhaps?"));
                self.fault(field, format!("`{text}` is not known; it must be one of: {choice}"));
            }
        }
        let pattern = schema.get("pattern").and_then(Value::as_str).and_then(|pattern| Regex::new(pattern).ok());
        if let Some(pattern) = pattern.filter(|pattern| !pattern.is_match(text)) {
            let like =
                if pattern.as_str().contains("h|m|s") { "a length of time like `10m`" } else { pattern.as_str() };
            self.fault(field, format!("`{text}` has the wrong form; it must be {like}"));
        }
        let is_time = || serde_json::from_value::<crate::model::Timestamp>(Value::from(text)).is_ok();
        if schema.get("format").and_then(Value::as_str) == Some("date-time") && !is_time() {
            self.fault(field, format!("`{text}` is no time; it must be like `2030-01-31T15:00:00Z`"));
        }
    }

    fn number(&mut self, field: &str, number: Option<i64>, schema: &Value) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let Some(number) = number else { return };
        #[expect(clippy::cast_precision_loss, reason = "the bounds of percentages and counts are small")]
        let is = number as f64;
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_some_and(|least| is < least) || most.is_some_and(|most| is > most) {
            let ends = format!("{} to {}", least.unwrap_or_default(), most.unwrap_or(f64::INFINITY));
            self.fault(field, format!("`{number}` is out of bounds; it must be from {ends}"));
        }
    }

    fn bound(&mut self, field: &str, count: usize, what: &str, least: Option<u64>, most: Option<u64>) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        if let Some(least) = least.filter(|least| count < *least) {
            self.fault(field, format!("it has {count} {what}; it needs at least {least}"));
        }
        if let Some(most) = most.filter(|most| count > *most) {
            self.fault(field, format!("it has {count} {what}; it may have at most {most}"));
        }
    }
}

/// The part of an item that must not repeat; `None` where items may repeat.
fn key_of<'a>(item: &'a Value, schema: &Value) -> Option<&'a Value> {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => Some(item),
        Some("map") => item.get(schema.pointer("/x-kubernetes-list-map-keys/0")?.as_str()?),
        _ => None,
    }
}

/// Whether a value is as an expression demands.
type Expression = fn(&Value) -> bool;

/// The expressions of the CRD, by their messages. A test holds the two lists together.
const EXPRESSIONS: [(&str, Expression); 9] = [
    ("In and NotIn need values; Exists and DoesNotExist have none", |requirement| {
        let needs = matches!(text(requirement, "operator"), "In" | "NotIn");
        needs != requirement.get("values").and_then(Value::as_array).is_none_or(Vec::is_empty)
    }),
    ("this rule can be nothing but Deny", |rule| !is_fixed(text(rule, "rule")) || text(rule, "action") == "Deny"),
    ("it may be at most 24h", |hold| length(hold).is_some_and(|hold| hold <= 24 * 3600)),
    ("only a gate of kind Job has images", |gate| gate.get("images").is_none() || text(gate, "kind") == "Job"),
    ("it must be from 1m to 720h", |age| length(age).is_some_and(|age| (60..=720 * 3600).contains(&age))),
    ("it must be from 1m to 1h", |max| length(max).is_some_and(|max| (60..=3600).contains(&max))),
    ("an exemption of people needs an end: expires", |exemption| {
        let subjects = exemption.get("subjects").and_then(Value::as_array);
        let only_accounts = subjects.into_iter().flatten().all(|subject| text(subject, "kind") == "ServiceAccount");
        only_accounts || exemption.get("expires").is_some()
    }),
    ("this rule cannot be lifted", |rules| {
        !rules.as_array().into_iter().flatten().any(|rule| rule.as_str().is_some_and(is_fixed))
    }),
    ("a ServiceAccount has a namespace, and nobody else has one", |subject| {
        subject.get("namespace").is_some() == (text(subject, "kind") == "ServiceAccount")
    }),
];

fn holds(message: &str, value: &Value) -> Option<bool> {
    EXPRESSIONS.iter().find(|(known, _)| *known == message).map(|(_, holds)| holds(value))
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn is_fixed(code: &str) -> bool {
    Reason::ALL.iter().any(|reason| reason.code() == code && reason.is_fixed())
}

/// A length of time in seconds.
fn length(value: &Value) -> Option<u64> {
    humantime::parse_duration(value.as_str()?).ok().map(|length| length.as_secs())
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn in_words(kind: &str) -> &str {
    match kind {
        "object" => "map of fields",
        "array" => "list",
        "integer" => "whole number",
        "string" => "text; put it in quotes",
        other => other,
    }
}

/// How many letters differ between two words: insertions, deletions and replacements.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (above, same) in row.iter_mut().skip(1).zip(other.iter().map(|other| *other == letter)) {
            let cost = (diagonal + usize::from(!same)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(spec: &str) -> Option<String> {
        let spec: Value = serde_saphyr::from_str(spec).unwrap();
        let mut spec = serde_json::json!({ "spec": spec });
        if let Some(fields) = spec["spec"].as_object_mut() {
            fields.entry("namespaceSelector").or_insert_with(|| serde_json::json!({}));
        }
        faults(&spec).unwrap().first().map(|fault| format!("{}: {}", fault.field, fault.why))
    }

    #[test]
    fn each_fault_names_the_field_the_value_and_what_it_must_be() {
        for (spec, words) in [
            ("live: {floor: 0}", "spec.live.floor: `0` is out of bounds; it must be from 1 to 1000"),
            ("live: {flor: 1}", "spec.live.flor: there is no such field; these are known: floor, shrinkPercent"),
            ("enforcement: Maybe", "spec.enforcement: `Maybe` is not known; it must be one of: Deny, Warn"),
            (
                "rules: [{rule: held-delted, action: Warn}]",
                "spec.rules[0].rule: `held-delted` is not known; it must be one of: held-deleted, perhaps?",
            ),
            (
                "rollback: {hold: soon}",
                "spec.rollback.hold: `soon` has the wrong form; it must be a length of time like `10m`",
            ),
            ("rollback: {hold: 25h}", "spec.rollback.hold: `25h`: it may be at most 24h"),
            ("live: {floor: '2'}", "spec.live.floor: `\"2\"` is no whole number"),
            ("colours: {keys: [a, a]}", "spec.colours.keys[1]: `a` is there twice"),
        ] {
            assert_eq!(fault(spec).as_deref(), Some(words));
        }
        assert_eq!(fault("live: {floor: 2}"), None);
        let gate = |more: &str| fault(&format!("flip: {{gates: [{{name: smoke, {more}}}]}}"));
        assert_eq!(gate("kind: Job, images: ['registry.example/smoke@sha256:*'], maxAge: 24h"), None);
        assert!(
            gate("kind: Approval, images: [a]").is_some_and(|why| why.contains("only a gate of kind Job has images"))
        );
        assert!(gate("kind: Job, maxAge: 721h").is_some_and(|why| why.contains("it must be from 1m to 720h")));
        assert!(gate("kind: Test").is_some_and(|why| why.contains("Job, Attestation, Approval")));
        assert!(fault("flip: {gates: [{name: Smoke, kind: Job}]}").is_some());
        assert!(faults(&serde_json::json!({ "spec": {} })).unwrap()[0].field == "spec.namespaceSelector");
    }

    #[test]
    fn every_expression_of_the_crd_is_known() {
        fn messages(schema: &Value, found: &mut Vec<String>) {
            let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
            found.extend(rules.into_iter().flatten().map(|rule| rule["message"].as_str().unwrap().to_owned()));
            match schema {
                Value::Object(fields) => fields.values().for_each(|value| messages(value, found)),
                Value::Array(items) => items.iter().for_each(|value| messages(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        messages(&resource::crd(&Value::Null).unwrap(), &mut found);
        found.sort();
        found.dedup();
        let mut known: Vec<&str> = EXPRESSIONS.iter().map(|(message, _)| *message).collect();
        known.sort_unstable();
        assert_eq!(found, known);
    }

    /// CEL reserves some words. Kubernetes 1.30 takes such a field only in its escaped form, and later versions take both.
    #[test]
    fn no_expression_of_the_crd_has_a_reserved_word() {
        let crd = resource::crd(&Value::Null).unwrap().to_string();
        let rules: Vec<&str> = crd.split("\"rule\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(rules.iter().any(|rule| rule.contains("self.__namespace__")), "{rules:?}");
        for word in ["namespace", "in", "as", "for", "if", "import", "let", "package", "return", "function", "while"] {
            let field = format!(".{word}");
            let is_field = |rule: &&&str| {
                let is_more = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
                rule.split(&field).skip(1).any(|rest| !is_more(rest))
            };
            assert_eq!(rules.iter().find(is_field), None, "{word} is reserved; write __{word}__");
        }
    }
}
