//! The log format: one JSON object on each line.

use std::fmt::{self, Write as _};

use serde::ser::{SerializeMap, Serializer};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::model::printable;

/// The capacity of a new line, in bytes; nearly all lines are shorter.
const TYPICAL_LINE: usize = 512;

/// Writes the same lines as the JSON format of `tracing_subscriber` with flattened fields, in a third of the time: that
/// format parses its own output again.
#[derive(Debug)]
pub struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::with_capacity(32);
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Vec::with_capacity(TYPICAL_LINE);
        let mut serializer = serde_json::Serializer::new(&mut line);
        let mut fields = Fields { map: serializer.serialize_map(None).map_err(|_| fmt::Error)?, failed: false };
        fields.write("timestamp", &time);
        fields.write("level", event.metadata().level().as_str());
        event.record(&mut fields);
        fields.write("target", event.metadata().target());
        let Fields { map, failed } = fields;
        SerializeMap::end(map).map_err(|_| fmt::Error)?;
        if failed {
            return Err(fmt::Error);
        }
        writer.write_str(str::from_utf8(&line).map_err(|_| fmt::Error)?)?;
        writer.write_char('\n')
    }
}

/// The members of a line.
struct Fields<M> {
    map: M,
    failed: bool,
}

impl<M: SerializeMap> Fields<M> {
    fn write<T: serde::Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.failed |= self.map.serialize_entry(name, value).is_err();
    }
}

impl<M: SerializeMap> Visit for Fields<M> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field.name(), &*printable(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field.name(), &format_args!("{}", Printable(value)));
    }
}

/// Writes a value without control characters.
struct Printable<'a>(&'a dyn fmt::Debug);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Filter<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Filter<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write_str(&printable(text))
            }
        }
        write!(Filter(f), "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_is_said() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt().event_format(Lines).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                user = "a\"b\n\u{1b}[2J\u{9b}2Jé",
                shown = %"x\u{9b}y",
                n = 7_u64,
                none = None::<&str>,
                "said {}\u{85}",
                1
            );
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with('\n') && !text.trim_end_matches('\n').contains(char::is_control), "{text}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'));
        let target = "flipguard::telemetry::log::tests";
        assert_eq!(
            line,
            json!({
                "level": "INFO", "user": "a\"b \\u{1b}[2J\\u{9b}2Jé", "shown": "x\\u{9b}y", "n": 7, "message": "said 1 ",
                "target": target,
            })
        );
    }
}
