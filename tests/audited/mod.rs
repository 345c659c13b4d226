//! Reports of cases, for the tests of the formats and of the page.

mod hostile;

use std::path::Path;

use flipguard::audit::finding::Finding;
use flipguard::model::Timestamp;
use flipguard::offline::case::Case;
use flipguard::report::{Looked, Report};
use flipguard::status::status;
use hostile::make_hostile;

/// What was found in a case. Each gets a namespace of its own, since all cases have the same.
pub(crate) fn looked(name: &str, namespace: &str) -> Looked {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name).with_extension("yaml");
    let case = Case::load(&file).unwrap();
    let (snapshot, policy) = case.at_rest().unwrap();
    let mut findings = case.audit().unwrap();
    for finding in &mut findings {
        finding.id = finding.id.replace(&finding.namespace, namespace);
        namespace.clone_into(&mut finding.namespace);
    }
    let mut status = status(&snapshot, &policy, &|_| true);
    namespace.clone_into(&mut status.namespace);
    Looked { at: snapshot.at, status, findings }
}

/// A report of these cases, each in the namespace of its name.
pub(crate) fn report_of(cases: &[&str]) -> Report {
    let mut report = Report::new("prod-eu".to_owned(), Timestamp(0), vec!["production".to_owned()]);
    for case in cases {
        report.add(looked(case, case.rsplit('/').next().unwrap()));
    }
    report
}

/// The same in which every text is hostile, also each that may be absent.
pub(crate) fn hostile_of(cases: &[&str], evil: &str) -> Report {
    let mut report = report_of(cases);
    for field in [&mut report.policies, &mut report.skipped, &mut report.unread, &mut report.fixed] {
        *field = vec![evil.to_owned()];
    }
    evil.clone_into(&mut report.cluster);
    for Finding { namespace, kind, name, colour, message, next_step, id, accepted, .. } in &mut report.findings {
        for field in [namespace, kind, name, colour, message, next_step, id] {
            evil.clone_into(field);
        }
        *accepted = accepted.as_ref().map(|_| evil.to_owned());
    }
    report.namespaces.iter_mut().for_each(|namespace| make_hostile(namespace, evil));
    report
}

/// Compares a text with its golden file. `UPDATE=1` rewrites it.
pub(crate) fn golden(of: &str, file: &str, shown: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, shown).unwrap();
    }
    let agreed = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = agreed.lines().zip(shown.lines()).find(|(agreed, is)| agreed != is);
    assert_eq!(differs, None, "{}; if this is intended: UPDATE=1 cargo test --test {of}", file.display());
    assert_eq!(agreed.len(), shown.len(), "{}: UPDATE=1 cargo test --test {of}", file.display());
}
