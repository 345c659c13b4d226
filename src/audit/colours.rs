//! Is each client behind the colour that it should be?

use std::collections::BTreeSet;
use std::time::Duration;

use super::checks::{
    COLOURS_MIXED, Check, DNS_SWITCHED, ENDPOINTS_FROZEN, ORPHAN_COLOUR, PREVIEW_WITH_TRAFFIC, ROUTE_UNGUARDED,
    SERVICE_SPLIT, Severity, UNGUARDED,
};
use super::extras::Slice;
use super::facts::{AppFacts, Facts};
use super::finding::Finding;
use super::routes::Route;
use crate::model::{Because, Role, Service, Unguarded, Workload, annotation};
use crate::rules::state::app::App;
use crate::rules::state::backends::Backends;
use crate::rules::state::roles::role_because;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut all: Vec<Finding> = facts.snapshot.view.services.iter().flat_map(|service| one(facts, service)).collect();
    all.extend(split(facts));
    all.extend(orphans(facts));
    all.extend(routed(facts));
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
        Role::Unguarded(Unguarded::ArgoRollouts) => without_rollout(facts, service),
        Role::Traffic => headless(facts, service),
        Role::Preview if because != Because::RoleAnnotation => with_traffic(facts, service, because),
        _ => None,
    };
    let frozen = Some(service).filter(|service| service.selector.is_empty() && service.external_name.is_none());
    found.into_iter().chain(frozen.and_then(|service| frozen_endpoints(facts, service))).collect()
}

/// Argo's mark on a Service, without the Rollout that it names.
fn without_rollout(facts: &Facts<'_>, service: &Service) -> Option<Finding> {
    let name = service.meta.annotation(annotation::ARGO_ROLLOUTS)?;
    let is_there = facts.extras.rollouts.as_ref()?.iter().any(|rollout| rollout.metadata.name == name);
    (!is_there)
        .then(|| about(facts, &UNGUARDED, service, format!("Argo Rollouts marks it, and there is no Rollout {name}")))
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

/// A DNS alias that carries traffic, that stands for a colour, or that leads nowhere.
fn dns(facts: &Facts<'_>, service: &Service) -> Option<Finding> {
    let target = service.external_name.as_deref().unwrap_or_default();
    let services = &facts.snapshot.view.services;
    let first = target.split('.').next().unwrap_or_default();
    let own = format!("{first}.{}.svc", facts.snapshot.namespace);
    let is_own = target == own || target.strip_prefix(&own).is_some_and(|rest| rest.starts_with('.'));
    let named = services.iter().find(|other| is_own && other.meta.name == first);
    let pinned = named.is_some_and(|other| !facts.policy.colours.pins(other.routed()).is_empty());
    let is_traffic = service.meta.annotation(annotation::ROLE) == Some("traffic");
    let leads_nowhere = is_own && named.is_none();
    let nowhere = if leads_nowhere { format!(", and there is no Service {first}") } else { String::new() };
    let message = format!("it is a DNS alias of {target}{nowhere}");
    (pinned || is_traffic || leads_nowhere).then(|| about(facts, &DNS_SWITCHED, service, message))
}

/// A traffic Service without an address of its own: its clients keep the addresses of Pods.
fn headless(facts: &Facts<'_>, service: &Service) -> Option<Finding> {
    let reach = facts.extras.reach(&service.meta.name).filter(|reach| reach.is_headless())?;
    let outside = if reach.is_published() { ", and external-dns publishes them" } else { "" };
    let message = format!("it is headless, so clients get the addresses of its Pods by DNS{outside}");
    Some(about(facts, &DNS_SWITCHED, service, message))
}

/// How long Services of one app may be apart after a flip: several are flipped one after the other.
const APART: Duration = Duration::from_secs(600);

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
        let moved = |app: &AppFacts<'_>| facts.snapshot.view.records.last_flip(app.traffic.service).map(|flip| flip.at);
        let settles = |other: &AppFacts<'_>| {
            let latest = [moved(app), moved(other)].into_iter().flatten().max();
            latest.is_some_and(|at| facts.snapshot.at.since(at) < APART)
        };
        if let Some(other) = other.filter(|other| !settles(other)) {
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
        // A selector without a pair selects nothing in a Service (Kubernetes, `ServiceSpec.selector`).
        view.services.iter().filter(|service| !service.routed().is_empty()).any(|service| {
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

/// A preview that gets traffic from outside. Routes to previews named for a colour are a finding of their own.
fn with_traffic(facts: &Facts<'_>, service: &Service, because: Because) -> Option<Finding> {
    let leads = |route: &&Route<'_>| route.services.contains(&service.meta.name.as_str());
    let how = if service.is_load_balancer {
        "it is a LoadBalancer".to_owned()
    } else {
        let route = facts.routes.iter().find(leads).filter(|_| because != Because::NameHasColour)?;
        format!("{} {} leads to it", route.kind, route.name)
    };
    let message = format!("{how}, and it is a preview since {}", because.words());
    Some(about(facts, &PREVIEW_WITH_TRAFFIC, service, message))
}

/// Slices of the endpoint controller with endpoints, behind a Service without a selector. The controller leaves them as
/// they are once the selector is gone (Kubernetes, `pkg/controller/endpointslice/endpointslice_controller.go`, syncService).
fn frozen_endpoints(facts: &Facts<'_>, service: &Service) -> Option<Finding> {
    let is_left = |slice: &&Slice| {
        let label = |key: &str| slice.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        label("kubernetes.io/service-name") == Some(&service.meta.name)
            && label("endpointslice.kubernetes.io/managed-by").is_some_and(|by| by == "endpointslice-controller.k8s.io")
            && slice.endpoints.as_ref().is_some_and(|all| !all.is_empty())
    };
    let slice = facts.extras.slices.iter().flatten().find(is_left)?;
    let message = format!("it has no selector, and EndpointSlice {} of the one before", slice.metadata.name);
    Some(about(facts, &ENDPOINTS_FROZEN, service, message))
}

/// Routes that send traffic to previews named for a colour.
fn routed(facts: &Facts<'_>) -> Vec<Finding> {
    let (view, colours) = (&facts.snapshot.view, &facts.policy.colours);
    let preview = |name: &str| {
        let service = view.services.iter().find(|service| service.meta.name == name)?;
        (role_because(service, view, colours) == (Role::Preview, Because::NameHasColour)).then_some(service)
    };
    let mut all = Vec::new();
    for route in &facts.routes {
        let names: BTreeSet<&str> = route.services.iter().copied().collect();
        for service in names.into_iter().filter_map(preview) {
            let mut message = format!("{} {} sends traffic to it", route.kind, route.name);
            let serves = Backends::of(service.routed(), view).serving.iter().any(|pod| pod.serves());
            if !serves {
                message.push_str(", and no pod behind it is ready");
            }
            let mut finding = about(facts, &ROUTE_UNGUARDED, service, message);
            if !serves {
                finding.severity = Severity::Error;
            }
            all.push(finding);
        }
    }
    all
}
