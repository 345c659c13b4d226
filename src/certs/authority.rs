//! Issues certificates: the content of the Secret after each step of the plan.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::error::CertificateError;
use super::pem::life_of;
use super::tokens::StoredTokens;

/// The lifetime of an authority.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// The lifetime of a leaf.
const LEAF_LIFE: Duration = Duration::days(365);
/// The largest difference between two clocks of a cluster: certificates are valid from this long before their issue.
const CLOCK_SKEW: Duration = Duration::minutes(5);

/// The content of the Secret, in PEM. A missing part is empty.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `ca.crt`: the certificate of the current authority.
    pub authority: String,
    /// `ca.key`: the key of the current authority.
    pub authority_key: String,
    /// `next-ca.crt`: the certificate of the next authority, during a rotation.
    pub next: String,
    /// `next-ca.key`: the key of the next authority.
    pub next_key: String,
    /// `old-ca.crt`: the certificate of the authority before, while it has to be trusted.
    pub old: String,
    /// `tls.crt`: the certificate to serve.
    pub leaf: String,
    /// `tls.key`: the key of the certificate to serve.
    pub leaf_key: String,
    /// `token`: the last segment of the registered paths, 128 random bits in hexadecimal.
    pub token: String,
    /// `old-token`: the token before, while it is accepted.
    pub old_token: String,
    /// `token-issued`: when the token was issued, as RFC 3339.
    pub token_issued: String,
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
        Self { authority, authority_key, ..Self::default() }.with_new_token(now)?.renewed(names, now)
    }

    /// The same, with a new token, and the token before as the old one.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn with_new_token(self, now: OffsetDateTime) -> Result<Self, CertificateError> {
        // Formatting a time of this century does not fail. Without a time, the next exchange is due at once.
        let token_issued = now.format(&Rfc3339).unwrap_or_default();
        Ok(Self { old_token: self.token, token: token()?, token_issued, ..self })
    }

    /// The same, without the token before.
    #[must_use]
    pub fn without_old_token(self) -> Self {
        Self { old_token: String::new(), ..self }
    }

    /// The tokens. `requested` asks for an exchange.
    #[must_use]
    pub fn tokens(&self, requested: bool) -> StoredTokens<'_> {
        let issued = OffsetDateTime::parse(&self.token_issued, &Rfc3339).ok();
        StoredTokens { current: &self.token, old: &self.old_token, issued, requested }
    }

    /// The same, with a new leaf of the current authority.
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
            // After the end of its authority, a leaf is not trusted.
            params.not_after = params.not_after.min(authority.until);
        }
        let leaf = params.signed_by(&key, &issuer)?;
        Ok(Self { leaf: leaf.pem(), leaf_key: key.serialize_pem(), ..self })
    }

    /// The same, with a new authority beside the current one.
    ///
    /// # Errors
    /// When the authority cannot be issued.
    pub fn published(self, now: OffsetDateTime) -> Result<Self, CertificateError> {
        let (next, next_key) = new_authority(now)?;
        Ok(Self { next, next_key, ..self })
    }

    /// The same, with the next authority as the current one, and a leaf of that authority.
    ///
    /// # Errors
    /// When the next authority cannot be used.
    pub fn promoted(self, names: &[String], now: OffsetDateTime) -> Result<Self, CertificateError> {
        let Self { authority, next, next_key, .. } = self;
        let promoted = Self {
            authority: next,
            authority_key: next_key,
            old: authority,
            next: String::new(),
            next_key: String::new(),
            ..self
        };
        promoted.renewed(names, now)
    }

    /// The same, without the authority before.
    #[must_use]
    pub fn retired(self) -> Self {
        Self { old: String::new(), ..self }
    }

    /// All authorities that the API server has to trust, in PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        [&self.authority, &self.next, &self.old].into_iter().map(String::as_str).collect()
    }
}

fn new_authority(now: OffsetDateTime) -> Result<(String, String), CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    // By default, rcgen gives authority and leaf the same subject, and OpenSSL then takes the leaf for self-signed.
    // Also, two authorities must not have the same subject.
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

/// Sets the validity. The default of rcgen is 1975 to 4096.
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
