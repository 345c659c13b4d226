//! Facts about a change for the audit log and the history. No rule depends on them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Change, ClusterView, ColourScheme, Selector, Template, Write};
use crate::rules::state::backends::Backends;
use crate::rules::wording::object;

/// What a change of a Service moves from and to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moved {
    /// The colour before; empty for a new Service.
    pub from: String,
    /// The colour after; empty for a deleted Service.
    pub to: String,
    /// The image of the main container behind the old selector; empty where nothing runs there.
    pub from_image: String,
    /// The same behind the new selector.
    pub to_image: String,
    /// How many Pods of the new colour are ready, of how many: `5/5`.
    pub ready: String,
    /// The workloads of the new colour with their templates: `deployment/app-green`; at most 8.
    pub templates: Vec<(String, Arc<Template>)>,
    /// The image IDs that the Pods of the new colour run, in order.
    pub image_ids: BTreeSet<String>,
}

/// The most workloads whose templates are kept. An app has one or two.
const MOST_TEMPLATES: usize = 8;

fn templates(backends: &Backends<'_>) -> Vec<(String, Arc<Template>)> {
    let running = backends.workloads.iter().filter(|workload| workload.desired > 0).take(MOST_TEMPLATES);
    running.map(|workload| (object(workload), workload.template.clone())).collect()
}

fn image_ids(selector: &Selector, view: &ClusterView) -> BTreeSet<String> {
    let behind = view.pods.iter().filter(|pod| selector.matches(&pod.meta.labels));
    // Most Pods of a colour run the same.
    let distinct: BTreeSet<&String> = behind.flat_map(|pod| &pod.image_ids).collect();
    distinct.into_iter().cloned().collect()
}

/// The word for a change: `flip`, `rollback`, `create`, `delete`, `scale` or `change`. `summary` has more words.
pub(super) fn act(change: &Change, summary: &str) -> &'static str {
    match (&change.write, summary.split([' ', ',']).next().unwrap_or_default()) {
        (Write::ServiceUpdate { .. }, "rollback") => "rollback",
        (Write::ServiceUpdate { .. }, "flip") => "flip",
        (Write::ServiceCreate { .. } | Write::WorkloadCreate { .. }, _) => "create",
        (Write::ServiceDelete { .. } | Write::WorkloadDelete { .. }, _) => "delete",
        (Write::Scale { .. }, _) => "scale",
        _ => "change",
    }
}

/// What a change moves; `None` where it moves no traffic.
pub(super) fn moved(change: &Change, view: &ClusterView, colours: &ColourScheme) -> Option<Moved> {
    let (old, new) = match &change.write {
        Write::ServiceUpdate { old, new } => (Some(old), Some(new)),
        Write::ServiceCreate { new } => (None, Some(new)),
        Write::ServiceDelete { old } => (Some(old), None),
        _ => return None,
    };
    let colour = |service: Option<&Box<crate::model::Service>>| {
        service.map(|service| colours.colour_of(service.routed())).unwrap_or_default()
    };
    let image = |backends: &Backends<'_>| {
        let mut running = backends.workloads.iter().filter(|workload| workload.desired > 0);
        running.find_map(|workload| workload.template.main_image()).unwrap_or_default().to_owned()
    };
    let of = |service: Option<&Box<crate::model::Service>>| service.map(|one| Backends::of(one.routed(), view));
    let (before, after) = (of(old), of(new));
    let wanted = |backends: &Backends<'_>| -> u64 {
        let bare = u64::try_from(backends.unowned.len()).unwrap_or(u64::MAX);
        backends.workloads.iter().map(|workload| u64::from(workload.desired)).sum::<u64>() + bare
    };
    Some(Moved {
        from: colour(old),
        to: colour(new),
        from_image: before.as_ref().map(image).unwrap_or_default(),
        to_image: after.as_ref().map(image).unwrap_or_default(),
        ready: after.as_ref().map(|after| format!("{}/{}", after.ready(), wanted(after))).unwrap_or_default(),
        templates: after.as_ref().map(templates).unwrap_or_default(),
        image_ids: new.map(|new| image_ids(new.routed(), view)).unwrap_or_default(),
    })
}
