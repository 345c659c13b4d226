//! Policies as they are stored. Each is read on its own: one that cannot be read never takes another down.

use serde::Deserialize;
use serde_json::Value;

use super::resource::{BlueGreenPolicySpec, BlueGreenPolicyStatus, NamespaceSelector};

/// The largest number of policies. What goes beyond, by name, is set aside.
pub const MOST: usize = 256;
/// The largest size of all policies together, in bytes. What goes beyond, by name, is set aside.
pub const MOST_BYTES: usize = 1 << 20;

/// A policy as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// What it says, or why that is not known.
    pub content: Result<BlueGreenPolicySpec, Unread>,
    /// What was made of it; empty where that cannot be read.
    pub status: BlueGreenPolicyStatus,
    /// Whether this is one policy, and no place-holder for those that were not read.
    pub is_whole: bool,
}

/// Why a policy does not count, and where it would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Why.
    pub why: String,
    /// The namespaces that it selects; `None` where that is not known either.
    pub selector: Option<NamespaceSelector>,
    /// Whether it is set aside because the bounds are reached, and may be good itself.
    pub is_beyond: bool,
}

/// All policies of a cluster, ordered by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policies {
    /// The policies.
    pub all: Vec<Stored>,
}

/// The parts of an object that are read apart.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    generation: i64,
}

impl Policies {
    /// Reads the items of a list, each with the size of its `spec` in bytes.
    #[must_use]
    pub fn of(items: Vec<(Value, usize)>) -> Self {
        let mut items: Vec<(Object, usize)> = items
            .into_iter()
            .filter_map(|(item, bytes)| Some((serde_json::from_value::<Object>(item).ok()?, bytes)))
            .collect();
        items.sort_by(|(a, _), (b, _)| a.metadata.name.cmp(&b.metadata.name));
        let mut list = PolicyList::default();
        for (object, bytes) in items {
            list.take(object, bytes);
        }
        list.done()
    }

    /// The same where more policies follow that were not read. Nothing is known of them, so nothing is forgiven.
    #[must_use]
    pub fn and_more(mut self) -> Self {
        let last = self.all.last().map(|stored| stored.name.clone()).unwrap_or_default();
        let why = format!("there are more than {MOST} policies, or more than 1 MiB of them");
        let unread = Unread { why, selector: None, is_beyond: true };
        self.all.push(Stored {
            name: format!("(after {last})"),
            generation: 0,
            content: Err(unread),
            ..Stored::nothing()
        });
        self
    }

    /// These policies after others were applied, and some deleted by name.
    #[must_use]
    pub fn after(mut self, applied: Self, deleted: &[String]) -> Self {
        let is_applied = |name: &str| applied.all.iter().any(|stored| stored.name == name);
        self.all.retain(|stored| !is_applied(&stored.name) && !deleted.contains(&stored.name));
        self.all.extend(applied.all);
        self.all.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// Every policy of two sets, for what depends on any of them.
    #[must_use]
    pub fn with_all(mut self, other: &Self) -> Self {
        self.all.extend(other.all.iter().cloned());
        self
    }

    /// Whether the labels of a namespace decide which policies select it.
    #[must_use]
    pub fn needs_labels(&self, namespace: &str) -> bool {
        self.all.iter().any(|stored| {
            let selector = match &stored.content {
                Ok(spec) => Some(&spec.namespace_selector),
                Err(unread) => unread.selector.as_ref(),
            };
            selector.is_some_and(|selector| selector.needs_labels(namespace))
        })
    }
}

/// The policies of a list that arrives in parts, ordered by name. Each is read at once, so that little is held.
#[derive(Default)]
pub struct PolicyList {
    all: Vec<Stored>,
    bytes: usize,
}

impl PolicyList {
    /// Takes an object with its `metadata`, `spec` and `status`, and the size of its `spec` in bytes. What is no such
    /// object is left out.
    pub fn add(&mut self, item: Value, bytes: usize) {
        if let Ok(object) = serde_json::from_value::<Object>(item) {
            self.take(object, bytes);
        }
    }

    /// Whether the bounds are reached, so that what follows would be set aside.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.bytes > MOST_BYTES || self.all.len() > MOST
    }

