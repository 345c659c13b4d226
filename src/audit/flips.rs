//! What would the next flip, and the way back, meet? The answers are those of the rules.

use super::checks::{self, Check, FLIP_WOULD_BE_DENIED, NO_WAY_BACK, SAME_IMAGE, Severity};
use super::facts::{AppFacts, Facts};
use super::finding::Finding;
use super::whatif::{self, Act};
use crate::model::Workload;
use crate::rules::state::explain::held_for;
use crate::rules::state::version::of_image;
use crate::rules::{self, Reason};

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let of_app = |app: &AppFacts<'_>| {
        let mut all = imagined(facts, app);
        all.extend(no_way_back(facts, app));
        all.extend(same_image(app));
        all.extend(untagged(app));
        all
    };
    facts.apps.iter().flat_map(of_app).collect()
}

/// The rules that a namespace at rest already breaks.
fn at_rest(reason: Reason) -> Option<&'static Check> {
    let all: [&'static Check; 5] = [
        &checks::CAPACITY_BELOW_LIVE,
        &checks::ENVIRONMENT_DIFFERS,
        &checks::VERSION_MISMATCH,
        &checks::NO_READINESS_PROBE,
        &checks::PORT_UNRESOLVED,
    ];
    all.into_iter().find(|check| check.code == reason.code())
}

fn imagined(facts: &Facts<'_>, app: &AppFacts<'_>) -> Vec<Finding> {
    let (view, policy) = (&facts.snapshot.view, facts.policy);
    let mut all = Vec::new();
    for question in whatif::flips(app.traffic.service, view, &policy.colours) {
        let Act::Flip(colour) = &question.act else { continue };
        let verdict = rules::decide(&question.change, view, policy, facts.snapshot.at);
        for (found, _) in &verdict.findings {
            let Some(check) = at_rest(found.reason) else { continue };
            let finding = app.finding(check, colour, found.message.clone());
            all.push(match found.remedies.first().and_then(|remedy| remedy.command.clone()) {
                Some(command) => finding.with_step(command),
                None => finding,
            });
        }
        if let Some(first) = verdict.denying().next() {
            let message = format!("a flip to {colour} would be denied ({}): {}", first.reason, first.message);
            all.push(app.finding(&FLIP_WOULD_BE_DENIED, colour, message));
        }
    }
    all
}

/// While the hold of the last flip runs, that is an error: the previous colour should be there.
fn no_way_back(facts: &Facts<'_>, app: &AppFacts<'_>) -> Option<Finding> {
    let serves = |workload: &Workload| app.traffic.view.pods_of(workload).iter().any(|pod| pod.serves());
    if !app.traffic.uses_blue_green || app.idle().any(serves) || app.traffic.ready() == 0 {
        return None;
    }
    let message = match app.others.first().and_then(|(_, colour, workloads)| Some((colour, workloads.first()?))) {
        None => "no other colour is there".to_owned(),
        Some((colour, workload)) if workload.desired == 0 => format!("{colour} ({workload}) is scaled to 0"),
        Some((colour, workload)) => format!("{colour} ({workload}) has no ready pod"),
    };
    let held = app.idle().any(|idle| held_for(idle, app.traffic.view, facts.policy, facts.snapshot.at).is_some());
    let mut finding = app.finding(&NO_WAY_BACK, "", message);
    if held {
        finding.severity = Severity::Error;
        finding.message.push_str(", and the last flip is so recent that it should be held");
    }
    Some(finding)
}

/// The first workload of the app whose image names no version.
fn untagged(app: &AppFacts<'_>) -> Option<Finding> {
    let is_untagged = |workload: &Workload| {
        workload.template.main_image().filter(|image| of_image(image).is_guess).map(str::to_owned)
    };
    let (workload, image) = app.live().chain(app.idle()).find_map(|one| Some((one, is_untagged(one)?)))?;
    Some(app.finding(&checks::IMAGE_UNTAGGED, "", format!("{workload} runs {image}")))
}

fn same_image(app: &AppFacts<'_>) -> Option<Finding> {
    let live = app.live().next()?.template.main_image()?;
    let (_, colour, _) = app.others.iter().find(|(_, _, workloads)| {
        !workloads.is_empty() && workloads.iter().all(|workload| workload.template.main_image() == Some(live))
    })?;
    Some(app.finding(&SAME_IMAGE, colour, format!("{colour} runs {live}, too")))
}
