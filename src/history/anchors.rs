//! Heads of a chain in logs. The API server writes its audit log, so neither a user nor flipguard can rewrite that.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Head, History};
use crate::model::Timestamp;

/// A head that a log has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor {
    /// The namespace of the change.
    pub namespace: String,
    /// The number of the entry.
    pub n: u64,
    /// The first digits of its hash.
    pub hash: String,
}

/// How the heads in logs agree with a history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agreement {
    /// How many different heads agree.
    pub agree: usize,
    /// The last entry whose head agrees; 0 if none does.
    pub last: u64,
    /// How many are of entries that were dropped since then.
    pub dropped: usize,
    /// Those that do not agree, in sentences.
    pub problems: Vec<String>,
}

/// An event of the API server's audit log (`audit.k8s.io/v1`), or a line of flipguard's own log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    annotations: Option<BTreeMap<String, String>>,
    object_ref: Option<Place>,
    request_received_timestamp: Option<String>,
    namespace: Option<String>,
    history: Option<String>,
    timestamp: Option<String>,
}

/// Heads, each with the last time at which a log has it.
pub type Anchors = BTreeMap<Anchor, Option<Timestamp>>;

#[derive(Deserialize)]
struct Place {
    namespace: Option<String>,
}

/// Adds the heads in a line of a log; none where it is of something else.
pub fn add_line(line: &str, to: &mut Anchors) {
    let Ok(line) = serde_json::from_str::<Line>(line) else { return };
    let at = line.request_received_timestamp.or(line.timestamp).and_then(|text| text.parse().ok());
    let namespace = line.object_ref.and_then(|place| place.namespace).or(line.namespace).unwrap_or_default();
    // `NAME-OF-WEBHOOK/history`; each webhook of flipguard has a name of its own.
    let of_webhook = |key: &String| key.ends_with(".flipguard.dev/history");
    let annotated = line.annotations.into_iter().flatten().filter(|(key, _)| of_webhook(key)).map(|(_, value)| value);
    let heads = annotated.chain(line.history).filter_map(|text| Head::parse(&text));
    for Head { n, hash } in heads {
        let last = to.entry(Anchor { namespace: namespace.clone(), n, hash }).or_default();
        *last = at.max(*last);
    }
}

/// Compares the heads of a namespace with its history.
#[must_use]
pub fn compare(history: &History, namespace: &str, anchors: &Anchors, now: Timestamp) -> Agreement {
    let mut agreement = Agreement::default();
    for (Anchor { n, hash, .. }, at) in anchors.iter().filter(|(anchor, _)| anchor.namespace == namespace) {
        // The entry after a head is younger than the log's line about the head.
        let is_next_missing = |at: &Timestamp| history.would_have(*at, now);
        match (history.hash_of(*n), at.filter(is_next_missing)) {
            (None, Some(at)) if *n < history.base().n => {
                let next = n.saturating_add(1);
                agreement.problems.push(format!("entry {next} is missing: it came after {at}, by a log"));
            }
            (Some(own), _) if !hash.is_empty() && own.starts_with(hash) => {
                agreement.agree += 1;
                agreement.last = agreement.last.max(*n);
            }
            (None, None) if *n < history.base().n => agreement.dropped += 1,
            (Some(_), _) => agreement.problems.push(format!("entry {n} was {hash} in a log, and is another one now")),
            (None, _) => agreement.problems.push(format!("entry {n} ({hash}) is in a log, and is missing")),
        }
    }
    agreement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_in_both_logs() {
        let audit = r#"{"kind":"Event","annotations":{"guard.flipguard.dev/history":"41 9f86","other/history":"1 0"},
            "objectRef":{"namespace":"shop","name":"app"},"requestReceivedTimestamp":"2026-11-25T10:00:00.123456Z"}"#;
        let own =
            r#"{"timestamp":"2026-11-25T11:00:00Z","message":"decision","namespace":"shop","history":"42 60303a"}"#;
        let found = |lines: &[&str]| {
            let mut anchors = Anchors::new();
            for line in lines {
                add_line(line, &mut anchors);
            }
            let of = |(Anchor { namespace, n, hash }, at): (Anchor, Option<Timestamp>)| {
                assert_eq!(namespace, "shop");
                (n, hash, at.map(|at| at.to_string()).unwrap_or_default())
            };
            anchors.into_iter().map(of).collect::<Vec<_>>()
        };
        let audit = audit.replace('\n', "");
        let first = (41, "9f86".to_owned(), "2026-11-25T10:00:00Z".to_owned());
        assert_eq!(found(&[&audit]), std::slice::from_ref(&first));
        assert_eq!(found(&[&audit, own]), [first, (42, "60303a".to_owned(), "2026-11-25T11:00:00Z".to_owned())]);
        // The last time of one head counts.
        let times = [("12", "2026-11-25T12:00:00Z"), ("09", "2026-11-25T10:00:00Z")];
        for (hour, expected) in times {
            let other = audit.replace("T10:", &format!("T{hour}:"));
            assert_eq!(found(&[&audit, &other]), [(41, "9f86".to_owned(), expected.to_owned())]);
        }
        assert_eq!(found(&["klog: not JSON", r#"{"annotations":{"guard.flipguard.dev/history":"none"}}"#]), []);
    }
}
