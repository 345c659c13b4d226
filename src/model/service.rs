//! Services and their roles.

use std::time::Duration;

use serde::Deserialize;

use super::{ColourScheme, Meta, Pin, PinKind, Protocol, Selector, annotation};

/// A Service, reduced to the fields that decide its routing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Manifest")]
pub struct Service {
    /// `metadata` of the Service.
    pub meta: Meta,
    /// `spec.selector`: the labels of the Pods that get the traffic.
    pub selector: Selector,
    /// Whether the Service is a DNS alias (`type: ExternalName`), which routes to no Pod.
    pub is_external_name: bool,
    /// The target of a DNS alias (`spec.externalName`).
    pub external_name: Option<String>,
    /// Whether a load balancer of the cloud sends it traffic (`type: LoadBalancer`).
    pub is_load_balancer: bool,
    /// Whether it routes to Pods that are not ready (`publishNotReadyAddresses`).
    pub publishes_not_ready: bool,
    /// The traffic that reaches only the Pods of one node.
    pub local: LocalTraffic,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
}

/// The traffic that reaches only the Pods of one node (API doc, `ServiceSpec`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalTraffic {
    /// `internalTrafficPolicy: Local`: a client in the cluster reaches the Pods of its own node.
    pub internal: bool,
    /// `externalTrafficPolicy: Local`: traffic from outside reaches the Pods of the node that it arrives at.
    pub external: bool,
}

/// A port of a Service, without its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `port`: the number that clients connect to.
    pub port: u32,
    /// `protocol`; TCP where the field is absent.
    pub protocol: Protocol,
    /// The target port of the Pods.
    pub target: TargetPort,
    /// `nodePort`; 0 where there is none.
    pub node_port: u32,
}

/// `targetPort` of a Service port, an `IntOrString`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TargetPort {
    /// A number. Where the field is absent, it is that of the port (API doc, `ServicePort`).
    Number(u32),
    /// The name of a container port.
    Name(String),
}

impl ServicePort {
    /// Whether clients reach both ports by the same number and protocol.
    #[must_use]
    pub fn is_same_to_clients(&self, other: &Self) -> bool {
        self.port == other.port && self.protocol == other.protocol
    }

    /// The name of the target container port; `None` for a number, which needs no look-up.
    #[must_use]
    pub fn target_name(&self) -> Option<&str> {
        match &self.target {
            TargetPort::Name(name) => Some(name),
            TargetPort::Number(_) => None,
        }
    }

    /// The number of the target port; `None` for a name.
    #[must_use]
    pub fn target_number(&self) -> Option<u32> {
        match self.target {
            TargetPort::Number(number) => Some(number),
            TargetPort::Name(_) => None,
        }
    }
}

/// The role of a Service. Rules judge traffic Services only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A Service with blue-green routing. The rules guard it.
    Traffic,
    /// A Service that shows one colour for testing. No rule applies to it.
    Preview,
    /// A Service that pins no colour. No rule applies to it.
    Plain,
    /// A Service outside flipguard's care.
    Unguarded(Unguarded),
}

/// The reason why a Service is unguarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unguarded {
    /// The Service has no selector. Its endpoints are written by hand or by an operator.
    NoSelector,
    /// The Service is a DNS alias.
    ExternalName,
    /// Argo Rollouts routes the Service.
    ArgoRollouts,
    /// The annotation `flipguard.dev/guard` is `"false"`.
    OptedOut,
}

/// Why a Service has its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// `flipguard.dev/role` says so.
    RoleAnnotation,
    /// It routes to no Pod, or something else routes it.
    Unguarded(Unguarded),
    /// Its selector has no pair that picks a colour.
    PinsNothing,
    /// Its selector picks a colour.
    Pins,
    /// Its name has the word `preview`.
    NameSaysPreview,
    /// Its name has the colour that its selector picks.
    NameHasColour,
    /// Its name has a word such as `stage`, and the app has another Service without one.
    NameSaysIdle,
    /// Its selector has a number (`shop-v2`), and no other number exists.
    NumberAlone,
}

impl Role {
    /// The word for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Preview => "preview",
            Self::Plain => "plain",
            Self::Unguarded(_) => "unguarded",
        }
    }
}

impl Because {
    /// The reason, as the rest of a sentence that begins with `since`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::RoleAnnotation => "annotation flipguard.dev/role says so",
            Self::Unguarded(Unguarded::NoSelector) => "it has no selector",
            Self::Unguarded(Unguarded::ExternalName) => "it is a DNS alias (ExternalName)",
            Self::Unguarded(Unguarded::ArgoRollouts) => "Argo Rollouts routes it",
            Self::Unguarded(Unguarded::OptedOut) => "annotation flipguard.dev/guard says so",
            Self::PinsNothing => "its selector picks no colour",
            Self::Pins => "its selector picks a colour",
            Self::NameSaysPreview => "its name says preview",
            Self::NameHasColour => "its name has the colour that it selects",
            Self::NameSaysIdle => "its name says so, and the app has a main Service",
            Self::NumberAlone => "no other number exists beside the one that it selects",
        }
    }
}

