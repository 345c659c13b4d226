//! The encoding of protobuf: fields, each with its number and its value.

use crate::{Error, NOT_UTF_8};

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A varint: a number or a truth value.
    Number(u64),
    /// Text, a message, or a list of numbers.
    Bytes(&'a [u8]),
    /// A number of fixed width. Kubernetes has none in the types that are kept.
    Fixed,
}

impl<'a> Value<'a> {
    pub(crate) fn number(self) -> Result<u64, Error> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) | Self::Fixed => Err(Error::Malformed("a number is none")),
        }
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) | Self::Fixed => Err(Error::Malformed("a message or text is none")),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, Error> {
        str::from_utf8(self.bytes()?).map_err(|_| NOT_UTF_8)
    }
}

/// The fields of a message, in the order of the wire. It ends after an error.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The last value of a field.
    pub(crate) fn last(message: &'a [u8], number: u32) -> Result<Option<Value<'a>>, Error> {
        let mut last = None;
        for field in Self(message) {
            let (at, value) = field?;
            if at == number {
                last = Some(value);
            }
        }
        Ok(last)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Error> {
        let key = varint(&mut self.0)?;
        let number = u32::try_from(key >> 3).map_err(|_| Error::Malformed("the number of a field is too large"))?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => self.fixed(8)?,
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).map_err(|_| SHORT)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.fixed(4)?,
            _ => return Err(Error::Malformed("the type of a field is unknown")),
        };
        Ok((number, value))
    }

    fn fixed(&mut self, width: usize) -> Result<Value<'a>, Error> {
        self.take(width).map(|_| Value::Fixed)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }
}

const SHORT: Error = Error::Malformed("it ends too early");

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes a varint from the beginning.
pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    // Most have one byte.
    if let [byte @ ..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Ok(u64::from(*byte));
    }
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(SHORT)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Error::Malformed("a number is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_text_and_fixed_widths() {
        let message = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let fields: Vec<_> = Fields::of(&message).collect::<Result<_, _>>().unwrap();
        let expected = [(1, Value::Number(150)), (2, Value::Bytes(b"hi")), (3, Value::Fixed), (4, Value::Fixed)];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_message_that_ends_early_is_an_error_and_ends_there() {
        for message in [&[0x08][..], &[0x12, 5, b'h'], &[0x1d, 1], &[0x0b], &[0x80; 11]] {
            let fields: Vec<_> = Fields::of(message).collect();
            assert!(matches!(fields.as_slice(), [Err(Error::Malformed(_))]), "{message:?}: {fields:?}");
        }
    }
}
