//! The selector that a flip leads to.
//!
//! Colours are recognised as the rules do it. Only pairs that pick a colour change; all others stay as they are.

use std::fmt;

use serde_json::{Value, json};

use crate::audit::whatif::other_colours;
use crate::model::{ClusterView, ColourScheme, Selector, Service, annotation};
use crate::rules::state::app::App;

/// A flip of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The selector before.
    pub from: Selector,
    /// The selector after.
    pub to: Selector,
    /// The colour before: `blue`.
    pub from_colour: String,
    /// The colour after: `green`.
    pub to_colour: String,
}

impl Move {
    fn between(from: &Selector, to: &Selector, colours: &ColourScheme) -> Self {
        let (from_colour, to_colour) = (colours.colour_of(from), colours.colour_of(to));
        Self { from: from.clone(), to: to.clone(), from_colour, to_colour }
    }

    /// The pairs that change, as they are afterwards.
    #[must_use]
    pub fn pairs(&self) -> Selector {
        self.to.without(&self.from)
    }

    /// The patch of a Service (RFC 7396). Any other version of it than the one that was read is a conflict, so the flip of
    /// somebody else is never undone. `expect` is the version that the target has to run.
    #[must_use]
    pub fn patch(&self, version: &str, expect: Option<&str>) -> Value {
        let mut metadata = json!({ "resourceVersion": version });
        if let (Some(expect), Some(fields)) = (expect, metadata.as_object_mut()) {
            fields.insert("annotations".to_owned(), json!({ annotation::EXPECT: expect }));
        }
        json!({ "metadata": metadata, "spec": { "selector": self.pairs() } })
    }

    /// The way back.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
            from_colour: self.to_colour.clone(),
            to_colour: self.from_colour.clone(),
        }
    }
}

/// What has to be done for a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// It flips.
    Move(Move),
    /// This colour is live already.
    Live(String),
}

/// Why there is no flip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoTarget {
    /// Its selector picks no colour.
    PinsNothing {
        /// The Service.
        service: String,
    },
    /// No colour has this name.
    Unknown {
        /// The Service.
        service: String,
        /// The word that was given.
        wanted: String,
        /// The live colour.
        live: String,
        /// The other colours.
        others: Vec<String>,
    },
    /// Several colours have it.
    Ambiguous {
        /// The Service.
        service: String,
        /// The word that was given.
        wanted: String,
        /// The colours that it may mean.
        colours: Vec<String>,
    },
    /// No flip is on record that the present selector is the result of.
    NoRecord {
        /// The Service.
        service: String,
    },
    /// The last flip changed more than the colour.
    MoreThanAColour {
        /// The Service.
        service: String,
        /// The selector before that flip.
        from: Selector,
        /// The selector after it.
        to: Selector,
    },
}

impl fmt::Display for NoTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PinsNothing { service } => {
                write!(f, "the selector of Service {service} picks no colour, so there is nothing to flip")
            }
            Self::Unknown { service, wanted, live, others } if others.is_empty() => write!(
                f,
                "Service {service} has no colour {wanted}: {live} is live, and no workload runs another colour; deploy it \
                 first"
            ),
            Self::Unknown { service, wanted, live, others } => {
                write!(
                    f,
                    "Service {service} has no colour {wanted}: there are {} and {live}, which is live",
                    others.join(", ")
                )
            }
            Self::Ambiguous { service, wanted, colours } => {
                write!(f, "{wanted} may be several colours of Service {service}: {}; say which", colours.join(", "))
            }
            Self::NoRecord { service } => write!(
                f,
                "no flip of Service {service} to its present selector is on record, so there is no way back; say --to COLOUR"
            ),
            Self::MoreThanAColour { service, from, to } => write!(
                f,
                "the last flip of Service {service} changed more than its colour, from {from} to {to}; say --to COLOUR, or \
                 edit its selector"
            ),
        }
    }
}

