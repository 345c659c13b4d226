//! Colours: which labels mark one, and which selectors pin one.

use super::{Labels, Selector};

/// How a cluster marks its colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColourScheme {
    /// Label keys whose value is a colour, whatever the value.
    pub keys: Vec<String>,
    /// The label key of a version. Its value may be a colour or none: meshes and charts use it too.
    pub version_key: String,
    /// Values that are a colour under any key, alone or after a dash (`green`, `shop-green`).
    pub names: Vec<String>,
}

/// One pair of a selector that picks a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin<'a> {
    /// The label key.
    pub key: &'a str,
    /// The whole value that the selector asks for.
    pub value: &'a str,
    /// The colour in it: the value itself, or the name that ends it (`green` of `shop-green`).
    pub colour: &'a str,
}

impl Default for ColourScheme {
    fn default() -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            keys: owned(&["color", "colour", "slot"]),
            version_key: "version".to_owned(),
            names: owned(&["blue", "green"]),
        }
    }
}

impl ColourScheme {
    /// Whether any value of this key pins a colour: a colour key, or the version key.
    #[must_use]
    pub fn is_key(&self, key: &str) -> bool {
        self.is_colour_key(key) || key == self.version_key
    }

    /// Whether this key means a colour and nothing else.
    #[must_use]
    pub fn is_colour_key(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known == key)
    }

    /// All keys of which any value pins a colour.
    pub fn all_keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().chain([&self.version_key]).map(String::as_str)
    }

    /// The pairs of a selector that pin a colour; none for a plain Service.
    #[must_use]
    pub fn pins<'a>(&self, selector: &'a Selector) -> Vec<Pin<'a>> {
        selector
            .pairs()
            .filter_map(|(key, value)| {
                let colour = if self.is_key(key) { value } else { self.name_in(value)? };
                Some(Pin { key, value, colour })
            })
            .collect()
    }

    /// Whether the labels of a Pod template mark a colour: only then can a selector that pins one match it.
    #[must_use]
    pub fn is_marked(&self, labels: &Labels) -> bool {
        labels.iter().any(|(key, value)| self.is_key(key) || self.name_in(value).is_some())
    }

    /// The colour name that a value is, or ends in after a dash.
    fn name_in<'a>(&self, value: &'a str) -> Option<&'a str> {
        self.names.iter().find_map(|name| {
            let before = value.strip_suffix(name.as_str())?;
            let whole = before.is_empty() || before.ends_with('-');
            whole.then(|| value.get(before.len()..)).flatten()
        })
    }
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
        assert_eq!(pinned("app", "green-shop"), None);
        assert_eq!(pinned("app", "shop"), None);
    }
}
