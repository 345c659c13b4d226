//! The authority of the control plane, and the certificates that it signs.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A certificate and its private key, both as PEM.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The authority that signs the API server's certificate and those of all clients.
#[derive(Debug)]
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("controlplane-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        valid_for_a_year(&mut params)?;
        let key = KeyPair::generate().context("cannot make the authority's key")?;
        Ok(Self(CertifiedIssuer::self_signed(params, key).context("cannot sign the authority's certificate")?))
    }

    pub(crate) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A server certificate for `names`: DNS names and IP addresses.
    pub(crate) fn server(&self, common: &str, names: &[&str]) -> Result<Identity> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).context("cannot use a name in a certificate")?;
        params.distinguished_name = common_name(common);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate. Kubernetes reads the user from the common name, and the groups from the organisations.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> Result<Identity> {
        // rcgen keeps one value per attribute type. The named type and the bare number (2.5.4.10) are two types for
        // rcgen, but the same one for every reader.
        let organisations = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
        ensure!(
            groups.len() <= organisations.len(),
            "a client certificate here carries at most {} groups, and {user} was given {}",
            organisations.len(),
            groups.len()
        );
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(user);
        for (organisation, &group) in organisations.into_iter().zip(groups) {
            params.distinguished_name.push(organisation, group);
        }
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        valid_for_a_year(&mut params)?;
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = params.signed_by(&key, &self.0).context("cannot sign a certificate")?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// The key pair that signs service account tokens: private and public PEM.
pub(crate) fn service_account_key() -> Result<(String, String)> {
    let key = KeyPair::generate().context("cannot make the service account key")?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// rcgen's default name is the same for all certificates. A certificate with the name of its issuer would count as
/// self-signed.
fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid_for_a_year(params: &mut CertificateParams) -> Result<()> {
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().context("the clock says that it is before 1970")?;
    let now = date_time_ymd(1970, 1, 1) + since_1970;
    // The certificate is valid from an hour ago, so that an adjusted clock does not make it "not yet valid".
    params.not_before = now - HOUR;
    params.not_after = now + YEAR;
    Ok(())
}
