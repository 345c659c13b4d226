//! What `flipguard status --wait` waits for.

use super::report::{ColourRole, ColourStatus, NamespaceStatus, ServiceStatus};

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
    /// It cannot be known; the first reason.
    Unreadable(String),
}

/// How far a goal is reached for all Services of a namespace. `named` are those that somebody asks for by name.
#[must_use]
pub fn progress(status: &NamespaceStatus, goal: Goal, named: &[String]) -> Progress {
    if let Some(unread) = status.unread.first() {
        let why = format!("cannot read {unread}");
        // Rights do not come by waiting.
        return if unread.contains("forbidden") { Progress::Unreadable(why) } else { Progress::NotYet(why) };
    }
    if let Some(other) = status.others.iter().find(|other| named.contains(&other.name)) {
        let (name, role, because) = (&other.name, other.role, other.because);
        return Progress::Never(format!(
            "{name} is no traffic Service, so nothing is waited for: {role}, since {because}"
        ));
    }
    if status.services.is_empty() && named.is_empty() {
        return Progress::NotYet(format!("there is no traffic Service in {}", status.namespace));
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
            let asleep = service.colours.iter().filter(|colour| colour.role == ColourRole::Live);
            let asleep = asleep.flat_map(|colour| &colour.workloads).find(|workload| workload.desired == 0);
            match (behind, &service.attention) {
                (Some(one), _) => {
                    let trouble = one.trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
                    let (ready, desired) = (one.ready, one.desired);
                    let why = format!("{name}: {} has {ready} of {desired} pods ready{trouble}", one.workload);
                    if one.broken { Progress::Never(why) } else { Progress::NotYet(why) }
                }
                (None, Some(why)) if asleep.is_some() => {
                    let workload = asleep.map(|one| one.workload.as_str()).unwrap_or_default();
                    Progress::Never(format!("{name}: {why}: {workload} is scaled to 0"))
                }
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

/// Whether nobody waits long enough for a colour to be ready: it is scaled to 0, or a Pod fails for good.
fn is_hopeless(colour: &ColourStatus) -> bool {
    let all = &colour.workloads;
    all.iter().any(|workload| workload.broken) || all.iter().all(|workload| workload.desired == 0)
}

fn flippable(service: &ServiceStatus) -> Progress {
    let flips: Vec<_> =
        service.colours.iter().filter_map(|colour| Some((&colour.colour, colour.flip.as_ref()?))).collect();
    if flips.iter().any(|(_, flip)| flip.passes()) {
        return Progress::Reached;
    }
    let why = |(colour, words): (&String, &str)| format!("{}: flip to {colour}: {words}", service.name);
    let is_hopeless = |name: &String| service.colours.iter().any(|one| one.colour == *name && is_hopeless(one));
    let may_pass = flips.iter().find(|(colour, flip)| flip.decision != "denied" && !is_hopeless(colour));
    let unknown = flips.iter().find(|(_, flip)| flip.decision == "unknown");
    if let Some((colour, flip)) = unknown {
        return Progress::Unreadable(why((colour, &flip.words)));
    }
    match (may_pass, flips.first()) {
        (Some((colour, flip)), _) => Progress::NotYet(why((colour, &flip.words))),
        (None, Some((colour, flip))) => Progress::Never(why((colour, &flip.words))),
        (None, None) => Progress::NotYet(format!("{}: there is no other colour", service.name)),
    }
}
