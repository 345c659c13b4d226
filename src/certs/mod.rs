//! flipguard's TLS identity: an authority of its own, or somebody else's certificates, and the token in its paths.

pub mod authority;
pub mod error;
pub mod files;
pub mod inspect;
pub mod pem;
pub mod plan;
pub mod rotator;
pub(crate) mod store;

pub use authority::Identity;
pub use error::CertificateError;
pub use rotator::{IdentityError, TrustBundle};
pub use store::ROTATE;

/// What is served, and what to trust for it, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ServedCertificate {
    /// The authorities to trust.
    pub bundle: String,
    /// The leaf, and what lies between it and its authority.
    pub chain: String,
    /// The leaf's key.
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
