//! Is each client behind the colour that it should be?

use std::collections::BTreeSet;

use super::checks::{
    COLOURS_MIXED, Check, DNS_SWITCHED, ORPHAN_COLOUR, PREVIEW_WITH_TRAFFIC, ROUTE_UNGUARDED, SERVICE_SPLIT, UNGUARDED,
};
use super::facts::Facts;
use super::finding::Finding;
use crate::model::{Because, Role, Service, Unguarded, Workload, annotation};
use crate::rules::state::app::App;
use crate::rules::state::backends::Backends;
use crate::rules::state::roles::role_because;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut all: Vec<Finding> = facts.snapshot.view.services.iter().flat_map(|service| one(facts, service)).collect();
    all.extend(split(facts));
    all.extend(orphans(facts));
    all.extend(routes(facts));
    all
}

fn about(facts: &Facts<'_>, check: &Check, service: &Service, message: String) -> Finding {
    Finding::new(check, &facts.snapshot.namespace, ("Service", &service.meta.name), "", message)
}

fn one(facts: &Facts<'_>, service: &Service) -> Vec<Finding> {
    let colours = &facts.policy.colours;
    let (role, because) = role_because(service, &facts.snapshot.view, colours);
    let pins = !colours.pins(&service.selector).is_empty();
    let found = match role {
        Role::Plain => mixed(facts, service),
        Role::Unguarded(Unguarded::ExternalName) => dns(facts, service),
        Role::Unguarded(Unguarded::OptedOut) if pins => {
            Some(about(facts, &UNGUARDED, service, "annotation flipguard.dev/guard opts it out".to_owned()))
        }
        Role::Preview if service.is_load_balancer && because != Because::RoleAnnotation => {
            let message = format!("it is a LoadBalancer, and a preview since {}", because.words());
            Some(about(facts, &PREVIEW_WITH_TRAFFIC, service, message))
        }
        _ => None,
    };
    found.into_iter().collect()
}

/// Two colours, by a colour key, that both want Pods behind a selector without a colour.
fn mixed(facts: &Facts<'_>, service: &Service) -> Option<Finding> {
    let colours = &facts.policy.colours;
    let workloads = Backends::of(service.routed(), &facts.snapshot.view).workloads;
    let colour = |workload: &&Workload| {
        let labels = workload.template.labels.iter();
        let mut own = labels.filter(|(key, _)| colours.is_colour_key(key)).map(|(_, value)| value.clone());
        own.next().filter(|_| workload.desired > 0)
    };
    let both: BTreeSet<String> = workloads.iter().filter_map(colour).collect();
    let names: Vec<String> = both.into_iter().collect();
    (names.len() > 1).then(|| {
        let message = format!("its selector {} serves {}", service.routed(), names.join(" and "));
        about(facts, &COLOURS_MIXED, service, message)
    })
}

fn dns(facts: &Facts<'_>, service: &Service) -> Option<Finding> {
    let target = service.external_name.as_deref().unwrap_or_default();
    let first = target.split('.').next().unwrap_or_default();
    let pins = |other: &&Service| !facts.policy.colours.pins(other.routed()).is_empty();
    let pinned = facts.snapshot.view.services.iter().filter(pins).any(|other| other.meta.name == first);
    let is_traffic = service.meta.annotation(annotation::ROLE) == Some("traffic");
    (pinned || is_traffic).then(|| about(facts, &DNS_SWITCHED, service, format!("it is a DNS alias of {target}")))
}

/// Traffic Services of one app that point at different colours. The app's pins are compared, not its names.
fn split(facts: &Facts<'_>) -> Vec<Finding> {
    let colours = &facts.policy.colours;
    let mut all = Vec::new();
    for (index, app) in facts.apps.iter().enumerate() {
        let own = App::of(app.traffic.service.routed(), colours);
        let earlier = facts.apps.iter().take(index);
        let other = earlier
            .filter(|other| own.has_service(other.traffic.service.routed()))
            .find(|other| other.colour != app.colour && !own.pins_only_numbers());
        if let Some(other) = other {
            let message =
                format!("it points at {}, and Service {} at {}", app.colour, other.traffic.name(), other.colour);
            all.push(app.finding(&SERVICE_SPLIT, "", message));
        }
    }
    all
}

/// Coloured workloads with Pods that no Service can reach by any colour.
fn orphans(facts: &Facts<'_>) -> Vec<Finding> {
    let (view, colours) = (&facts.snapshot.view, &facts.policy.colours);
    let is_coloured = |workload: &&Workload| {
        workload.stands_alone() && workload.desired > 0 && colours.is_certain(&workload.template.labels)
    };
    let is_reached = |workload: &Workload| {
        view.services.iter().any(|service| {
            let labels = &workload.template.labels;
            service.routed().matches(labels) || App::of(service.routed(), colours).has(labels)
        })
    };
    let orphaned = view.workloads.iter().filter(is_coloured).filter(|workload| !is_reached(workload));
    orphaned
        .map(|workload| {
            let object = (workload.kind.name(), workload.meta.name.as_str());
            let message = format!("{} pods run, and no Service selects it", workload.desired);
            Finding::new(&ORPHAN_COLOUR, &facts.snapshot.namespace, object, "", message)
        })
        .collect()
}

/// Ingresses that send traffic to previews named for a colour.
fn routes(facts: &Facts<'_>) -> Vec<Finding> {
    let (view, colours) = (&facts.snapshot.view, &facts.policy.colours);
    let preview = |name: &str| {
        let service = view.services.iter().find(|service| service.meta.name == name)?;
        (role_because(service, view, colours) == (Role::Preview, Because::NameHasColour)).then_some(service)
    };
    let mut all = Vec::new();
    for ingress in facts.extras.ingresses.iter().flatten() {
        let names: BTreeSet<&str> = ingress.services().collect();
        for service in names.into_iter().filter_map(preview) {
            let message = format!("Ingress {} sends traffic to it", ingress.metadata.name);
            all.push(about(facts, &ROUTE_UNGUARDED, service, message));
        }
    }
    all
}
