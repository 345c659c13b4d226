//! Certificates and keys in PEM: what one text says, and whether two fit together.

use std::net::IpAddr;
use std::sync::Arc;

use pem::{EncodeConfig, LineEnding, Pem};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{self, CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::error::CertificateError;
use super::plan::Life;

/// The validity of the first certificate of a PEM text.
#[must_use]
pub fn life_of(pem: &str) -> Option<Life> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let validity = certificate.validity();
    Some(Life { from: validity.not_before.to_datetime(), until: validity.not_after.to_datetime() })
}

/// The DNS names and IP addresses of the first certificate of a PEM text.
#[must_use]
pub fn names_of(pem: &str) -> Vec<String> {
    let names = || {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let alternatives = certificate.subject_alternative_name().ok()??;
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => ip_address(bytes).map(|ip| ip.to_string()),
            _ => None,
        };
        Some(alternatives.value.general_names.iter().filter_map(name).collect())
    };
    names().unwrap_or_default()
}

/// All certificates of a PEM text.
///
/// # Errors
/// When one of them cannot be read, or there is none.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let certificates =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(CertificateError::Pem)?;
    if certificates.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(certificates) }
}

/// A certificate chain with its key, to be served.
///
/// # Errors
/// When one of the two cannot be read, or the key does not belong to the certificate.
pub fn pair(chain: &str, key: &str) -> Result<CertifiedKey, CertificateError> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| match error {
        pki_types::pem::Error::NoItemsFound => CertificateError::NoKey,
        error => CertificateError::Pem(error),
    })?;
    match CertifiedKey::from_der(certificates(chain)?, key, &rustls::crypto::ring::default_provider()) {
        Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError::KeyMismatch),
        paired => Ok(paired?),
    }
}

/// Checks that a client that trusts this bundle would trust this chain, under this name and at this time.
///
/// # Errors
/// Why the client would not.
pub fn is_trusted(bundle: &str, chain: &str, name: &str, at: OffsetDateTime) -> Result<(), CertificateError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle)? {
        roots.add(authority)?;
    }
    let chain = certificates(chain)?;
    let Some((leaf, rest)) = chain.split_first() else { return Err(CertificateError::NoCertificate) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    let name = ServerName::try_from(name.to_owned()).map_err(|_| CertificateError::Name(name.to_owned()))?;
    let since = std::time::Duration::from_secs(u64::try_from(at.unix_timestamp()).unwrap_or(0));
    verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::since_unix_epoch(since))?;
    Ok(())
}

/// A certificate as PEM.
pub(super) fn pem_of(certificate: &CertificateDer<'_>) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new("CERTIFICATE", certificate.as_ref()), config)
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Identity;

    #[test]
    fn a_certificate_is_written_as_it_was_read() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let leaf = Identity::issue(&["guard.example".to_owned()], now).unwrap().leaf;
        let unix = leaf.replace('\r', "");
        assert_eq!(pem_of(&certificates(&leaf).unwrap()[0]), unix);
    }
}
