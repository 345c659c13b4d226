//! Colours: the labels that mark one, and the selectors that pin one.

use super::{Labels, Selector};

/// How a cluster marks its colours. Keys and names count in upper and lower case alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColourScheme {
    /// Label keys whose value is a colour, whatever the value. A key without a slash also counts as the last part of a
    /// longer one (`harness.io/color`). A vendor's key with a slash counts as a whole (`porter.run/blue-green-value`).
    pub keys: Vec<String>,
    /// Whether the version key pins. A mesh puts the label on every app, and an administrator may leave it out.
    pub pins_version: bool,
    /// The label key of a version. Its value may be a colour or none: meshes and charts use it too. It counts as a whole
    /// key only, since charts put `app.kubernetes.io/version` everywhere.
    pub version_key: String,
    /// Values that are a colour under any key: alone, or at either end next to a dash (`green`, `shop-green`, `green-shop`).
    pub names: Vec<String>,
    /// Words in the name of a Service that shows a colour without traffic, where the app has another Service without one.
    pub preview_words: Vec<String>,
}

/// Words in the names of Services that show a colour without traffic, unless a policy has others.
const PREVIEW_WORDS: [&str; 13] = [
    "stage",
    "staging",
    "idle",
    "inactive",
    "standby",
    "next",
    "candidate",
    "canary",
    "test",
    "testing",
    "debug",
    "shadow",
    "dark",
];

/// One pair of a selector that pins a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin<'a> {
    /// The label key, such as `color`.
    pub key: &'a str,
    /// The whole value in the selector, such as `shop-green`.
    pub value: &'a str,
    /// The colour in it: the value itself, the name in it (`green` of `shop-green`), or its number (`v2` of `shop-v2`).
    pub colour: &'a str,
    /// The value without its colour (`shop` of `shop-green`); empty where the value is the colour.
    pub stem: &'a str,
    /// Why the pair picks a colour.
    pub kind: PinKind,
}

/// Why a pair picks a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinKind {
    /// Its key is a colour key.
    Key,
    /// Its key is the version key.
    Version,
    /// Its value has the name of a colour.
    Name,
    /// Its value ends in a number (`-v2`, `-r2`). That alone is no colour: another number must exist beside it.
    Number,
}

impl Default for ColourScheme {
    fn default() -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            keys: owned(&["color", "colour", "slot"]),
            pins_version: true,
            version_key: "version".to_owned(),
            names: owned(&["blue", "green"]),
            preview_words: owned(&PREVIEW_WORDS),
        }
    }
}

impl ColourScheme {
    /// The colour that a selector pins, such as `green`; several are joined. Without one, the selector itself.
    #[must_use]
    pub fn colour_of(&self, selector: &Selector) -> String {
        let mut pinned: Vec<&str> = self.pins(selector).iter().map(|pin| pin.colour).collect();
        pinned.dedup();
        if pinned.is_empty() { selector.to_string() } else { pinned.join("/") }
    }

    /// Whether this key means a colour and nothing else.
    #[must_use]
    pub fn is_colour_key(&self, key: &str) -> bool {
        let last = key.rsplit('/').next().unwrap_or(key);
        let part = |known: &str| if known.contains('/') { key } else { last };
        self.keys.iter().any(|known| known.eq_ignore_ascii_case(part(known)))
    }

    /// Whether this key is that of a version, and pins.
    #[must_use]
    pub fn is_version_key(&self, key: &str) -> bool {
        self.pins_version && self.version_key.eq_ignore_ascii_case(key)
    }

    /// The pin of one pair, if it picks a colour.
    #[must_use]
    pub fn pin<'a>(&self, key: &'a str, value: &'a str) -> Option<Pin<'a>> {
        let whole = |kind| Some(Pin { key, value, colour: value, stem: "", kind });
        if self.is_colour_key(key) {
            return whole(PinKind::Key);
        }
        if self.is_version_key(key) {
            return whole(PinKind::Version);
        }
        let part = |(stem, colour), kind| Pin { key, value, colour, stem, kind };
        let named = self.names.iter().find_map(|name| around_a_dash(value, name));
        named.map(|parts| part(parts, PinKind::Name)).or_else(|| Some(part(numbered(value)?, PinKind::Number)))
    }

