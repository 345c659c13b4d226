//! Certificates that somebody else brings, as files: `tls.crt`, `tls.key` and `ca.crt` in one folder.
//!
//! They are read again and again, and compared. A Secret volume is exchanged by moving a symbolic link, which a watch
//! on the files themselves never tells.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::ServedCertificate;
use super::error::CertificateError;
use super::pem::{is_trusted, pair};

/// A folder of certificates.
#[derive(Debug, Clone)]
pub struct Files(PathBuf);

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One cannot be read.
    #[error("cannot read `{path}` (--certificates): {why}; the folder must hold tls.crt, tls.key and ca.crt")]
    Unreadable {
        /// The file.
        path: String,
        /// What the operating system said.
        why: String,
    },
    /// They are not what the API server would trust.
    #[error(
        "cannot serve the certificate in `{folder}` (--certificates): {why}; it must be signed by ca.crt, be valid now, \
         and hold the name `{name}`"
    )]
    Unusable {
        /// The folder.
        folder: String,
        /// What is wrong.
        why: String,
        /// What the API server calls.
        name: String,
    },
}

impl Files {
    /// The files of a folder.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Reads them, and checks that they fit and that whoever trusts `ca.crt` would trust them under a name.
    ///
    /// # Errors
    /// When they cannot be read or used.
    pub fn read(&self, name: &str, token: &str, now: OffsetDateTime) -> Result<ServedCertificate, FilesError> {
        let [chain, key, bundle] = [self.text("tls.crt")?, self.text("tls.key")?, self.text("ca.crt")?];
        let unusable = |error: CertificateError| FilesError::Unusable {
            folder: self.0.display().to_string(),
            why: error.to_string(),
            name: name.to_owned(),
        };
        pair(&chain, &key).map_err(unusable)?;
        is_trusted(&bundle, &chain, name, now).map_err(unusable)?;
        Ok(ServedCertificate { bundle, chain, key, token: token.to_owned() })
    }

    fn text(&self, file: &str) -> Result<String, FilesError> {
        let path = self.0.join(file);
        std::fs::read_to_string(&path)
            .map_err(|why| FilesError::Unreadable { path: path.display().to_string(), why: why.to_string() })
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
        assert!(read().unwrap_err().contains("its key"));
        write("tls.key", &good.authority_key);
        assert!(read().unwrap_err().contains("must be signed by ca.crt"));
        write("tls.key", &good.leaf_key);
        write("ca.crt", &Identity::issue(&name, now).unwrap().authority);
        assert!(read().unwrap_err().contains("UnknownIssuer"));
        write("ca.crt", &good.authority);
        let later = files.read("guard.example", "token", now + time::Duration::days(400)).map_err(|e| e.to_string());
        assert!(later.unwrap_err().contains("certificate expired"));
        let other = files.read("other.example", "token", now).map_err(|error| error.to_string());
        assert!(other.unwrap_err().contains("hold the name `other.example`"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
