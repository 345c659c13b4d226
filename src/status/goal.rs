//! What `flipguard status --wait` waits for.

use super::report::{ColourRole, NamespaceStatus, ServiceStatus};

/// A state of Services to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Every workload of the live colour is fully ready.
    Ready,
    /// A flip to another colour passes.
    Flippable,
    /// No colour is held any more.
    HeldOver,
}

/// How far the goal is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is reached for all Services.
    Reached,
    /// It is not reached yet; the first reason.
    NotYet(String),
    /// It will not be reached without somebody; the first reason.
    Never(String),
}

/// How far a goal is reached for all Services of a namespace.
#[must_use]
pub fn progress(status: &NamespaceStatus, goal: Goal) -> Progress {
    if let Some(unread) = status.unread.first() {
        return Progress::NotYet(format!("cannot read {unread}"));
    }
    let mut all: Vec<Progress> = status.services.iter().map(|service| of_service(service, goal)).collect();
    if let Some(at) = all.iter().position(|one| matches!(one, Progress::Never(_))) {
        return all.swap_remove(at);
    }
    let not_yet = all.into_iter().find(|one| *one != Progress::Reached);
    not_yet.unwrap_or(Progress::Reached)
}

fn of_service(service: &ServiceStatus, goal: Goal) -> Progress {
    let name = &service.name;
    match goal {
        Goal::Ready => {
            let live = service.colours.iter().filter(|colour| colour.role == ColourRole::Live);
            let is_short = |desired: u32, ready: usize| usize::try_from(desired).is_ok_and(|desired| ready < desired);
            let behind =
                live.flat_map(|colour| &colour.workloads).find(|workload| is_short(workload.desired, workload.ready));
            match (behind, &service.attention) {
                (Some(one), _) => Progress::NotYet(format!(
                    "{name}: {} has {} of {} pods ready",
                    one.workload, one.ready, one.desired
                )),
                (None, Some(why)) => Progress::NotYet(format!("{name}: {why}")),
                (None, None) => Progress::Reached,
            }
        }
        Goal::Flippable => flippable(service),
        Goal::HeldOver => match service.colours.iter().find(|colour| colour.role == ColourRole::Held) {
            Some(held) => Progress::NotYet(format!("{name}: {} is held", held.colour)),
            None => Progress::Reached,
        },
    }
}

fn flippable(service: &ServiceStatus) -> Progress {
    let flips: Vec<_> =
        service.colours.iter().filter_map(|colour| Some((&colour.colour, colour.flip.as_ref()?))).collect();
    if flips.iter().any(|(_, flip)| flip.passes()) {
        return Progress::Reached;
    }
    let why = |(colour, words): (&String, &str)| format!("{}: flip to {colour}: {words}", service.name);
    let may_pass = flips.iter().find(|(_, flip)| flip.decision != "denied");
    match (may_pass, flips.first()) {
        (Some((colour, flip)), _) => Progress::NotYet(why((colour, &flip.words))),
        (None, Some((colour, flip))) => Progress::Never(why((colour, &flip.words))),
        (None, None) => Progress::NotYet(format!("{}: there is no other colour", service.name)),
    }
}
