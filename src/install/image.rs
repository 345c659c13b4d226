//! The image of flipguard, as a user names it.

/// Checks the reference of an image: `registry.example:5000/tools/flipguard:0.1.0`.
///
/// # Errors
/// When no container runtime can read it.
pub fn reference(image: &str) -> Result<String, String> {
    const EXAMPLE: &str = "such as registry.example/flipguard:0.1.0";
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte);
    let what = if image.is_empty() {
        "it is empty"
    } else if !image.bytes().all(is_allowed) {
        "a reference has only letters, digits and `._-/:@+`"
    } else if !image.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        "a reference begins with a letter or a digit"
    } else if image.ends_with([':', '/', '@']) {
        "its tag, digest or name is missing at the end"
    } else {
        return Ok(image.to_owned());
    };
    Err(format!("{what}; give the reference of an image, {EXAMPLE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_checked() {
        let digest = format!("registry.example:5000/tools/flipguard@sha256:{}", "0".repeat(64));
        for image in ["flipguard", "flipguard:0.1.0", "registry.example/a_b/flipguard:v1-x", digest.as_str()] {
            assert_eq!(reference(image), Ok(image.to_owned()));
        }
        for (image, words) in [
            ("", "it is empty"),
            ("two words", "only letters, digits"),
            ("flipguard:0.1 ", "only letters, digits"),
            (":0.1", "begins with"),
            ("flipguard:", "missing at the end"),
            ("registry.example/", "missing at the end"),
        ] {
            let error = reference(image).unwrap_err();
            assert!(error.contains(words) && error.ends_with("such as registry.example/flipguard:0.1.0"), "{error}");
        }
    }
}
