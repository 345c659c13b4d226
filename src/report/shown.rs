//! A report as it is shown. Every format but the JSON is made of it, so each text is looked at in one place.

use super::data::Report;
use crate::audit::finding::Finding;
use crate::model::{printable, shortened};
use crate::status::shown::MOST;

impl Report {
    /// The same without hidden characters.
    #[must_use]
    pub fn printable(&self) -> Self {
        self.with_each_text(&|text| *text = printable(text).into_owned())
    }

    /// The same for people to read: without hidden characters, and without text of any length.
    #[must_use]
    pub fn shown(&self) -> Self {
        self.with_each_text(&|text| *text = shortened(text, MOST).into_owned())
    }

    /// All fields are named, so that none is forgotten.
    fn with_each_text(&self, change: &impl Fn(&mut String)) -> Self {
        let mut report = self.clone();
        let Self {
            api_version: _,
            flipguard_version: _,
            cluster,
            at: _,
            complete: _,
            namespaces,
            policies,
            findings,
            fixed,
            not_compared,
            skipped,
            unread,
            summary: _,
        } = &mut report;
        change(cluster);
        policies.iter_mut().chain(fixed).chain(not_compared).chain(skipped).chain(unread).for_each(change);
        for namespace in namespaces {
            namespace.each_text(change);
        }
        for finding in findings {
            of_finding(finding, change);
        }
        report
    }
}

fn of_finding(finding: &mut Finding, change: &impl Fn(&mut String)) {
    let Finding { code: _, severity: _, namespace, kind, name, colour, message, next_step, id, state: _, accepted } =
        finding;
    [namespace, kind, name, colour, message, next_step, id].into_iter().chain(accepted).for_each(change);
}
