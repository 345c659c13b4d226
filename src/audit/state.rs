//! State that a flip parts, shares or leaves behind, and migrations that shut the way back.

use std::collections::BTreeSet;

use super::checks::{
    MIGRATION_IN_PODS, MIGRATION_SINCE, STATE_ON_NODE, STATE_PER_COLOUR, STATE_SHARED, STICKY_SESSIONS, Severity,
};
use super::extras::{Claim, Job, PodSpec, Program, Volume};
use super::facts::{AppFacts, Facts, pod_spec};
use super::finding::Finding;
use crate::model::{Timestamp, Workload, WorkloadKind};

/// Words in the image or the command of a migration. A word counts where no letter is beside it.
const MIGRATIONS: [&str; 10] =
    ["flyway", "liquibase", "alembic", "migrate", "migration", "migrations", "goose", "db:migrate", "dbmate", "sqitch"];
/// Annotations of an Ingress that make sessions stick.
const COOKIES: [(&str, &str); 3] = [
    ("nginx.ingress.kubernetes.io/affinity", "cookie"),
    ("haproxy.org/cookie-persistence", ""),
    ("traefik.ingress.kubernetes.io/service.sticky.cookie", "true"),
];

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    for app in &facts.apps {
        all.extend(claims(app, facts.extras.claims.as_deref()));
        all.extend(claim_templates(facts, app));
        all.extend(on_node(app));
        all.extend(Some(app).filter(|_| facts.options.ephemeral_state).and_then(in_pods_only));
        all.extend(in_pods(app));
        all.extend(sticky(facts, app));
        all.extend(facts.extras.jobs.iter().flatten().find_map(|job| migrated_since(app, job)));
    }
    all
}

fn claims(app: &AppFacts<'_>, known: Option<&[Claim]>) -> Vec<Finding> {
    let of = |workload: &Workload| -> BTreeSet<String> {
        let volumes = pod_spec(workload).volumes.unwrap_or_default().into_iter();
        volumes.filter_map(|volume| Some(volume.persistent_volume_claim?.claim_name)).collect()
    };
    let live: BTreeSet<String> = app.live().flat_map(of).collect();
    let mut all = Vec::new();
    for (_, colour, workloads) in &app.others {
        let own: BTreeSet<String> = workloads.iter().flat_map(|workload| of(workload)).collect();
        let shared = live.intersection(&own).find_map(|name| {
            let claim = known?.iter().find(|claim| claim.metadata.name == *name)?;
            let is_many = claim.spec.access_modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany");
            (!is_many).then(|| (name, claim.spec.access_modes.join(", ")))
        });
        if let Some((name, modes)) = shared {
            let message = format!("{} and {colour} mount claim {name} ({modes})", app.colour);
            all.push(app.finding(&STATE_SHARED, colour, message));
        }
        if let (Some(one), Some(other)) = (live.difference(&own).next(), own.difference(&live).next()) {
            let message = format!("{} writes to claim {one}, {colour} to claim {other}", app.colour);
            all.push(app.finding(&STATE_PER_COLOUR, colour, message));
        }
    }
    all
}

/// StatefulSets of two colours with claims of their own. A claim is named for its StatefulSet, so colours never share it.
fn claim_templates(facts: &Facts<'_>, app: &AppFacts<'_>) -> Option<Finding> {
    let template = |workload: &Workload| {
        let sets = facts.extras.stateful_sets.as_ref()?;
        let own = sets
            .iter()
            .find(|set| workload.kind == WorkloadKind::StatefulSet && set.metadata.name == workload.meta.name)?;
        own.spec.volume_claim_templates.as_ref()?.first().map(|claim| claim.metadata.name.as_str())
    };
    let live = app.live().find_map(template)?;
    let (colour, other) = app
        .others
        .iter()
        .find_map(|(_, colour, workloads)| Some((colour, workloads.iter().find_map(|workload| template(workload))?)))?;
    let message = format!("{} writes to its own claims {live}, {colour} to its own claims {other}", app.colour);
    Some(app.finding(&STATE_PER_COLOUR, colour, message))
}

fn on_node(app: &AppFacts<'_>) -> Option<Finding> {
    app.live().chain(app.idle()).find_map(|workload| {
        let path = written(workload, |volume| volume.host_path.is_some())?.host_path?.path;
        Some(app.finding(&STATE_ON_NODE, "", format!("{workload} writes to {path} of its node")))
    })
}