/// The flip of a Service to a colour: by its whole name (`green`, `green/2.0` where two pairs pick it), by one of them
/// (`2.0`), or by the value of a pair (`shop-green`).
///
/// # Errors
/// When no colour has the name, or several.
pub fn to_colour(
    service: &Service,
    view: &ClusterView,
    colours: &ColourScheme,
    wanted: &str,
) -> Result<Target, NoTarget> {
    let name = || service.meta.name.clone();
    let live = service.routed();
    if colours.pins(live).is_empty() {
        return Err(NoTarget::PinsNothing { service: name() });
    }
    let others: Vec<Selector> = other_colours(service, view, colours).into_keys().collect();
    let names = |selectors: &[&Selector]| selectors.iter().map(|one| colours.colour_of(one)).collect::<Vec<String>>();
    let all = || others.iter().chain([live]);
    let is_whole = |selector: &&Selector| colours.colour_of(selector) == wanted;
    let is_part =
        |selector: &&Selector| colours.pins(selector).iter().any(|pin| pin.colour == wanted || pin.value == wanted);
    let whole: Vec<&Selector> = all().filter(is_whole).collect();
    let found = if whole.is_empty() { all().filter(is_part).collect() } else { whole };
    match found.as_slice() {
        [] => Err(NoTarget::Unknown {
            service: name(),
            wanted: wanted.to_owned(),
            live: colours.colour_of(live),
            others: names(&others.iter().collect::<Vec<_>>()),
        }),
        [one] if *one == live => Ok(Target::Live(colours.colour_of(live))),
        [one] => Ok(Target::Move(Move::between(live, one, colours))),
        several => {
            let mut colours = names(several);
            colours.sort();
            colours.dedup();
            // Two pairs that say the same: only the selectors tell them apart.
            if colours.len() < several.len() {
                colours = several.iter().map(ToString::to_string).collect();
            }
            Err(NoTarget::Ambiguous { service: name(), wanted: wanted.to_owned(), colours })
        }
    }
}

/// The flip of a Service back to where the last flip on record came from.
///
/// # Errors
/// When no flip is on record, or it changed more than the colour.
pub fn back(service: &Service, view: &ClusterView, colours: &ColourScheme) -> Result<Target, NoTarget> {
    let name = service.meta.name.clone();
    let Some(flip) = view.records.last_flip(service) else { return Err(NoTarget::NoRecord { service: name }) };
    let live = service.routed();
    let keys = |selector: &Selector| selector.pairs().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
    if !App::of(live, colours).has_service(&flip.from) || keys(live) != keys(&flip.from) {
        return Err(NoTarget::MoreThanAColour { service: name, from: flip.from.clone(), to: live.clone() });
    }
    Ok(Target::Move(Move::between(live, &flip.from, colours)))
}

