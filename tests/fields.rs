//! The inventory of fields: every field of the specs that flipguard reads is either asked about, or left out for a stated
//! reason. A new release of Kubernetes that adds a field makes this test fail until somebody has decided.

use std::collections::{BTreeMap, BTreeSet};

use flipguard::model::ColourScheme;
use flipguard::rules::conditions::{self, Unanswered};
use k8s_openapi::api::apps::v1::{DaemonSetSpec, DeploymentSpec, ReplicaSetSpec, StatefulSetSpec};
use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor, value};
use serde::forward_to_deserialize_any;

/// A deserializer that yields nothing but the names of the fields that a type would read.
struct Names<'a>(&'a mut BTreeSet<String>);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("only a struct has fields"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields.iter().map(|field| (*field).to_owned()));
        Err(Error::custom("the names are all that is wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields_of<T: for<'de> Deserialize<'de>>() -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    drop(T::deserialize(Names(&mut fields)));
    fields
}

type Inventory = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn every_field_of_kubernetes_is_decided_on() {
    let inventory: Inventory = serde_saphyr::from_str(include_str!("fields.yaml")).unwrap();
    let kinds = [
        ("Service", fields_of::<ServiceSpec>()),
        ("ServicePort", fields_of::<ServicePort>()),
        ("Deployment", fields_of::<DeploymentSpec>()),
        ("StatefulSet", fields_of::<StatefulSetSpec>()),
        ("DaemonSet", fields_of::<DaemonSetSpec>()),
        ("ReplicaSet", fields_of::<ReplicaSetSpec>()),
    ];
    for (kind, fields) in kinds {
        assert!(fields.len() > 3, "{kind} has only {fields:?}");
        let decided: BTreeSet<String> = inventory[kind].keys().cloned().collect();
        assert_eq!(decided, fields, "tests/fields.yaml, {kind}: decide whether a rule needs the field");
    }
}

#[test]
fn asked_fields_are_in_the_filter_and_others_have_a_reason() {
    let colours = ColourScheme::default();
    let text = |conditions: Vec<conditions::Condition>| {
        conditions.into_iter().map(|condition| condition.expression).collect::<Vec<_>>().join(" ")
    };
    let of_services = text(conditions::service_update_conditions(&colours));
    let of_workloads = text(conditions::workload_conditions(&colours, &[], Unanswered::Denied));
    let inventory: Inventory = serde_saphyr::from_str(include_str!("fields.yaml")).unwrap();
    for (kind, fields) in inventory {
        let conditions = if kind == "Service" { &of_services } else { &of_workloads };
        for (field, decision) in fields {
            // Ports are asked about as a whole.
            let is_in_filter = kind == "ServicePort" || conditions.contains(&format!(".?spec.?{field}."));
            match decision.as_str() {
                "asked" => assert!(is_in_filter, "{kind}: the filter does not ask about {field}"),
                because => assert!(because.len() > 15, "{kind}.{field} is left out without a reason"),
            }
        }
    }
}
