//! What fuzzing found (`tests/fuzz/`), each find as small as it can be.

use std::io::Write;
use std::process::{Command, Stdio};

use flipguard::model::{ClusterView, Policy, Timestamp};
use flipguard::offline::files::Manifests;
use flipguard::review::{Request, answer, change_of};
use flipguard::rules;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Every text of an answer that a terminal may show.
fn texts(answer: &[u8]) -> Result<Vec<String>> {
    let answer: Value = serde_json::from_slice(answer)?;
    let list = |path: &str| answer.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let causes = list("/response/status/details/causes");
    let causes = causes.iter().filter_map(|cause| cause.get("message").cloned());
    let texts = list("/response/warnings").into_iter().chain(causes);
    let texts = texts.chain(answer.pointer("/response/status/message").cloned());
    Ok(texts.filter_map(|text| text.as_str().map(str::to_owned)).collect())
}

fn moves_no_terminal(answer: &[u8]) -> Result<()> {
    for text in texts(answer)? {
        assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "a control character: {text:?}");
    }
    Ok(())
}

/// Found by `review`: `"kind":"Admission\u001b"`.
#[test]
fn a_body_of_another_kind_cannot_move_a_terminal() -> Result<()> {
    let body = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "\u{1b}[2J", "request": {
        "uid": "u", "kind": { "version": "v1", "kind": "Service" }, "operation": "UPDATE",
        "resource": { "version": "v1", "resource": "services" },
    } })
    .to_string();
    let Err(unreadable) = Request::parse(body.as_bytes()) else { panic!("{body} was understood") };
    moves_no_terminal(&answer::unreadable("u", &unreadable))
}

/// The same by the way of an object: serde repeats unknown words as they are.
#[test]
fn an_unreadable_object_cannot_move_a_terminal() -> Result<()> {
    let service =
        |protocol: &str| json!({ "metadata": { "name": "app" }, "spec": { "ports": [{ "protocol": protocol }] } });
    let body = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": { "version": "v1", "kind": "Service" }, "operation": "UPDATE",
        "resource": { "version": "v1", "resource": "services" },
        "object": service("\u{1b}[2J"), "oldObject": service("TCP"),
    } })
    .to_string();
    let mut request = Request::parse(body.as_bytes())?;
    let Err(unreadable) = change_of(&mut request) else { panic!("{body} was understood") };
    moves_no_terminal(&answer::unreadable("u", &unreadable))
}

/// Found by `review`: `"namespace":"shop","namespace":"UPDATE"`.
#[test]
fn what_is_there_twice_hides_no_uid() {
    let body = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview",
        "request":{"uid":"u","namespace":"a","namespace":"b","operation":"UPDATE"}}"#;
    let Err(unreadable) = Request::parse(body.as_bytes()) else { panic!("{body} was understood") };
    assert_eq!(unreadable.uid.as_deref(), Some("u"), "{unreadable}");
}

/// The causes of a refusal repeat its findings, and those repeat selectors.
#[test]
fn the_causes_of_a_refusal_cannot_move_a_terminal() -> Result<()> {
    let service = |selector: &Value| json!({ "metadata": { "name": "app" }, "spec": { "selector": selector } });
    let body = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": { "version": "v1", "kind": "Service" }, "operation": "UPDATE",
        "resource": { "version": "v1", "resource": "services" },
        "object": service(&json!({ "app": "\u{1b}[2J" })), "oldObject": service(&json!({ "color": "blue" })),
    } })
    .to_string();
    let mut request = Request::parse(body.as_bytes())?;
    let change = change_of(&mut request)?;
    let verdict = rules::decide(&change, &ClusterView::default(), &Policy::default(), Timestamp(0));
    let answer = answer::judged("u", &verdict);
    assert!(texts(&answer)?.len() > 1, "no refusal with a cause");
    moves_no_terminal(&answer)
}

/// The same in what `flipguard check` says of a file.
#[test]
fn an_error_in_a_file_is_one_line_and_cannot_move_a_terminal() -> Result<()> {
    for spec in [r#"{ports: [{protocol: "\e[2J\nX"}]}"#, r"{selector: {a: 1}}"] {
        let text = format!("kind: Service\nmetadata: {{name: \"a\\e[2J\\nX\"}}\nspec: {spec}\n");
        let manifests = Manifests::parse("file", &text)?;
        for object in manifests.objects() {
            let Err(error) = object.service() else { panic!("{text} was understood") };
            let error = error.to_string();
            assert!(!error.chars().any(char::is_control), "a control character: {error:?}");
        }
    }
    Ok(())
}

/// Found by reading, on the way to `check_yaml`: a case that asks for more Pods than fit into its counter.
#[test]
fn a_case_of_too_many_pods_is_an_error_and_no_panic() -> Result<()> {
    let case = "shows: x\nfrom: {color: blue}\nto: {color: green}\nexpect: {outcome: denied}\ncluster:\n\
        - {deployment: g, labels: {color: green}, replicas: 4294967295, oldPods: 1, ready: 0}\n";
    let mut file = std::env::temp_dir();
    file.push(format!("flipguard-fuzz-finds-{}.yaml", std::process::id()));
    std::fs::File::create(&file)?.write_all(case.as_bytes())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_flipguard"));
    let output = command.args(["check", "--case"]).arg(&file).stdin(Stdio::null()).output();
    std::fs::remove_file(&file)?;
    let output = output?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 101), "{:?}: {said}", output.status);
    assert!(!said.contains("panicked"), "{said}");
    Ok(())
}
