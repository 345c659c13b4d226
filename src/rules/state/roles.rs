//! The role of each Service among the Services of its namespace, asked in one place.

use super::app::App;
use super::blue_green::is_on_record;
use crate::model::{Because, ClusterView, ColourScheme, Role, Service, has_word};

/// Whether the name of a Service has a word such as `stage`. Only then do its role and its rules depend on other Services.
#[must_use]
pub fn is_named_idle(service: &Service, colours: &ColourScheme) -> bool {
    colours.preview_words.iter().any(|word| has_word(&service.meta.name, word))
}

/// The role of a Service among the Services of its namespace.
///
/// `flipguard.dev/role` decides first. A name with the pinned colour, or with `preview`, makes a preview. So does a name
/// with another such word, if the app has a traffic Service without one: `shop-stage` alone is the main Service of a
/// cluster for staging. A number (`app: shop-v2`) is a colour only where another number exists beside it.
#[must_use]
pub fn role(service: &Service, view: &ClusterView, colours: &ColourScheme) -> Role {
    role_because(service, view, colours).0
}

/// The same, with the reason.
#[must_use]
pub fn role_because(service: &Service, view: &ClusterView, colours: &ColourScheme) -> (Role, Because) {
    let own = service.own_role_because(colours);
    if own != (Role::Traffic, Because::Pins) {
        return own;
    }
    let app = App::of(service.routed(), colours);
    if app.pins_only_numbers() && app.siblings(view).is_empty() && !is_on_record(service, view) {
        return (Role::Plain, Because::NumberAlone);
    }
    if is_named_idle(service, colours) && has_main_service(service, &app, view, colours) {
        return (Role::Preview, Because::NameSaysIdle);
    }
    own
}

/// Whether the app has another Service that carries traffic by its own marks, and whose name says nothing of an idle
/// colour.
pub(crate) fn has_main_service(service: &Service, app: &App<'_>, view: &ClusterView, colours: &ColourScheme) -> bool {
    view.services.iter().any(|other| {
        other.meta.name != service.meta.name
            && !other.meta.deleting
            && other.own_role(colours) == Role::Traffic
            && app.has_service(other.routed())
            && !is_named_idle(other, colours)
    })
}

/// Whether a Service carries traffic.
#[must_use]
pub fn is_traffic(service: &Service, view: &ClusterView, colours: &ColourScheme) -> bool {
    role(service, view, colours) == Role::Traffic
}

/// The traffic Services of a namespace, without those that are being deleted.
pub fn traffic_services<'a>(view: &'a ClusterView, colours: &ColourScheme) -> impl Iterator<Item = &'a Service> {
    view.services.iter().filter(move |service| !service.meta.deleting && is_traffic(service, view, colours))
}
