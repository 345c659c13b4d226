//! The hold: after a flip, the previous colour is kept for a while. During that time, a rollback takes one change of
//! the selector.

use std::time::Duration;

use super::template::same_images;
use crate::model::{ClusterView, Flip, Policy, Timestamp, Workload};
use crate::rules::state::past::was_rollback;
use crate::rules::state::remaining::After;
use crate::rules::state::roles::is_traffic;
use crate::rules::state::traffic::TrafficService;
use crate::rules::wording::Remedy;
use crate::rules::{Finding, Reason};

/// The hold of the last flip of a Service.
struct Hold<'a> {
    flip: &'a Flip,
    /// The Service with the Pods of its previous colour.
    previous: TrafficService<'a>,
    /// The duration of the hold.
    lasts: Duration,
    /// Whether the Service itself sets `flipguard.dev/hold`.
    is_asked_for: bool,
}

/// The findings about a held workload that is deleted or scaled down.
pub(super) fn findings(
    reason: Reason,
    old: &Workload,
    after: &After<'_>,
    view: &ClusterView,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Finding> {
    let holds = holds(view, policy, now).into_iter().filter(|hold| hold.keeps(old));
    holds
        .filter_map(|hold| {
            hold.previous.loss(old, after)?;
            Some(hold.finding(reason, old, now))
        })
        .collect()
}

/// The findings about a held workload that gets another Pod template. Metadata of the template does not count.
pub(super) fn redeployed(
    old: &Workload,
    new: &Workload,
    view: &ClusterView,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Finding> {
    if old.template.spec == new.template.spec {
        return Vec::new();
    }
    let holds = holds(view, policy, now).into_iter().filter(|hold| hold.keeps(old) && hold.previous.ready() > 0);
    holds
        .map(|hold| {
            let finding = hold.finding(Reason::HeldRedeployed, old, now);
            // Settings that move with a flip are ordinary.
            if same_images(old, new) { finding.at_most_warn() } else { finding }
        })
        .collect()
}

/// All holds that have not ended. A rollback ends the hold and does not start a new one.
fn holds<'a>(view: &'a ClusterView, policy: &'a Policy, now: Timestamp) -> Vec<Hold<'a>> {
    let colours = &policy.colours;
    let traffic = view.services.iter().filter(|service| !service.meta.deleting && is_traffic(service, view, colours));
    traffic
        .filter_map(|service| {
            let flip = view.records.last_flip(service)?;
            let asked = service.hold().ok().flatten();
            let lasts = asked.unwrap_or_default().max(policy.hold);
            let previous = TrafficService::behind(&flip.from, service, view, policy);
            let hold = Hold { flip, previous, lasts, is_asked_for: asked.is_some() };
            (!was_rollback(flip, view) && now.since(flip.at) < lasts).then_some(hold)
        })
        .collect()
}

impl Hold<'_> {
    /// Whether the hold keeps a workload: it served before the flip, and does not serve now.
    fn keeps(&self, workload: &Workload) -> bool {
        self.previous.selects(workload) && !self.previous.service.routed().matches(&workload.template.labels)
    }

    fn finding(&self, reason: Reason, old: &Workload, now: Timestamp) -> Finding {
        let Self { flip, previous, lasts, is_asked_for } = self;
        let ago = now.since(flip.at);
        let rest = lasts.saturating_sub(ago).as_secs();
        let message = format!(
            "Service {} switched away from this {} {} s ago; keep it for another {rest} s for a quick rollback",
            previous.name(),
            old.kind,
            ago.as_secs()
        );
        let back = Remedy::words(format!("If the flip was wrong, switch back to {}", flip.from.without(&flip.to)));
        let retry = Remedy::words(format!("Retry in {rest} s"));
        let finding = Finding::new(reason, message, retry).or(Some(back)).about(previous.name());
        if *is_asked_for { finding.at_least_deny() } else { finding }
    }
}
