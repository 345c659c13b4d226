//! kubeconfig files.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::certificates::Identity;

/// Writes a kubeconfig for `identity`, with its certificate and key beside it: `NAME.kubeconfig`, `NAME.crt`, `NAME.key`.
pub(crate) fn write(folder: &Path, name: &str, url: &str, authority: &Path, identity: &Identity) -> Result<PathBuf> {
    let certificate = folder.join(format!("{name}.crt"));
    let key = folder.join(format!("{name}.key"));
    let kubeconfig = folder.join(format!("{name}.kubeconfig"));
    write_private(&certificate, &identity.certificate)?;
    write_private(&key, &identity.key)?;
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
    client-certificate: {}
    client-key: {}
contexts:
- name: controlplane
  context:
    cluster: controlplane
    user: {name}
current-context: controlplane
",
        quoted(authority),
        quoted(&certificate),
        quoted(&key),
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
