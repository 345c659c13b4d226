//! The namespaces and Services of a cluster, as the status of a policy counts them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::effective::effective;
use super::read::Policies;
use super::resource::{BlueGreenPolicySpec, LabelSettings};
use crate::model::{ClusterView, Labels, Policy, Service};
use crate::rules::state::roles::traffic_services;

/// The largest number of names in a list of a status.
const MOST_NAMED: usize = 10;

/// The namespaces of a cluster, and how many traffic Services each has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    namespaces: BTreeMap<String, Namespace>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Namespace {
    labels: Labels,
    services: usize,
}

/// What the status of one policy says about the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// The namespaces that the policy selects.
    pub namespaces: usize,
    /// The traffic Services in them, as far as Services alone tell.
    pub services: usize,
    /// Other policies that select some of these namespaces.
    pub overlaps: Vec<String>,
    /// The settings of labels that another policy decides, each with that policy.
    pub overridden: Vec<String>,
}

impl Census {
    /// Adds a namespace.
    pub fn add(&mut self, name: String, labels: Labels) {
        self.namespaces.insert(name, Namespace { labels, services: 0 });
    }

    /// Counts the Services of one namespace. A number in a selector alone makes no colour, because no workloads are known
    /// here.
    pub fn count(&mut self, flags: &Policy, policies: &Policies, name: &str, services: Vec<Service>) {
        let Some(namespace) = self.namespaces.get_mut(name) else { return };
        let settings = effective(flags, policies, name, Some(&namespace.labels));
        let view = ClusterView { services, ..ClusterView::default() };
        namespace.services = traffic_services(&view, &settings.colours).count();
    }

    /// What the status of a policy says; `None` where the policy cannot be read.
    #[must_use]
    pub fn of(&self, policies: &Policies, name: &str) -> Option<Counts> {
        let spec_of = |name: &str| policies.all.iter().find(|stored| stored.name == name)?.content.as_ref().ok();
        let spec = spec_of(name)?;
        let own: Vec<_> = self.namespaces.iter().filter(|(name, it)| selects(spec, name, &it.labels)).collect();
        let overlapping = policies.all.iter().filter(|other| other.name != name).filter(|other| {
            let content = other.content.as_ref();
            content.is_ok_and(|spec| own.iter().any(|(name, it)| selects(spec, name, &it.labels)))
        });
        let overlaps: Vec<String> = overlapping.map(|other| other.name.clone()).collect();
        let earlier = overlaps.iter().filter(|other| other.as_str() < name);
        let overridden: BTreeSet<String> = earlier
            .filter_map(|other| Some((other, spec_of(other)?)))
            .flat_map(|(other, their)| differing(spec, their).into_iter().map(move |path| format!("{path} ({other})")))
            .collect();
        Some(Counts {
            namespaces: own.len(),
            services: own.iter().map(|(_, it)| it.services).sum(),
            overlaps: overlaps.into_iter().take(MOST_NAMED).collect(),
            overridden: overridden.into_iter().take(MOST_NAMED).collect(),
        })
    }
}

fn selects(spec: &BlueGreenPolicySpec, name: &str, labels: &Labels) -> bool {
    spec.namespace_selector.selects(name, Some(labels)) == Some(true)
}

/// The settings of labels that both say, and say differently.
fn differing(own: &BlueGreenPolicySpec, their: &BlueGreenPolicySpec) -> Vec<String> {
    let fields = |labels: &Option<LabelSettings>| match serde_json::to_value(labels) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let their = fields(&their.labels);
    let differs = |path: &String, value: &Value| their.get(path).is_some_and(|theirs| theirs != value);
    let own = fields(&own.labels).into_iter().filter(|(path, value)| differs(path, value));
    own.map(|(path, _)| format!("labels.{path}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, selector: &Value) -> Service {
        serde_json::from_value(
            json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": { "selector": selector } }),
        )
        .unwrap()
    }

    #[test]
    fn counts_and_overlaps() {
        let of = |name: &str, spec: Value| (json!({ "metadata": { "name": name, "generation": 1 }, "spec": spec }), 1);
        let production = json!({ "matchLabels": { "env": "production" } });
        let policies = Policies::of(vec![
            of("all", json!({ "namespaceSelector": {}, "labels": { "colourKey": "color", "versionKey": "version" } })),
            of(
                "late",
                json!({ "namespaceSelector": production, "labels": { "colourKey": "slot", "versionKey": "version" } }),
            ),
            of("none", json!({ "namespaceSelector": { "matchLabels": { "env": "nowhere" } } })),
            of("odd", json!({ "namespaceSelector": {}, "enforcement": "Later" })),
        ]);
        let mut census = Census::default();
        let labels = |value: &str| [("env".into(), value.into())].into_iter().collect::<Labels>();
        census.add("shop".to_owned(), labels("production"));
        census.add("lab".to_owned(), labels("lab"));
        let blue = json!({ "app": "shop", "color": "blue" });
        let services =
            vec![service("app", &blue), service("app-blue", &blue), service("plain", &json!({ "app": "x" }))];
        census.count(&Policy::default(), &policies, "shop", services);
        census.count(&Policy::default(), &policies, "gone", Vec::new());
        let counts = |name: &str| census.of(&policies, name);
        let all = counts("all").unwrap();
        assert_eq!((all.namespaces, all.services), (2, 1));
        assert_eq!((all.overlaps.join(" "), all.overridden.len()), ("late".to_owned(), 0));
        let late = counts("late").unwrap();
        assert_eq!((late.namespaces, late.services, late.overlaps.join(" ")), (1, 1, "all".to_owned()));
        assert_eq!(late.overridden, ["labels.colourKey (all)"]);
        assert_eq!(counts("none"), Some(Counts::default()));
        assert_eq!(counts("odd"), None);
    }
}
