//! Text from the cluster, as it may be shown.

use std::borrow::Cow;

/// Text without control characters, so that it cannot control a terminal: each one is a space. Both sets of control
/// characters count, the one of ASCII and the one from U+0080 on.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect::<String>().into()
    } else {
        text.into()
    }
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
