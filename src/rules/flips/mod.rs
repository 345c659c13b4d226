//! Changes of a Service: may its traffic move to the new target?
//!
//! - `opt_out`: does the Service leave flipguard's care? `settings`: can its annotations be read?
//! - `routing`: is the change denied even without a flip?
//! - `target`: is the new colour ready? `ports`, `parity`, `version_label`: is it like the current one?
//! - `rollback`: does the flip return to the previous colour? `recreated`: is a deleted Service created again?

mod opt_out;
mod parity;
mod ports;
mod recreated;
mod rollback;
mod routing;
mod settings;
mod target;
mod update;
mod version_label;

pub(super) use opt_out::opts_out;
pub(super) use recreated::{finding as recreated, opts_out as recreation_opts_out};
pub(super) use rollback::may_be as may_be_rollback;
pub(super) use settings::settings;

use update::Update;

use crate::model::{ClusterView, Policy, Service};
use crate::rules::Finding;
use crate::rules::state::blue_green;

/// The findings about an update of a Service that is or was a traffic Service, and the summary of a flip.
pub(super) fn judge(old: &Service, new: &Service, view: &ClusterView, policy: &Policy) -> (String, Vec<Finding>) {
    let colours = &policy.colours;
    let goes_back = rollback::is_rollback(old, new, view, colours);
    let percent = if goes_back { policy.rollback_percent } else { 100 };
    let update = Update::new(old, new, view, colours, percent);
    let mut findings = settings(Some(old), new);
    if opts_out(old, new, view, colours) {
        findings.extend(opt_out::opt_out(&update));
        return (String::new(), findings);
    }
    if new.is_external_name {
        findings.extend(routing::external_name(&update));
        return (String::new(), findings);
    }
    if new.selector.is_empty() {
        findings.extend(routing::emptied(&update));
        return (String::new(), findings);
    }
    findings.extend(always(&update));
    if target::is_flip(&update) {
        findings.extend(on_a_flip(&update, goes_back));
        let flip = target::describe(old, new);
        return (if goes_back { format!("rollback, {flip}") } else { flip }, findings);
    }
    findings.extend(ports::on_other_changes(&update));
    (String::new(), findings)
}

/// Rules that apply with or without a flip. Where blue-green is not in use, they warn at most.
fn always(update: &Update<'_>) -> Vec<Finding> {
    let Update { old, view, colours, .. } = update;
    let siblings = blue_green::siblings(old, view, colours);
    let uses_blue_green = blue_green::uses_blue_green(old, &siblings, view, colours);
    let findings = routing::unpinned(update).into_iter().chain(routing::publishes_not_ready(update));
    findings.map(|finding| if uses_blue_green { finding } else { finding.at_most_warn() }).collect()
}

/// Rules about the target of a flip. A rollback never has to meet more than a flip forward.
fn on_a_flip(update: &Update<'_>, goes_back: bool) -> Vec<Finding> {
    let allowed_because = target::allowed_because(update);
    let mut findings = target::findings(update);
    // The size of a target that is not ready yet is no finding of its own.
    let is_ready = findings.is_empty();
    findings.extend(ports::on_a_flip(update));
    for finding in &mut findings {
        finding.allowed_because.clone_from(&allowed_because);
    }
    if !goes_back {
        findings.extend(parity::capacity(update).filter(|_| is_ready));
        findings.extend(parity::templates(update));
    }
    findings.extend(version_label::findings(update));
    findings
}
