//! Disruptions and sizes: what a drain may take, and what an autoscaler leaves.

use super::checks::{AUTOSCALER_ON_ONE_COLOUR, NO_PDB, PDB_BLOCKS_DRAIN, PDB_SPANS_COLOURS};
use super::extras::{Autoscaler, Budget};
use super::facts::{AppFacts, Facts};
use super::finding::Finding;
use crate::model::Workload;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    for app in &facts.apps {
        if let Some(budgets) = &facts.extras.budgets {
            all.extend(of_budgets(app, budgets));
        }
        if let Some(autoscalers) = &facts.extras.autoscalers {
            all.extend(autoscaled(app, autoscalers));
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
        if idle > 0 {
            let allowed = budget.status.disruptions_allowed;
            let message = format!(
                "PodDisruptionBudget {name} covers {idle} idle pods as well; a drain may take {allowed} of the {} live ones",
                app.traffic.ready()
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

fn autoscaled(app: &AppFacts<'_>, autoscalers: &[Autoscaler]) -> Option<Finding> {
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
    let name = &autoscaler.metadata.name;
    Some(app.finding(
        &AUTOSCALER_ON_ONE_COLOUR,
        "",
        format!("HorizontalPodAutoscaler {name} scales {workload}, and none scales {left}"),
    ))
}
