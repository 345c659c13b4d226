//! The live colour: may what carries the traffic be taken away?
//!
//! Traffic first, then pods. A Service says what is meant to serve; as long as it stands, a change may not leave it less
//! than it needs. Deleting the Service withdraws the promise, and frees its Pods.

use super::fleet::Fleet;
use super::left::{After, left};
use super::wording::pods;
use super::{Finding, Reason, Verdict, hold, practice};
use crate::model::{
    Change, ClusterView, ColourScheme, Owner, Policy, Role, Selector, Service, Strategy, Timestamp, Workload,
    WorkloadKind, Write, annotation, has_word,
};

/// Who scales down for a living; a big step of theirs is no accident (Kubernetes, `cmd/kube-controller-manager`; KEDA).
const AUTOSCALERS: [&str; 2] =
    ["system:serviceaccount:kube-system:horizontal-pod-autoscaler", "system:serviceaccount:keda:keda-operator"];

/// A traffic Service that a changed workload stands behind.
pub(super) struct Stake<'a> {
    service: &'a Service,
    /// What it must keep: what it selects, or what it selected before a flip.
    selector: &'a Selector,
    view: &'a ClusterView,
    fleet: Fleet<'a>,
    siblings: Vec<&'a Workload>,
    /// The sibling that could take over.
    idle: Option<&'a Workload>,
    is_practised: bool,
    /// How many ready Pods it must keep.
    floor: usize,
}

impl<'a> Stake<'a> {
    fn of(service: &'a Service, view: &'a ClusterView, colours: &ColourScheme) -> Self {
        Self::of_selector(service, service.routed(), view, colours)
    }

    /// What a Service has at stake behind a selector.
    pub(super) fn of_selector(
        service: &'a Service,
        selector: &'a Selector,
        view: &'a ClusterView,
        colours: &ColourScheme,
    ) -> Self {
        let siblings = practice::siblings(service, view, colours);
        let is_live = |workload: &Workload| {
            let traffic = |other: &&Service| other.role(colours) == Role::Traffic;
            view.services.iter().filter(traffic).any(|other| other.routed().matches(&workload.template.labels))
        };
        Self {
            service,
            selector,
            view,
            fleet: Fleet::of(selector, view),
            is_practised: practice::is_practised(service, &siblings, view, colours),
            idle: siblings.iter().copied().find(|sibling| !is_live(sibling)),
            siblings,
            floor: service.minimum_replicas().max(1),
        }
    }

    /// How many ready Pods its Service is sure to keep when a workload becomes what it is to be.
    pub(super) fn left(&self, changed: &Workload, after: &After<'_>) -> usize {
        left(self.selector, &self.fleet, self.view, changed, after)
    }

    /// Whether a workload stands behind its Service, or is a part of one that does.
    pub(super) fn concerns(&self, workload: &Workload) -> bool {
        if workload.stands_alone() {
            self.selector.matches(&workload.template.labels)
        } else {
            self.fleet.workloads.iter().any(|whole| workload.meta.is_controlled_by(&whole.meta.uid))
        }
    }

    /// Whether a change leaves fewer than are ready now, and fewer than it needs.
    pub(super) fn too_little(&self, left: usize) -> bool {
        left < self.fleet.ready() && left < self.floor
    }

    /// Where blue-green is not practised, a rule only warns.
    fn finding(&self, reason: Reason, message: String, next_step: String) -> Finding {
        let finding = Finding::new(reason, message, next_step);
        if self.is_practised { finding } else { finding.only_a_warning() }
    }

    /// What is left to go back to.
    pub(super) fn would_keep(&self, left: usize) -> String {
        let Self { fleet, floor, .. } = self;
        format!("it would keep {left} of its {} ready pods (going back needs {floor})", fleet.ready())
    }

    pub(super) fn would_leave(&self, left: usize) -> String {
        let Self { service, fleet, floor, .. } = self;
        format!(
            "it would leave Service {} with {left} of {} ready pods (it needs {floor})",
            service.meta.name,
            fleet.ready()
        )
    }

