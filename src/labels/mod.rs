//! What flipguard adds to objects: labels to a Deployment and its Pod template, so that selectors have something to hold;
//! and to a Job that is a test for a gate, what it tests (`tested`).
//!
//! flipguard marks the labels that it added, and changes no others (`mark`). A label never starts a rollout, never touches
//! a key of the Deployment's own selector, never overrides a user's value, and never changes the Pods of a Service
//! (`wish`).

mod mark;
mod tested;
mod wish;

use std::collections::BTreeSet;
use std::sync::Arc;

use mark::{Claim, Mark};
use wish::{Wish, choose, wishes};

use crate::model::{
    Change, ClusterView, Labels, Policy, ReadRequest, Service, Workload, WorkloadKind, Write, annotation,
};
use crate::rules::state::version;
use crate::rules::{Finding, Reason, Remedy, Verdict};

/// One value to put into an object, or to remove from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The path, one unescaped step each.
    pub path: Vec<String>,
    /// The value; `None` removes it.
    pub value: Option<PutValue>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutValue {
    /// A parent that does not exist yet.
    EmptyMap,
    /// A text.
    Text(String),
}

/// Where a label stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Metadata,
    Template,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Template => "template",
        }
    }

    fn path(self) -> Vec<String> {
        let steps: &[&str] = match self {
            Self::Metadata => &["metadata", "labels"],
            Self::Template => &["spec", "template", "metadata", "labels"],
        };
        steps.iter().map(|step| (*step).to_owned()).collect()
    }

    fn labels(self, workload: &Workload) -> &Labels {
        match self {
            Self::Metadata => &workload.meta.labels,
            Self::Template => &workload.template.labels,
        }
    }
}

/// The values to put into a Deployment that is written, and the warnings.
#[must_use]
pub fn label(change: &Change, view: &ClusterView, policy: &Policy) -> (Verdict, Vec<Put>) {
    if let Write::JobCreate { new } = &change.write {
        return tested::puts(new, change, view, policy);
    }
    let Some((old, new)) = deployment(change).filter(|(old, new)| concerns(*old, new, policy)) else {
        return (Verdict::not_judged(), Vec::new());
    };
    let mut verdict = Verdict::about(change).unwrap_or_default();
    if let Some(finding) = Finding::unreadable(view) {
        verdict.add(finding.at_most_warn(), change, policy);
        return (verdict, Vec::new());
    }
    let puts = Labelling::of(old, new, &view.services, policy).puts();
    let image = new.template.main_image().unwrap_or_default();
    if !puts.is_empty() && version::of_image(image).is_guess {
        let message = format!("image `{image}` has no tag, so its version label is latest");
        let finding = Finding::new(Reason::ImageUntagged, message, Remedy::words("Give the image a tag"));
        verdict.add(finding, change, policy);
    }
    (verdict, puts)
}

/// The reads that the labels of a change still need, in view of the completed ones; `None` where none are to be added.
#[must_use]
pub fn needs(change: &Change, view: &ClusterView, policy: &Policy) -> Option<ReadRequest> {
    let reads = match &change.write {
        Write::JobCreate { new } => tested::needs(new, policy),
        _ => of_deployment(change, policy)?,
    };
    Some(reads.without(&view.done)).filter(|reads| view.failures.is_empty() && !reads.is_empty())
}

/// Whether a write has to be looked at.
#[must_use]
pub fn is_relevant(change: &Change, policy: &Policy) -> bool {
    matches!(change.write, Write::JobCreate { .. }) || of_deployment(change, policy).is_some()
}

fn of_deployment(change: &Change, policy: &Policy) -> Option<ReadRequest> {
    deployment(change).filter(|(old, new)| policy.labels.is_on && concerns(*old, new, policy))?;
    Some(ReadRequest { services: true, ..ReadRequest::default() })
}

/// The Deployment that is written, and as it is stored.
fn deployment(change: &Change) -> Option<(Option<&Workload>, &Workload)> {
    let (old, new) = match &change.write {
        Write::WorkloadCreate { new } => (None, new.as_ref()),
        Write::WorkloadUpdate { old, new } => (Some(old.as_ref()), new.as_ref()),
        _ => return None,
    };
    (new.kind == WorkloadKind::Deployment).then_some((old, new))
}

