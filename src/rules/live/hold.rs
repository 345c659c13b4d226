//! The colour before: for a while after a flip it is kept, so that going back stays one change of a selector.

use std::time::Duration;

use crate::model::{ClusterView, Flip, Policy, Role, Service, Timestamp, Workload};
use crate::rules::state::remaining::After;
use crate::rules::state::traffic::Stake;
use crate::rules::{Finding, Reason};

/// What the last flip of a Service left behind.
struct Hold<'a> {
    service: &'a Service,
    flip: &'a Flip,
    stake: Stake<'a>,
    lasts: Duration,
}

/// The findings about a workload that goes or shrinks while it is held.
pub(super) fn findings(
    reason: Reason,
    old: &Workload,
    after: &After<'_>,
    view: &ClusterView,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Finding> {
    let holds = holds(view, policy, now).into_iter().filter(|hold| hold.concerns(old));
    holds
        .filter_map(|hold| {
            let left = hold.stake.left(old, after);
            hold.stake.too_little(left).then(|| hold.finding(reason, left, now))
        })
        .collect()
}

/// All holds that are not over. Who goes back ends the hold, and begins none: nobody wants to go back to what was just
/// left.
fn holds<'a>(view: &'a ClusterView, policy: &Policy, now: Timestamp) -> Vec<Hold<'a>> {
    let traffic = |service: &&Service| service.role(&policy.colours) == Role::Traffic && !service.meta.deleting;
    view.services
        .iter()
        .filter(traffic)
        .filter_map(|service| {
            let flip = view.records.last_flip(service)?;
            let lasts = service.hold().unwrap_or_default().max(policy.hold);
            let stake = Stake::of_selector(service, &flip.from, view, &policy.colours);
            (!flip.back && now.since(flip.at) < lasts).then_some(Hold { service, flip, stake, lasts })
        })
        .collect()
}

impl Hold<'_> {
    /// Whether a workload served before the flip, and does not now.
    fn concerns(&self, workload: &Workload) -> bool {
        self.stake.concerns(workload) && !self.service.routed().matches(&workload.template.labels)
    }

    fn finding(&self, reason: Reason, left: usize, now: Timestamp) -> Finding {
        let Self { service, flip, stake, lasts } = self;
        let (ago, name) = (now.since(flip.at), &service.meta.name);
        let more = lasts.saturating_sub(ago).as_secs();
        let message = format!(
            "Service {name} was flipped away from it {} s ago and keeps it for another {more} s, so that going back stays \
             instant; {}",
            ago.as_secs(),
            stake.would_keep(left)
        );
        let next_step = format!(
            "try again in {more} s; to end the hold now, delete the Service or flip back to {}",
            flip.from.without(&flip.to)
        );
        let finding = Finding::new(reason, message, next_step);
        if service.hold().is_some() { finding.refusing() } else { finding }
    }
}
