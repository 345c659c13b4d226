//! Parity: does the target differ from the current colour in more than its version?

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::update::Update;
use crate::model::{Template, Workload};
use crate::rules::state::version;
use crate::rules::wording::{Remedy, object, pods};
use crate::rules::{Finding, Reason};

/// The largest number of paths in a message.
const PATHS: usize = 6;

/// The warnings about templates and probes.
pub(super) fn templates(update: &Update<'_>) -> Vec<Finding> {
    let pairs = pairs(update).into_iter();
    pairs.filter_map(|(live, target)| environment(update, live, target)).chain(without_probe(update)).collect()
}

/// The warning about a target with fewer ready Pods than the current colour.
pub(super) fn capacity(update: &Update<'_>) -> Option<Finding> {
    let (current, target) = (update.current.ready(), update.target.ready());
    let namespace = &update.new.meta.namespace;
    let percent = usize::try_from(update.policy.parity_percent).unwrap_or(usize::MAX);
    let wanted = current.saturating_mul(percent).div_ceil(100);
    (target > 0 && target < wanted).then(|| {
        let remedy = match update.target.workloads.as_slice() {
            [one] if one.is_scalable() => {
                Remedy::kubectl("Scale it first", namespace, &format!("scale {} --replicas={wanted}", object(one)))
            }
            _ => Remedy::words("Scale the target first"),
        };
        let share = if percent == 100 { String::new() } else { format!("; it should have {percent} %") };
        let message = format!("the target has {}, the current colour {current}{share}", pods(target, "ready"));
        Finding::new(Reason::CapacityBelowLive, message, remedy)
    })
}

fn without_probe(update: &Update<'_>) -> impl Iterator<Item = Finding> {
    update
        .target
        .workloads
        .iter()
        .filter(|workload| workload.desired > 0)
        .filter(|workload| !workload.template.main().is_some_and(|container| container.has_readiness_probe))
        .map(|workload| {
            Finding::new(
                Reason::NoReadinessProbe,
                format!("{workload} has no readiness probe: ready only means started"),
                Remedy::words("Add a readinessProbe to its pod template"),
            )
        })
}

/// Each target workload with its counterpart of the current colour. If both sides have one workload, the two are a
/// pair. Otherwise a pair has the same kind, and the same name apart from the colour.
fn pairs<'a>(update: &Update<'a>) -> Vec<(&'a Workload, &'a Workload)> {
    let (live, target) = (&update.current.workloads, &update.target.workloads);
    if let ([live], [target]) = (live.as_slice(), target.as_slice()) {
        return if live.meta.uid == target.meta.uid { Vec::new() } else { vec![(live, target)] };
    }
    let (old_words, new_words) = (words(update, false), words(update, true));
    target
        .iter()
        .filter_map(|new| {
            let name = neutral(&new.meta.name, &new_words);
            let same = |old: &&&Workload| {
                old.kind == new.kind && old.meta.uid != new.meta.uid && neutral(&old.meta.name, &old_words) == name
            };
            live.iter().find(same).map(|old| (*old, *new))
        })
        .collect()
}

fn environment(update: &Update<'_>, live: &Workload, target: &Workload) -> Option<Finding> {
    let words = |of_target: bool, template: &Template| {
        let mut words = words(update, of_target);
        words.extend(template.labels.get(&update.colours.version_key).cloned());
        words.extend(template.main_image().map(|image| version::of_image(image).label));
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words
    };
    let old = comparable(&live.template, &words(false, &live.template))?;
    let new = comparable(&target.template, &words(true, &target.template))?;
    let mut paths = BTreeSet::new();
    differences(&old, &new, &mut String::new(), &mut paths);
    let first: Vec<&str> = paths.iter().take(PATHS).map(String::as_str).collect();
    let more = paths.len().saturating_sub(PATHS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!paths.is_empty()).then(|| {
        Finding::new(
            Reason::EnvironmentDiffers,
            format!(
                "pod template of {} differs from {} beyond the image: {}{more}",
                target.meta.name,
                live.meta.name,
                first.join(", ")
            ),
            Remedy::words("Compare the two templates"),
        )
    })
}

/// The words that spell a colour. A difference in these words or in the version does not count.
fn words(update: &Update<'_>, of_target: bool) -> Vec<String> {
    let (selector, other) =
        if of_target { (update.new.routed(), update.old.routed()) } else { (update.old.routed(), update.new.routed()) };
    let own = selector.without(other);
    let mut words: Vec<String> = update.colours.pins(&own).iter().map(|pin| pin.colour.to_owned()).collect();
    words.extend(own.pairs().map(|(_, value)| value.to_owned()));
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words
}

/// Replaces each of these words by a star, where it stands as a word: `b` in `app-b`, but not in `web`.
fn neutral(text: &str, words: &[String]) -> String {
    words.iter().filter(|word| !word.is_empty()).fold(text.to_owned(), |text, word| {
        let mut neutral = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(word.as_str()) {
            let joined = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
            neutral.push_str(before);
            neutral.push_str(if joined { word } else { "*" });
            rest = after;
        }
        neutral + rest
    })
}

/// The spec of a template without images, and with the words of its colour replaced.
fn comparable(template: &Template, words: &[String]) -> Option<Value> {
    let mut spec: Value = serde_json::from_str(&template.spec).ok()?;
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container.as_object_mut().map(|container| container.remove("image"));
        }
    }
    make_neutral(&mut spec, words);
    Some(spec)
}

fn make_neutral(value: &mut Value, words: &[String]) {
    match value {
        Value::String(text) => *text = neutral(text, words),
        Value::Array(items) => items.iter_mut().for_each(|item| make_neutral(item, words)),
        Value::Object(fields) => fields.values_mut().for_each(|field| make_neutral(field, words)),
        _ => {}
    }
}

/// The paths at which two values differ. Items of a list are matched by `name` where they have one.
fn differences(a: &Value, b: &Value, path: &mut String, found: &mut BTreeSet<String>) {
    let length = path.len();
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                differences(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), path, found);
                path.truncate(length);
            }
        }
        (Value::Array(_), Value::Array(_) | Value::Null) | (Value::Null, Value::Array(_)) => {
            for name in item_names(a).into_iter().chain(item_names(b)).collect::<BTreeSet<_>>() {
                let _ = write!(path, "[{name}]");
                differences(&item(a, &name), &item(b, &name), path, found);
                path.truncate(length);
            }
        }
        _ if a == b => {}
        _ => {
            found.insert(path.clone());
        }
    }
}

fn item_names(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten().enumerate();
    items
        .map(|(index, item)| item.get("name").and_then(Value::as_str).map_or(index.to_string(), str::to_owned))
        .collect()
}

fn item(list: &Value, name: &str) -> Value {
    let position = item_names(list).iter().position(|known| known == name);
    position.and_then(|index| list.get(index)).cloned().unwrap_or(Value::Null)
}
