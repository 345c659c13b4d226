//! Containers of a Pod or of a Pod template.

use serde::Deserialize;

/// A container of a Pod, reduced to the fields that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Manifest")]
pub struct Container {
    /// `name`, unique within the Pod.
    pub name: String,
    /// `image`, unparsed: `registry.example/shop:1.0`.
    pub image: String,
    /// The declared ports.
    pub ports: Vec<ContainerPort>,
    /// Whether the container has a `readinessProbe`.
    pub has_readiness_probe: bool,
    /// Whether an init container runs beside the main containers (`restartPolicy: Always`, KEP-753).
    pub is_sidecar: bool,
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPort {
    /// `name`, which a Service may refer to; empty for a port without a name.
    pub name: String,
    /// `containerPort`.
    pub number: u32,
    /// `protocol`; TCP where the field is absent.
    pub protocol: Protocol,
}

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP, the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The protocol as manifests spell it: `TCP`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// The serving containers of a `PodSpec`, sidecars included. Their order is the order of Kubernetes' port look-up
/// (`pkg/api/v1/pod/util.go`, `FindPort`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Spec")]
pub struct Containers(Vec<Container>);

impl Containers {
    /// The serving containers among these: all main ones, and the sidecars of the init containers.
    #[must_use]
    pub fn new(main: Vec<Container>, init: Vec<Container>) -> Self {
        let main = main.into_iter().map(|container| Container { is_sidecar: false, ..container });
        Self(main.chain(init.into_iter().filter(|container| container.is_sidecar)).collect())
    }

    /// The main containers, then the sidecars.
    #[must_use]
    pub fn all(&self) -> &[Container] {
        &self.0
    }

    /// The containers without the sidecars.
    pub fn main(&self) -> impl Iterator<Item = &Container> {
        self.0.iter().filter(|container| !container.is_sidecar)
    }

    /// Whether any of the containers declares a port of this name and protocol.
    #[must_use]
    pub fn have_port(&self, name: &str, protocol: Protocol) -> bool {
        let mut ports = self.0.iter().flat_map(|container| &container.ports);
        ports.any(|port| port.name == name && port.protocol == protocol)
    }

    /// Whether any of the containers declares a port of this number and protocol.
    #[must_use]
    pub fn have_number(&self, number: u32, protocol: Protocol) -> bool {
        let mut ports = self.0.iter().flat_map(|container| &container.ports);
        ports.any(|port| port.number == number && port.protocol == protocol)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

impl From<Spec> for Containers {
    fn from(spec: Spec) -> Self {
        Self::new(spec.containers.unwrap_or_default(), spec.init_containers.unwrap_or_default())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    name: Option<String>,
    image: Option<String>,
    ports: Option<Vec<Port>>,
    readiness_probe: Option<serde::de::IgnoredAny>,
    restart_policy: Option<String>,
}

#[derive(Deserialize)]
struct Port {
    name: Option<String>,
    #[serde(rename = "containerPort")]
    number: Option<u32>,
    protocol: Option<Protocol>,
}

impl From<Manifest> for Container {
    fn from(manifest: Manifest) -> Self {
        Self {
            name: manifest.name.unwrap_or_default(),
            image: manifest.image.unwrap_or_default(),
            ports: manifest
                .ports
                .into_iter()
                .flatten()
                .map(|port| ContainerPort {
                    name: port.name.unwrap_or_default(),
                    number: port.number.unwrap_or_default(),
                    protocol: port.protocol.unwrap_or_default(),
                })
                .collect(),
            has_readiness_probe: manifest.readiness_probe.is_some(),
            is_sidecar: manifest.restart_policy.as_deref() == Some("Always"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_name_and_protocol_sidecars_included() {
        let containers: Containers = serde_json::from_str(
            r#"{"containers":[{"name":"web","ports":[{"name":"http","containerPort":80}]}],
                "initContainers":[{"name":"once","ports":[{"name":"gone","containerPort":1}]},
                    {"name":"proxy","restartPolicy":"Always","ports":[{"name":"dns","protocol":"UDP","containerPort":53}]}]}"#,
        )
        .unwrap();
        assert!(containers.have_port("http", Protocol::Tcp));
        assert!(!containers.have_port("http", Protocol::Udp));
        assert!(containers.have_port("dns", Protocol::Udp));
        assert!(!containers.have_port("gone", Protocol::Tcp));
        assert_eq!(containers.main().count(), 1);
    }
}
