//! flipguard's own namespace, which it does not guard.

use http::Request;
use kube::{Client, Error};
use serde::Deserialize;

use crate::model::{ColourScheme, Role, Service};

/// The number of Services that are read. flipguard's own namespace has one.
const LIMIT: usize = 500;

/// The fields of a list of Services that are read.
#[derive(Deserialize)]
struct Services {
    items: Vec<Service>,
}

/// The names of the traffic Services in flipguard's own namespace. In any other namespace, flipguard would guard them.
///
/// # Errors
/// When the Services cannot be listed.
pub async fn traffic_services(client: &Client, own: &str, colours: &ColourScheme) -> kube::Result<Vec<String>> {
    let path = format!("/api/v1/namespaces/{own}/services?limit={LIMIT}");
    let request = Request::get(path).body(Vec::new()).map_err(Error::HttpError)?;
    let Services { items } = client.request(request).await?;
    let traffic = items.into_iter().filter(|service| service.own_role(colours) == Role::Traffic);
    Ok(traffic.map(|service| service.meta.name).collect())
}

/// The warning about such Services.
#[must_use]
pub fn warning(own: &str, services: &[String]) -> String {
    let (what, verb) = if services.len() == 1 { ("Service", "is") } else { ("Services", "are") };
    format!("{what} {} in {own} {verb} not guarded, because flipguard runs in that namespace", services.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_all() {
        let named = |names: &[&str]| warning("tools", &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["app"]), "Service app in tools is not guarded, because flipguard runs in that namespace");
        assert!(named(&["app", "cart"]).starts_with("Services app, cart in tools are not guarded"));
    }
}
