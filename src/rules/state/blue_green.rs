//! Whether an app uses blue-green at all. A constant `version` label (common with service meshes), a chart that stamps its
//! version into its only Service, or a product name that ends in a colour also pin a value, but are not blue-green.

use std::time::Duration;

use super::app::App;
use crate::model::{ClusterView, ColourScheme, Flip, PinKind, Service, Workload, WorkloadKind, annotation, has_word};

/// Whether blue-green is in use behind a Service.
///
/// It is where the selector pins a colour key, where `flipguard.dev/role: traffic` says so, or where another colour exists
/// beside the pinned one. It is where a `version` is pinned and the live workload is named for its colour. And it is where
/// a flip on record went between two workloads that existed at the same time.
pub(crate) fn uses_blue_green(
    service: &Service,
    siblings: &[&Workload],
    view: &ClusterView,
    colours: &ColourScheme,
) -> bool {
    let app = App::of(service.routed(), colours);
    service.meta.annotation(annotation::ROLE) == Some("traffic")
        || app.pins_by(PinKind::Key)
        || !siblings.is_empty()
        || is_named_for_its_colour(service, &app, view, colours)
        || is_on_record(service, view)
}

/// Whether a flip on record shows that blue-green is in use.
pub(crate) fn is_on_record(service: &Service, view: &ClusterView) -> bool {
    view.records.last_flip(service).is_some_and(|flip| went_between_two_workloads(flip, view))
}

/// Whether a `version` is pinned and a live workload is named for its colour: by a colour name that is not in the stem, or
/// by the pinned value with dots as dashes, with or without `v` (`app-blue`, `app-1-0`, `app-v2`).
fn is_named_for_its_colour(service: &Service, app: &App<'_>, view: &ClusterView, colours: &ColourScheme) -> bool {
    let versions: Vec<String> = app
        .pins()
        .iter()
        .filter(|pin| pin.kind == PinKind::Version)
        .map(|pin| pin.value.replace(['.', '_'], "-").trim_start_matches(['v', 'V']).to_owned())
        .collect();
    let stem = app.stem();
    let in_stem = |name: &str| stem.iter().any(|(_, value)| has_word(value, name));
    let says_colour = |workload: &Workload| {
        let name = &workload.meta.name;
        colours.names.iter().any(|colour| has_word(name, colour) && !in_stem(colour))
            || versions.iter().any(|version| has_word(name, version) || has_word(name, &format!("v{version}")))
    };
    let live = view
        .workloads
        .iter()
        .filter(|workload| workload.stands_alone() && service.routed().matches(&workload.template.labels));
    !versions.is_empty() && live.into_iter().any(says_colour)
}

/// Whether a flip went between two workloads that existed at the same time: a Deployment behind the new selector is older
/// than the flip, and none of its ReplicaSets was ever behind the old one. A chart that moves `version` in its one Service
/// and its one Deployment leaves records too, but its Deployment has such ReplicaSets.
fn went_between_two_workloads(flip: &Flip, view: &ClusterView) -> bool {
    let was_beside = |workload: &&Workload| {
        workload.kind == WorkloadKind::Deployment
            && flip.to.matches(&workload.template.labels)
            && workload.meta.created.is_some_and(|created| created < flip.at)
            && !view.replica_sets_of(workload).any(|replica_set| flip.from.matches(&replica_set.template.labels))
            && view.replica_sets_of(workload).any(|replica_set| is_first(replica_set, workload))
    };
    view.workloads.iter().any(|workload| was_beside(&workload))
}

/// Whether a ReplicaSet is the first one of its Deployment. Where that one was pruned (`revisionHistoryLimit`), nothing is
/// known of the templates before.
fn is_first(replica_set: &Workload, deployment: &Workload) -> bool {
    const AT_ONCE: Duration = Duration::from_secs(10);
    let created = replica_set.meta.created.zip(deployment.meta.created);
    created.is_some_and(|(replica_set, deployment)| replica_set.since(deployment) <= AT_ONCE)
}
