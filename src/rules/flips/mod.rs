//! A Service changes: may its traffic go there?

mod opt_out;
mod parity;
mod ports;
mod recreated;
mod rollback;
mod routing;
mod target;
mod update;
mod version_label;

pub(super) use opt_out::opts_out;
pub(super) use recreated::{finding as recreated, opts_out as recreation_opts_out};
pub(super) use rollback::may_be as may_be_rollback;

use update::Update;

use crate::model::{Change, ClusterView, Policy, Service};
use crate::rules::state::{backends::Fleet, blue_green};
use crate::rules::{Finding, Verdict};

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
    if opt_out::opts_out(old, new, colours) {
        find(opt_out::opt_out(&update));
        return;
    }
    if new.is_external_name {
        find(routing::external_name(&update));
        return;
    }
    if new.selector.is_empty() {
        find(routing::emptied(&update));
        return;
    }
    // Where blue-green is not practised, such as with a version for a mesh alone, these only warn.
    let is_practised = blue_green::is_practised(old, &blue_green::siblings(old, view, colours), view, colours);
    let by_practice = |finding: Finding| if is_practised { finding } else { finding.only_a_warning() };
    find(routing::unpinned(&update).map(by_practice));
    find(routing::publishes_not_ready(&update).map(by_practice));
    if target::is_flip(&update) {
        let way_out = target::way_out(&update);
        let mut findings = target::target_findings(&update);
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
        warnings.extend(version_label::findings(&update));
        for finding in warnings {
            verdict.find(finding, change, policy);
        }
        verdict.act =
            if goes_back { format!("rollback, {}", target::describe(old, new)) } else { target::describe(old, new) };
    } else {
        for finding in ports::on_other_changes(&update) {
            verdict.find(finding, change, policy);
        }
    }
}
