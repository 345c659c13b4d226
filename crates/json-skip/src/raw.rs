//! A part of a text, kept as it stands.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

/// By this name, [`Reader`](crate::Reader) knows that the text itself is wanted.
pub(super) const TOKEN: &str = "json_skip::Raw";

/// A value as it stands in the text, unread. From another deserializer than [`Reader`](crate::Reader): as
/// `serde_json` would write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw<'a>(Cow<'a, str>);

impl Deref for Raw<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Raw<'_>> for Box<str> {
    fn from(raw: Raw<'_>) -> Self {
        raw.0.into()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keep;
        impl<'de> Visitor<'de> for Keep {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Raw<'de>, E> {
                Ok(Raw(Cow::Borrowed(text)))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, other: D) -> Result<Raw<'de>, D::Error> {
                Ok(Raw(Cow::Owned(Box::<str>::from(Box::<RawValue>::deserialize(other)?).into())))
            }
        }
        deserializer.deserialize_newtype_struct(TOKEN, Keep)
    }
}
