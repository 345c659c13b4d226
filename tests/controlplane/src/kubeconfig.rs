//! kubeconfig files.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::certificates::Identity;

/// The credentials of a user.
pub(crate) enum Credential<'a> {
    /// A client certificate, written beside the kubeconfig as `NAME.crt` and `NAME.key`.
    Certificate(&'a Identity),
    /// A bearer token, like that of a Pod.
    Token(&'a str),
}

/// Writes `NAME.kubeconfig`.
pub(crate) fn write(folder: &Path, name: &str, url: &str, authority: &Path, shows: &Credential<'_>) -> Result<PathBuf> {
    let credential = match shows {
        Credential::Certificate(identity) => {
            let certificate = folder.join(format!("{name}.crt"));
            let key = folder.join(format!("{name}.key"));
            write_private(&certificate, &identity.certificate)?;
            write_private(&key, &identity.key)?;
            format!("client-certificate: {}\n    client-key: {}", quoted(&certificate), quoted(&key))
        }
        Credential::Token(token) => format!("token: {token}"),
    };
    let kubeconfig = folder.join(format!("{name}.kubeconfig"));
    let text = format!(
        "apiVersion: v1
kind: Config
clusters:
- name: controlplane
  cluster:
    server: {url}
    certificate-authority: {}
users:
- name: {name}
  user:
    {credential}
contexts:
- name: controlplane
  context:
    cluster: controlplane
    user: {name}
current-context: controlplane
",
        quoted(authority),
    );
    write_private(&kubeconfig, &text)?;
    Ok(kubeconfig)
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}
