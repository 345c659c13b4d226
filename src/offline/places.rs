//! Where the manifests of a folder define objects, for reports that name a file and a line.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::report::sarif::Places;

/// The deepest folder that is looked into, so that a circle of links ends.
const DEEPEST: usize = 16;
/// The largest file that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// What tells one object from another.
#[derive(Deserialize)]
struct Head {
    kind: String,
    metadata: Name,
}

#[derive(Deserialize)]
struct Name {
    name: String,
    #[serde(default)]
    namespace: String,
}

/// The objects in all `.yaml`, `.yml` and `.json` files below a folder. Documents that are no Kubernetes objects, such as
/// templates of Helm, are passed over.
///
/// # Errors
/// When a folder or file cannot be read.
pub fn places(folder: &Path) -> anyhow::Result<Places> {
    let mut places = Places::new();
    within(folder, folder, 0, &mut places)?;
    Ok(places)
}

fn within(root: &Path, folder: &Path, depth: usize, places: &mut Places) -> anyhow::Result<()> {
    let unread = || format!("cannot read `{}` (--source)", folder.display());
    let mut entries = fs::read_dir(folder).with_context(unread)?.collect::<Result<Vec<_>, _>>().with_context(unread)?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if path.is_dir() && !is_hidden && depth < DEEPEST {
            within(root, &path, depth + 1, places)?;
        } else if is_manifest(&path) && entry.metadata().is_ok_and(|data| data.len() <= LARGEST) {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            for (line, document) in documents(&text) {
                let Ok(Head { kind, metadata }) = serde_saphyr::from_str::<Head>(&document) else { continue };
                places.entry((kind, metadata.namespace, metadata.name)).or_insert_with(|| (name.clone(), line));
            }
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|one| end.eq_ignore_ascii_case(one)))
}

/// The documents of a stream, each with the line of its first key.
fn documents(text: &str) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    let (mut first, mut document) = (0_u64, String::new());
    for (number, line) in (1_u64..).zip(text.lines().chain(["---"])) {
        if line.starts_with("---") {
            if first > 0 {
                all.push((first, std::mem::take(&mut document)));
            }
            (first, document) = (0, String::new());
            continue;
        }
        let is_content = !line.trim().is_empty() && !line.trim_start().starts_with('#');
        if first == 0 && is_content {
            first = number;
        }
        document.push_str(line);
        document.push('\n');
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_lines() {
        let text = "# The app.\n---\n\nkind: Service\nmetadata: {name: app}\n--- # more\nkind: Job\n---\n";
        let lines: Vec<u64> = documents(text).iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [4, 7]);
    }
}
