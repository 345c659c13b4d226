//! The endpoint that the API server calls.

use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{ServiceReference, WebhookClientConfig};

use crate::install::{NAME, SERVICE_PORT};

/// The address that the API server calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A URL without a path: `https://127.0.0.1:10250`.
    Url(String),
    /// flipguard's own Service.
    Service {
        /// flipguard's own namespace.
        namespace: String,
    },
}

impl Address {
    /// The URL of a flipguard outside the cluster.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Url(url) => Some(url),
            Self::Service { .. } => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Service { namespace } => write!(f, "https://{NAME}.{namespace}.svc:{SERVICE_PORT}"),
        }
    }
}

/// The address that the API server calls, and the means to recognise flipguard there.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// `caBundle`: the authorities to trust, in PEM.
    pub authority: String,
    /// The last segment of the paths.
    pub token: String,
}

impl Endpoint {
    /// The path of the validating endpoint.
    #[must_use]
    pub fn validate_path(&self) -> String {
        format!("/validate/{}", self.token)
    }

    /// Whether a registered webhook is called at this address, whatever its path and CA bundle.
    #[must_use]
    pub fn is_called_by(&self, config: &WebhookClientConfig) -> bool {
        match (&self.address, &config.url, &config.service) {
            (Address::Url(own), Some(url), None) => url.strip_prefix(own.as_str()).is_some_and(|p| p.starts_with('/')),
            (Address::Service { namespace }, None, Some(service)) => {
                service.namespace == *namespace && service.name == NAME
            }
            _ => false,
        }
    }

    /// `clientConfig` of the webhook that receives the probe.
    #[must_use]
    pub fn probe_config(&self) -> WebhookClientConfig {
        self.client_config(&format!("/probe/{}", self.token))
    }

    pub(super) fn client_config(&self, path: &str) -> WebhookClientConfig {
        let ca_bundle = Some(ByteString(self.authority.clone().into_bytes()));
        match &self.address {
            Address::Url(url) => WebhookClientConfig { url: Some(format!("{url}{path}")), ca_bundle, service: None },
            Address::Service { namespace } => WebhookClientConfig {
                url: None,
                ca_bundle,
                service: Some(ServiceReference {
                    namespace: namespace.clone(),
                    name: NAME.to_owned(),
                    path: Some(path.to_owned()),
                    port: Some(i32::from(SERVICE_PORT)),
                }),
            },
        }
    }
}
