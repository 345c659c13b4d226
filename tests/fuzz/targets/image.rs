//! An image's version is a legal label value, whatever the image.
#![no_main]

use flipguard::rules::state::version;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|image: &str| {
    let version = version::of_image(image);
    let label = &version.label;
    assert!(is_label_value(label), "{label:?} is no label value");
    assert_eq!(version, version::of_image(image), "the same image, another version");
    if version.is_guess {
        assert_eq!(label, "latest", "a guess says nothing of its own");
    }
    // A tag that is a label value already stays as it is.
    let name = image.split('@').next().and_then(|reference| reference.rsplit('/').next()).unwrap_or_default();
    if let Some((_, tag)) = name.rsplit_once(':')
        && is_label_value(tag)
    {
        assert_eq!(label, tag);
    }
});

/// Kubernetes' own words: `(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?`, at most 63 of them; here never empty.
fn is_label_value(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    bytes.len() <= 63 && is_end(bytes.first()) && is_end(bytes.last()) && text.bytes().all(is_inner)
}
