//! The live colour is deleted, or its Service is.

use crate::model::{ClusterView, Service, Workload};
use crate::rules::state::backends::Backends;
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::TrafficService;
use crate::rules::wording::{Remedy, pods};
use crate::rules::{Finding, Reason};

pub(super) fn service_deleted(old: &Service, view: &ClusterView) -> Option<Finding> {
    let ready = Backends::of(old.routed(), view).ready();
    (ready > 0).then(|| {
        let message = format!("{} got traffic through it; nothing protects the colour any more", pods(ready, ""));
        let remedy = Remedy::words("Create it again at once if that was a mistake");
        Finding::new(Reason::ServiceDeleted, message, remedy)
    })
}

pub(super) fn deleted(old: &Workload, traffic: &[TrafficService<'_>]) -> Vec<Finding> {
    let selecting = traffic.iter().filter(|service| service.selects(old));
    selecting
        .filter_map(|service| {
            if service.only_blips(old) {
                return Some(service.finding_of_loss(Reason::LiveDeleted, service.blips(), 0));
            }
            let remaining = service.loss(old, &After::Gone)?;
            Some(service.finding_of_loss(Reason::LiveDeleted, service.loses(remaining), remaining))
        })
        .collect()
}
