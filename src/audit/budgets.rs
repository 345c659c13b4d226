//! Disruptions and sizes: what a drain may take, and what an autoscaler leaves.

use std::collections::BTreeSet;

use super::checks::{AUTOSCALER_ON_ONE_COLOUR, NO_PDB, PDB_BLOCKS_DRAIN, PDB_SPANS_COLOURS};
use super::extras::{Autoscaler, Budget};
use super::facts::{AppFacts, Facts};
use super::finding::Finding;
use crate::model::Workload;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    // Several Services may route to what one autoscaler scales.
    let mut told = BTreeSet::new();
    for app in &facts.apps {
        if let Some(budgets) = &facts.extras.budgets {
            all.extend(of_budgets(app, budgets));
        }
        if let Some(autoscalers) = &facts.extras.autoscalers {
            let found = autoscaled(app, autoscalers).filter(|(autoscaler, _)| told.insert(*autoscaler));
            all.extend(found.map(|(_, finding)| finding));
        }
    }
    all
}

fn of_budgets(app: &AppFacts<'_>, budgets: &[Budget]) -> Vec<Finding> {
    let covers = |budget: &Budget, workload: &Workload| budget.spec.selector.matches(&workload.template.labels);
    let of_live: Vec<&Budget> =
        budgets.iter().filter(|budget| app.live().any(|workload| covers(budget, workload))).collect();
    let mut all = Vec::new();
    if of_live.is_empty() && app.traffic.ready() > 1 {
        let message = format!("{} live pods, and no PodDisruptionBudget covers them", app.traffic.ready());
        all.push(app.finding(&NO_PDB, &app.colour, message));
    }
    let pods = |workload: &Workload| app.traffic.view.pods_of(workload).iter().filter(|pod| pod.serves()).count();
    for budget in &of_live {
        let name = &budget.metadata.name;
        let idle: usize = app.idle().filter(|workload| covers(budget, workload)).map(pods).sum();
        let live = app.traffic.ready();
        let allowed = |pods: usize| u32::try_from(pods).map_or(u32::MAX, |pods| budget.spec.allows_of(pods));
        // A budget that allows no more with the idle Pods than without them protects the live ones as planned.
        if idle > 0 && allowed(live + idle) > allowed(live) {
            let message = format!(
                "PodDisruptionBudget {name} covers {idle} idle pods as well; a drain may take {} of the {live} live ones, \
                 not {}",
                usize::try_from(allowed(live + idle)).map_or(live, |allowed| allowed.min(live)),
                allowed(live),
            );
            all.push(app.finding(&PDB_SPANS_COLOURS, "", message));
        }
        let status = budget.status;
        if status.expected_pods > 0 && status.current_healthy >= status.expected_pods && status.disruptions_allowed == 0
        {
            let message = format!(
                "PodDisruptionBudget {name} allows no eviction, with all {} pods healthy",
                status.expected_pods
            );
            all.push(app.finding(&PDB_BLOCKS_DRAIN, &app.colour, message));
        }
    }
    let twice = app.live().find_map(|workload| {
        let mut both = of_live.iter().filter(|budget| covers(budget, workload)).map(|budget| &budget.metadata.name);
        Some((both.next()?, both.next()?))
    });
    if let Some((one, other)) = twice {
        let message = format!("PodDisruptionBudgets {one} and {other} match the same pods, so every eviction fails");
        all.push(app.finding(&PDB_BLOCKS_DRAIN, &app.colour, message));
    }
    all
}

fn autoscaled<'a>(app: &AppFacts<'_>, autoscalers: &'a [Autoscaler]) -> Option<(&'a str, Finding)> {
    let scales = |workload: &Workload| {
        autoscalers.iter().find(|one| {
            one.spec.scale_target_ref.kind == workload.kind.name()
                && one.spec.scale_target_ref.name == workload.meta.name
        })
    };
    let one = app.live().chain(app.idle()).find_map(|workload| Some((workload, scales(workload)?)));
    let left = app.live().chain(app.idle()).find(|workload| workload.is_scalable() && scales(workload).is_none());
    let ((workload, autoscaler), left) = one.zip(left)?;
    app.others.first()?;
    let name = autoscaler.metadata.name.as_str();
    let message = format!("HorizontalPodAutoscaler {name} scales {workload}, and none scales {left}");
    Some((name, app.finding(&AUTOSCALER_ON_ONE_COLOUR, "", message)))
}
