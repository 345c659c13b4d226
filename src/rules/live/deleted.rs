//! What is live is deleted, or its Service is.

use crate::model::{ClusterView, Service, Workload};
use crate::rules::state::backends::Fleet;
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::Stake;
use crate::rules::wording::pods;
use crate::rules::{Finding, Reason};

pub(super) fn service_deleted(old: &Service, view: &ClusterView) -> Option<Finding> {
    let ready = Fleet::of(old.routed(), view).ready();
    (ready > 0).then(|| {
        Finding::new(
            Reason::ServiceDeleted,
            format!("{} served through it; from now on nothing protects the colour", pods(ready, "")),
            "if that is not meant, create it again at once".to_owned(),
        )
    })
}

pub(super) fn deleted(old: &Workload, stakes: &[Stake<'_>]) -> Vec<Finding> {
    stakes
        .iter()
        .filter(|stake| stake.concerns(old))
        .filter_map(|stake| {
            let left = stake.left(old, &After::Gone);
            stake
                .too_little(left)
                .then(|| stake.finding(Reason::LiveDeleted, stake.would_leave(left), stake.flip_first()))
        })
        .collect()
}
