//! Labels: colour and version on a Deployment and its Pod template, so that selectors have something to hold.
//!
//! What was added is marked in an annotation, and only that is ever changed again. A label never starts a rollout,
//! never touches a key of the Deployment's own selector, never overrides a user's value, and never changes what a
//! Service selects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    Change, ClusterView, ColourScheme, Labels, Policy, ReadRequest, Service, Template, Workload, WorkloadKind, Write,
    annotation,
};
use crate::rules::state::version;
use crate::rules::{Finding, Reason, Remedy, Verdict};

/// The key of a colour on a Deployment that has none yet.
const COLOUR: &str = "color";

/// One value to put into an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The way to it, one step each, unescaped.
    pub path: Vec<String>,
    /// What to put there; `None` takes it away.
    pub value: Option<PutValue>,
}

/// What to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutValue {
    /// A parent that is not there yet.
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

/// What to put into a Deployment that is written, and what to warn of.
#[must_use]
pub fn label(change: &Change, view: &ClusterView, policy: &Policy) -> (Verdict, Vec<Put>) {
    let Some((old, new)) = deployment(change).filter(|(old, new)| concerns(*old, new, policy)) else {
        return (Verdict::not_judged(), Vec::new());
    };
    let mut verdict = Verdict::about(change).unwrap_or_default();
    if let Some(finding) = Finding::unreadable(view) {
        verdict.add(finding.at_most_warn(), change, policy);
        return (verdict, Vec::new());
    }
    let puts = Labelling::of(old, new, &view.services, &policy.colours).puts();
    let image = new.template.main_image().unwrap_or_default();
    if !puts.is_empty() && version::of_image(image).is_guess {
        let message = format!("image `{image}` has no tag, so its version label is latest");
        let finding = Finding::new(Reason::ImageUntagged, message, Remedy::words("Give the image a tag"));
        verdict.add(finding, change, policy);
    }
    (verdict, puts)
}

/// The reads that the labels of a change need; `None` where none are to be added.
#[must_use]
pub fn needs(change: &Change, policy: &Policy) -> Option<ReadRequest> {
    deployment(change).filter(|(old, new)| concerns(*old, new, policy))?;
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
    changes && new.meta.controller.is_none() && colour_of(new, &policy.colours).is_some()
}

/// The colour key and the colour of a Deployment: by its template, else its metadata, else its name.
fn colour_of(workload: &Workload, colours: &ColourScheme) -> Option<(String, String)> {
    let keys = || colours.keys.iter();
    let in_labels = |labels: &Labels| keys().find_map(|key| Some((key.clone(), labels.get(key)?.clone())));
    let name = &workload.meta.name;
    let in_name = || {
        let says = |colour: &&String| {
            name == *colour || name.ends_with(&format!("-{colour}")) || name.starts_with(&format!("{colour}-"))
        };
        Some((COLOUR.to_owned(), colours.names.iter().find(says)?.clone()))
    };
    in_labels(&workload.template.labels).or_else(|| in_labels(&workload.meta.labels)).or_else(in_name)
}

/// One label, and what may be done about it.
struct Wish {
    place: Place,
    key: String,
    /// The values that it may get, the best first; `None`: it stays as it came.
    values: Vec<Option<String>>,
    /// The value that the object as it is written gives.
    given: String,
    /// A value besides that is ours.
    known: Option<String>,
    /// Whether it is ours if it stays as it came.
    is_ours: bool,
}

struct Labelling<'a> {
    new: &'a Workload,
    /// What each place gets, in order.
    sets: Vec<(Place, String, String)>,
    mark: Mark,
}

/// What is ours: `metadata/version`, or `template/version<1.0` where 1.0 is a value that is ours too although no image
/// gives it: one that was left because a Service holds it, or that came in and was moved. Whoever sends it again does
/// not mean it.
type Mark = BTreeMap<String, Option<String>>;

impl<'a> Labelling<'a> {
    fn of(old: Option<&Workload>, new: &'a Workload, services: &[Service], colours: &ColourScheme) -> Self {
        let mut marked = old.map(mark_of).unwrap_or_default();
        for (entry, known) in mark_of(new) {
            let before = marked.remove(&entry).flatten();
            marked.insert(entry, known.or(before));
        }
        let mut labelling = Self { new, sets: Vec::new(), mark: Mark::new() };
        // The template first: its colour is the one that the metadata repeats.
        let of_template = wishes(Place::Template, old, new, &marked, colours);
        let template_changes = old.is_none_or(|old| old.template != new.template);
        let chosen = if template_changes && !new.template.labels.is_empty() {
            choose(&of_template, old.map(|old| &*old.template), &new.template, services)
        } else {
            // Nothing may be touched, and what was ours stays ours.
            vec![None; of_template.len()]
        };
        let mut labelled = new.clone();
        for (wish, value) in of_template.into_iter().zip(chosen) {
            if let Some(value) = &value {
                Arc::make_mut(&mut labelled.template).labels.insert(wish.key.clone(), value.clone());
            }
            labelling.decide_label(wish, value);
        }
        for wish in wishes(Place::Metadata, old, &labelled, &marked, colours) {
            let value = wish.values.first().cloned().flatten();
            labelling.decide_label(wish, value);
        }
        labelling
    }

