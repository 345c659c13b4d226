//! What `flipguard check` reads: any text gives manifests, a case, or an error, in bounded time and memory.
#![no_main]

use flipguard::offline::case::Case;
use flipguard::offline::files::Manifests;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// More Pods than this are an honest wish for much memory.
const PODS: u64 = 1000;

fuzz_target!(|text: &str| {
    match Manifests::parse("file", text) {
        Ok(manifests) => judged(&manifests),
        Err(error) => one_line(&error.to_string()),
    }
    // As `Case::load` does.
    if let Ok(case) = serde_saphyr::from_str::<Case>(text)
        && pods(text) <= PODS
        && let Ok(verdict) = case.verdict()
    {
        // The expectation may be wrong; the comparison may not.
        let _ = case.compare(&verdict);
    }
});

fn judged(manifests: &Manifests) {
    let own = manifests.objects().iter().filter_map(|object| object.namespace());
    let namespaces: Vec<&str> = own.take(3).chain(["shop", ""]).collect();
    for namespace in namespaces {
        match manifests.view(namespace) {
            Ok(view) => {
                let spaces = view.pods.iter().map(|pod| &pod.meta.namespace);
                assert!(spaces.chain(view.workloads.iter().map(|one| &one.meta.namespace)).all(|own| own == namespace));
                assert!(view.pods.len() + view.workloads.len() <= manifests.objects().len());
            }
            Err(error) => one_line(&error.to_string()),
        }
        for object in manifests.objects() {
            assert!(!object.name().is_empty(), "an object without a name is refused");
            let named = manifests.services_named(object.name()).count();
            match manifests.service(namespace, object.name()) {
                Ok(found) => assert!(found.is_none() || named > 0),
                Err(error) => one_line(&error.to_string()),
            }
        }
    }
}

fn one_line(error: &str) {
    assert!(!error.chars().any(char::is_control), "an error is one line, and moves no terminal: {error:?}");
}

/// How many Pods the sketches of a case ask for.
fn pods(text: &str) -> u64 {
    let case: Value = serde_saphyr::from_str(text).unwrap_or_default();
    let sketches = case["cluster"].as_array().into_iter().flatten();
    let counts = sketches.flat_map(|fixture| [&fixture["replicas"], &fixture["oldPods"]]);
    counts
        .map(|count| count.as_u64().unwrap_or(if count.is_null() { 0 } else { u64::MAX }))
        .fold(0, u64::saturating_add)
}
