//! Writes a message as the API server writes it in JSON (Go, `encoding/json`).

use std::io::Write as _;
use std::ops::Range;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Error;
use crate::table::{Field, Kind, Message, Presence, Rest, Times};
use crate::tables::{POD_TEMPLATE_SPEC, POD_TEMPLATE_SPEC_OBJECT_META};
use crate::wire::{Fields, Value, varint};

/// The annotation in which kubectl keeps a whole manifest. Nobody reads it.
const MANIFEST: &[u8] = b"kubectl.kubernetes.io/last-applied-configuration";

/// A Pod template without its `spec`.
static TEMPLATE_WITHOUT_SPEC: Message = Message {
    rest: Rest::IsSkipped,
    fields: &[Field::new(
        METADATA,
        "metadata",
        Kind::Object(&POD_TEMPLATE_SPEC_OBJECT_META),
        Times::One,
        Presence::Always,
    )],
};
/// The numbers of fields: the metadata of a Pod template, and the labels in it.
const METADATA: u32 = 1;
const LABELS: u32 = 11;

/// Writes messages into a text. Whether it is UTF-8 is for the caller to see, once for the whole text.
pub(crate) struct Writer<'a, 't> {
    text: &'t mut Vec<u8>,
    /// The fields of the messages that are being written, the innermost last.
    found: Vec<Found<'a>>,
    /// The labels of the Pod templates whose `spec` is written.
    labels: &'t [(&'a str, &'a str)],
}

#[derive(Clone, Copy)]
struct Found<'a> {
    /// The position in the table.
    field: usize,
    value: Value<'a>,
}

impl<'a, 't> Writer<'a, 't> {
    pub(crate) fn new(text: &'t mut Vec<u8>, labels: &'t [(&'a str, &'a str)]) -> Self {
        Self { text, found: Vec::with_capacity(64), labels }
    }

    pub(crate) fn object(&mut self, message: &Message, bytes: &'a [u8]) -> Result<(), Error> {
        self.text.push(b'{');
        self.fields(message, bytes, &mut true)?;
        self.text.push(b'}');
        Ok(())
    }

    /// Writes the fields of a message in the order of its table.
    fn fields(&mut self, message: &Message, bytes: &'a [u8], is_first: &mut bool) -> Result<(), Error> {
        let base = self.found.len();
        let (mut last, mut is_in_order) = (0, true);
        for field in Fields::of(bytes) {
            let (number, value) = field?;
            match message.position(number, last) {
                Some(field) => {
                    is_in_order &= last <= field;
                    last = field;
                    self.found.push(Found { field, value });
                }
                None if message.rest == Rest::IsUnknown => return Err(Error::UnknownField(number)),
                None => {}
            }
        }
        if let Some(found) = self.found.get_mut(base..).filter(|_| !is_in_order) {
            found.sort_by_key(|found| found.field);
        }
        let mut next = base;
        for (index, field) in message.fields.iter().enumerate() {
            let start = next;
            while self.found.get(next).is_some_and(|found| found.field == index) {
                next += 1;
            }
            if start == next && field.presence.is_omitted_where_absent() {
                continue;
            }
            self.field(field, start..next, is_first)?;
        }
        self.found.truncate(base);
        Ok(())
    }

    /// Writes a field, of which these are the occurrences.
    fn field(&mut self, field: &Field, at: Range<usize>, is_first: &mut bool) -> Result<(), Error> {
        let last = self.value(at.end.wrapping_sub(1)).filter(|_| !at.is_empty());
        if let (Presence::Inline, Kind::Object(message)) = (field.presence, field.kind) {
            return self.fields(message, last.map_or(Ok(&[][..]), Value::bytes)?, is_first);
        }
        let is_map = matches!(field.kind, Kind::Map | Kind::Annotations | Kind::Quantities);
        let is_zero = field.times == Times::One && !is_map && matches!(last, Some(Value::Number(0) | Value::Bytes([])));
        if field.presence == Presence::NotEmpty && is_zero {
            return Ok(());
        }
        if !std::mem::take(is_first) {
            self.text.push(b',');
        }
        // The names of fields need no escapes.
        self.text.push(b'"');
        self.text.extend_from_slice(field.name.as_bytes());
        self.text.extend_from_slice(b"\":");
        match (field.times, last) {
            (Times::Many, None) => self.text.extend_from_slice(b"null"),
            (Times::Many, Some(_)) => self.list(field.kind, at)?,
            (Times::One, None) if is_map || field.presence == Presence::Nullable => {
                self.text.extend_from_slice(b"null");
            }
            (Times::One, Some(_)) if is_map => self.map(field.kind, at)?,
            (Times::One, None) => self.zero(field.kind)?,
            (Times::One, Some(value)) => self.one(field.kind, value)?,
        }
        Ok(())
    }