    /// The pairs of a selector that pick a colour; none for a plain Service.
    #[must_use]
    pub fn pins<'a>(&self, selector: &'a Selector) -> Vec<Pin<'a>> {
        selector.pairs().filter_map(|(key, value)| self.pin(key, value)).collect()
    }

    /// Whether labels mark a colour beyond doubt: by a colour key, or by the name of a colour. A `version` or a number is
    /// common without blue-green.
    #[must_use]
    pub fn is_certain(&self, labels: &Labels) -> bool {
        let names_one = |value: &str| self.names.iter().any(|name| around_a_dash(value, name).is_some());
        labels.iter().any(|(key, value)| self.is_colour_key(key) || names_one(value))
    }

    /// Whether the labels of a Pod template mark a colour. A selector that pins a colour matches only such labels.
    #[must_use]
    pub fn is_marked(&self, labels: &Labels) -> bool {
        labels.iter().any(|(key, value)| self.pin(key, value).is_some())
    }
}

/// The rest of a value and the colour name at one of its ends, in whatever case.
fn around_a_dash<'a>(value: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    if value.eq_ignore_ascii_case(name) {
        return Some(("", value));
    }
    let is_name = |part: &str| part.eq_ignore_ascii_case(name);
    if let Some((stem, end)) = split_at_end(value, name.len()).filter(|(_, end)| is_name(end)) {
        return Some((stem, end));
    }
    let (start, stem) = value.split_at_checked(name.len())?;
    let stem = stem.strip_prefix('-').filter(|_| is_name(start))?;
    Some((stem, start))
}

/// A value split before its last so many bytes, which a dash precedes.
fn split_at_end(value: &str, length: usize) -> Option<(&str, &str)> {
    let (stem, end) = value.split_at_checked(value.len().checked_sub(length)?)?;
    Some((stem.strip_suffix('-')?, end))
}

/// The rest of a value and the number at its end: `shop`, `v2`.
fn numbered(value: &str) -> Option<(&str, &str)> {
    let (stem, number) = value.rsplit_once('-')?;
    let digits = number.strip_prefix(['v', 'V', 'r', 'R'])?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !stem.is_empty()).then_some((stem, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(key: &str, value: &str) -> Option<String> {
        let selector = Selector::new([(key.to_owned(), value.to_owned())].into());
        let scheme = ColourScheme::default();
        scheme.pins(&selector).first().map(|pin| pin.colour.to_owned())
    }

    #[test]
    fn pins() {
        assert_eq!(pinned("version", "1.0").as_deref(), Some("1.0"));
        assert_eq!(pinned("slot", "a").as_deref(), Some("a"));
        assert_eq!(pinned("app", "blue").as_deref(), Some("blue"));
        assert_eq!(pinned("app", "shop-green").as_deref(), Some("green"));
        assert_eq!(pinned("app", "evergreen"), None);
        assert_eq!(pinned("app", "green-shop").as_deref(), Some("green"));
        assert_eq!(pinned("app", "Shop-Green").as_deref(), Some("Green"));
        assert_eq!(pinned("app", "greenshop"), None);
        assert_eq!(pinned("Version", "2").as_deref(), Some("2"));
        assert_eq!(pinned("harness.io/color", "a").as_deref(), Some("a"));
        assert_eq!(pinned("app.kubernetes.io/version", "2"), None);
        assert_eq!(pinned("app", "orchard-v12").as_deref(), Some("v12"));
        assert_eq!(pinned("app", "orchard-r3").as_deref(), Some("r3"));
        assert_eq!(pinned("app", "orchard-x3"), None);
        assert_eq!(pinned("app", "v3"), None);
        assert_eq!(pinned("app", "shop"), None);
    }

    #[test]
    fn a_vendors_key_counts_as_a_whole() {
        let scheme = ColourScheme { keys: vec!["porter.run/Blue-Green-Value".to_owned()], ..ColourScheme::default() };
        assert!(scheme.is_colour_key("porter.run/blue-green-value"));
        assert!(!scheme.is_colour_key("blue-green-value") && !scheme.is_colour_key("other.io/blue-green-value"));
    }

    #[test]
    fn a_version_pins_only_where_it_may() {
        let scheme = ColourScheme { pins_version: false, ..ColourScheme::default() };
        assert_eq!(scheme.pin("version", "1.0"), None);
        assert!(scheme.pin("version", "blue").is_some(), "the name of a colour pins under any key");
    }
}
