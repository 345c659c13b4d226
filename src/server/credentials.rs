//! What the listener for reviews presents and asks for. Both can be exchanged while it serves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A certificate with its key, and the tokens that a path may end in.
#[derive(Debug)]
pub struct Credentials {
    certificate: ArcSwap<CertifiedKey>,
    tokens: ArcSwap<Vec<String>>,
}

impl Credentials {
    /// Both, to begin with.
    #[must_use]
    pub fn new(certificate: CertifiedKey, token: String) -> Self {
        Self { certificate: ArcSwap::from_pointee(certificate), tokens: ArcSwap::from_pointee(vec![token]) }
    }

    /// Presents another certificate from the next connection on. Those that are open go on.
    pub fn present(&self, certificate: CertifiedKey) {
        self.certificate.store(Arc::new(certificate));
    }

    /// Accepts these tokens, and no others.
    pub fn accept(&self, tokens: Vec<String>) {
        self.tokens.store(Arc::new(tokens));
    }

    /// Whether a path may end in this. All are compared, without telling by the time where the difference is.
    pub(super) fn accepts(&self, token: &str) -> bool {
        self.tokens.load().iter().fold(false, |found, accepted| same(token.as_bytes(), accepted.as_bytes()) | found)
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certificate.load_full())
    }
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