    fn value(&self, at: usize) -> Option<Value<'a>> {
        self.found.get(at).map(|found| found.value)
    }

    fn list(&mut self, kind: Kind, at: Range<usize>) -> Result<(), Error> {
        self.text.push(b'[');
        let mut is_first = true;
        for value in at {
            match (kind, self.value(value)) {
                // A packed list.
                (Kind::Number, Some(Value::Bytes(mut packed))) => {
                    while !packed.is_empty() {
                        self.item(kind, Value::Number(varint(&mut packed)?), &mut is_first)?;
                    }
                }
                (_, Some(value)) => self.item(kind, value, &mut is_first)?,
                (_, None) => {}
            }
        }
        self.text.push(b']');
        Ok(())
    }

    fn item(&mut self, kind: Kind, value: Value<'a>, is_first: &mut bool) -> Result<(), Error> {
        if !std::mem::take(is_first) {
            self.text.push(b',');
        }
        self.one(kind, value)
    }

    /// Writes a map. Its keys are in order, as in JSON of Go.
    fn map(&mut self, kind: Kind, at: Range<usize>) -> Result<(), Error> {
        let mut pairs = Vec::with_capacity(at.len());
        for entry in at.filter_map(|at| self.value(at)) {
            let (key, value) = pair(entry.bytes()?)?;
            if !matches!(kind, Kind::Annotations) || key != MANIFEST {
                pairs.push((key, value));
            }
        }
        pairs.sort_by_key(|(key, _)| *key);
        self.text.push(b'{');
        let of_value = if matches!(kind, Kind::Quantities) { Kind::Quantity } else { Kind::Text };
        for (index, (key, value)) in pairs.into_iter().enumerate() {
            if index > 0 {
                self.text.push(b',');
            }
            self.string(key);
            self.text.push(b':');
            self.one(of_value, value)?;
        }
        self.text.push(b'}');
        Ok(())
    }

    /// Writes the value of a field that does not occur.
    fn zero(&mut self, kind: Kind) -> Result<(), Error> {
        match kind {
            Kind::Text => self.text.extend_from_slice(b"\"\""),
            Kind::Bool => self.text.extend_from_slice(b"false"),
            Kind::Number => self.text.push(b'0'),
            Kind::Object(_) | Kind::Quantity | Kind::IntOrString => self.one(kind, Value::Bytes(&[]))?,
            Kind::Map | Kind::Annotations | Kind::Quantities | Kind::Time | Kind::Json => {
                self.text.extend_from_slice(b"null");
            }
        }
        Ok(())
    }

    fn one(&mut self, kind: Kind, value: Value<'a>) -> Result<(), Error> {
        match kind {
            Kind::Text => self.string(value.bytes()?),
            Kind::Bool => self.text.extend_from_slice(if value.number()? == 0 { &b"false"[..] } else { b"true" }),
            Kind::Number => self.number(value.number()?),
            Kind::Object(message) => {
                let bytes = value.bytes()?;
                let is_template = std::ptr::eq(message, &raw const POD_TEMPLATE_SPEC);
                let is_whole = !is_template || self.has_labels(bytes)?;
                self.object(if is_whole { message } else { &TEMPLATE_WITHOUT_SPEC }, bytes)?;
            }
            Kind::Quantity => {
                let quantity = Fields::last(value.bytes()?, 1)?.map_or(Ok(&b"0"[..]), Value::bytes)?;
                self.string(quantity);
            }
            Kind::IntOrString => self.int_or_string(value.bytes()?)?,
            Kind::Time => self.time(value.bytes()?)?,
            Kind::Json => {
                let json = Fields::last(value.bytes()?, 1)?.map_or(Ok(&b"null"[..]), Value::bytes)?;
                self.text.extend_from_slice(json);
            }
            Kind::Map | Kind::Annotations | Kind::Quantities => return Err(Error::Malformed("a map stands in a list")),
        }
        Ok(())
    }

    /// Whether a Pod template has all labels.
    fn has_labels(&self, template: &'a [u8]) -> Result<bool, Error> {
        if self.labels.is_empty() {
            return Ok(true);
        }
        let metadata = Fields::last(template, METADATA)?.map_or(Ok(&[][..]), Value::bytes)?;
        let mut missing = self.labels.to_vec();
        for field in Fields::of(metadata) {
            if let (LABELS, entry) = field? {
                let (key, value) = pair(entry.bytes()?)?;
                let value = value.bytes()?;
                missing.retain(|(wanted, of)| wanted.as_bytes() != key || of.as_bytes() != value);
            }
        }
        Ok(missing.is_empty())
    }

    /// A negative `int32` has ten bytes as well, so both widths are read as 64 bits.
    fn number(&mut self, number: u64) {
        self.text.extend_from_slice(itoa::Buffer::new().format(number.cast_signed()).as_bytes());
    }

    /// `type` 0 is a number, and 1 is text (`intstr.go`).
    fn int_or_string(&mut self, bytes: &'a [u8]) -> Result<(), Error> {
        let (mut is_text, mut number, mut text) = (false, 0, &[][..]);
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => is_text = value.number()? == 1,
                (2, value) => number = value.number()?,
                (3, value) => text = value.bytes()?,
                _ => {}
            }
        }
        if is_text {
            self.string(text);
        } else {
            self.number(number);
        }
        Ok(())
    }

    /// No bytes are the zero time, which is null (`metav1.Time`, `time_proto.go`).
    fn time(&mut self, bytes: &'a [u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            self.text.extend_from_slice(b"null");
            return Ok(());
        }
        let seconds = Fields::last(bytes, 1)?.map_or(Ok(0), Value::number)?.cast_signed();
        let time = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
        self.string(time.ok_or(Error::Malformed("a time is out of range"))?.as_bytes());
        Ok(())
    }

    /// Writes text with the escapes of Go: also those of `<`, `>`, `&` and of the two line separators. Everything between
    /// them is copied as a whole.
    fn string(&mut self, text: &[u8]) {
        self.text.push(b'"');
        let mut rest = text;
        while let Some((plain, [byte, after @ ..])) = rest.split_at_checked(plain(rest)) {
            self.text.extend_from_slice(plain);
            rest = self.escaped(*byte, after);
        }
        self.text.extend_from_slice(rest);
        self.text.push(b'"');
    }

    /// Writes the letter that begins with a byte. Returns the text after it.
    fn escaped<'r>(&mut self, byte: u8, after: &'r [u8]) -> &'r [u8] {
        let letter = match (byte, after) {
            (b'"' | b'\\', _) => {
                self.text.extend_from_slice(&[b'\\', byte]);
                return after;
            }
            (b'\n', _) => b'n',
            (b'\r', _) => b'r',
            (b'\t', _) => b't',
            (0x08, _) => b'b',
            (0x0c, _) => b'f',
            // U+2028 and U+2029.
            (0xe2, [0x80, last @ (0xa8 | 0xa9), after @ ..]) => {
                // Writing to a Vec does not fail.
                let _ = write!(self.text, "\\u20{:02x}", last - 0x80);
                return after;
            }
            (0xe2, _) => {
                self.text.push(byte);
                return after;
            }
            _ => {
                let _ = write!(self.text, "\\u{byte:04x}");
                return after;
            }
        };
        self.text.extend_from_slice(&[b'\\', letter]);
        after
    }
}

/// The key and the value of an entry of a map.
fn pair(entry: &[u8]) -> Result<(&[u8], Value<'_>), Error> {
    let (mut key, mut value) = (&[][..], Value::Bytes(&[]));
    for field in Fields::of(entry) {
        match field? {
            (1, text) => key = text.bytes()?,
            (2, other) => value = other,
            _ => {}
        }
    }
    Ok((key, value))
}

/// The number of bytes up to the first letter that may have an escape.
fn plain(text: &[u8]) -> usize {
    // Without an exit in a block, the compiler looks at all its bytes at once.
    let is_plain = |block: &&[u8; 32]| !block.iter().fold(false, |is, byte| is | may_need_escape(*byte));
    let (blocks, _) = text.as_chunks();
    let before = 32 * blocks.iter().take_while(is_plain).count();
    let rest = text.get(before..).unwrap_or_default();
    before + rest.iter().position(|byte| may_need_escape(*byte)).unwrap_or(rest.len())
}

/// Whether a letter that begins with this byte may have an escape. The line separators begin with 0xe2.
fn may_need_escape(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2)
}