/// The colours that a Service may flip to, each with its workloads.
#[must_use]
pub fn others(service: &Service, view: &ClusterView, colours: &ColourScheme) -> Vec<(String, String)> {
    let all = other_colours(service, view, colours).into_iter();
    all.map(|(selector, workloads)| {
        let names: Vec<String> = workloads.iter().map(ToString::to_string).collect();
        (colours.colour_of(&selector), names.join(", "))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Flip, Labels, Timestamp, WorkloadKind, WorkloadManifest};

    fn selector(pairs: &[(&str, &str)]) -> Selector {
        let labels: Labels = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Selector::new(labels)
    }

    /// A Service with the first labels, and a Deployment for each.
    fn scene(all: &[&[(&str, &str)]]) -> (Service, ClusterView) {
        let mut service = Service { selector: selector(all[0]), ..Service::default() };
        service.meta.name = "app".to_owned();
        let workload = |(index, labels): (usize, &&[(&str, &str)])| {
            let labels: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let text = serde_json::json!({
                "metadata": { "name": format!("app-{index}") },
                "spec": { "replicas": 1, "template": { "metadata": { "labels": labels }, "spec": { "containers": [] } } },
            });
            serde_json::from_value::<WorkloadManifest>(text).unwrap().into_workload(WorkloadKind::Deployment)
        };
        let workloads = all.iter().enumerate().map(workload).collect();
        (service, ClusterView { workloads, ..ClusterView::default() })
    }

    fn moved(scene: &(Service, ClusterView), wanted: &str) -> String {
        match to_colour(&scene.0, &scene.1, &ColourScheme::default(), wanted) {
            Ok(Target::Move(to)) => format!("{} -> {}: {}", to.from_colour, to.to_colour, to.pairs()),
            Ok(Target::Live(colour)) => format!("{colour} is live"),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn only_the_pairs_that_pick_the_colour_change() {
        let by_key = scene(&[&[("app", "shop"), ("color", "blue")], &[("app", "shop"), ("color", "green")]]);
        assert_eq!(moved(&by_key, "green"), "blue -> green: color=green");
        assert_eq!(moved(&by_key, "blue"), "blue is live");
        let by_suffix = scene(&[&[("app", "shop-blue")], &[("app", "shop-green")]]);
        assert_eq!(moved(&by_suffix, "green"), "blue -> green: app=shop-green");
        assert_eq!(moved(&by_suffix, "shop-green"), "blue -> green: app=shop-green");
        let by_number = scene(&[&[("app", "shop-v1"), ("tier", "web")], &[("app", "shop-v2"), ("tier", "web")]]);
        assert_eq!(moved(&by_number, "v2"), "v1 -> v2: app=shop-v2");
    }

    #[test]
    fn a_patch_names_the_version_that_was_read() {
        let to = Move::between(
            &selector(&[("app", "shop"), ("color", "blue")]),
            &selector(&[("app", "shop"), ("color", "green")]),
            &ColourScheme::default(),
        );
        let plain = json!({ "metadata": { "resourceVersion": "7" }, "spec": { "selector": { "color": "green" } } });
        assert_eq!(to.patch("7", None), plain);
        let expecting = json!({ "resourceVersion": "7", "annotations": { "flipguard.dev/expect": "app:2" } });
        assert_eq!(to.patch("7", Some("app:2"))["metadata"], expecting);
    }

    #[test]
    fn two_pairs_go_together() {
        let both = scene(&[
            &[("color", "blue"), ("version", "1")],
            &[("color", "green"), ("version", "2")],
            &[("color", "green"), ("version", "3")],
        ]);
        assert_eq!(moved(&both, "green/2"), "blue/1 -> green/2: color=green,version=2");
        assert_eq!(moved(&both, "3"), "blue/1 -> green/3: color=green,version=3");
        assert_eq!(moved(&both, "green"), "green may be several colours of Service app: green/2, green/3; say which");
        // Of a live pair, only the rest changes.
        let half = scene(&[&[("color", "blue"), ("version", "1")], &[("color", "blue"), ("version", "2")]]);
        assert_eq!(moved(&half, "2"), "blue/1 -> blue/2: version=2");
    }

    #[test]
    fn an_unknown_colour_is_told_which_there_are() {
        let two = scene(&[&[("app", "shop"), ("color", "blue")], &[("app", "shop"), ("color", "green")]]);
        let words = "Service app has no colour red: there are green and blue, which is live";
        assert_eq!(moved(&two, "red"), words);
        let one = scene(&[&[("app", "shop"), ("color", "blue")]]);
        assert!(moved(&one, "green").ends_with("no workload runs another colour; deploy it first"));
        let none = scene(&[&[("app", "shop")]]);
        assert!(moved(&none, "green").starts_with("the selector of Service app picks no colour"));
    }

    #[test]
    fn the_way_back_is_the_last_flip_on_record() {
        let (service, mut view) =
            scene(&[&[("app", "shop"), ("color", "green")], &[("app", "shop"), ("color", "blue")]]);
        let colours = ColourScheme::default();
        let why = back(&service, &view, &colours).unwrap_err().to_string();
        assert!(why.starts_with("no flip of Service app to its present selector is on record"), "{why}");
        let flip = |from: &[(&str, &str)]| Flip {
            service: "app".to_owned(),
            uid: String::new(),
            from: selector(from),
            to: service.selector.clone(),
            at: Timestamp(0),
            earlier: Vec::new(),
            user: "alice".to_owned(),
            manager: String::new(),
        };
        view.records.flips = vec![flip(&[("app", "shop"), ("color", "blue")])];
        let Ok(Target::Move(to)) = back(&service, &view, &colours) else { panic!("no way back") };
        assert_eq!((to.pairs().to_string().as_str(), to.reversed().to), ("color=blue", service.selector.clone()));
        for other in [&[("app", "shop")][..], &[("app", "cart"), ("color", "blue")], &[("app", "shop"), ("slot", "a")]]
        {
            view.records.flips = vec![flip(other)];
            let why = back(&service, &view, &colours).unwrap_err().to_string();
            assert!(why.contains("changed more than its colour"), "{why}");
        }
    }
}
