//! A label selector on the command line, as `kubectl -l` takes it.

use std::str::FromStr;

use crate::model::Labels;

/// Conditions on labels; all of them must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LabelFilter(Vec<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Is(String, String),
    IsNot(String, String),
    Exists(String),
    IsAbsent(String),
}

impl LabelFilter {
    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::Is(key, value) => labels.get(key) == Some(value),
            Condition::IsNot(key, value) => labels.get(key) != Some(value),
            Condition::Exists(key) => labels.contains_key(key),
            Condition::IsAbsent(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for LabelFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).map(condition).collect::<Result<_, _>>().map(Self)
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let pair = |key: &str, value: &str| (key.trim().to_owned(), value.trim().to_owned());
    let condition = if let Some((key, value)) = text.split_once("!=") {
        let (key, value) = pair(key, value);
        Condition::IsNot(key, value)
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        let (key, value) = pair(key, value);
        Condition::Is(key, value)
    } else if let Some(key) = text.strip_prefix('!') {
        Condition::IsAbsent(key.trim().to_owned())
    } else {
        Condition::Exists(text.to_owned())
    };
    let (Condition::Is(key, _) | Condition::IsNot(key, _) | Condition::Exists(key) | Condition::IsAbsent(key)) =
        &condition;
    if key.is_empty() || key.contains([' ', '(', ')']) {
        return Err(format!("`{text}` is no condition; it must be like app=shop, tier!=test, key or !key"));
    }
    Ok(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_those_of_kubectl() {
        let labels: Labels = [("app".to_owned(), "shop".to_owned())].into();
        let matches = |text: &str| text.parse::<LabelFilter>().map(|filter| filter.matches(&labels));
        for holds in ["app=shop", "app==shop", "app", "!tier", "tier!=test", "app=shop,!tier"] {
            assert_eq!(matches(holds), Ok(true), "{holds}");
        }
        for fails in ["app=x", "app!=shop", "tier", "!app", "app,tier"] {
            assert_eq!(matches(fails), Ok(false), "{fails}");
        }
        for bad in ["", "=x", "app in (a)", "app,,b"] {
            assert!(matches(bad).is_err(), "{bad}");
        }
    }
}