impl Service {
    /// The selector that routes traffic: for a DNS alias the empty one, even if `spec.selector` is set.
    #[must_use]
    pub fn routed(&self) -> &Selector {
        static NOTHING: Selector = Selector::nothing();
        if self.is_external_name { &NOTHING } else { &self.selector }
    }

    /// The value of `flipguard.dev/min-replicas`: the number of Pods that must stay ready. `None` where it is not set.
    ///
    /// # Errors
    /// When the value is not a whole number.
    pub fn minimum_replicas(&self) -> Result<Option<usize>, String> {
        let parse = |text: &str| text.trim().parse().map_err(|_| "it must be a whole number".to_owned());
        self.meta.annotation(annotation::MIN_REPLICAS).map(parse).transpose()
    }

    /// The number of Pods of the live colour that must stay ready: `flipguard.dev/min-replicas`, at least one. A stored
    /// value that cannot be read counts as not set.
    #[must_use]
    pub fn floor(&self) -> usize {
        self.minimum_replicas().ok().flatten().unwrap_or(1).max(1)
    }

    /// Whether the live colour may be scaled to 0 (`flipguard.dev/min-replicas: "0"`). All else needs the floor of one.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        self.minimum_replicas() == Ok(Some(0))
    }

    /// The value of `flipguard.dev/hold`, a day at most; `None` where it is not set.
    ///
    /// # Errors
    /// When the value is not a duration, or exceeds a day.
    pub fn hold(&self) -> Result<Option<Duration>, String> {
        self.duration(annotation::HOLD)
    }

    /// The value of `flipguard.dev/quarantine`, a day at most; `None` where it is not set.
    ///
    /// # Errors
    /// When the value is not a duration, or exceeds a day.
    pub fn quarantine(&self) -> Result<Option<Duration>, String> {
        self.duration(annotation::QUARANTINE)
    }

    fn duration(&self, key: &str) -> Result<Option<Duration>, String> {
        const MAX: Duration = Duration::from_secs(24 * 3600);
        let parse = |text: &str| match humantime::parse_duration(text.trim()) {
            Ok(time) if time <= MAX => Ok(time),
            Ok(_) => Err("it may be at most `24h`".to_owned()),
            Err(_) => Err("it must be a duration, such as `10m`".to_owned()),
        };
        self.meta.annotation(key).map(parse).transpose()
    }

    /// The role of the Service by its own annotation, name and selector. The annotation outranks the name. A Service
    /// that routes to no Pod is never a traffic Service. Rules call `rules::state::roles`, which also sees the other
    /// Services.
    #[must_use]
    pub fn own_role(&self, scheme: &ColourScheme) -> Role {
        self.own_role_because(scheme).0
    }

    /// The same, with the reason.
    #[must_use]
    pub fn own_role_because(&self, scheme: &ColourScheme) -> (Role, Because) {
        if let Some(unguarded) = self.unguarded() {
            return (Role::Unguarded(unguarded), Because::Unguarded(unguarded));
        }
        match self.meta.annotation(annotation::ROLE) {
            Some("traffic") => return (Role::Traffic, Because::RoleAnnotation),
            Some("preview") => return (Role::Preview, Because::RoleAnnotation),
            _ => {}
        }
        let pins = scheme.pins(&self.selector);
        // A colour by its own key says more than a version or a name: `checkout-v2` that pins `version: v2` and
        // `color: blue` is no preview of v2.
        let is_key = |pin: &&Pin<'_>| pin.kind == PinKind::Key;
        let has_key = pins.iter().any(|pin| is_key(&pin));
        let mut telling = pins.iter().filter(|pin| !has_key || is_key(pin));
        if pins.is_empty() {
            (Role::Plain, Because::PinsNothing)
        } else if has_word(&self.meta.name, "preview") {
            (Role::Preview, Because::NameSaysPreview)
        } else if telling.any(|pin| has_word(&self.meta.name, pin.colour)) {
            (Role::Preview, Because::NameHasColour)
        } else {
            (Role::Traffic, Because::Pins)
        }
    }

    /// Whether its annotations say that it is not to be guarded as traffic.
    #[must_use]
    pub fn is_set_aside(&self) -> bool {
        self.meta.annotation(annotation::GUARD) == Some("false")
            || self.meta.annotation(annotation::ROLE) == Some("preview")
    }

    fn unguarded(&self) -> Option<Unguarded> {
        if self.is_external_name {
            Some(Unguarded::ExternalName)
        } else if self.selector.is_empty() {
            Some(Unguarded::NoSelector)
        } else if self.meta.annotation(annotation::ARGO_ROLLOUTS).is_some() {
            Some(Unguarded::ArgoRollouts)
        } else if self.meta.annotation(annotation::GUARD) == Some("false") {
            Some(Unguarded::OptedOut)
        } else {
            None
        }
    }
}

