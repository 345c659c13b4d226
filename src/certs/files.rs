//! A certificate that an admin brings, as the files `tls.crt`, `tls.key` and `ca.crt` of one folder.
//!
//! The files are read every two seconds and compared. A Secret volume is updated by moving a symbolic link, and a watch
//! on the files themselves does not report that.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::ServedCertificate;
use super::error::CertificateError;
use super::pem::{certificates, is_trusted, pair};

/// The folder of `--certificates`.
#[derive(Debug, Clone)]
pub struct Files(PathBuf);

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("cannot read `{path}` (--certificates): {why}; the folder must hold tls.crt, tls.key and ca.crt")]
    Unreadable {
        /// The path of the file.
        path: String,
        /// The error of the operating system.
        why: std::io::Error,
    },
    /// A file holds no certificate or key, or the key does not belong to the certificate.
    #[error("cannot use `{path}` (--certificates): {why}")]
    Broken {
        /// The path of the file.
        path: String,
        /// What is wrong with its content.
        why: CertificateError,
    },
    /// An API server that trusts ca.crt would not trust tls.crt.
    #[error(
        "cannot serve `{path}` (--certificates): {why}; it must be signed by ca.crt, be valid now, and hold the name \
         `{name}`"
    )]
    Untrusted {
        /// The path of tls.crt.
        path: String,
        /// Why it is not trusted.
        why: CertificateError,
        /// The name that the API server calls.
        name: String,
    },
}

impl Files {
    /// The files of a folder.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Reads the files, and checks that an API server that trusts `ca.crt` would trust `tls.crt` under a name.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn read(&self, name: &str, token: &str, now: OffsetDateTime) -> Result<ServedCertificate, FilesError> {
        let [chain, key, bundle] = [self.text("tls.crt")?, self.text("tls.key")?, self.text("ca.crt")?];
        let broken = |file: &str, why: CertificateError| FilesError::Broken { path: self.path(file), why };
        certificates(&chain).map_err(|error| broken("tls.crt", error))?;
        certificates(&bundle).map_err(|error| broken("ca.crt", error))?;
        pair(&chain, &key).map_err(|error| broken("tls.key", error))?;
        is_trusted(&bundle, &chain, name, now).map_err(|why| FilesError::Untrusted {
            path: self.path("tls.crt"),
            why,
            name: name.to_owned(),
        })?;
        Ok(ServedCertificate { bundle, chain, key, token: token.to_owned() })
    }

    fn text(&self, file: &str) -> Result<String, FilesError> {
        std::fs::read_to_string(self.0.join(file)).map_err(|why| FilesError::Unreadable { path: self.path(file), why })
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Identity;

    #[test]
    fn what_does_not_fit_is_named() {
        let folder = std::env::temp_dir().join(format!("flipguard-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Files::of(&folder);
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let read = || files.read("guard.example", "token", now).map_err(|error| error.to_string());
        let name = ["guard.example".to_owned()];
        let good = Identity::issue(&name, now).unwrap();
        let write = |file: &str, text: &str| std::fs::write(folder.join(file), text).unwrap();
        assert!(read().unwrap_err().contains("tls.crt` (--certificates): No such file"));
        write("tls.crt", &good.leaf);
        write("tls.key", &good.leaf_key);
        write("ca.crt", &good.authority);
        assert_eq!(read().unwrap().chain, good.leaf);
        write("tls.key", "no key");
        assert!(read().unwrap_err().contains("tls.key` (--certificates): no private key in PEM"));
        write("tls.key", &good.authority_key);
        assert!(read().unwrap_err().contains("tls.key` (--certificates): the key does not belong to the certificate"));
        write("tls.key", &good.leaf_key);
        write("tls.crt", "no certificate");
        assert!(read().unwrap_err().contains("tls.crt` (--certificates): no certificate in PEM"));
        write("tls.crt", &good.leaf);
        write("ca.crt", "");
        assert!(read().unwrap_err().contains("ca.crt` (--certificates): no certificate in PEM"));
        write("ca.crt", &Identity::issue(&name, now).unwrap().authority);
        assert!(read().unwrap_err().contains("UnknownIssuer; it must be signed by ca.crt"));
        write("ca.crt", &good.authority);
        let later = files.read("guard.example", "token", now + time::Duration::days(400)).map_err(|e| e.to_string());
        assert!(later.unwrap_err().contains("certificate expired"));
        let other = files.read("other.example", "token", now).map_err(|error| error.to_string());
        assert!(other.unwrap_err().contains("hold the name `other.example`"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
