//! Versions: the version in an image's tag, as a label value.

/// The longest label value (API doc, `metadata.labels`).
const LABEL_LIMIT: usize = 63;

/// The version in an image reference, as a label value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The label value, such as `1.0`.
    pub label: String,
    /// Whether the image has neither tag nor digest, so that the value is a guess.
    pub is_guess: bool,
}

/// The version of an image: the part after the last `:` behind the last `/`. An image with only a digest gives the
/// beginning of the digest. An image with neither gives `latest`.
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

/// A text reduced to a legal label value: letters, digits, `-`, `_` and `.`, with a letter or digit at either end. A
/// text that is too long keeps its beginning, followed by a hash of the whole.
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

/// FNV-1a, 32 bits. The value is the same in every release; the standard library's hasher does not promise that.
pub(crate) fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
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
    fn long_tags_stay_distinct() {
        let long = |end: &str| label(&format!("app:{}{end}", "x".repeat(80)));
        assert_eq!(long("a").len(), 63);
        assert_ne!(long("a"), long("b"));
    }
}
