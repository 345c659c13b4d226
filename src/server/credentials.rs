//! The certificate and the tokens of the listener for reviews. Both can be swapped while it serves.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use subtle::{Choice, ConstantTimeEq};

/// A certificate with its key, and the tokens that may end the path of a request. Without a certificate, every handshake
/// fails at once.
#[derive(Debug, Default)]
pub struct Credentials {
    certificate: ArcSwapOption<CertifiedKey>,
    tokens: ArcSwap<Vec<String>>,
}

impl Credentials {
    /// The first certificate and token.
    #[must_use]
    pub fn new(certificate: CertifiedKey, token: String) -> Self {
        Self { certificate: ArcSwapOption::from_pointee(certificate), tokens: ArcSwap::from_pointee(vec![token]) }
    }

    /// Presents another certificate from the next connection on. Open connections keep the one before.
    pub fn present(&self, certificate: CertifiedKey) {
        self.certificate.store(Some(Arc::new(certificate)));
    }

    /// Accepts these tokens, and no others.
    pub fn accept(&self, tokens: Vec<String>) {
        self.tokens.store(Arc::new(tokens));
    }

    /// Whether a token may end a path. The time does not depend on which token matches, or where one differs.
    pub(super) fn accepts(&self, token: &str) -> bool {
        let tokens = self.tokens.load();
        let matches = tokens.iter().map(|accepted| token.as_bytes().ct_eq(accepted.as_bytes()));
        matches.fold(Choice::from(0), |found, this| found | this).into()
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Identity;
    use crate::certs::pem::pair;

    #[test]
    fn each_accepted_token_and_no_other_is_accepted() {
        let identity = Identity::issue(&["guard.example".to_owned()], time::OffsetDateTime::now_utc()).unwrap();
        let credentials = Credentials::new(pair(&identity.leaf, &identity.leaf_key).unwrap(), "one".to_owned());
        assert!(credentials.accepts("one") && !credentials.accepts("two"));
        credentials.accept(vec!["two".to_owned(), "three".to_owned()]);
        assert!(credentials.accepts("two") && credentials.accepts("three"));
        assert!(["one", "", "tw", "twoo", "Two"].into_iter().all(|token| !credentials.accepts(token)));
    }
}
