//! What is true of certificates: read from PEM, for the plan.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::Identity;
use super::authority::CertificateError;
use super::plan::{Authority, Leaf, Life, Stored};

/// The shortest token that is taken for one. A shorter one is the rest of a longer one, or somebody's guess.
const TOKEN: usize = 32;

/// What is stored, as the plan sees it. `names` is what the leaf must hold; `rotate`, whether somebody asked for a new
/// authority.
#[must_use]
pub fn inspect(identity: &Identity, names: &[String], rotate: bool) -> Stored {
    let authority = |certificate: &str, key: &str| {
        Some(Authority { life: life_of(certificate)?, signs: pair(certificate, key).is_ok() })
    };
    let leaf = life_of(&identity.leaf).filter(|_| pair(&identity.leaf, &identity.leaf_key).is_ok()).map(|life| Leaf {
        life,
        // Whether it is valid now is for the plan to say; here only who signed it counts.
        ours: names_of(&identity.leaf)
            .first()
            .is_some_and(|name| is_trusted(&identity.authority, &identity.leaf, name, life.from).is_ok()),
        names: holds(&identity.leaf, names),
    });
    Stored {
        token: is_token(&identity.token),
        current: authority(&identity.authority, &identity.authority_key),
        next: authority(&identity.next, &identity.next_key),
        old: !identity.old.is_empty(),
        leaf,
        rotate,
    }
}

/// Whether a text can be the last segment of a path that is not guessed.
pub(super) fn is_token(text: &str) -> bool {
    text.len() >= TOKEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The validity of the first certificate of a PEM text.
#[must_use]
pub fn life_of(pem: &str) -> Option<Life> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let validity = certificate.validity();
    Some(Life { from: validity.not_before.to_datetime(), until: validity.not_after.to_datetime() })
}

/// The names that the first certificate of a PEM text is for.
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

fn holds(leaf: &str, names: &[String]) -> bool {
    let held = names_of(leaf);
    names.iter().all(|name| held.contains(name))
}

/// The certificates of a PEM text, one by one.
///
/// # Errors
/// When one of them cannot be read, or there is none.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::Unusable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(CertificateError::Unusable("there is no certificate in it".to_owned()));
    }
    Ok(certificates)
}

/// A chain with its key, to be served.
///
/// # Errors
/// When one of the two cannot be read, or they do not fit.
pub fn pair(chain: &str, key: &str) -> Result<CertifiedKey, CertificateError> {
    let unusable = |error: String| CertificateError::Unusable(error);
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| unusable(format!("its key: {error}")))?;
    CertifiedKey::from_der(certificates(chain)?, key, &rustls::crypto::ring::default_provider())
        .map_err(|error| unusable(error.to_string()))
}

/// Whether somebody who trusts this bundle would trust this chain, under this name and at this time; if not, why.
///
/// # Errors
/// When it would not.
pub fn is_trusted(bundle: &str, chain: &str, name: &str, at: OffsetDateTime) -> Result<(), CertificateError> {
    let unusable = |error: String| CertificateError::Unusable(error);
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle)? {
        roots.add(authority).map_err(|error| unusable(error.to_string()))?;
    }
    let chain = certificates(chain)?;
    let Some((leaf, rest)) = chain.split_first() else { return Err(unusable("the chain is empty".to_owned())) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    let name = ServerName::try_from(name.to_owned()).map_err(|error| unusable(error.to_string()))?;
    let since = std::time::Duration::from_secs(u64::try_from(at.unix_timestamp()).unwrap_or(0));
    verifier
        .verify_server_cert(leaf, rest, &name, &[], UnixTime::since_unix_epoch(since))
        .map_err(|error| unusable(error.to_string()))?;
    Ok(())
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::certs::plan::{Pace, Seen, Step, plan};

    const PACE: Pace = Pace { settle: Duration::MINUTE, linger: Duration::MINUTE };
    const SEEN: Seen = Seen { remembered: false, next_out: Some(Duration::MINUTE), leaf_out: Duration::MINUTE };

    fn names() -> Vec<String> {
        vec!["flipguard.flipguard-system.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    fn start() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn step(identity: &Identity, rotate: bool, now: OffsetDateTime) -> Step {
        plan(&inspect(identity, &names(), rotate), &SEEN, PACE, now)
    }

    #[test]
    fn what_is_issued_is_kept_for_two_thirds_of_its_life() {
        let identity = Identity::issue(&names(), start()).unwrap();
        assert_eq!(step(&identity, false, start()), Step::Keep);
        assert_eq!(step(&identity, false, start() + Duration::days(243)), Step::Keep);
        assert_eq!(step(&identity, false, start() + Duration::days(244)), Step::Renew);
        assert_eq!(identity.token.len(), TOKEN);
        assert!(!format!("{identity:?}").contains("PRIVATE"));
        let other = ["guard.example".to_owned()];
        assert_eq!(plan(&inspect(&identity, &other, false), &SEEN, PACE, start()), Step::Renew);
        let renewed = identity.clone().renewed(&other, start()).unwrap();
        assert_eq!(plan(&inspect(&renewed, &other, false), &SEEN, PACE, start()), Step::Keep);
        assert_eq!(renewed.authority, identity.authority);
    }

    /// Whoever knows the bundle of one step trusts the leaf of the next.
    #[test]
    fn an_authority_is_exchanged_in_three_steps() {
        let now = start();
        let trusts = |knows: &Identity, served: &Identity| {
            names().iter().all(|name| is_trusted(&knows.bundle(), &served.leaf, name, now).is_ok())
        };
        let old = Identity::issue(&names(), now).unwrap();
        assert_eq!(step(&old, true, now), Step::Publish);
        let published = old.clone().published(now).unwrap();
        assert_eq!(step(&published, true, now), Step::Promote);
        let promoted = published.clone().promoted(&names(), now).unwrap();
        assert_eq!(step(&promoted, false, now), Step::Retire);
        let retired = promoted.clone().retired();
        assert_eq!(step(&retired, false, now), Step::Keep);
        for (knows, served) in [(&old, &published), (&published, &promoted), (&promoted, &old), (&promoted, &retired)] {
            assert!(trusts(knows, served));
        }
        assert!(!trusts(&old, &promoted), "so the bundle has to be out first");
        assert!(!trusts(&retired, &old));
        assert_eq!(old.token, retired.token);
    }

    #[test]
    fn what_is_broken_is_seen() {
        let whole = Identity::issue(&names(), start()).unwrap();
        let with = |change: fn(&mut Identity)| {
            let mut identity = whole.clone();
            change(&mut identity);
            step(&identity, false, start())
        };
        let half = |text: &mut String| text.truncate(text.len() / 2);
        assert_eq!(with(|_| {}), Step::Keep);
        assert_eq!(with(|identity| identity.leaf.truncate(100)), Step::Renew);
        assert_eq!(with(|identity| identity.leaf_key.clear()), Step::Renew);
        assert_eq!(with(|identity| identity.authority_key.truncate(60)), Step::Publish);
        assert_eq!(with(|identity| identity.authority.truncate(60)), Step::Issue);
        assert_eq!(with(|identity| identity.token.truncate(31)), Step::Issue);
        let mut foreign = whole.clone();
        foreign.leaf = Identity::issue(&names(), start()).unwrap().leaf;
        assert_eq!(step(&foreign, false, start()), Step::Renew, "a leaf without its key");
        half(&mut foreign.leaf);
        assert!(pair(&foreign.leaf, &foreign.leaf_key).is_err());
    }
}