    /// `kubectl` in the Service's namespace.
    fn delete_service(&self) -> String {
        let meta = &self.service.meta;
        format!(
            "to take the app down, delete the Service first: kubectl -n {} delete service {}",
            meta.namespace, meta.name
        )
    }

    /// Where a new version goes.
    fn other_colour(&self) -> Option<String> {
        match (self.idle, self.siblings.first()) {
            (Some(idle), _) => Some(idle.to_string()),
            (None, Some(live)) => Some(format!("another colour ({live} is live, too)")),
            (None, None) => None,
        }
    }

    fn flip_first(&self) -> String {
        format!("flip Service {} to the other colour first; {}", self.service.meta.name, self.delete_service())
    }
}

/// The traffic Services of a namespace that route at all.
fn stakes<'a>(view: &'a ClusterView, colours: &ColourScheme) -> Vec<Stake<'a>> {
    // One that is on its way out promises nothing any more.
    let traffic =
        view.services.iter().filter(|service| service.role(colours) == Role::Traffic && !service.meta.deleting);
    traffic.map(|service| Stake::of(service, view, colours)).collect()
}

/// Judges a change of a workload, or the deletion of a Service.
pub(super) fn judge(change: &Change, view: &ClusterView, policy: &Policy, now: Timestamp, verdict: &mut Verdict) {
    let colours = &policy.colours;
    let stakes = stakes(view, colours);
    let (act, findings) = match &change.write {
        Write::ServiceDelete { old } => ("delete".to_owned(), service_deleted(old, view).into_iter().collect()),
        Write::WorkloadCreate { new } => {
            let mut findings = joins(None, new, &stakes, colours);
            findings.extend(adopts(new, &stakes, view));
            ("create".to_owned(), findings)
        }
        Write::WorkloadUpdate { old, new } => {
            let mut findings = changed(old, new, &stakes, change);
            findings.extend(collected(old, new, &stakes, view));
            findings.extend(adopted(old, new, &stakes, view));
            findings.extend(joins(Some(old), new, &stakes, colours));
            findings.extend(held(old, new, view, policy, now));
            (describe(old, new), findings)
        }
        Write::WorkloadDelete { old } => {
            let mut findings = deleted(old, &stakes);
            findings.extend(hold::findings(Reason::HeldDeleted, old, &After::Gone, view, policy, now));
            ("delete".to_owned(), findings)
        }
        Write::Scale { kind, name, from, to, .. } => {
            let stored = view.workloads.iter().find(|workload| workload.kind == *kind && workload.meta.name == *name);
            let judge = |old: &Workload| {
                let new = Workload { wanted: *to, ..old.clone() };
                let mut findings = scaled(old, &new, &stakes, change);
                findings.extend(held(old, &new, view, policy, now));
                findings
            };
            (format!("scale {from} -> {to}"), stored.map(judge).unwrap_or_default())
        }
        Write::ServiceUpdate { .. } | Write::ServiceCreate { .. } | Write::Other => return,
    };
    verdict.act = act;
    for finding in findings {
        verdict.find(finding, change, policy);
    }
}

/// Whether a scale-down takes the colour before below what going back would need.
fn held(old: &Workload, new: &Workload, view: &ClusterView, policy: &Policy, now: Timestamp) -> Vec<Finding> {
    if new.wanted >= old.wanted && new.first_ordinal == old.first_ordinal {
        return Vec::new();
    }
    hold::findings(Reason::HeldScaledDown, old, &After::Becomes(new), view, policy, now)
}

fn describe(old: &Workload, new: &Workload) -> String {
    let scale = format!("scale {} -> {}", old.wanted, new.wanted);
    let parts: Vec<&str> = [
        (new.wanted != old.wanted, scale.as_str()),
        (new.first_ordinal != old.first_ordinal, "change of its ordinals"),
        (new.template != old.template, "change of the pod template"),
        (new.meta.owners != old.meta.owners, "change of its owners"),
    ]
    .into_iter()
    .filter_map(|(is, part)| is.then_some(part))
    .collect();
    if parts.is_empty() { "change".to_owned() } else { parts.join(" and ") }
}