    fn decide_label(&mut self, wish: Wish, value: Option<String>) {
        let came = wish.place.labels(self.new).get(&wish.key);
        if value.is_some() || wish.is_ours {
            let stays = value.as_ref().or(came);
            let moved = came.filter(|came| stays.is_some_and(|stays| stays != *came));
            let held = stays.filter(|stays| **stays != wish.given);
            let known = moved.or(held).cloned().or(wish.known);
            self.mark.insert(format!("{}/{}", wish.place.name(), wish.key), known);
        }
        if let Some(value) = value
            && came != Some(&value)
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
        let entries = self.mark.into_iter().map(|(entry, known)| match known {
            Some(known) => format!("{entry}<{known}"),
            None => entry,
        });
        let mark = entries.collect::<Vec<_>>().join(",");
        let came = self.new.meta.annotation(annotation::ADDED_LABELS);
        let annotations = vec!["metadata".to_owned(), "annotations".to_owned()];
        let mut path = annotations.clone();
        path.push(annotation::ADDED_LABELS.to_owned());
        if mark.is_empty() {
            puts.extend(came.map(|_| Put { path, value: None }));
        } else if came != Some(mark.as_str()) {
            if !self.new.meta.is_annotated {
                puts.push(Put { path: annotations, value: Some(PutValue::EmptyMap) });
            }
            puts.push(Put { path, value: Some(PutValue::Text(mark)) });
        }
        puts
    }
}

/// What a Deployment says was added.
fn mark_of(workload: &Workload) -> Mark {
    let mark = workload.meta.annotation(annotation::ADDED_LABELS).unwrap_or_default();
    let entries = mark.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| match entry.split_once('<') {
            Some((entry, known)) => (entry.to_owned(), Some(known.to_owned())),
            None => (entry.to_owned(), None),
        })
        .collect()
}

/// What the keys of one place should say.
fn wishes(place: Place, old: Option<&Workload>, new: &Workload, marked: &Mark, colours: &ColourScheme) -> Vec<Wish> {
    let version_of = |workload: &Workload| version::of_image(workload.template.main_image().unwrap_or_default()).label;
    let Some((colour_key, colour)) = colour_of(new, colours) else { return Vec::new() };
    let old_colour = old.and_then(|old| colour_of(old, colours)).map(|(_, colour)| colour);
    let desired =
        [(colour_key, colour, old_colour), (colours.version_key.clone(), version_of(new), old.map(version_of))];
    desired
        .into_iter()
        .filter(|(key, ..)| place != Place::Template || !new.selector_keys.contains(key))
        .map(|(key, value, old_value)| {
            let entry = marked.get(&format!("{}/{key}", place.name()));
            let is_marked = entry.is_some();
            let known = entry.cloned().flatten();
            let stored = old.and_then(|old| place.labels(old).get(&key)).filter(|_| is_marked).cloned();
            let came = place.labels(new).get(&key);
            let is_ours = is_marked
                && came.is_some_and(|came| {
                    *came == value || [&old_value, &known].iter().any(|ours| ours.as_ref() == Some(came))
                });
            let given = value.clone();
            let values = if came.is_none() || is_ours { vec![Some(value), stored, None] } else { vec![None] };
            Wish { place, key, values, given, known, is_ours }
        })
        .collect()
}

/// The best values for a template that leave alone what each Service selects: whatever matched before, as it was
/// stored or as it came, goes on to match, and nothing else begins to.
fn choose(wishes: &[Wish], old: Option<&Template>, new: &Template, services: &[Service]) -> Vec<Option<String>> {
    let harmless = |labels: &Labels| {
        services.iter().all(|service| {
            let selector = service.routed();
            let before = selector.matches(&new.labels) || old.is_some_and(|old| selector.matches(&old.labels));
            selector.matches(labels) == before
        })
    };
    let mut choices: Vec<Vec<Option<String>>> = vec![Vec::new()];
    for wish in wishes {
        choices = choices
            .iter()
            .flat_map(|chosen| {
                wish.values.iter().map(move |value| chosen.iter().cloned().chain([value.clone()]).collect())
            })
            .collect();
    }
    let applied = |choice: &Vec<Option<String>>| {
        let mut labels = new.labels.clone();
        for (wish, value) in wishes.iter().zip(choice) {
            if let Some(value) = value {
                labels.insert(wish.key.clone(), value.clone());
            }
        }
        labels
    };
    let as_it_came = vec![None; wishes.len()];
    choices.into_iter().find(|choice| harmless(&applied(choice))).unwrap_or(as_it_came)
}
