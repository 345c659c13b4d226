//! Colours: the labels that mark one, and the selectors that pin one.

use super::{Labels, Selector};

/// The labels by which a cluster marks its colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColourScheme {
    /// Label keys whose value is always a colour.
    pub keys: Vec<String>,
    /// The label key of a version. Its value may be a colour or not: meshes and charts use the key too.
    pub version_key: String,
    /// Values that are a colour under any key, either alone (`green`) or after a dash (`shop-green`).
    pub names: Vec<String>,
}

/// One pair of a selector that pins a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin<'a> {
    /// The label key, such as `color`.
    pub key: &'a str,
    /// The whole value in the selector, such as `shop-green`.
    pub value: &'a str,
    /// The colour in the value: the whole value, or the colour name at its end (`green` of `shop-green`).
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
    /// Whether every value of this key pins a colour: true of colour keys and of the version key.
    #[must_use]
    pub fn is_key(&self, key: &str) -> bool {
        self.is_colour_key(key) || key == self.version_key
    }

    /// Whether this key is used for colours only.
    #[must_use]
    pub fn is_colour_key(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known == key)
    }

    /// All keys of which every value pins a colour.
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

    /// Whether the labels of a Pod template mark a colour. A selector that pins a colour matches only such labels.
    #[must_use]
    pub fn is_marked(&self, labels: &Labels) -> bool {
        labels.iter().any(|(key, value)| self.is_key(key) || self.name_in(value).is_some())
    }

    /// The colour name that equals the value, or ends it after a dash.
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
