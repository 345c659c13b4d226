//! Changes of a Service: may its traffic move to the new target?
//!
//! - `opt_out`: does the Service leave flipguard's care? `settings`: can its annotations be read?
//! - `routing`: is the change denied even without a flip?
//! - `target`: is the new colour ready? `ports`, `parity`, `version_label`: is it like the current one?
//! - `soak`: has it been ready for long enough?
//! - `expected`: is it the version that the Service expects? `gates` beside this folder: has it been tested?
//! - `reach`: do clients still reach it from where they are?
//! - `rollback`: does the flip return to the previous colour? `recreated`: is a deleted Service created again?

mod expected;
mod opt_out;
mod parity;
mod ports;
mod reach;
mod recreated;
mod rollback;
mod routing;
mod settings;
mod soak;
mod target;
mod update;
mod version_label;

pub(super) use opt_out::{lets_sleep, opts_out, sleep};
pub(super) use recreated::{findings as recreated, flips as recreation_flips, opts_out as recreation_opts_out};
pub(super) use rollback::may_be as may_be_rollback;
pub(super) use settings::{key_unknown, settings};

use update::Update;

use crate::model::{Change, ClusterView, PinKind, Policy, Role, Service, Timestamp};
use crate::rules::gates;
use crate::rules::state::app::App;
use crate::rules::state::blue_green;
use crate::rules::state::readiness::Demand;
use crate::rules::state::roles::{is_traffic, role};
use crate::rules::wording::version_cure;
use crate::rules::{Finding, Reason};

/// The findings about an update of a Service; and what it does, where it flips.
pub(super) fn judge(
    old: &Service,
    new: &Service,
    view: &ClusterView,
    change: &Change,
    policy: &Policy,
    now: Timestamp,
) -> (String, Vec<Finding>) {
    let colours = &policy.colours;
    let goes_back = rollback::is_rollback(old, new, view, colours);
    let demand = if goes_back { Demand::of_rollback(policy) } else { Demand::of_flip(policy) };
    let update = Update::new(old, new, view, policy, demand);
    let mut findings: Vec<Finding> = sleep(Some(old), new, view, colours).into_iter().collect();
    if !is_judged(&update) {
        let is_plain = [old, new].iter().any(|service| role(service, view, colours) == Role::Plain);
        findings.extend(routing::endpoints_lost(&update).filter(|_| is_plain));
        findings.extend(settings::unknown_role(Some(old), new));
        return (String::new(), findings);
    }
    findings.extend(settings(Some(old), new));
    findings.extend(key_unknown(Some(old), new, colours));
    if opts_out(old, new, view, colours) {
        findings.extend(opt_out::opt_out(&update));
        return (String::new(), findings);
    }
    let (summary, of_routing) = if new.is_external_name {
        (String::new(), routing::external_name(&update).into_iter().collect())
    } else if new.selector.is_empty() {
        (String::new(), routing::emptied(&update).into_iter().collect())
    } else {
        routed(&update, change, goes_back, now)
    };
    let not_in_use = !uses_blue_green(&update);
    findings.extend(of_routing.into_iter().map(|finding| if not_in_use { cured(finding, &update) } else { finding }));
    (summary, findings)
}

/// Whether the rules apply: the Service is, or was, a traffic Service; or the change itself moves a number (`shop-v1`).
fn is_judged(update: &Update<'_>) -> bool {
    let Update { old, new, view, colours, .. } = update;
    let app = App::of(old.routed(), colours);
    let moves_number = app.pins_by(PinKind::Number) && old.routed() != new.routed() && app.has_service(new.routed());
    moves_number || [old, new].iter().any(|one| is_traffic(one, view, colours))
}

fn routed(update: &Update<'_>, change: &Change, goes_back: bool, now: Timestamp) -> (String, Vec<Finding>) {
    let Update { old, new, .. } = update;
    let mut findings: Vec<Finding> = routing::too_wide(update).into_iter().chain(routing::unpinned(update)).collect();
    findings.extend(routing::publishes_not_ready(update));
    findings.extend(reach::type_narrowed(update));
    findings.extend(reach::becomes_local(update));
    findings.extend(ports::removed(update));
    findings.extend(ports::undeclared(update));
    if !target::is_flip(update) {
        findings.extend(ports::on_other_changes(update));
        return (String::new(), findings);
    }
    findings.extend(on_a_flip(update, goes_back, now));
    findings.extend(expected::finding(update, goes_back));
    if !goes_back {
        findings.extend(gated(update, change, now));
    }
    findings.extend(rollback::returns_to_abandoned(update, now));
    findings.extend(rollback::flip_undone(update, change, now));
    let flip = target::describe(old, new);
    (if goes_back { format!("rollback, {flip}") } else { flip }, findings)
}

/// The gates that are not passed. A target that is not ready is told of that alone: its images may not be known yet.
fn gated(update: &Update<'_>, change: &Change, now: Timestamp) -> Vec<Finding> {
    let Update { target, view, policy, .. } = update;
    let (user, namespace) = (&change.user, update.namespace());
    gates::passed::findings(&gates::passed::Flip { target, view, policy, user, namespace, now })
}

/// Whether blue-green is in use: behind the old selector, or, where that pins nothing, behind the new one. Seen from the
/// new selector, the current workload would always be another colour.
fn uses_blue_green(update: &Update<'_>) -> bool {
    let Update { old, new, view, colours, .. } = update;
    let uses = |service: &Service| {
        let siblings = App::of(service.routed(), colours).siblings(view);
        blue_green::uses_blue_green(service, &siblings, view, colours)
    };
    let pins_by_key = App::of(new.routed(), colours).pins_by(PinKind::Key);
    uses(old) || pins_by_key || (colours.pins(old.routed()).is_empty() && uses(new))
}

/// The same as a warning, where blue-green is not in use; with the cure of a Service that is stamped with a version.
fn cured(finding: Finding, update: &Update<'_>) -> Finding {
    let mut finding = finding.at_most_warn();
    let app = App::of(update.old.routed(), update.colours);
    let version = app.pins().iter().find(|pin| pin.kind == PinKind::Version);
    let is_about_target = matches!(finding.reason, Reason::TargetMissing | Reason::TargetNotReady);
    if let Some(pin) = version.filter(|_| is_about_target) {
        finding.remedies.insert(0, version_cure(&update.new.meta, pin.key));
    }
    finding
}

/// Rules about the target of a flip. A rollback never has to meet more than a flip forward.
fn on_a_flip(update: &Update<'_>, goes_back: bool, now: Timestamp) -> Vec<Finding> {
    let allowed_because = target::allowed_because(update);
    let mut findings = target::findings(update);
    // The size of a target that is not ready yet is no finding of its own.
    let is_ready = findings.is_empty();
    findings.extend(soak::finding(update, now).filter(|_| is_ready && !goes_back));
    findings.extend(ports::on_a_flip(update));
    for finding in &mut findings {
        finding.allowed_because.clone_from(&allowed_because);
    }
    findings.extend(parity::capacity(update).filter(|_| is_ready));
    findings.extend(reach::on_a_flip(update).filter(|_| is_ready));
    if !goes_back {
        findings.extend(parity::templates(update));
    }
    findings.extend(version_label::findings(update));
    findings
}
