//! Issuing certificates.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// How long an authority lives.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// How long a leaf lives.
const LEAF_LIFE: Duration = Duration::days(365);
/// Clocks of a cluster differ by this much at most.
const CLOCK_SKEW: Duration = Duration::minutes(5);

/// All that a replica needs to serve, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The authority's certificate: what the API server is told to trust.
    pub authority: String,
    /// The authority's key.
    pub authority_key: String,
    /// The certificate to serve.
    pub leaf: String,
    /// Its key.
    pub leaf_key: String,
    /// 128 random bits in hexadecimal: the last segment of the registered paths.
    pub token: String,
}

/// Keys stay out of logs.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// Why a certificate could not be issued or used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Issuing failed.
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    Random,
    /// What is stored is no certificate or key.
    #[error("cannot read the stored certificate: {0}")]
    Stored(String),
}

impl Identity {
    /// A new authority, a leaf for these names (DNS names or IP addresses), and a new token.
    ///
    /// # Errors
    /// When a name is neither, or there are no random bytes.
    pub fn issue(names: &[String], now: OffsetDateTime) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // rcgen gives authority and leaf the same subject by default, and OpenSSL then takes the leaf for self-signed.
        params.distinguished_name = common_name("flipguard authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        lives(&mut params, now, AUTHORITY_LIFE);
        let authority = params.self_signed(&key)?;
        Self {
            authority: authority.pem(),
            authority_key: key.serialize_pem(),
            leaf: String::new(),
            leaf_key: String::new(),
            token: token()?,
        }
        .with_new_leaf(names, now)
    }

    /// The same authority and token with a new leaf.
    ///
    /// # Errors
    /// When the stored authority cannot be used, or a name is neither a DNS name nor an IP address.
    pub fn with_new_leaf(self, names: &[String], now: OffsetDateTime) -> Result<Self, CertificateError> {
        let issuer = Issuer::from_ca_cert_pem(&self.authority, KeyPair::from_pem(&self.authority_key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name("flipguard");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lives(&mut params, now, LEAF_LIFE);
        let leaf = params.signed_by(&key, &issuer)?;
        Ok(Self { leaf: leaf.pem(), leaf_key: key.serialize_pem(), ..self })
    }

    /// Whether the leaf is good for all these names, and for a third of its life yet.
    #[must_use]
    pub fn serves(&self, names: &[String], now: OffsetDateTime) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(self.leaf.as_bytes()) else { return false };
        let Ok((_, leaf)) = x509_parser::certificate::X509Certificate::from_der(&der) else { return false };
        let Ok(Some(alternatives)) = leaf.subject_alternative_name() else { return false };
        let covered: Vec<String> = alternatives
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => ip_address(bytes).map(|ip| ip.to_string()),
                _ => None,
            })
            .collect();
        let renew_at = leaf.validity().not_after.to_datetime() - LEAF_LIFE / 3;
        now < renew_at && names.iter().all(|name| covered.contains(name))
    }

    /// What rustls serves: the leaf with its chain, and its key.
    ///
    /// # Errors
    /// When what is stored is no certificate or key.
    pub fn served(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
        let stored = |error: rustls::pki_types::pem::Error| CertificateError::Stored(error.to_string());
        let chain =
            CertificateDer::pem_slice_iter(self.leaf.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(stored)?;
        let key = PrivateKeyDer::from_pem_slice(self.leaf_key.as_bytes()).map_err(stored)?;
        Ok((chain, key))
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// rcgen's own default is 1975 to 4096.
fn lives(params: &mut CertificateParams, now: OffsetDateTime, life: Duration) {
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + life;
}

fn token() -> Result<String, CertificateError> {
    let mut bytes = [0_u8; 16];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).map_err(|_| CertificateError::Random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn ip_address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(std::net::IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_serves_its_names_for_two_thirds_of_its_life() {
        let names = ["flipguard.flipguard-system.svc".to_owned(), "127.0.0.1".to_owned()];
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let identity = Identity::issue(&names, now).unwrap();
        assert!(identity.serves(&names, now));
        assert!(identity.serves(&names, now + Duration::days(200)));
        assert!(!identity.serves(&names, now + Duration::days(300)), "it is time for a new one");
        assert!(!identity.serves(&["guard.example".to_owned()], now));
        assert_eq!(identity.token.len(), 32);
        let renewed = identity.clone().with_new_leaf(&["guard.example".to_owned()], now).unwrap();
        assert!(renewed.serves(&["guard.example".to_owned()], now));
        assert_eq!(renewed.authority, identity.authority);
        assert!(!format!("{identity:?}").contains("PRIVATE"));
    }
}
