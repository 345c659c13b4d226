//! Hides the token of flipguard's paths in texts of others.
//!
//! The API server repeats the whole URL when a call fails. Such texts get into logs and issues.

use std::borrow::Cow;

/// The first segments of the paths that end with the token.
const PATHS: [&str; 3] = ["/validate/", "/mutate/", "/probe/"];

/// The text, with `***` in the place of each token.
#[must_use]
pub fn mask(text: &str) -> Cow<'_, str> {
    let next = |text: &str| PATHS.iter().filter_map(|path| text.find(path).map(|at| at + path.len())).min();
    let Some(first) = next(text) else { return Cow::Borrowed(text) };
    let mut masked = String::with_capacity(text.len());
    let (mut at, mut rest) = (Some(first), text);
    while let Some(end) = at {
        let (before, after) = rest.split_at(end);
        masked.push_str(before);
        rest = after.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric());
        if rest.len() < after.len() {
            masked.push_str("***");
        }
        at = next(rest);
    }
    masked.push_str(rest);
    Cow::Owned(masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_left() {
        let failed = "failed calling webhook \"guard.flipguard.dev\": failed to call webhook: Post \
            \"https://flipguard.own.svc:443/validate/0123456789abcdef?timeout=5s\": EOF; https://a/mutate/0aF; /probe/x";
        let masked = mask(failed);
        assert_eq!(
            masked,
            "failed calling webhook \"guard.flipguard.dev\": failed to call webhook: Post \
            \"https://flipguard.own.svc:443/validate/***?timeout=5s\": EOF; https://a/mutate/***; /probe/***"
        );
        for plain in ["", "no path", "/validated/x", "/validate/", "ends with /mutate/ and more"] {
            assert_eq!(mask(plain), plain);
        }
    }
}