fn service_deleted(old: &Service, view: &ClusterView) -> Option<Finding> {
    let ready = Fleet::of(old.routed(), view).ready();
    (ready > 0).then(|| {
        Finding::new(
            Reason::ServiceDeleted,
            format!("{} served through it; from now on nothing protects the colour", pods(ready, "")),
            "if that is not meant, create it again at once".to_owned(),
        )
    })
}

fn deleted(old: &Workload, stakes: &[Stake<'_>]) -> Vec<Finding> {
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

/// An update after which no owner is left, so that the garbage collector deletes the object.
fn collected(old: &Workload, new: &Workload, stakes: &[Stake<'_>], view: &ClusterView) -> Vec<Finding> {
    let owners = &new.meta.owners;
    let is_there: Vec<Option<bool>> = owners.iter().map(|owner| view.is_there(owner)).collect();
    let Some(first) = owners.first().filter(|_| old.meta.owners != *owners && !is_there.contains(&Some(true))) else {
        return Vec::new();
    };
    // As long as one of them may be there, it may stay.
    let unknown = owners.iter().zip(&is_there).find(|(_, is_there)| is_there.is_none()).map(|(owner, _)| owner);
    let concerned = stakes.iter().filter(|stake| stake.concerns(old));
    concerned
        .filter_map(|stake| {
            let left = stake.left(old, &After::Gone);
            let leaves = stake.would_leave(left);
            let owner = unknown.unwrap_or(first);
            let Owner { api_version, kind, name, uid } = owner;
            let message = match unknown {
                Some(_) => format!(
                    "flipguard may not see whether its owner {owner} exists; if not, the garbage collector deletes it, \
                     and {leaves}"
                ),
                None => format!(
                    "its owner {owner} with uid {uid} does not exist or is being deleted, so the garbage collector would \
                     delete it; {leaves}"
                ),
            };
            let resource = match api_version.split_once('/') {
                Some((group, _)) => format!("{kind}.{group}").to_ascii_lowercase(),
                None => kind.to_ascii_lowercase(),
            };
            let next_step = format!(
                "leave the ownerReference out, or give it the uid of what exists: kubectl -n {} get {resource} {name} -o \
                 jsonpath='{{.metadata.uid}}'",
                old.meta.namespace
            );
            let finding = stake.finding(Reason::LiveDeleted, message, next_step);
            stake.too_little(left).then(|| if unknown.is_some() { finding.only_a_warning() } else { finding })
        })
        .collect()
}

/// A ReplicaSet of its own that is given to a Deployment, which scales it as an old or the current one of its own.
fn adopted(old: &Workload, new: &Workload, stakes: &[Stake<'_>], view: &ClusterView) -> Vec<Finding> {
    let by = view.workloads.iter().find(|workload| new.meta.is_controlled_by(&workload.meta.uid));
    let Some(by) = by.filter(|_| old.stands_alone()) else { return Vec::new() };
    let concerned = stakes.iter().filter(|stake| stake.concerns(old));
    concerned
        .filter_map(|stake| {
            let left = stake.left(old, &After::Becomes(new));
            let message = format!("{by} would scale it as its own; {}", stake.would_leave(left));
            stake.too_little(left).then(|| stake.finding(Reason::LiveScaledDown, message, stake.flip_first()))
        })
        .collect()
}

/// A new Deployment whose selector matches ReplicaSets that stand alone: its controller takes them over, and scales them.
fn adopts(new: &Workload, stakes: &[Stake<'_>], view: &ClusterView) -> Vec<Finding> {
    let is_orphan = |workload: &&Workload| {
        workload.kind == WorkloadKind::ReplicaSet && workload.stands_alone() && new.would_select(&workload.meta.labels)
    };
    let orphans = view.workloads.iter().filter(is_orphan).filter(|_| new.kind == WorkloadKind::Deployment);
    let taken = |stake: &Stake<'_>, orphan: &Workload| {
        let others = stake.left(orphan, &After::Gone);
        let kept = stake.left(orphan, &After::Becomes(orphan)).saturating_sub(others);
        let wanted = usize::try_from(new.wanted).unwrap_or(usize::MAX);
        let left = others + if stake.selector.matches(&new.template.labels) { kept.min(wanted) } else { 0 };
        stake.too_little(left).then(|| {
            let message = format!("it would take {orphan} over and scale it as its own; {}", stake.would_leave(left));
            stake.finding(Reason::LiveScaledDown, message, stake.flip_first())
        })
    };
    orphans
        .flat_map(|orphan| {
            stakes.iter().filter(|stake| stake.concerns(orphan)).filter_map(move |stake| taken(stake, orphan))
        })
        .collect()
}

fn scaled(old: &Workload, new: &Workload, stakes: &[Stake<'_>], change: &Change) -> Vec<Finding> {
    // A StatefulSet whose ordinals begin elsewhere ends the Pods outside of them.
    if new.wanted >= old.wanted && new.first_ordinal == old.first_ordinal {
        return Vec::new();
    }
    stakes
        .iter()
        .filter(|stake| stake.concerns(old))
        .filter_map(|stake| {
            let left = stake.left(old, &After::Becomes(new));
            if stake.too_little(left) {
                return Some(stake.finding(Reason::LiveScaledDown, stake.would_leave(left), stake.flip_first()));
            }
            let by_autoscaler = AUTOSCALERS.contains(&change.user.name.as_str());
            (left * 2 < stake.fleet.ready() && !by_autoscaler).then(|| {
                let next_step = format!(
                    "if that is not meant: kubectl -n {} scale {}/{} --replicas={}",
                    old.meta.namespace,
                    old.kind.singular(),
                    old.meta.name,
                    old.wanted
                );
                let message = format!(
                    "it cuts Service {} from {} to {left} ready pods",
                    stake.service.meta.name,
                    stake.fleet.ready()
                );
                Finding::new(Reason::LiveShrunk, message, next_step)
            })
        })
        .collect()
}

fn changed(old: &Workload, new: &Workload, stakes: &[Stake<'_>], change: &Change) -> Vec<Finding> {
    let mut findings = scaled(old, new, stakes, change);
    for stake in stakes.iter().filter(|stake| stake.concerns(old) && old.stands_alone()) {
        if stake.service.routed().matches(&new.template.labels) {
            findings.extend(redeployed(stake, old, new));
            findings.extend(recreated(stake, old, new));
        } else {
            findings.extend(detached(stake, old, new));
        }
    }
    findings
}

fn detached(stake: &Stake<'_>, old: &Workload, new: &Workload) -> Option<Finding> {
    let left = stake.left(old, &After::Becomes(new));
    let lost = Selector::new(old.template.labels.clone()).without(&Selector::new(new.template.labels.clone()));
    stake.too_little(left).then(|| {
        let message = format!("its pods would lose {lost}; {}", stake.would_leave(left));
        stake.finding(Reason::LiveDetached, message, stake.flip_first())
    })
}

/// A new version in place of the one that serves. What goes back to a known revision passes, and what changes only
/// metadata.
fn redeployed(stake: &Stake<'_>, old: &Workload, new: &Workload) -> Option<Finding> {
    if old.template.spec == new.template.spec || is_known_revision(stake.view, old, new) || stake.fleet.ready() == 0 {
        return None;
    }
    let service = &stake.service.meta.name;
    let (old_image, new_image) = (old.template.main_image(), new.template.main_image());
    let what = match (old_image, new_image) {
        (Some(old), Some(new)) if old != new => format!("image {old} -> {new}"),
        _ => "its pod template changes".to_owned(),
    };
    let message = format!("{what}, while Service {service} routes to it ({})", pods(stake.fleet.ready(), "ready"));
    let Some(sibling) = stake.other_colour() else {
        let next_step = "to have a way back, deploy the new version beside it and flip".to_owned();
        return Some(Finding::new(Reason::LiveRedeployed, message, next_step).only_a_warning());
    };
    let next_step = format!("deploy the new version to {sibling} and flip Service {service} to it");
    let finding = stake.finding(Reason::LiveRedeployed, message, next_step);
    let is_healthy = stake.fleet.ready() >= stake.floor;
    Some(if is_healthy { finding } else { finding.only_a_warning() })
}

/// Whether the template is one that the workload had before, or has: a ReplicaSet of its runs it, but for the label that
/// the Deployment controller adds; or a revision of its keeps it.
fn is_known_revision(view: &ClusterView, old: &Workload, new: &Workload) -> bool {
    let mut own = view.revisions.iter().filter(|revision| revision.meta.is_controlled_by(&old.meta.uid));
    view.replica_sets_of(old).any(|replica_set| replica_set.template.spec == new.template.spec)
        || own.any(|revision| revision.keeps(new))
}

/// A change after which nothing holds the floor while it is carried out.
fn recreated(stake: &Stake<'_>, old: &Workload, new: &Workload) -> Option<Finding> {
    let goes_back = new.meta.annotation(annotation::ROLLBACK).is_some()
        && old.meta.annotation(annotation::ROLLBACK) != new.meta.annotation(annotation::ROLLBACK);
    let begins = (old.template != new.template || goes_back) && !new.paused;
    let released = old.paused && !new.paused && !old.is_settled();
    let turned = old.strategy != new.strategy && !old.is_settled() && !new.paused;
    if !(begins || released || turned) || new.strategy == Strategy::OnDelete {
        return None;
    }
    let (unavailable, _) = new.strategy.limits(new.wanted);
    let guaranteed = usize::try_from(new.wanted.saturating_sub(unavailable)).unwrap_or(usize::MAX);
    let others = stake.left(old, &After::Gone);
    let left = others + guaranteed;
    let how = match new.strategy {
        Strategy::Recreate => "strategy Recreate ends all pods before it starts new ones".to_owned(),
        _ => format!("maxUnavailable lets all {} pods go at once", new.wanted),
    };
    stake.too_little(left).then(|| {
        let next_step = match stake.other_colour() {
            Some(sibling) => {
                format!("deploy to {sibling} and flip; or set strategy RollingUpdate first")
            }
            None => "set strategy RollingUpdate first".to_owned(),
        };
        let finding = stake.finding(Reason::LiveRecreate, format!("{how}; {}", stake.would_leave(left)), next_step);
        let is_strict = !stake.siblings.is_empty() && stake.fleet.ready() >= stake.floor;
        if is_strict { finding } else { finding.only_a_warning() }
    })
}

/// A workload of another colour that comes behind a live selector.
fn joins(old: Option<&Workload>, new: &Workload, stakes: &[Stake<'_>], colours: &ColourScheme) -> Vec<Finding> {
    if !new.stands_alone() {
        return Vec::new();
    }
    let name = new.meta.name.as_str();
    let joining = stakes.iter().filter(|stake| {
        let selector = stake.service.routed();
        let pins = colours.pins(selector);
        let names_another =
            colours.names.iter().any(|colour| has_word(name, colour) && !pins.iter().any(|pin| pin.colour == colour));
        let relabelled = old.is_some_and(|old| !selector.matches(&old.template.labels));
        let created = old.is_none() && names_another && !pins.is_empty();
        selector.matches(&new.template.labels) && stake.fleet.ready() > 0 && (relabelled || created)
    });
    joining
        .map(|stake| {
            let service = &stake.service.meta.name;
            Finding::new(
                Reason::JoinsLive,
                format!(
                    "its pods would serve behind Service {service} at once, beside {}",
                    pods(stake.fleet.ready(), "ready")
                ),
                "if that is not meant, correct the labels of its pod template".to_owned(),
            )
        })
        .collect()
}
