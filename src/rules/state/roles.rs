//! The role of each Service, asked in one place.

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

/// The traffic Services of a namespace. One that is being deleted promises nothing any more, and is left out.
pub fn traffic_services<'a>(view: &'a ClusterView, colours: &'a ColourScheme) -> impl Iterator<Item = &'a Service> {
    view.services.iter().filter(move |service| !service.meta.deleting && is_traffic(service, view, colours))
}