    /// The policies so far.
    #[must_use]
    pub fn done(self) -> Policies {
        Policies { all: self.all }
    }

    fn take(&mut self, object: Object, bytes: usize) {
        if self.all.last().is_some_and(|last| last.name == object.metadata.name) {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let beyond = if self.all.len() >= MOST {
            Some(format!("there are more than {MOST} policies"))
        } else {
            (self.bytes > MOST_BYTES).then(|| "all policies together are larger than 1 MiB".to_owned())
        };
        self.all.push(stored(object, beyond));
    }
}

fn stored(object: Object, beyond: Option<String>) -> Stored {
    let Object { metadata: Metadata { name, generation }, spec, status } = object;
    let selector = spec.get("namespaceSelector").cloned();
    let selector = selector.and_then(|selector| serde_json::from_value(selector).ok());
    let content = match beyond {
        Some(why) => Err(Unread { why, selector, is_beyond: true }),
        None => serde_path_to_error::deserialize::<_, BlueGreenPolicySpec>(spec)
            .map_err(|error| (format!("spec.{}: {}", error.path(), error.inner()), selector))
            .map_err(|(why, selector)| Unread { why, selector, is_beyond: false }),
    };
    let status = serde_json::from_value(status).unwrap_or_default();
    Stored { name, generation, content, status, is_whole: true }
}

impl Stored {
    fn nothing() -> Self {
        let content = Ok(BlueGreenPolicySpec::default());
        Self { name: String::new(), generation: 0, content, status: BlueGreenPolicyStatus::default(), is_whole: false }
    }

    /// The codes of rules that this version does not know, and leaves out.
    #[must_use]
    pub fn unknown_rules(&self) -> Vec<&str> {
        let Ok(spec) = &self.content else { return Vec::new() };
        let of_rules = spec.rules.iter().map(|rule| &rule.rule);
        let of_exemptions = spec.exemptions.iter().flat_map(|exemption| &exemption.rules);
        let unknown = of_rules.chain(of_exemptions).filter(|code| code.reason().is_none());
        unknown.map(|code| code.0.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(name: &str, spec: &Value) -> (Value, usize) {
        (json!({ "metadata": { "name": name, "generation": 2 }, "spec": spec }), 100)
    }

    #[test]
    fn one_that_cannot_be_read_takes_no_other_down() {
        let newer = json!({ "namespaceSelector": { "matchLabels": { "env": "x" } }, "enforcement": "Tomorrow" });
        let policies = Policies::of(vec![policy("b", &json!({ "namespaceSelector": {} })), policy("a", &newer)]);
        let [a, b] = policies.all.as_slice() else { panic!("{policies:?}") };
        assert_eq!((a.name.as_str(), b.name.as_str(), b.generation), ("a", "b", 2));
        let unread = a.content.as_ref().unwrap_err();
        assert!(unread.why.starts_with("spec.enforcement: unknown variant `Tomorrow`"), "{}", unread.why);
        assert!(unread.selector.is_some() && b.content.is_ok());
    }

    #[test]
    fn what_goes_beyond_the_bounds_is_set_aside_by_name() {
        let many = (0..258).map(|number| policy(&format!("p{number:03}"), &json!({ "namespaceSelector": {} })));
        let policies = Policies::of(many.collect());
        let aside: Vec<&str> =
            policies.all.iter().filter(|stored| stored.content.is_err()).map(|stored| stored.name.as_str()).collect();
        assert_eq!(aside, ["p256", "p257"]);
        let (large, _) = policy("a", &json!({ "namespaceSelector": {} }));
        let (small, _) = policy("b", &json!({ "namespaceSelector": {} }));
        let policies = Policies::of(vec![(small, 1), (large, MOST_BYTES)]);
        assert!(policies.all[0].content.is_ok());
        assert!(policies.all[1].content.as_ref().is_err_and(|unread| unread.why.contains("1 MiB")));
    }

    #[test]
    fn a_rule_of_another_version_is_left_out_and_named() {
        let spec = json!({ "namespaceSelector": {}, "rules": [{ "rule": "of-tomorrow", "action": "Deny" }] });
        let policies = Policies::of(vec![policy("a", &spec)]);
        assert_eq!(policies.all[0].unknown_rules(), ["of-tomorrow"]);
    }
}
