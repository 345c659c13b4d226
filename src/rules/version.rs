//! Versions: what an image's tag says, and whether a label says the same.

use super::service::Update;
use super::{Finding, Reason};

/// The longest label value (API doc, `metadata.labels`).
const LABEL_LIMIT: usize = 63;

/// The version in an image reference, as a label value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The label value.
    pub label: String,
    /// Whether the image has neither tag nor digest, so that the value is a guess.
    pub is_guess: bool,
}

/// The version of an image. The tag follows the last `:` after the last `/`; a digest alone gives the beginning of the
/// digest; neither gives `latest`.
#[must_use]
pub fn of_image(image: &str) -> Version {
    let (reference, digest) = match image.split_once('@') {
        Some((reference, digest)) => (reference, Some(digest)),
        None => (image, None),
    };
    let name = reference.rsplit('/').next().unwrap_or(reference);
    let tag = name.rsplit_once(':').map(|(_, tag)| legal(tag)).filter(|tag| !tag.is_empty());
    if let Some(tag) = tag {
        return Version { label: tag, is_guess: false };
    }
    let hex = digest.and_then(|digest| digest.split_once(':')).map(|(_, hex)| hex);
    match hex.map(|hex| legal(&hex.chars().take(12).collect::<String>())).filter(|hex| !hex.is_empty()) {
        Some(hex) => Version { label: format!("sha256-{hex}"), is_guess: false },
        None => Version { label: "latest".to_owned(), is_guess: true },
    }
}

/// A text trimmed to a legal label value: letters, digits, `-`, `_` and `.`, with a letter or digit at either end. One
/// that is too long keeps its beginning, and a hash of the whole.
fn legal(text: &str) -> String {
    let is_end = |letter: char| !letter.is_ascii_alphanumeric();
    let replaced: String = text
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.') { letter } else { '-' })
        .collect();
    let trimmed = replaced.trim_matches(is_end);
    if trimmed.len() <= LABEL_LIMIT {
        return trimmed.to_owned();
    }
    let beginning: String = trimmed.chars().take(54).collect();
    format!("{}-{:08x}", beginning.trim_end_matches(is_end), fnv1a(text))
}

/// FNV-1a, 32 bits: the same in every release, which the standard library's hasher does not promise.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The warnings about version labels that their images contradict.
pub(super) fn findings(update: &Update<'_>) -> Vec<Finding> {
    update
        .target
        .workloads
        .iter()
        .filter_map(|workload| {
            let label = workload.template.labels.get("version")?;
            let image = workload.template.main_image()?;
            let version = of_image(image);
            (!version.is_guess && !agree(label, &version.label)).then(|| {
                Finding::new(
                    Reason::VersionMismatch,
                    format!("{workload} is labelled version {label} and runs {image}"),
                    "correct the label or the image".to_owned(),
                )
            })
        })
        .collect()
}

/// Whether a label and a tag tell the same version: equal, or one goes into more detail (`1.0` and `v1.0.3`). A label
/// without a digit is no version number (`version: blue`), and `latest` and digests are none either.
fn agree(label: &str, tag: &str) -> bool {
    let plain = |text: &str| text.strip_prefix(['v', 'V']).unwrap_or(text).to_owned();
    let (label, tag) = (plain(label), plain(tag));
    let begins = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_']))
    };
    let is_number = |text: &str| text.starts_with(|letter: char| letter.is_ascii_digit());
    !is_number(&label) || !is_number(&tag) || begins(&tag, &label) || begins(&label, &tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(image: &str) -> String {
        of_image(image).label
    }

    #[test]
    fn versions_of_images() {
        assert_eq!(label("app:1.0"), "1.0");
        assert_eq!(label("registry:5000/team/app:1.0"), "1.0");
        assert_eq!(label("registry:5000/team/app"), "latest");
        assert_eq!(label("app:1.0@sha256:0123456789abcdef"), "1.0");
        assert_eq!(label("app@sha256:0123456789abcdef"), "sha256-0123456789ab");
        assert_eq!(label("app"), "latest");
        assert_eq!(label("app:_1_"), "1");
        assert_eq!(label(":::@@"), "latest");
        assert_eq!(label(""), "latest");
        assert_eq!(label("app:1+2"), "1-2");
    }

    #[test]
    fn long_tags_stay_apart() {
        let long = |end: &str| label(&format!("app:{}{end}", "x".repeat(80)));
        assert_eq!(long("a").len(), 63);
        assert_ne!(long("a"), long("b"));
    }

    #[test]
    fn versions_that_agree() {
        for (a, b) in
            [("1.0", "1.0"), ("v1.0", "1.0"), ("1.0", "1.0.3"), ("1", "1.20.1"), ("blue", "2.0"), ("2.0", "main")]
        {
            assert!(agree(a, b), "{a} {b}");
        }
        for (a, b) in [("1.0", "2.0"), ("1.0", "1.01"), ("2.0", "v1.9")] {
            assert!(!agree(a, b), "{a} {b}");
        }
    }
}
