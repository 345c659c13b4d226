//! Issuing certificates: what each step of the plan writes.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::error::CertificateError;
use super::pem::life_of;

/// How long an authority lives.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// How long a leaf lives.
const LEAF_LIFE: Duration = Duration::days(365);
/// Clocks of a cluster differ by this much at most.
const CLOCK_SKEW: Duration = Duration::minutes(5);

/// All that is in the Secret, in PEM. What is not there is empty.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The current authority's certificate.
    pub authority: String,
    /// Its key.
    pub authority_key: String,
    /// The next authority's certificate, while there is one.
    pub next: String,
    /// Its key.
    pub next_key: String,
    /// The certificate of the authority before, while it is still to be trusted.
    pub old: String,
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
        f.debug_struct("Identity").field("bundle", &self.bundle()).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new authority, a leaf for these names (DNS names or IP addresses), and a new token.
    ///
    /// # Errors
    /// When a name is neither, or there are no random bytes.
    pub fn issue(names: &[String], now: OffsetDateTime) -> Result<Self, CertificateError> {
        let (authority, authority_key) = new_authority(now)?;
        Self { authority, authority_key, token: token()?, ..Self::default() }.renewed(names, now)
    }

    /// With a new leaf of the current authority.
    ///
    /// # Errors
    /// When the authority cannot be used, or a name is neither a DNS name nor an IP address.
    pub fn renewed(self, names: &[String], now: OffsetDateTime) -> Result<Self, CertificateError> {
        let issuer = Issuer::from_ca_cert_pem(&self.authority, KeyPair::from_pem(&self.authority_key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name("flipguard");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lives(&mut params, now, LEAF_LIFE);
        if let Some(authority) = life_of(&self.authority) {
            // A leaf that outlives its authority only looks valid.
            params.not_after = params.not_after.min(authority.until);
        }
        let leaf = params.signed_by(&key, &issuer)?;
        Ok(Self { leaf: leaf.pem(), leaf_key: key.serialize_pem(), ..self })
    }

    /// With a new authority beside the current one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn published(self, now: OffsetDateTime) -> Result<Self, CertificateError> {
        let (next, next_key) = new_authority(now)?;
        Ok(Self { next, next_key, ..self })
    }

    /// With the next authority as the current one, and a leaf of it.
    ///
    /// # Errors
    /// When the next authority cannot be used.
    pub fn promoted(self, names: &[String], now: OffsetDateTime) -> Result<Self, CertificateError> {
        let Self { authority, next, next_key, leaf, leaf_key, token, .. } = self;
        let promoted =
            Self { authority: next, authority_key: next_key, old: authority, leaf, leaf_key, token, ..Self::default() };
        promoted.renewed(names, now)
    }

    /// Without the authority before.
    #[must_use]
    pub fn retired(self) -> Self {
        Self { old: String::new(), ..self }
    }

    /// The authorities that the API server is to trust, in PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        [&self.authority, &self.next, &self.old].into_iter().map(String::as_str).collect()
    }
}

fn new_authority(now: OffsetDateTime) -> Result<(String, String), CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    // rcgen gives authority and leaf the same subject by default, and OpenSSL then takes the leaf for self-signed. Two
    // authorities of one subject could not be told apart either.
    let number: String = token()?.chars().take(8).collect();
    params.distinguished_name = common_name(&format!("flipguard authority {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lives(&mut params, now, AUTHORITY_LIFE);
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
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

/// 128 random bits in hexadecimal.
pub(crate) fn token() -> Result<String, CertificateError> {
    let mut bytes = [0_u8; 16];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).map_err(|_| CertificateError::Random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
