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
