//! The deserializer.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{CowStrDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::raw::TOKEN;
use super::skip::{container_end, plain_end, string_end};

/// How deep containers may stand in each other where they are read; those that are stepped over may stand deeper.
const MAX_DEPTH: u8 = 127;

/// Reads one JSON text, from front to back. `serde_json` tells apart what this does not: see the module.
#[derive(Debug)]
pub struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: u8,
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    what: Box<str>,
    at: Option<usize>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.at.map_or(Ok(()), |at| write!(f, " at byte {at}"))
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { what: what.to_string().into(), at: None }
    }
}

type Result<T> = std::result::Result<T, Error>;

impl<'de> Reader<'de> {
    /// Begins with the first byte.
    #[must_use]
    pub fn new(text: &'de str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Says that there is nothing more.
    ///
    /// # Errors
    /// When there is.
    pub fn end(&mut self) -> Result<()> {
        self.peek().map_or(Ok(()), |_| Err(self.error("expected the end")))
    }

    /// An error, at this place unless it has one.
    pub(super) fn locate(&self, error: Error) -> Error {
        Error { at: error.at.or(Some(self.at)), ..error }
    }

    fn error(&self, what: &str) -> Error {
        if self.at < self.text.len() { Error { what: what.into(), at: Some(self.at) } } else { self.too_early() }
    }

    fn too_early(&self) -> Error {
        Error { what: "the text ends too early".into(), at: Some(self.text.len()) }
    }

    /// The next byte that is no space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            // The API server writes none.
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, what: &str) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(self.error(what));
        }
        self.at += 1;
        Ok(())
    }

    /// What stands from a position to here.
    fn since(&self, from: usize) -> Result<&'de str> {
        self.text.get(from..self.at).ok_or_else(|| self.too_early())
    }

    /// A string, at its opening quote.
    #[inline]
    fn string(&mut self) -> Result<Cow<'de, str>> {
        let from = self.at;
        if self.step_over_string()? {
            let text = self.text.get(from + 1..self.at - 1).ok_or_else(|| self.too_early())?;
            return Ok(Cow::Borrowed(text));
        }
        let decoded = serde_json::from_str(self.since(from)?);
        decoded.map(Cow::Owned).map_err(|error| Error { what: error.to_string().into(), at: Some(from) })
    }

    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let from = self.at;
        self.step_over_word();
        let number: serde_json::Number = serde_json::from_str(self.since(from)?)
            .map_err(|_| Error { what: "expected a value".into(), at: Some(from) })?;
        if let Some(number) = number.as_u64() {
            visitor.visit_u64(number)
        } else if let Some(number) = number.as_i64() {
            visitor.visit_i64(number)
        } else {
            visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
        }
    }

    /// Past a string, at its opening quote. Whether it stands for itself, with nothing escaped.
    #[inline]
    fn step_over_string(&mut self) -> Result<bool> {
        let bytes = self.text.as_bytes();
        let end = plain_end(bytes, self.at + 1).ok_or_else(|| self.too_early())?;
        let plain = bytes.get(end) == Some(&b'"');
        self.at = if plain { end + 1 } else { string_end(bytes, end).ok_or_else(|| self.too_early())? };
        Ok(plain)
    }

    /// Past a number or a literal.
    fn step_over_word(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length =
            rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-' | b'+' | b'.' | b'E'));
        self.at += length.unwrap_or(rest.len());
    }

    fn literal(&mut self, literal: &str) -> Result<()> {
        let from = self.at;
        self.step_over_word();
        if self.since(from)? == literal {
            return Ok(());
        }
        self.at = from;
        Err(self.error("expected a value"))
    }

    /// Past a value, whatever it is.
    fn step_over(&mut self) -> Result<()> {
        let bytes = self.text.as_bytes();
        match self.peek() {
            Some(b'{' | b'[') => self.at = container_end(bytes, self.at + 1).ok_or_else(|| self.too_early())?,
            Some(b'"') => drop(self.step_over_string()?),
            Some(b'-' | b'0'..=b'9') => self.step_over_word(),
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => return Err(self.error("expected a value")),
        }
        Ok(())
    }

    /// Goes into a container, at its opening bracket.
    fn enter<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.at += 1;
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn map<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        self.enter(|reader| {
            let value = visitor.visit_map(Items { reader, first: true })?;
            reader.expect(b'}', "expected `}`").map(|()| value)
        })
    }

    fn seq<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        self.enter(|reader| {
            let value = visitor.visit_seq(Items { reader, first: true })?;
            reader.expect(b']', "expected `]`").map(|()| value)
        })
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let read = match self.peek() {
            Some(b'{') => self.map(visitor),
            Some(b'[') => self.seq(visitor),
            Some(b'"') => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Some(b'-' | b'0'..=b'9') => self.number(visitor),
            Some(b't') => self.literal("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.literal("false").and_then(|()| visitor.visit_bool(false)),
            Some(b'n') => self.literal("null").and_then(|()| visitor.visit_unit()),
            _ => Err(self.error("expected a value")),
        };
        // The innermost place is the one to tell.
        read.map_err(|error| self.locate(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek() == Some(b'n') {
            self.literal("null")?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name == TOKEN {
            self.peek();
            let from = self.at;
            self.step_over()?;
            return visitor.visit_borrowed_str(self.since(from)?);
        }
        visitor.visit_newtype_struct(self)
    }

    /// Kubernetes has no enum but strings.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a string"));
        }
        let variant: CowStrDeserializer<'_, Error> = self.string()?.into_deserializer();
        visitor.visit_enum(variant).map_err(|error| self.locate(error))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.step_over()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

/// What stands in a container, one after the other.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    first: bool,
}

impl Items<'_, '_> {
    /// Whether there is one more, past the comma before it.
    fn goes_on(&mut self, closing: u8, what: &str) -> Result<bool> {
        match self.reader.peek() {
            Some(byte) if byte == closing => return Ok(false),
            Some(b',') if !self.first => self.reader.at += 1,
            Some(_) if self.first => {}
            _ => return Err(self.reader.error(what)),
        }
        self.first = false;
        Ok(true)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if !self.goes_on(b'}', "expected `,` or `}`")? {
            return Ok(None);
        }
        if self.reader.peek() != Some(b'"') {
            return Err(self.reader.error("expected a key"));
        }
        match self.reader.string()? {
            Cow::Borrowed(key) => seed.deserialize(de::value::BorrowedStrDeserializer::new(key)),
            Cow::Owned(key) => seed.deserialize(StrDeserializer::new(&key)),
        }
        .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        self.reader.expect(b':', "expected `:`")?;
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if !self.goes_on(b']', "expected `,` or `]`")? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}