/// State that ends with each Pod. Most of it is meant so, which makes it worth no more than knowing.
fn in_pods_only(app: &AppFacts<'_>) -> Option<Finding> {
    let (workload, volume) =
        app.live().find_map(|workload| Some((workload, written(workload, |volume| volume.empty_dir.is_some())?)))?;
    let message = format!("{workload} writes to the emptyDir {}, which ends with each pod", volume.name);
    let finding = app.finding(&STATE_ON_NODE, &app.colour, message);
    Some(Finding { severity: Severity::Info, ..finding })
}

/// The first volume of a kind that a container of a workload may write to.
fn written(workload: &Workload, is_wanted: impl Fn(&Volume) -> bool) -> Option<Volume> {
    let PodSpec { containers, init_containers, volumes } = pod_spec(workload);
    let programs: Vec<Program> = containers.into_iter().chain(init_containers.unwrap_or_default()).collect();
    let writes = |name: &str| {
        let mounts = programs.iter().flat_map(|program| program.volume_mounts.iter().flatten());
        mounts.into_iter().any(|mount| mount.name == name && mount.read_only != Some(true))
    };
    volumes.into_iter().flatten().find(|volume| is_wanted(volume) && writes(&volume.name))
}

fn in_pods(app: &AppFacts<'_>) -> Option<Finding> {
    app.live().chain(app.idle()).find_map(|workload| {
        let init = pod_spec(workload).init_containers.unwrap_or_default().into_iter();
        let program = init.into_iter().find(is_migration)?;
        let message = format!("init container {} of {workload} looks like a migration", program.name);
        Some(app.finding(&MIGRATION_IN_PODS, "", message))
    })
}

fn is_migration(program: &Program) -> bool {
    let words = program.command.iter().chain(&program.args).flatten().chain([&program.image]);
    words.into_iter().any(|text| {
        let text = text.to_lowercase();
        MIGRATIONS.iter().any(|word| {
            text.split(|letter: char| !letter.is_alphanumeric() && letter != ':').any(|part| part == *word)
                || (word.contains(':') && text.contains(word))
                || text.split(['/', ':', ' ', '.', '-', '_']).any(|part| part == *word)
        })
    })
}

/// A migration that ended after the template of another colour was made.
fn migrated_since(app: &AppFacts<'_>, job: &Job) -> Option<Finding> {
    let annotations = job.metadata.annotations.as_ref();
    let hook = annotations.and_then(|all| all.get("helm.sh/hook")).map(String::as_str).unwrap_or_default();
    let is_hook = hook.split(',').any(|hook| matches!(hook.trim(), "pre-upgrade" | "pre-install"));
    if !is_hook && !job.spec.template.spec.containers.iter().any(is_migration) {
        return None;
    }
    let ended = job.status.completion_time?;
    let (_, colour, workload) = app.others.iter().find_map(|(selector, colour, workloads)| {
        let older = workloads.iter().find(|one| made(app, one).is_some_and(|made| made < ended))?;
        Some((selector, colour, older))
    })?;
    let message = format!("Job {} ended at {ended}, after {workload} was made", job.metadata.name);
    Some(app.finding(&MIGRATION_SINCE, colour, message))
}

/// When the current template of a workload was made; of other kinds than Deployments, when the workload was.
fn made(app: &AppFacts<'_>, workload: &Workload) -> Option<Timestamp> {
    let replica_set = app.traffic.view.current_replica_set(workload).and_then(|replica_set| replica_set.meta.created);
    replica_set.or(workload.meta.created)
}

fn sticky(facts: &Facts<'_>, app: &AppFacts<'_>) -> Option<Finding> {
    let name = app.traffic.name();
    let affinity = facts.extras.reach(name).and_then(|reach| reach.spec.session_affinity.as_deref());
    if affinity == Some("ClientIP") {
        return Some(app.finding(&STICKY_SESSIONS, "", "sessionAffinity is ClientIP".to_owned()));
    }
    let ingress = facts.extras.ingresses.iter().flatten().find(|ingress| {
        let all = ingress.metadata.annotations.as_ref();
        let is_set = |(key, wanted): &(&str, &str)| {
            all.and_then(|all| all.get(*key)).is_some_and(|value| wanted.is_empty() || value == wanted)
        };
        COOKIES.iter().any(is_set) && ingress.services().any(|service| service == name)
    })?;
    let message = format!("Ingress {} binds sessions to pods by a cookie", ingress.metadata.name);
    Some(app.finding(&STICKY_SESSIONS, "", message))
}
