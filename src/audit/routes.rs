//! Routes above Services: which Services they send traffic to.

use serde::Deserialize;

use super::extras::{Extras, Head};

/// An Ingress.
#[derive(Debug, Clone, Deserialize)]
pub struct Ingress {
    /// `metadata`.
    pub metadata: Head,
    /// `spec`.
    #[serde(default)]
    spec: IngressSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct IngressSpec {
    default_backend: Option<Backend>,
    rules: Option<Vec<IngressRule>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct IngressRule {
    http: Option<Paths>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Paths {
    paths: Vec<IngressPath>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct IngressPath {
    backend: Backend,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Backend {
    service: Option<Head>,
}

impl Ingress {
    /// The Services that it sends traffic to.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let paths = self.spec.rules.iter().flatten().filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths);
        let backends = self.spec.default_backend.iter().chain(paths.map(|path| &path.backend));
        backends.filter_map(|backend| Some(backend.service.as_ref()?.name.as_str()))
    }
}

/// An HTTPRoute (`gateway.networking.k8s.io/v1`).
#[derive(Debug, Clone, Deserialize)]
pub struct HttpRoute {
    /// `metadata`.
    pub metadata: Head,
    /// `spec`.
    #[serde(default)]
    spec: HttpRouteSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct HttpRouteSpec {
    rules: Vec<HttpRule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HttpRule {
    backend_refs: Vec<Reference>,
}

/// A Route (`route.openshift.io/v1`).
#[derive(Debug, Clone, Deserialize)]
pub struct OpenShiftRoute {
    /// `metadata`.
    pub metadata: Head,
    /// `spec`.
    #[serde(default)]
    spec: OpenShiftSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OpenShiftSpec {
    to: Option<Reference>,
    alternate_backends: Vec<Reference>,
}

/// A reference to a backend, which is a Service of the same namespace where nothing else is said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Reference {
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    weight: Option<i64>,
}

/// A route of any kind.
pub(super) struct Route<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
    pub(super) services: Vec<&'a str>,
}

/// The Services of references that get traffic: those of weight 0 get none.
fn named<'a>(all: impl Iterator<Item = &'a Reference>, namespace: &str) -> Vec<&'a str> {
    let own = |one: &&Reference| {
        one.kind.as_deref().is_none_or(|kind| kind == "Service")
            && one.namespace.as_deref().is_none_or(|other| other == namespace)
            && one.weight != Some(0)
    };
    all.filter(own).map(|one| one.name.as_str()).collect()
}

/// All routes of a namespace.
pub(super) fn all<'a>(extras: &'a Extras, namespace: &str) -> Vec<Route<'a>> {
    let ingresses = extras.ingresses.iter().flatten().map(|one| Route {
        kind: "Ingress",
        name: &one.metadata.name,
        services: one.services().collect(),
    });
    let http = extras.http_routes.iter().flatten().map(|one| Route {
        kind: "HTTPRoute",
        name: &one.metadata.name,
        services: named(one.spec.rules.iter().flat_map(|rule| &rule.backend_refs), namespace),
    });
    let open_shift = extras.routes.iter().flatten().map(|one| Route {
        kind: "Route",
        name: &one.metadata.name,
        services: named(one.spec.to.iter().chain(&one.spec.alternate_backends), namespace),
    });
    ingresses.chain(http).chain(open_shift).collect()
}
