//! Compares webhooks by their names, whatever their order. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::stored::Webhook;

/// How stored webhooks differ from the wanted ones, in words; empty where they do the same.
#[must_use]
pub fn differences<W: Webhook>(wanted: &[W], stored: &[W]) -> Vec<String> {
    let mut differences = Vec::new();
    for wanted in wanted {
        let Some(stored) = stored.iter().find(|stored| stored.name() == wanted.name()) else {
            differences.push(format!("{} is missing", wanted.name()));
            continue;
        };
        let fields = fields(&members(wanted), &members(stored));
        if !fields.is_empty() {
            differences.push(format!("{}: {}", wanted.name(), fields.join(", ")));
        }
    }
    let unknown = stored.iter().filter(|stored| wanted.iter().all(|wanted| wanted.name() != stored.name()));
    differences.extend(unknown.map(|webhook| format!("{} is not flipguard's", webhook.name())));
    differences
}

/// The fields that differ, with short values, and one level deep.
fn fields(wanted: &Map<String, Value>, stored: &Map<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = wanted.keys().chain(stored.keys()).collect();
    let mut fields = Vec::new();
    for name in names {
        match (wanted.get(name), stored.get(name)) {
            (wanted, stored) if wanted == stored => {}
            (Some(Value::Object(wanted)), Some(Value::Object(stored))) => {
                let parts: BTreeSet<&String> = wanted.keys().chain(stored.keys()).collect();
                let differing = parts.into_iter().filter(|part| wanted.get(*part) != stored.get(*part));
                fields.extend(differing.map(|part| format!("{name}.{part}")));
            }
            (Some(wanted), Some(stored)) if is_short(wanted) && is_short(stored) => {
                fields.push(format!("{name} is {}, not {}", plain(stored), plain(wanted)));
            }
            _ => fields.push(name.clone()),
        }
    }
    fields
}

/// The members of a webhook. All lists in it are sets: their order does not matter.
fn members<W: Webhook>(webhook: &W) -> Map<String, Value> {
    match serde_json::to_value(webhook).map(sorted) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
            items.sort_by_cached_key(ToString::to_string);
            Value::Array(items)
        }
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, sorted(value))).collect())
        }
        other => other,
    }
}

fn is_short(value: &Value) -> bool {
    matches!(value, Value::Number(_)) || value.as_str().is_some_and(|text| text.len() < 30)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::{
        MatchCondition, RuleWithOperations, ValidatingWebhook, WebhookClientConfig,
    };

    use super::*;

    fn webhook(name: &str) -> ValidatingWebhook {
        let texts = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        let rule = RuleWithOperations {
            operations: texts(&["CREATE", "UPDATE"]),
            resources: texts(&["a", "b"]),
            ..RuleWithOperations::default()
        };
        let condition =
            |name: &str| MatchCondition { name: name.to_owned(), expression: format!("request.name == '{name}'") };
        ValidatingWebhook {
            name: name.to_owned(),
            failure_policy: Some("Fail".to_owned()),
            timeout_seconds: Some(5),
            rules: Some(vec![rule]),
            match_conditions: Some(vec![condition("x"), condition("y")]),
            client_config: WebhookClientConfig {
                url: Some("https://a/validate/secret".to_owned()),
                ..Default::default()
            },
            ..ValidatingWebhook::default()
        }
    }

    #[test]
    fn an_order_is_no_difference() {
        let wanted = [webhook("a"), webhook("b")];
        let mut stored = [webhook("b"), webhook("a")];
        stored[0].match_conditions.as_mut().unwrap().reverse();
        let rule = &mut stored[1].rules.as_mut().unwrap()[0];
        rule.operations.as_mut().unwrap().reverse();
        rule.resources.as_mut().unwrap().reverse();
        assert!(differences(&wanted, &stored).is_empty());
    }

    #[test]
    fn each_difference_is_named_without_any_secret() {
        let mut stored = [webhook("a"), webhook("c")];
        stored[0].failure_policy = Some("Ignore".to_owned());
        stored[0].timeout_seconds = Some(30);
        stored[0].client_config.url = Some("https://a/validate/other".to_owned());
        stored[0].match_conditions.as_mut().unwrap().pop();
        let said = differences(&[webhook("a"), webhook("b")], &stored);
        let expected = [
            "a: clientConfig.url, failurePolicy is Ignore, not Fail, matchConditions, timeoutSeconds is 30, not 5",
            "b is missing",
            "c is not flipguard's",
        ];
        assert_eq!(said, expected);
        let mut stored = webhook("a");
        stored.match_conditions.as_mut().unwrap()[0].expression = "false".to_owned();
        stored.rules.as_mut().unwrap()[0].resources.as_mut().unwrap().pop();
        assert_eq!(differences(&[webhook("a")], &[stored]), ["a: matchConditions, rules"]);
    }
}
