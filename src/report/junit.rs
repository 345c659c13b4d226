//! JUnit XML for CI systems: one suite a namespace, one case a finding, and one case a Service without any.

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::data::{Report, remark};
use crate::audit::checks::Severity;
use crate::audit::finding::{Finding, State};
use crate::status::NamespaceStatus;

/// The report. Findings that count, at this severity or above, are failures; accepted ones and those of the baseline are
/// skipped; all others are told of by a case that passes.
#[must_use]
pub fn junit(report: &Report, at_least: Option<Severity>) -> String {
    let report = &report.printable();
    let mut junit = Junit::new("flipguard audit");
    let found = report.by_namespace();
    junit.add_test_suites(report.namespaces.iter().map(|namespace| {
        let own = found.get(namespace.namespace.as_str()).map(Vec::as_slice).unwrap_or_default();
        suite(namespace, own, at_least)
    }));
    let of_none = found.get("").map(Vec::as_slice).unwrap_or_default();
    if !of_none.is_empty() {
        let mut cluster = TestSuite::new("cluster");
        cluster.add_test_cases(of_none.iter().map(|finding| case(finding, at_least)));
        junit.add_test_suite(cluster);
    }
    let mut text = junit.to_string().unwrap_or_default();
    text.push('\n');
    text
}

fn suite(status: &NamespaceStatus, findings: &[&Finding], at_least: Option<Severity>) -> TestSuite {
    let mut suite = TestSuite::new(status.namespace.as_str());
    for unread in &status.unread {
        let mut state = TestCaseStatus::non_success(NonSuccessKind::Error);
        state.set_message(unread.as_str());
        suite.add_test_case(TestCase::new("cannot be read", state).set_classname(status.namespace.as_str()).clone());
    }
    for skipped in &status.skipped {
        let mut state = TestCaseStatus::skipped();
        state.set_message(skipped.as_str());
        suite.add_test_case(TestCase::new("was skipped", state).set_classname(status.namespace.as_str()).clone());
    }
    suite.add_test_cases(findings.iter().map(|finding| case(finding, at_least)));
    for service in &status.services {
        if !findings.iter().any(|finding| finding.kind == "Service" && finding.name == service.name) {
            let mut quiet = TestCase::new("nothing was found", TestCaseStatus::success());
            quiet.set_classname(format!("{}/Service/{}", status.namespace, service.name));
            suite.add_test_case(quiet);
        }
    }
    suite
}

fn case(finding: &Finding, at_least: Option<Severity>) -> TestCase {
    let text = format!("{}: {}", finding.severity.name(), finding.message);
    let state = if at_least.is_some_and(|least| finding.counts(least)) {
        let mut state = TestCaseStatus::non_success(NonSuccessKind::Failure);
        state.set_type(finding.code).set_message(finding.message.as_str());
        state.set_description(finding.next_step.as_str());
        state
    } else if finding.state == State::New {
        TestCaseStatus::success()
    } else {
        let mut state = TestCaseStatus::skipped();
        state.set_message(remark(finding).unwrap_or_default());
        state
    };
    let of = if finding.colour.is_empty() { String::new() } else { format!(" ({})", finding.colour) };
    let mut case = TestCase::new(format!("{}{of}", finding.code), state);
    case.set_classname(format!("{}/{}/{}", finding.namespace, finding.kind, finding.name)).set_system_out(text);
    case
}
