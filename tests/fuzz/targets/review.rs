//! Whatever a body holds, the answer is one that the API server takes, under the uid of the body.
#![no_main]

use std::fmt;

use base64::Engine;
use flipguard::model::{ClusterView, Policy, Timestamp};
use flipguard::review::{Request, Unreadable, answer, change_of};
use flipguard::{labels, rules};
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Within the hour of the overrides in the seeds.
const NOW: Timestamp = Timestamp(1_896_100_000);

fuzz_target!(|body: &[u8]| {
    let mut request = match Request::parse(body) {
        Ok(request) => request,
        Err(unreadable) => {
            if let Some(uid) = uid_of(body) {
                assert_eq!(unreadable.uid, Some(uid), "the uid is lost: {unreadable}");
            }
            refused(&unreadable);
            return;
        }
    };
    if let Some(uid) = uid_of(body) {
        assert_eq!(request.uid, uid);
    }
    let change = match change_of(&mut request) {
        Ok(change) => change,
        Err(unreadable) => {
            assert_eq!(unreadable.uid.as_deref(), Some(request.uid.as_ref()), "the uid is lost: {unreadable}");
            refused(&unreadable);
            return;
        }
    };
    let (view, policy) = (ClusterView::default(), Policy::default());
    let verdict = rules::decide(&change, &view, &policy, NOW);
    well_formed(&request.uid, &answer::judged(&request.uid, &verdict));
    let (verdict, puts) = labels::label(&change, &view, &policy);
    let answer = well_formed(&request.uid, &answer::labelled(&request.uid, &verdict, &puts));
    assert_eq!(answer["response"]["allowed"], true, "nobody is refused for want of a label");
    if !puts.is_empty()
        && !has_doubles(body)
        && let Ok(review) = serde_json::from_slice(body)
    {
        labelled(review, &answer);
    }
});

/// The two answers to what cannot be understood.
fn refused(unreadable: &Unreadable) {
    // Without a uid there is no answer, but HTTP 400.
    if let Some(uid) = &unreadable.uid {
        assert_eq!(well_formed(uid, &answer::unreadable(uid, unreadable))["response"]["allowed"], false);
        assert_eq!(well_formed(uid, &answer::unlabelled(uid, unreadable))["response"]["allowed"], true);
    }
}

/// Checks what the API server, and a terminal, ask of every answer.
fn well_formed(uid: &str, answer: &[u8]) -> Value {
    let answer: Value = serde_json::from_slice(answer).expect("an answer is JSON");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    let response = &answer["response"];
    assert_eq!(response["uid"], uid);
    for warning in response["warnings"].as_array().into_iter().flatten() {
        let warning = warning.as_str().expect("a warning is a string");
        assert!(warning.chars().count() <= 120, "too long: {warning:?}");
        assert!(!warning.chars().any(char::is_control), "a control character: {warning:?}");
    }
    assert_eq!(response["allowed"] == false, response["status"].is_object(), "a refusal, and only that, has a status");
    if let Some(status) = response["status"].as_object() {
        assert_ne!(status["message"], "", "a refusal says why");
        let causes = response["status"]["details"]["causes"].as_array();
        let causes = causes.into_iter().flatten().map(|cause| &cause["message"]);
        for message in causes.chain([&status["message"]]) {
            let message = message.as_str().expect("a message is a string");
            let moves_terminal = |letter: char| letter.is_control() && letter != '\n';
            assert!(!message.chars().any(moves_terminal), "a control character: {message:?}");
        }
    }
    assert_eq!(response.get("patch").is_some(), response["patchType"] == "JSONPatch", "one goes with the other");
    answer
}

/// The patch applies to the object as it came, and what it gives needs no more labels.
fn labelled(mut review: Value, answer: &Value) {
    let patch = answer["response"]["patch"].as_str().expect("what is put is a patch");
    let patch = base64::engine::general_purpose::STANDARD.decode(patch).expect("a patch is base64");
    let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a patch is an RFC 6902 one");
    let Some(object) = review.pointer_mut("/request/object") else { return };
    // Arrays pass for structs in serde; the API server never sends such objects.
    let is_map = |path: &str| object.pointer(path).is_none_or(|value| value.is_object() || value.is_null());
    if !["", "/metadata", "/spec", "/spec/template", "/spec/template/metadata"].into_iter().all(is_map) {
        return;
    }
    json_patch::patch(object, &patch).unwrap_or_else(|error| panic!("{error}: {patch}"));
    let body = review.to_string();
    let mut request = Request::parse(body.as_bytes()).expect("it was a review before");
    let change = change_of(&mut request).expect("the patched object is as readable as before");
    let (_, puts) = labels::label(&change, &ClusterView::default(), &Policy::default());
    assert!(puts.is_empty(), "labelled again: {puts:?}");
}

/// The string at `/request/uid`, found in another way. A body that says `request` or `uid` twice has none: which of
/// them is meant, nobody can tell.
fn uid_of(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Value>(body).ok()?;
    let review: Entries = serde_json::from_slice(body).ok()?;
    let request: Entries = serde_json::from_str(review.only("request")?).ok()?;
    serde_json::from_str(request.only("uid")?).ok()
}

/// Whether a key stands twice anywhere; where it does, the first is read or the last, and both are right.
fn has_doubles(body: &[u8]) -> bool {
    fn in_text(text: &str) -> bool {
        if let Ok(Entries(entries)) = serde_json::from_str(text) {
            let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
            keys.sort_unstable();
            keys.windows(2).any(|pair| pair[0] == pair[1]) || entries.iter().any(|(_, value)| in_text(value.get()))
        } else {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            items.iter().any(|item| in_text(item.get()))
        }
    }
    str::from_utf8(body).is_ok_and(in_text)
}

/// A JSON object as it is written, doubles included.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl Entries<'_> {
    fn only(&self, desired: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(key, _)| key == desired);
        let (_, value) = found.next()?;
        found.next().is_none().then(|| value.get())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(All)
    }
}
