//! The settings of one namespace, and what is unknown about them.
//!
//! What is unknown counts for what it demands, and not for what it forgives.

use super::merge::{Named, merge};
use super::read::Policies;
use super::stricter::stricter;
use crate::model::{ColourScheme, Labels, Policy};

/// The settings of a namespace. `labels` are those of the namespace, `None` where they could not be read.
#[must_use]
pub fn effective(flags: &Policy, policies: &Policies, namespace: &str, labels: Option<&Labels>) -> Policy {
    let mut certain = Vec::new();
    let mut possible = Vec::new();
    let mut notes = Vec::new();
    let mut versions = Vec::new();
    let mut is_set_aside = false;
    for stored in &policies.all {
        match &stored.content {
            Ok(spec) => {
                let policy = Named { name: &stored.name, spec };
                let selects = spec.namespace_selector.selects(namespace, labels);
                if selects != Some(false) {
                    versions.push(format!("{}@{}", stored.name, stored.generation));
                }
                match selects {
                    Some(true) => certain.push(policy),
                    Some(false) => {}
                    None => possible.push(policy),
                }
            }
            Err(unread) => {
                let selects = unread.selector.as_ref().map(|selector| selector.selects(namespace, labels));
                if selects != Some(Some(false)) {
                    is_set_aside = true;
                    notes.push(format!("policy {} is set aside: {}", stored.name, unread.why));
                }
            }
        }
    }
    let mut settings = merge(flags, &certain);
    if !possible.is_empty() {
        let names: Vec<&str> = possible.iter().map(|policy| policy.name).take(3).collect();
        notes.push(format!("the labels of the namespace cannot be read; {} may count", names.join(", ")));
        // Each may or may not count. What any of them demands is demanded.
        for policy in &possible {
            let with: Vec<Named<'_>> = certain.iter().chain([policy]).copied().collect();
            settings = stricter(&settings, &merge(flags, &with));
        }
    }
    if is_set_aside {
        settings = stricter(&settings, flags);
    }
    settings.notes = notes;
    settings.versions = versions;
    settings
}

/// The settings of a namespace, and at least what the flags demand.
#[must_use]
pub fn at_least(settings: &Policy, flags: &Policy) -> Policy {
    let mut both = stricter(settings, flags);
    both.notes.clone_from(&settings.notes);
    both.versions.clone_from(&settings.versions);
    both
}

/// The largest number of keys, and of names, that the API server filters by. Expressions have a limit of their own, and a
/// registration that the API server refuses would guard nothing.
const MOST_MARKS: usize = 64;

/// Whatever marks a colour in any namespace: the API server filters by it, for all namespaces alike.
#[must_use]
pub fn marks(flags: &Policy, policies: &Policies) -> ColourScheme {
    let of_each = policies.all.iter().filter_map(|stored| stored.content.as_ref().ok());
    let all = of_each.map(|spec| merge(flags, &[Named { name: "", spec }]));
    let mut marks = all.fold(flags.clone(), |all, one| stricter(&all, &one)).colours;
    marks.keys.truncate(MOST_MARKS);
    marks.names.truncate(MOST_MARKS);
    marks
}
