//! The formats of `flipguard audit`, compared with golden files (`UPDATE=1` rewrites them), and held to their schemas.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod audited;

use std::collections::BTreeMap;

use audited::{golden, hostile_of, report_of};
use flipguard::audit::checks::Severity;
use flipguard::audit::finding::State;
use flipguard::model::{Timestamp, json_with_escapes};
use flipguard::offline::places::places;
use flipguard::report::Report;
use flipguard::report::junit::junit;
use flipguard::report::markdown::markdown;
use flipguard::report::open_reports::{Group, objects};
use flipguard::report::sarif::{Places, sarif};
use flipguard::report::schema::schema;
use flipguard::report::text::{text, wide};
use serde_json::{Value, json, to_value};

/// The cases whose findings are reported.
const CASES: [&str; 4] = ["audit/state-shared", "audit/pdb-spans-colours", "audit/accepted", "audit/healthy"];

fn report() -> Report {
    report_of(&CASES)
}

fn hostile(evil: &str) -> Report {
    hostile_of(&CASES, evil)
}

/// A schema that is published, of the text between two backticks of Go.
fn published_schema() -> Value {
    let go = controlplane::published::SARIF.text().unwrap();
    serde_json::from_str(go.split('`').nth(1).unwrap()).unwrap()
}

/// The schema of the custom resource Report.
fn report_schema() -> Value {
    let crd: Value = serde_saphyr::from_str(&controlplane::published::OPEN_REPORTS.text().unwrap()).unwrap();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap()
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[test]
fn each_format_matches_its_golden_file() {
    let report = report();
    let all = format!("{}\n{}\n{}", text(&report), wide(&report), markdown(&report));
    golden("report", "audit.txt", &all);
    golden("report", "audit.json", &pretty(&report));
    golden("report", "audit.sarif", &pretty(&sarif(&report, &Places::new())));
    golden("report", "audit.junit.xml", &junit(&report, Some(Severity::Warning)));
    golden("report", "audit.reports.json", &pretty(&objects(&report, Group::OpenReports)));
    golden("report", "audit.schema.json", &pretty(&schema()));
}

#[test]
fn the_json_is_as_its_schema_says() {
    let validator = jsonschema::validator_for(&to_value(schema()).unwrap()).unwrap();
    for report in [report(), hostile("</script>"), Report::new(String::new(), Timestamp(0), vec![])] {
        let errors: Vec<String> =
            validator.iter_errors(&to_value(&report).unwrap()).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    let mut broken = to_value(report()).unwrap();
    broken["findings"][0]["severity"] = json!("dreadful");
    assert!(!validator.is_valid(&broken));
}

#[test]
fn sarif_is_as_the_published_schema_says() {
    let validator = jsonschema::validator_for(&published_schema()).unwrap();
    let mut compared = report();
    compared.compare(&BTreeMap::from([(compared.findings[0].id.clone(), String::new())]), true);
    for report in [report(), compared, hostile("<b>\u{7} &"), Report::new(String::new(), Timestamp(0), vec![])] {
        let errors: Vec<String> =
            validator.iter_errors(&sarif(&report, &Places::new())).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    let mut broken = sarif(&report(), &Places::new());
    broken["runs"][0]["results"][0]["level"] = json!("dreadful");
    assert!(!validator.is_valid(&broken));
}

#[test]
fn objects_are_as_their_crd_says() {
    let validator = jsonschema::validator_for(&report_schema()).unwrap();
    for report in [report(), hostile("<b>\u{7} &")] {
        for object in objects(&report, Group::OpenReports) {
            let errors: Vec<String> = validator.iter_errors(&object).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
    let mut many = report();
    many.findings = vec![many.findings[0].clone(); 600];
    let first = objects(&many, Group::PolicyWorkingGroup).remove(0);
    assert_eq!(first["results"].as_array().map(Vec::len), Some(500));
    assert_eq!(first["summary"]["fail"], 500);
}

#[test]
fn sarif_names_the_line_that_defines_an_object() {
    let folder = std::env::temp_dir().join(format!("flipguard-places-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("shop/templates")).unwrap();
    let manifest = "# The app\nkind: Deployment\nmetadata: {name: app}\n---\nkind: Service\nmetadata:\n  name: app\n";
    std::fs::write(folder.join("shop/app.yaml"), manifest).unwrap();
    std::fs::write(folder.join("shop/templates/other.yaml"), "kind: {{ .Values.kind }}\n").unwrap();
    let found = places(&folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(found.len(), 2);
    let written = sarif(&report(), &found);
    let place = |name: &str| -> Value {
        let results = written["runs"][0]["results"].as_array().unwrap();
        let of = |one: &&Value| {
            let place = &one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"];
            place.as_str().is_some_and(|place| place.ends_with(name))
        };
        results.iter().find(of).unwrap()["locations"][0]["physicalLocation"].clone()
    };
    let line = json!({ "artifactLocation": { "uri": "shop/app.yaml" }, "region": { "startLine": 5 } });
    assert_eq!(place("/Service/app"), line);
}

#[test]
fn sarif_keeps_the_worst_results_and_says_so() {
    let mut report = report();
    let worst = report.findings.iter().find(|one| one.severity == Severity::Error).cloned().unwrap();
    let least = report.findings.iter().find(|one| one.severity < Severity::Error).cloned().unwrap();
    report.findings = vec![least; 5000];
    report.findings.push(worst);
    let written = sarif(&report, &Places::new());
    let results = written["runs"][0]["results"].as_array().unwrap();
    assert_eq!((results.len(), results[0]["level"].as_str()), (5000, Some("error")));
    assert!(written.to_string().contains("1 findings of the least severity are left out"));
}

/// What an earlier run had found is not new, and what is gone is fixed.
#[test]
fn a_baseline_tells_new_from_old() {
    let mut report = report();
    let first = report.findings[0].id.clone();
    let errors = report.summary.errors;
    let gone = |namespace: &str| (format!("no-pdb/Service/{namespace}/app/blue"), namespace.to_owned());
    let earlier = BTreeMap::from([(first, "state-shared".to_owned()), gone("healthy"), gone("elsewhere")]);
    let mut of_one = report.clone();
    report.compare(&earlier, true);
    assert_eq!(report.findings[0].state, State::Same);
    assert_eq!(report.fixed, ["no-pdb/Service/elsewhere/app/blue", "no-pdb/Service/healthy/app/blue"]);
    assert!(text(&report).contains("fixed: no-pdb/Service/healthy/app/blue"));
    assert!(text(&report).contains(", 1 as before in "), "{}", text(&report));
    assert_eq!(report.summary.errors, errors - 1);
    assert!(junit(&report, Some(Severity::Info)).contains("<skipped"));
    // A run that did not look there, or could not read all, says nothing of it.
    of_one.namespaces.iter_mut().find(|one| one.namespace == "healthy").unwrap().skipped = vec!["jobs".to_owned()];
    of_one.compare(&earlier, false);
    assert_eq!(of_one.fixed, Vec::<String>::new());
    assert_eq!(of_one.not_compared.len(), 2);
    assert!(text(&of_one).contains("not compared, since not all there was read: no-pdb/Service/elsewhere/app/blue"));
}

/// Each format says what is missing in it.
#[test]
fn what_was_not_read_is_in_every_format() {
    let mut report = report();
    report.namespaces[0].skipped = vec!["jobs: forbidden".to_owned()];
    report.namespaces[0].unread = vec!["pods: forbidden".to_owned()];
    report.skipped = vec!["jobs: forbidden".to_owned()];
    report.unread = vec!["pods: forbidden".to_owned()];
    let objects = to_value(objects(&report, Group::OpenReports)).unwrap().to_string();
    let formats = [text(&report), wide(&report), markdown(&report), junit(&report, None), objects];
    for format in formats {
        assert!(format.contains("jobs: forbidden") && format.contains("pods: forbidden"), "{format}");
    }
}

/// Findings that are not shown are counted.
#[test]
fn only_the_wanted_severity_is_shown() {
    let mut report = report();
    let all = report.findings.len();
    report.keep(Severity::Error);
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Error));
    let not_shown = all - report.findings.len();
    assert!(text(&report).contains(&format!("{not_shown} not shown (--only)")), "{}", text(&report));
}

/// Text from a cluster stays text in every format.
#[test]
fn hostile_text_stays_text() {
    let evil = "<img src=x onerror=alert(1)>]]>&\u{1b}[31m| `x` [a](b)\n::error::";
    let report = hostile(evil);
    for text in [text(&report), wide(&report), markdown(&report)] {
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("::error::")), "{text}");
    }
    assert!(!markdown(&report).contains("<img"));
    let xml = junit(&report, Some(Severity::Info));
    assert!(!xml.contains("<img") && !xml.contains('\u{1b}'), "{xml}");
    let written = sarif(&report, &Places::new()).to_string();
    assert!(!written.contains("\\u001b"), "{written}");
}

/// The characters that XML allows (W3C, *XML 1.0*, 2.2).
fn is_of_xml(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// What cannot be seen, or turns other text around, is shown by its number in every format.
#[test]
fn hidden_characters_are_shown() {
    let evil = "\u{1b}[31m\u{7}\u{1}\u{9b}\u{202e}\u{2066}\u{fffe}";
    let report = hostile(evil);
    let xml = junit(&report, Some(Severity::Info));
    let kept = json_with_escapes(&pretty(&report)).into_owned();
    let (written, objects) = (pretty(&sarif(&report, &Places::new())), pretty(&objects(&report, Group::OpenReports)));
    let formats = [text(&report), wide(&report), markdown(&report), xml.clone(), kept.clone(), written, objects];
    for shown in formats {
        for letter in evil.chars().filter(|letter| !letter.is_ascii_graphic()) {
            assert!(!shown.contains(letter), "{letter:?} in {shown}");
        }
        assert!(shown.contains("u{202e}") || shown.contains("\\u202e"), "{shown}");
    }
    assert!(xml.chars().all(is_of_xml));
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), to_value(&report).unwrap());
}

/// People get the beginning of a long text, and programs get all of it.
#[test]
fn long_text_is_shortened_for_people() {
    let long = "long ".repeat(20_000);
    let report = hostile(&long);
    for text in [text(&report), wide(&report), markdown(&report)] {
        assert!(text.contains("... (and 99500 more characters)"));
        assert!(text.lines().all(|line| line.len() < 3000), "{}", text.len());
    }
    for whole in [pretty(&report), pretty(&sarif(&report, &Places::new())), junit(&report, Some(Severity::Info))] {
        assert!(whole.contains(&long));
    }
}
