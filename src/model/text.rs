//! Text from the cluster, as it may be shown.

use std::borrow::Cow;
use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

/// Text that cannot control a terminal, and that looks like what it is. A line break or a tab is a space. Each other
/// hidden character is shown by its number: `\u{202e}`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' | '\u{85}' => shown.push(' '),
            hidden if is_hidden(hidden) => shown.extend(hidden.escape_unicode()),
            other => shown.push(other),
        }
    }
    shown.into()
}

/// The same, with at most `most` characters of the text. What is left out is counted.
#[must_use]
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => printable(text),
        Some((end, _)) => {
            let (kept, rest) = text.split_at(end);
            format!("{}... (and {} more characters)", printable(kept), rest.chars().count()).into()
        }
    }
}

/// JSON in which each hidden character of a string is an escape. It parses to the same values.
#[must_use]
pub fn json_with_escapes(json: &str) -> Cow<'_, str> {
    // Outside of strings, JSON has no character of these but line breaks. Within strings, line breaks are escapes.
    let is_escaped = |letter: char| is_hidden(letter) && letter != '\n';
    if !json.contains(is_escaped) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_escaped(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing into a String does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(letter);
        }
    }
    escaped.into()
}

/// Whether a character is not seen itself and changes how others are seen, or is not allowed in XML: control characters
/// of both sets, the directions of the Unicode Bidirectional Algorithm (UAX 9), separators of lines, characters without
/// any width, tags, and noncharacters.
fn is_hidden(letter: char) -> bool {
    let is_nonchar = matches!(u32::from(letter) & 0xffff, 0xfffe | 0xffff);
    letter.is_control()
        || is_nonchar
        || matches!(letter,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{fdd0}'..='\u{fdef}' | '\u{e0000}'..='\u{e007f}')
}

/// Text that stays text in Markdown: no table, link, picture, emphasis or element comes of it.
#[must_use]
pub fn markdown_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in printable(text).chars() {
        if matches!(letter, '\\' | '|' | '`' | '[' | ']' | '*' | '_' | '!') {
            escaped.push('\\');
        }
        match letter {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            // No mention of a user or team of the CI system.
            '@' => escaped.push_str("&#64;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The SHA-256 of a text, in hexadecimal.
#[must_use]
pub fn sha256(text: &str) -> String {
    let bytes = digest(&SHA256, text.as_bytes());
    bytes.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing into a String does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The name of an image without its registry: `app:1.4` of `registry.example:5000/team/app:1.4`.
#[must_use]
pub fn without_registry(image: &str) -> &str {
    image.rsplit('/').next().unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown_by_their_number() {
        assert_eq!(printable("a\nb\tc\rd\u{85}e"), "a b c d e");
        assert_eq!(printable("\u{1b}[31m\u{7}\u{1}\u{7f}\u{9b}"), "\\u{1b}[31m\\u{7}\\u{1}\\u{7f}\\u{9b}");
        assert_eq!(printable("\u{202e}\u{2066}\u{fffe}\u{feff}"), "\\u{202e}\\u{2066}\\u{fffe}\\u{feff}");
        let plain = "grün · 日本 👩\u{200d}💻 \u{fffd}";
        assert!(matches!(printable(plain), Cow::Borrowed(text) if text == plain));
    }

    #[test]
    fn long_text_is_shortened_and_the_rest_is_counted() {
        assert_eq!(shortened("grün", 4), "grün");
        assert_eq!(shortened("grüne", 4), "grün... (and 1 more characters)");
        assert_eq!(shortened("\u{7}ab", 1), "\\u{7}... (and 2 more characters)");
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{1b}\u{7f}\u{9b}\u{fffe}\u{1fffe}\u{e0041}\n\\u"] });
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let escaped = json_with_escapes(&json);
            assert!(!escaped.contains(|letter| is_hidden(letter) && letter != '\n'), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }
}
