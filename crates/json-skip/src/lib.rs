//! JSON of which little is read.
//!
//! [`serde_json`] looks at each byte of a text, also of the parts that a type ignores, and once more for each level that is
//! kept as text. [`from_str`] decodes the same types to the same values, and steps over ignored parts 64 bytes at a time.
//! It leaves escapes and numbers to `serde_json`.
//!
//! Skipped parts are not checked beyond their strings and the number of their brackets. So this is for texts whose writer
//! is trusted to write JSON.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct Named<'a> {
//!     name: String,
//!     #[serde(borrow)]
//!     spec: json_skip::Raw<'a>,
//! }
//!
//! let text = r#"{"ignored": [1, {"a": "}"}], "name": "app", "spec": {"replicas": 3}}"#;
//! let named: Named<'_> = json_skip::from_str(text).unwrap();
//! assert_eq!(named.name, "app");
//! assert_eq!(&*named.spec, r#"{"replicas": 3}"#);
//! ```
//!
//! With the feature `serde-json`, the same functions read with `serde_json`.

mod raw;
#[cfg_attr(feature = "serde-json", allow(dead_code, reason = "serde_json reads in its place"))]
mod reader;
#[cfg_attr(feature = "serde-json", allow(dead_code, reason = "serde_json reads in its place"))]
mod skip;

pub use raw::Raw;
pub use reader::{Error, Reader};
use serde::Deserialize;

/// Decodes a text.
///
/// # Errors
/// When the text is not a value of the type, or goes on after it.
#[cfg(not(feature = "serde-json"))]
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    let mut reader = Reader::new(text);
    let value = T::deserialize(&mut reader).map_err(|error| reader.locate(error))?;
    reader.end()?;
    Ok(value)
}

/// Decodes a text.
///
/// # Errors
/// When the text is not a value of the type, or goes on after it.
#[cfg(feature = "serde-json")]
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(serde::de::Error::custom)
}

/// The path of the field that cannot be decoded, such as `spec.ports[0]`; empty where all can. It is a second pass, for use
/// after an error.
#[must_use]
pub fn wrong_field<'de, T: Deserialize<'de>>(text: &'de str) -> String {
    #[cfg(not(feature = "serde-json"))]
    let decoded = serde_path_to_error::deserialize::<_, T>(&mut Reader::new(text)).err();
    #[cfg(feature = "serde-json")]
    let decoded = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_str(text)).err();
    decoded.map(|error| error.path().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Thing<'a> {
        name: String,
        #[serde(borrow)]
        borrowed: Option<&'a str>,
        kind: Option<Kind>,
        labels: Option<BTreeMap<String, String>>,
        #[serde(borrow)]
        raw: Option<Raw<'a>>,
        share: Option<Share>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    enum Kind {
        Big,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Share {
        Pods(u32),
        Percent(String),
    }

    #[test]
    fn reads_what_is_wanted_and_steps_over_the_rest() {
        let text = r#" { "skipped" : {"a":["}",{"\"]":1}],"b":"\\"}, "name":"a\n\u00e9", "borrowed":"b", "kind":"Big",
            "n":-1.5e3, "t":true, "labels":{"x":"1"}, "raw": {"as": [ "it", "is" ]} , "share":"25%" } "#;
        let thing: Thing<'_> = from_str(text).unwrap();
        assert_eq!(thing.name, "a\né");
        assert_eq!((thing.borrowed, thing.kind), (Some("b"), Some(Kind::Big)));
        assert_eq!(thing.labels, Some(BTreeMap::from([("x".to_owned(), "1".to_owned())])));
        assert_eq!(thing.raw.as_deref(), Some(r#"{"as": [ "it", "is" ]}"#));
        assert_eq!(thing.share, Some(Share::Percent("25%".to_owned())));
    }

    #[test]
    #[cfg(not(feature = "serde-json"))]
    fn says_what_is_wrong_and_where() {
        let wrong = |text: &str| from_str::<Thing<'_>>(text).unwrap_err().to_string();
        assert_eq!(wrong(r#"{"name":1}"#), "invalid type: integer `1`, expected a string at byte 9");
        assert_eq!(wrong("{}"), "missing field `name` at byte 1");
        assert_eq!(wrong(r#"{"name":"a"} x"#), "expected the end at byte 13");
        assert_eq!(wrong(r#"{"name":"a" "x":1}"#), "expected `,` or `}` at byte 12");
        assert_eq!(wrong(r#"{"name":"a","x":["#), "the text ends too early at byte 17");
        assert_eq!(wrong(r#"{"name":"a",}"#), "expected a key at byte 12");
        assert!(wrong("{\"name\":\"a\nb\"}").starts_with("control character"), "{}", wrong("{\"name\":\"a\nb\"}"));
        assert!(wrong(&"[".repeat(1000)).contains("invalid type: sequence"));
        assert!(from_str::<Value>(&"[".repeat(1000)).unwrap_err().to_string().starts_with("nested too deeply"));
        assert!(wrong(r#"{"name":"a","kind":"Small"}"#).contains("unknown variant `Small`"));
    }

    /// As deep as serde_json goes, and no deeper.
    #[test]
    fn containers_stand_in_each_other_as_deep_as_in_serde_json() {
        for depth in [126, 127, 128, 129] {
            let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            let (ours, theirs) = (from_str::<Value>(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok());
            assert_eq!(ours, theirs, "{depth}");
        }
    }

    /// Every way in which a bracket, a quote or a backslash can stand across the end of a block.
    #[test]
    fn steps_over_the_same_at_any_offset() {
        let skipped =
            r#"{"a":"}]\\\"{","b":[[],{},"\\\\"],"c":"\\\\\\\"","long":"0123456789012345678901234567890123456789"}"#;
        for padding in 0..130 {
            let text = format!(r#"{{"pad":"{}","skipped":{skipped},"name":"n"}}"#, "x".repeat(padding));
            assert_eq!(from_str::<Thing<'_>>(&text).unwrap().name, "n", "{text}");
            let string = format!(r#"{{"x":"{}\\\"{}\\","name":"n"}}"#, "x".repeat(padding), "}".repeat(70));
            assert_eq!(from_str::<Thing<'_>>(&string).unwrap().name, "n", "{string}");
        }
    }

    #[test]
    fn a_text_that_ends_early_is_an_error_wherever_that_is() {
        let text = r#"{"name":"a\n","labels":{"x":"1"},"raw":[{"a":"\\"}],"z":{"q":[1,2,null,true]}}"#;
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let part = text.get(..end).unwrap();
            assert!(from_str::<Thing<'_>>(part).is_err(), "{part}");
            assert!(from_str::<IgnoredAny>(part).is_err(), "{part}");
            assert!(from_str::<Value>(part).is_err(), "{part}");
        }
        assert!(from_str::<Thing<'_>>(text).is_ok() && from_str::<IgnoredAny>(text).is_ok());
        assert_eq!(from_str::<Value>(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }
}
