//! The form of a message: its fields, and how the API server writes each of them as JSON.

/// A message of Kubernetes' `generated.proto`. Its fields stand in the order in which JSON has them.
pub(crate) struct Message {
    /// The fields that are not listed.
    pub(crate) rest: Rest,
    pub(crate) fields: &'static [Field],
}

impl Message {
    /// The position of a field in the table. On the wire, most fields stand in the order of the table, so the search begins
    /// at the one before.
    pub(crate) fn position(&self, number: u32, last: usize) -> Option<usize> {
        let (before, from) = self.fields.split_at_checked(last)?;
        let is_it = |field: &Field| field.number == number;
        from.iter().position(is_it).map(|at| last + at).or_else(|| before.iter().position(is_it))
    }
}

/// What a field is that the table does not list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// A field that nobody reads.
    IsSkipped,
    /// A field of a newer release. Everything in the message is to be kept, so the message cannot be written.
    IsUnknown,
}

/// A field of a message.
pub(crate) struct Field {
    /// Its number on the wire.
    pub(crate) number: u32,
    /// Its name in JSON.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) times: Times,
    pub(crate) presence: Presence,
}

impl Field {
    pub(crate) const fn new(number: u32, name: &'static str, kind: Kind, times: Times, presence: Presence) -> Self {
        Self { number, name, kind, times, presence }
    }
}

/// The type of a value.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Bool,
    /// `int32` or `int64`.
    Number,
    Object(&'static Message),
    /// A map from text to text.
    Map,
    /// A map from text to text, without the manifest that kubectl keeps.
    Annotations,
    /// A map from text to quantities.
    Quantities,
    /// `resource.Quantity`: text within a message.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `metav1.Time`: seconds since 1970.
    Time,
    /// `runtime.RawExtension`: JSON within a message.
    Json,
}

/// How often a field may occur.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    One,
    Many,
}

/// When JSON has a field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// A pointer with `omitempty`: if it occurs on the wire, whatever its value.
    Optional,
    /// A pointer without `omitempty`: always; `null` where it does not occur.
    Nullable,
    /// A value with `omitempty`: unless it is zero or empty.
    NotEmpty,
    /// A value without `omitempty`, or a struct: always. An empty list or map is `null`.
    Always,
    /// A struct whose fields stand among those of the message around it.
    Inline,
}

impl Presence {
    /// Whether JSON lacks a field that does not occur on the wire.
    pub(crate) fn is_omitted_where_absent(self) -> bool {
        matches!(self, Self::Optional | Self::NotEmpty)
    }
}
