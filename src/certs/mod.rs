//! flipguard's TLS identity: its own authority or the files of an admin, and the token in its paths.

pub mod authority;
pub mod error;
pub mod files;
pub mod inspect;
pub mod pem;
pub mod plan;
pub mod rotator;
pub(crate) mod store;
pub mod tokens;

pub use authority::Identity;
pub use error::CertificateError;
pub use rotator::{IdentityError, TrustBundle};
pub use store::{ROTATE, ROTATE_TOKEN};

/// A certificate to serve, and the authorities that sign it, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ServedCertificate {
    /// All authorities that the API server has to trust.
    pub bundle: String,
    /// The leaf and its intermediate certificates.
    pub chain: String,
    /// The key of the leaf.
    pub key: String,
    /// The last segment of the paths.
    pub token: String,
}

impl From<&Identity> for ServedCertificate {
    fn from(identity: &Identity) -> Self {
        Self {
            bundle: identity.bundle(),
            chain: identity.leaf.clone(),
            key: identity.leaf_key.clone(),
            token: identity.token.clone(),
        }
    }
}

/// Keys stay out of logs.
impl std::fmt::Debug for ServedCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServedCertificate")
            .field("bundle", &self.bundle)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}
