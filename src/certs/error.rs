//! Why a certificate could not be issued or used.

/// Why a certificate could not be issued or used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// rcgen could not sign a certificate.
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    Random,
    /// A text holds no certificate.
    #[error("no certificate in PEM")]
    NoCertificate,
    /// A text holds no private key that is not encrypted.
    #[error("no private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)")]
    NoKey,
    /// A text begins as PEM and cannot be parsed.
    #[error("cannot parse the PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    /// The key is not the certificate's.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// The name to call is neither a DNS name nor an IP address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    /// rustls does not accept the certificate or its key.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// The authorities cannot be used to verify a certificate.
    #[error("{0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}
