//! What may not be done to a traffic Service, whether it flips or not.

use super::fleet::Fleet;
use super::wording::{pods, pods_serve};
use super::{Finding, Reason, Verdict, flip, overrides, parity, ports, practice, rollback, version};
use crate::model::{Change, ClusterView, ColourScheme, Policy, Role, Service, annotation};

/// An update of a Service, with what its selectors match.
pub(super) struct Update<'a> {
    pub(super) old: &'a Service,
    pub(super) new: &'a Service,
    pub(super) view: &'a ClusterView,
    pub(super) colours: &'a ColourScheme,
    pub(super) current: Fleet<'a>,
    pub(super) target: Fleet<'a>,
    /// How many of a hundred Pods of the target must be ready.
    pub(super) percent: u32,
}

/// Judges an update of a Service that is, or was, a traffic Service.
pub(super) fn judge(
    old: &Service,
    new: &Service,
    view: &ClusterView,
    change: &Change,
    policy: &Policy,
    verdict: &mut Verdict,
) {
    let colours = &policy.colours;
    let (current, target) = (Fleet::of(old.routed(), view), Fleet::of(new.routed(), view));
    let goes_back = rollback::is(old, new, &target, view, colours);
    let percent = if goes_back { policy.rollback_percent } else { 100 };
    let update = Update { old, new, view, colours, current, target, percent };
    let mut find = |finding: Option<Finding>| {
        if let Some(finding) = finding {
            verdict.find(finding, change, policy);
        }
    };
    if opts_out(old, new, colours) {
        find(opt_out(&update));
        return;
    }
    if new.is_external_name {
        find(external_name(&update));
        return;
    }
    if new.selector.is_empty() {
        find(emptied(&update));
        return;
    }
    // Where blue-green is not practised, such as with a version for a mesh alone, these only warn.
    let is_practised = practice::is_practised(old, &practice::siblings(old, view, colours), view, colours);
    let by_practice = |finding: Finding| if is_practised { finding } else { finding.only_a_warning() };
    find(unpinned(&update).map(by_practice));
    find(publishes_not_ready(&update).map(by_practice));
    if flip::is_flip(&update) {
        let way_out = flip::way_out(&update);
        let mut findings = flip::target_findings(&update);
        // A target that is not ready yet says nothing about its size.
        let is_ready = findings.is_empty();
        findings.extend(ports::on_a_flip(&update));
        for mut finding in findings {
            finding.way_out.clone_from(&way_out);
            verdict.find(finding, change, policy);
        }
        let mut warnings = Vec::new();
        // Going back is never harder than going forward.
        if !goes_back {
            warnings.extend(parity::capacity(&update).filter(|_| is_ready));
            warnings.extend(parity::templates(&update));
        }
        warnings.extend(version::findings(&update));
        for finding in warnings {
            verdict.find(finding, change, policy);
        }
        verdict.act =
            if goes_back { format!("rollback, {}", flip::describe(old, new)) } else { flip::describe(old, new) };
    } else {
        for finding in ports::on_other_changes(&update) {
            verdict.find(finding, change, policy);
        }
    }
}

/// Whether the change takes a traffic Service out of flipguard's care by its annotations: with the old ones it would
/// be a traffic Service still.
pub(super) fn opts_out(old: &Service, new: &Service, colours: &ColourScheme) -> bool {
    let mut guarded = new.clone();
    guarded.meta.annotations.clone_from(&old.meta.annotations);
    old.role(colours) == Role::Traffic && guarded.role(colours) == Role::Traffic && new.role(colours) != Role::Traffic
}

pub(super) fn opt_out(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, view, current, .. } = update;
    let meta = &new.meta;
    let sets = |key: &str, value: &str| meta.annotation(key) == Some(value) && old.meta.annotation(key) != Some(value);
    let what = if sets(annotation::GUARD, "false") {
        format!("annotation {}=false takes it out of flipguard's care", annotation::GUARD)
    } else if sets(annotation::ROLE, "preview") {
        format!("annotation {}=preview takes it out of flipguard's care", annotation::ROLE)
    } else if meta.annotation(annotation::ARGO_ROLLOUTS).is_none() {
        format!("without annotation {}=traffic nobody guards it", annotation::ROLE)
    } else if view.rollout_exists == Some(true) {
        // Argo Rollouts takes over, and that is all that changes.
        return None;
    } else {
        format!("annotation {} names no Rollout that exists", annotation::ARGO_ROLLOUTS)
    };
    let is_permitted = view.may_override.get(&meta.name) == Some(&true);
    (current.ready() > 0 && !is_permitted).then(|| {
        Finding::new(
            Reason::OptOutNotPermitted,
            format!("{what} while {}", pods_serve(current.ready())),
            format!("leave it out; or {}", overrides::how_to_be_permitted(&meta.namespace)),
        )
    })
}

fn external_name(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, current, .. } = update;
    (!old.is_external_name && current.ready() > 0).then(|| {
        Finding::new(
            Reason::TypeExternalName,
            format!(
                "type becomes ExternalName while {}; clients would move as their DNS caches end",
                pods_serve(current.ready())
            ),
            format!("keep the type of {}, and make a Service of another name for the alias", new.meta.name),
        )
    })
}

fn emptied(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, current, .. } = update;
    (!old.routed().is_empty()).then(|| {
        Finding::new(
            Reason::SelectorEmptied,
            if current.ready() == 0 {
                format!("the selector {} would be empty, and nobody would write its endpoints any more", old.routed())
            } else {
                format!(
                    "the selector {} would be empty, and the endpoints of {} would stay as they are for ever",
                    old.routed(),
                    pods(current.ready(), "")
                )
            },
            format!(
                "keep it; to take the app down: kubectl -n {} delete service {}",
                new.meta.namespace, new.meta.name
            ),
        )
    })
}

fn unpinned(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, colours, target, .. } = update;
    let before = colours.pins(old.routed());
    let pinned: Vec<String> = before.iter().map(|pin| format!("{}={}", pin.key, pin.value)).collect();
    let next_step = format!(
        "keep {} in the selector, or put another colour there, since all of them would serve at once",
        pinned.join(",")
    );
    if before.is_empty() {
        return None;
    }
    if colours.pins(new.routed()).is_empty() {
        let message = format!("selector {} pins no colour any more (it was {})", new.routed(), pinned.join(","));
        return Some(Finding::new(Reason::SelectorUnpinned, message, next_step));
    }
    // Both colours behind one selector serve at once.
    before.iter().find_map(|pin| {
        let wanting = target.workloads.iter().filter(|workload| workload.wanted > 0);
        let of_workloads = wanting.filter_map(|workload| workload.template.labels.get(pin.key));
        let of_pods = target.standing.iter().filter_map(|pod| pod.meta.labels.get(pin.key));
        let mut values: Vec<&str> = of_workloads.chain(of_pods).map(String::as_str).collect();
        values.sort_unstable();
        values.dedup();
        (values.len() > 1).then(|| {
            let message = format!("selector {} matches {} {} at once", new.routed(), pin.key, values.join(" and "));
            Finding::new(Reason::SelectorUnpinned, message, next_step.clone())
        })
    })
}

fn publishes_not_ready(update: &Update<'_>) -> Option<Finding> {
    let Update { old, new, .. } = update;
    (new.publishes_not_ready && !old.publishes_not_ready).then(|| {
        Finding::new(
            Reason::PublishesNotReady,
            "publishNotReadyAddresses would send traffic to pods that are not ready".to_owned(),
            "leave it out; set it on a Service of its own if peers must find each other before they are ready"
                .to_owned(),
        )
    })
}
