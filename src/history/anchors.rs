//! Heads of a chain in logs. The API server writes its audit log, so neither a user nor flipguard can rewrite that.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Head, History};

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
    /// How many are of entries that were dropped since then.
    pub dropped: usize,
    /// Those that do not agree, in sentences.
    pub problems: Vec<String>,
}

/// An event of the API server's audit log (`audit.k8s.io/v1`), or a line of flipguard's own log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    annotations: Option<std::collections::BTreeMap<String, String>>,
    object_ref: Option<Place>,
    namespace: Option<String>,
    history: Option<String>,
}

#[derive(Deserialize)]
struct Place {
    namespace: Option<String>,
}

/// The heads in a line of a log; none where it is of something else.
#[must_use]
pub fn in_line(line: &str) -> Vec<Anchor> {
    let Ok(line) = serde_json::from_str::<Line>(line) else { return Vec::new() };
    let namespace = line.object_ref.and_then(|place| place.namespace).or(line.namespace).unwrap_or_default();
    // `NAME-OF-WEBHOOK/history`; each webhook of flipguard has a name of its own.
    let of_webhook = |key: &String| key.ends_with(".flipguard.dev/history");
    let annotated = line.annotations.into_iter().flatten().filter(|(key, _)| of_webhook(key)).map(|(_, value)| value);
    let heads = annotated.chain(line.history).filter_map(|text| Head::parse(&text));
    heads.map(|Head { n, hash }| Anchor { namespace: namespace.clone(), n, hash }).collect()
}

/// Compares heads with the history of their namespace.
#[must_use]
pub fn compare<'a>(history: &History, anchors: impl IntoIterator<Item = &'a Anchor>) -> Agreement {
    let mut agreement = Agreement::default();
    let different: BTreeSet<&Anchor> = anchors.into_iter().collect();
    for Anchor { n, hash, .. } in different {
        match history.hash_of(*n) {
            Some(own) if !hash.is_empty() && own.starts_with(hash) => agreement.agree += 1,
            None if *n < history.base().n => agreement.dropped += 1,
            Some(_) => agreement.problems.push(format!("entry {n} was {hash} in a log, and is another one now")),
            None => agreement.problems.push(format!("entry {n} ({hash}) is in a log, and is missing")),
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
            "objectRef":{"namespace":"shop","name":"app"}}"#;
        let own = r#"{"level":"INFO","message":"decision","namespace":"shop","history":"42 60303a"}"#;
        let anchor = |n, hash: &str| vec![Anchor { namespace: "shop".to_owned(), n, hash: hash.to_owned() }];
        assert_eq!(in_line(&audit.replace('\n', "")), anchor(41, "9f86"));
        assert_eq!(in_line(own), anchor(42, "60303a"));
        assert_eq!(in_line("klog: not JSON"), vec![]);
        assert_eq!(in_line(r#"{"annotations":{"guard.flipguard.dev/history":"none"}}"#), vec![]);
    }
}
