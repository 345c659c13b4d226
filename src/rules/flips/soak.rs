//! Soak: has the target been ready for long enough, without a restart since?

use std::time::Duration;

use super::update::Update;
use crate::model::{Pod, Timestamp, setting};
use crate::rules::state::readiness::{current_pods, enough};
use crate::rules::wording::{Remedy, at_least, in_words, pods};
use crate::rules::{Finding, Reason};

/// The finding about a target that is ready, and not for as long as a policy wants. A rollback is not asked.
pub(super) fn finding(update: &Update<'_>, now: Timestamp) -> Option<Finding> {
    let Update { new, target, view, demand, policy, .. } = update;
    if policy.soak.is_zero() {
        return None;
    }
    let (what, rest) = target
        .wanted()
        .filter_map(|workload| {
            let behind = |pod: &&Pod| pod.serves() && new.routed().matches(&pod.meta.labels);
            let serving: Vec<&Pod> = current_pods(workload, view).into_iter().flatten().filter(behind).collect();
            let wanted = usize::try_from(enough(workload.desired, demand.percent)).unwrap_or(usize::MAX);
            let rest = rest(&serving, wanted, policy.soak, now)?;
            let long = serving.iter().filter(|pod| left(pod, policy.soak, now).is_zero()).count();
            Some((format!("{workload} has {long} of {wanted} pods ready for {}", in_words(policy.soak)), rest))
        })
        .chain(bare(update, now))
        .max_by_key(|(_, rest)| *rest)?;
    let retry = Remedy::words(format!("Retry in {}", at_least(rest)));
    Some(Finding::new(Reason::NotSoaked, what, retry).said_by(policy.source(setting::SOAK)))
}

/// The same for Pods that no workload owns: all that serve count.
fn bare(update: &Update<'_>, now: Timestamp) -> Option<(String, Duration)> {
    let Update { target, policy, .. } = update;
    let serving: Vec<&Pod> = target.unowned.iter().copied().filter(|pod| pod.serves()).collect();
    let rest = rest(&serving, serving.len(), policy.soak, now)?;
    Some((format!("{} without a workload not ready for {} yet", pods(serving.len(), ""), in_words(policy.soak)), rest))
}

/// How long it takes until so many of the Pods have been ready for long enough; `None` where they have.
fn rest(serving: &[&Pod], wanted: usize, soak: Duration, now: Timestamp) -> Option<Duration> {
    let mut rests: Vec<Duration> = serving.iter().map(|pod| left(pod, soak, now)).collect();
    rests.sort();
    // Where too few serve, that they do not is a finding of its own.
    rests.get(wanted.checked_sub(1)?).copied().filter(|rest| !rest.is_zero())
}

/// How long a Pod still has to be ready. A Pod that does not say since when it is ready begins now.
fn left(pod: &Pod, soak: Duration, now: Timestamp) -> Duration {
    let since = pod.ready_since.unwrap_or(now);
    soak.saturating_sub(now.since(since))
}
