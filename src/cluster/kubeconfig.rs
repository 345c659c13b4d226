//! What of a kubeconfig cannot be used, named by its file or its field.
//!
//! The client reads the same fields later, and reports a broken one without its name or not before the first request.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use kube::client::AuthError;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::ExposeSecret;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::connect::causes;

/// A field of a kubeconfig that holds data, or names a file with data.
struct Field<'a> {
    /// The name of the field, with `-data` where the data are inline.
    name: String,
    /// Whose field it is: `` user `alice` ``.
    owner: &'a str,
    /// The file that it names; `None` where the data are inline.
    file: Option<&'a str>,
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, owner, file } = self;
        match file {
            Some(file) => write!(f, "`{file}` ({name} of {owner})"),
            None => write!(f, "{name} of {owner}"),
        }
    }
}

/// The user and the cluster of the current context.
pub(super) struct Current<'a> {
    user: String,
    pub(super) credentials: Option<&'a AuthInfo>,
    authority: String,
    cluster: Option<&'a Cluster>,
}

impl<'a> Current<'a> {
    pub(super) fn of(kubeconfig: &'a Kubeconfig) -> Self {
        let current = kubeconfig.current_context.as_deref();
        let context = kubeconfig.contexts.iter().find(|context| Some(context.name.as_str()) == current);
        let context = context.and_then(|context| context.context.as_ref());
        let user = context.and_then(|context| context.user.as_deref()).unwrap_or_default();
        let cluster = context.map(|context| context.cluster.as_str()).unwrap_or_default();
        let credentials = kubeconfig.auth_infos.iter().find(|named| named.name == user);
        let named = kubeconfig.clusters.iter().find(|named| named.name == cluster);
        Self {
            user: format!("user `{user}`"),
            credentials: credentials.and_then(|named| named.auth_info.as_ref()),
            authority: format!("cluster `{cluster}`"),
            cluster: named.and_then(|named| named.cluster.as_ref()),
        }
    }

    /// Reads what the client will read. Where a token replaces the credentials, they are not read.
    ///
    /// # Errors
    /// What is wrong, with the name of the file or the field.
    pub(super) fn check(&self, with_credentials: bool) -> Result<(), String> {
        if let Some(cluster) = self.cluster {
            self.check_authority(cluster)?;
        }
        let Some(user) = self.credentials.filter(|_| with_credentials) else { return Ok(()) };
        self.check_token(user)?;
        self.check_client_certificate(user)
    }

    /// A token goes into a header as it is.
    fn check_token(&self, user: &AuthInfo) -> Result<(), String> {
        let owner = &self.user;
        // The client looks into the file only where there is no inline token.
        let (field, token) = match (&user.token, user.token_file.as_deref()) {
            (Some(token), _) => {
                let field = Field { name: "token".to_owned(), owner, file: None };
                (field, token.expose_secret().as_bytes().to_vec())
            }
            (None, Some(file)) => {
                let field = Field { name: "tokenFile".to_owned(), owner, file: Some(file) };
                let token = read(&field)?;
                (field, token)
            }
            (None, None) => return Ok(()),
        };
        if token.ends_with(b"\n") {
            return Err(format!("{field} ends with a line break; write the token alone, for example with printf %s"));
        }
        HeaderValue::from_bytes(&token).map_err(|_| format!("{field} is no token: it has control characters"))?;
        Ok(())
    }

    /// In words, why the credentials of the current user cannot be had.
    pub(super) fn credentials_failed(&self, error: &AuthError) -> String {
        let exec = self.credentials.and_then(|user| user.exec.as_ref());
        let Some(command) = exec.and_then(|exec| exec.command.as_deref()) else {
            return format!("the credentials of {} cannot be used: {}", self.user, causes(error));
        };
        let plugin = format!("the credentials plugin `{command}` of {}", self.user);
        match error {
            AuthError::AuthExecStart(why) => format!("{plugin} cannot be run: {why}"),
            // Its output may hold a token; what it says to people is on standard error.
            AuthError::AuthExecRun { out, .. } => {
                let said = String::from_utf8_lossy(&out.stderr);
                let first: String = said.lines().next().unwrap_or_default().chars().take(300).collect();
                format!("{plugin} ended with {}: {first}", out.status)
            }
            AuthError::AuthExecParse(_) => format!("{plugin} did not print an ExecCredential"),
            error => format!("{plugin} failed: {}", causes(error)),
        }
    }

    fn check_authority(&self, cluster: &Cluster) -> Result<(), String> {
        let inline = cluster.certificate_authority_data.as_deref();
        let file = cluster.certificate_authority.as_deref();
        let Some((field, bytes)) = load("certificate-authority", &self.authority, inline, file)? else { return Ok(()) };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&field, &bytes)? {
            roots.add(certificate).map_err(|error| format!("{field} cannot be used: {error}"))?;
        }
        Ok(())
    }

    fn check_client_certificate(&self, user: &AuthInfo) -> Result<(), String> {
        let owner = &self.user;
        let certificate = user.client_certificate_data.as_deref();
        let key = user.client_key_data.as_ref().map(ExposeSecret::expose_secret);
        let certificate = load("client-certificate", owner, certificate, user.client_certificate.as_deref())?;
        let key = load("client-key", owner, key, user.client_key.as_deref())?;
        let ((certificate, chain), (key, key_bytes)) = match (certificate, key) {
            (None, None) => return Ok(()),
            (Some(_), None) => return Err(format!("{owner} has a client-certificate, but no client-key")),
            (None, Some(_)) => return Err(format!("{owner} has a client-key, but no client-certificate")),
            (Some(certificate), Some(key)) => (certificate, key),
        };
        let chain = certificates(&certificate, &chain)?;
        for one in &chain {
            let (_, parsed) =
                X509Certificate::from_der(one).map_err(|error| format!("{certificate} cannot be parsed: {error}"))?;
            if parsed.version() != X509Version::V3 {
                let version = parsed.version().0 + 1;
                return Err(format!(
                    "{certificate} is an X.509 certificate of version {version}; issue one of version 3"
                ));
            }
        }
        let parsed = PrivateKeyDer::from_pem_slice(&key_bytes)
            .map_err(|_| format!("{key} holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)"))?;
        match CertifiedKey::from_der(chain, parsed, &rustls::crypto::ring::default_provider()) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(format!("{key} does not belong to the certificate in {certificate}"))
            }
            Err(error) => Err(format!("{key} cannot be used with {certificate}: {error}")),
        }
    }
}

/// The bytes of a field, inline or in a file; `None` where it has neither.
fn load<'a>(
    name: &str,
    owner: &'a str,
    inline: Option<&str>,
    file: Option<&'a str>,
) -> Result<Option<(Field<'a>, Vec<u8>)>, String> {
    if let Some(inline) = inline {
        let field = Field { name: format!("{name}-data"), owner, file: None };
        let bytes = STANDARD.decode(inline).map_err(|error| format!("{field} is not base64: {error}"))?;
        return Ok(Some((field, bytes)));
    }
    let Some(file) = file else { return Ok(None) };
    let field = Field { name: name.to_owned(), owner, file: Some(file) };
    let bytes = read(&field)?;
    Ok(Some((field, bytes)))
}

fn read(field: &Field<'_>) -> Result<Vec<u8>, String> {
    std::fs::read(field.file.unwrap_or_default()).map_err(|error| format!("{field} cannot be read: {error}"))
}

fn certificates(field: &Field<'_>, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{field} cannot be parsed: {error}"))?;
    if certificates.is_empty() { Err(format!("{field} holds no PEM certificate")) } else { Ok(certificates) }
}
