//! Why a certificate could not be issued or used.

/// Why a certificate could not be issued or used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Issuing failed.
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    Random,
    /// It is no certificate or key, or the two do not fit.
    #[error("cannot use the certificate: {0}")]
    Unusable(String),
}
