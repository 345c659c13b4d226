//! The roles of Services; all rules ask here.

use crate::model::{ClusterView, ColourScheme, Role, Service};

/// The role of a Service among the Services of its namespace.
#[must_use]
pub fn role(service: &Service, _view: &ClusterView, colours: &ColourScheme) -> Role {
    service.own_role(colours)
}

/// Whether a Service carries traffic.
#[must_use]
pub fn is_traffic(service: &Service, view: &ClusterView, colours: &ColourScheme) -> bool {
    role(service, view, colours) == Role::Traffic
}

/// The traffic Services of a namespace, without those that are being deleted.
pub fn traffic_services<'a>(view: &'a ClusterView, colours: &'a ColourScheme) -> impl Iterator<Item = &'a Service> {
    view.services.iter().filter(move |service| !service.meta.deleting && is_traffic(service, view, colours))
}