/// Whether a write of a Deployment can need labels: its colour is known, nobody controls it, and the write changes its
/// spec or what is marked.
fn concerns(old: Option<&Workload>, new: &Workload, policy: &Policy) -> bool {
    let mark = |workload: &Workload| workload.meta.annotation(annotation::ADDED_LABELS).map(str::to_owned);
    let changes = old.is_none_or(|old| {
        old.template != new.template || old.desired != new.desired || old.paused != new.paused || mark(old) != mark(new)
    });
    changes && new.meta.controller.is_none() && colour_of(new, policy).is_some()
}

/// The colour key and the colour of a Deployment: by its template, else its metadata, else its name.
fn colour_of(workload: &Workload, policy: &Policy) -> Option<(String, String)> {
    let colours = &policy.colours;
    let keys = || colours.keys.iter();
    let in_labels = |labels: &Labels| keys().find_map(|key| Some((key.clone(), labels.get(key)?.clone())));
    let name = &workload.meta.name;
    let in_name = || {
        let says = |colour: &&String| {
            name == *colour || name.ends_with(&format!("-{colour}")) || name.starts_with(&format!("{colour}-"))
        };
        Some((policy.labels.colour_key.clone(), colours.names.iter().find(says)?.clone()))
    };
    in_labels(&workload.template.labels).or_else(|| in_labels(&workload.meta.labels)).or_else(in_name)
}

struct Labelling<'a> {
    new: &'a Workload,
    /// The labels to set, in order.
    sets: Vec<(Place, String, String)>,
    mark: Mark,
}

impl<'a> Labelling<'a> {
    fn of(old: Option<&Workload>, new: &'a Workload, services: &[Service], policy: &Policy) -> Self {
        let mark = Mark::joined(old, new);
        let mut labelling = Self { new, sets: Vec::new(), mark: Mark::default() };
        // The template first: the metadata repeats its colour.
        let of_template = wishes(Place::Template, old, new, &mark, policy);
        let template_changes = old.is_none_or(|old| old.template != new.template);
        let chosen = if policy.labels.on_pod_template && template_changes && !new.template.labels.is_empty() {
            choose(&of_template, old.map(|old| &*old.template), &new.template, services)
        } else {
            // The template stays as requested, and the claims stay.
            vec![None; of_template.len()]
        };
        let mut labelled = new.clone();
        for (wish, value) in of_template.into_iter().zip(chosen) {
            if let Some(value) = &value {
                Arc::make_mut(&mut labelled.template).labels.insert(wish.key.clone(), value.clone());
            }
            labelling.decide_label(wish, value);
        }
        for wish in wishes(Place::Metadata, old, &labelled, &mark, policy) {
            let value = wish.values.first().cloned().flatten();
            labelling.decide_label(wish, value);
        }
        labelling
    }

    fn decide_label(&mut self, wish: Wish, value: Option<String>) {
        let requested = wish.place.labels(self.new).get(&wish.key);
        if value.is_some() || wish.is_ours {
            let stays = value.as_ref().or(requested);
            let replaced = requested.filter(|requested| stays.is_some_and(|stays| stays != *requested));
            let left = stays.filter(|stays| **stays != wish.given);
            let second = replaced.or(left).cloned().or(wish.second);
            self.mark.insert(wish.place, &wish.key, Claim::new(second));
        }
        if let Some(value) = value
            && requested != Some(&value)
        {
            self.sets.push((wish.place, wish.key, value));
        }
    }

    fn puts(self) -> Vec<Put> {
        let mut puts = Vec::new();
        let mut made = BTreeSet::new();
        for (place, key, value) in self.sets {
            if place.labels(self.new).is_empty() && made.insert(place) {
                puts.push(Put { path: place.path(), value: Some(PutValue::EmptyMap) });
            }
            let mut path = place.path();
            path.push(key);
            puts.push(Put { path, value: Some(PutValue::Text(value)) });
        }
        let mark = self.mark.render();
        let stored = self.new.meta.annotation(annotation::ADDED_LABELS);
        let annotations = vec!["metadata".to_owned(), "annotations".to_owned()];
        let mut path = annotations.clone();
        path.push(annotation::ADDED_LABELS.to_owned());
        if mark.is_empty() {
            puts.extend(stored.map(|_| Put { path, value: None }));
        } else if stored != Some(mark.as_str()) {
            if !self.new.meta.is_annotated {
                puts.push(Put { path: annotations, value: Some(PutValue::EmptyMap) });
            }
            puts.push(Put { path, value: Some(PutValue::Text(mark)) });
        }
        puts
    }
}
