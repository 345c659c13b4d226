//! Whatever a text holds, it is read as serde_json reads it; and what that reads, can be stepped over and kept.
#![no_main]

use json_skip::{Raw, from_str};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let theirs = serde_json::from_str::<Value>(text).ok();
    assert_eq!(from_str::<Value>(text).ok(), theirs);
    if let Some(value) = theirs {
        assert!(from_str::<IgnoredAny>(text).is_ok());
        let kept = from_str::<Raw>(text).expect("it can be read, so it can be kept");
        assert_eq!(serde_json::from_str::<Value>(&kept).ok(), Some(value));
    }
});