/// Whether a name contains a word between dashes or at its ends. `app-green` contains `green`; `evergreen` does not.
/// The word may contain dashes itself (`release-7`).
#[must_use]
pub fn has_word(name: &str, word: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_none_or(|byte| *byte == b'-');
    let bytes = name.as_bytes();
    let is_at = |start: usize| {
        let end = start + word.len();
        name.get(start..end).is_some_and(|part| part.eq_ignore_ascii_case(word))
            && is_end(start.checked_sub(1).and_then(|before| bytes.get(before)))
            && is_end(bytes.get(end))
    };
    !word.is_empty() && (0..name.len()).any(is_at)
}

#[derive(Deserialize)]
struct Manifest {
    metadata: Meta,
    spec: Option<ServiceSpec>,
}

/// The undecoded `spec` of a Service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    selector: Option<Selector>,
    #[serde(rename = "type")]
    kind: Option<String>,
    publish_not_ready_addresses: Option<bool>,
    external_name: Option<String>,
    internal_traffic_policy: Option<String>,
    external_traffic_policy: Option<String>,
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "Kubernetes calls them so")]
struct Port {
    port: Option<u32>,
    protocol: Option<Protocol>,
    target_port: Option<TargetPort>,
    node_port: Option<u32>,
}

impl Port {
    fn into_port(self) -> ServicePort {
        let port = self.port.unwrap_or_default();
        let target = match self.target_port {
            // The API server stores no target port of 0.
            Some(TargetPort::Number(0)) | None => TargetPort::Number(port),
            Some(target) => target,
        };
        let node_port = self.node_port.unwrap_or_default();
        ServicePort { port, protocol: self.protocol.unwrap_or_default(), target, node_port }
    }
}

impl From<Manifest> for Service {
    fn from(manifest: Manifest) -> Self {
        Self::new(manifest.metadata, manifest.spec.unwrap_or_default())
    }
}

impl Service {
    /// Builds the Service from its `metadata` and its `spec`.
    #[must_use]
    pub fn new(meta: Meta, spec: ServiceSpec) -> Self {
        Self {
            meta,
            selector: spec.selector.unwrap_or_default(),
            is_external_name: spec.kind.as_deref() == Some("ExternalName"),
            is_load_balancer: spec.kind.as_deref() == Some("LoadBalancer"),
            external_name: spec.external_name,
            publishes_not_ready: spec.publish_not_ready_addresses == Some(true),
            local: LocalTraffic {
                internal: spec.internal_traffic_policy.as_deref() == Some("Local"),
                external: spec.external_traffic_policy.as_deref() == Some("Local"),
            },
            ports: spec.ports.into_iter().flatten().map(Port::into_port).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(json: &str) -> Role {
        let service: Service = serde_json::from_str(json).unwrap();
        service.own_role(&ColourScheme::default())
    }

    fn named(name: &str, key: &str, value: &str) -> Role {
        role(&format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"selector":{{"{key}":"{value}"}}}}}}"#))
    }

    #[test]
    fn roles_by_name_and_selector() {
        assert_eq!(named("app", "color", "green"), Role::Traffic);
        assert_eq!(named("app", "app", "shop-green"), Role::Traffic);
        assert_eq!(named("evergreen", "color", "green"), Role::Traffic);
        assert_eq!(named("app-green", "color", "green"), Role::Preview);
        assert_eq!(named("app-blue-preview", "color", "blue"), Role::Preview);
        assert_eq!(named("app-preview", "color", "blue"), Role::Preview);
        assert_eq!(named("shop-release-7", "version", "release-7"), Role::Preview);
        assert_eq!(named("app-green", "color", "blue"), Role::Traffic);
        assert_eq!(named("app", "app", "shop"), Role::Plain);
    }

    #[test]
    fn a_version_in_the_name_does_not_outvote_a_colour() {
        let both = |name: &str| {
            let selector = r#"{"color":"blue","version":"v2"}"#;
            role(&format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"selector":{selector}}}}}"#))
        };
        assert_eq!(both("checkout-v2"), Role::Traffic);
        assert_eq!(both("checkout-blue"), Role::Preview);
    }

    #[test]
    fn roles_by_annotation() {
        let with = |annotations: &str, spec: &str| {
            role(&format!(r#"{{"metadata":{{"name":"app","annotations":{annotations}}},"spec":{spec}}}"#))
        };
        let green = r#"{"selector":{"color":"green"}}"#;
        assert_eq!(with(r#"{"flipguard.dev/role":"preview"}"#, green), Role::Preview);
        assert_eq!(with(r#"{"flipguard.dev/role":"traffic"}"#, r#"{"selector":{"app":"x"}}"#), Role::Traffic);
        assert_eq!(with(r#"{"flipguard.dev/guard":"false"}"#, green), Role::Unguarded(Unguarded::OptedOut));
        assert_eq!(
            with(r#"{"argo-rollouts.argoproj.io/managed-by-rollouts":"r"}"#, green),
            Role::Unguarded(Unguarded::ArgoRollouts)
        );
        assert_eq!(with("{}", "{}"), Role::Unguarded(Unguarded::NoSelector));
        assert_eq!(
            with("{}", r#"{"type":"ExternalName","selector":{"color":"green"}}"#),
            Role::Unguarded(Unguarded::ExternalName)
        );
    }
}
