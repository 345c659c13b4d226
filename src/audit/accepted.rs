//! What a Service accepts: `flipguard.dev/accept: "no-pdb: single node; one-node: the same"`.

use super::checks;
use crate::model::{Service, annotation};

/// The findings that a Service accepts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Accepted {
    /// The codes of checks, each with the reason.
    reasons: Vec<(&'static str, String)>,
    /// The parts that accept nothing, in words.
    pub(super) problems: Vec<String>,
}

impl Accepted {
    /// Reads the annotation of a Service.
    pub(super) fn of(service: &Service) -> Self {
        service.meta.annotation(annotation::ACCEPT).map(Self::parse).unwrap_or_default()
    }

    /// A part that does not look like `CODE:` belongs to the reason before it: a reason may have a semicolon.
    fn parse(value: &str) -> Self {
        let mut accepted = Self::default();
        for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            if checks::ALL.iter().any(|check| check.code == part) && !accepted.reasons.is_empty() {
                accepted.add(part, "");
                continue;
            }
            match (part.split_once(':').filter(|(code, _)| is_code(code.trim())), accepted.reasons.last_mut()) {
                (Some((code, reason)), _) => accepted.add(code.trim(), reason.trim()),
                (None, Some((_, reason))) => {
                    reason.push_str("; ");
                    reason.push_str(part);
                }
                (None, None) => accepted.problems.push(format!("`{part}` is not CODE: REASON")),
            }
        }
        accepted
    }

    fn add(&mut self, code: &str, reason: &str) {
        let Some(check) = checks::ALL.iter().find(|check| check.code == code) else {
            self.problems.push(format!("there is no check `{code}`; flipguard audit --checks has all"));
            return;
        };
        if reason.is_empty() {
            self.problems.push(format!("`{code}` has no reason"));
            return;
        }
        let after_comma = |check: &&&checks::Check| {
            reason.split(',').skip(1).any(|part| {
                part.trim_start().strip_prefix(check.code).is_some_and(|rest| rest.trim_start().starts_with(':'))
            })
        };
        if let Some(other) = checks::ALL.iter().find(after_comma) {
            self.problems.push(format!("`{}` follows a comma; a semicolon separates two", other.code));
        }
        self.reasons.push((check.code, reason.to_owned()));
    }

    /// Why the findings of a check are accepted.
    pub(super) fn reason(&self, code: &str) -> Option<&str> {
        self.reasons.iter().find(|(accepted, _)| *accepted == code).map(|(_, reason)| reason.as_str())
    }
}

/// Whether a text looks like the code of a check.
fn is_code(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_problems_are_told_apart() {
        let two = Accepted::parse("no-pdb: one node only; for now; one-node: the same: all of it");
        assert_eq!(two.reason("no-pdb"), Some("one node only; for now"));
        assert_eq!(two.reason("one-node"), Some("the same: all of it"));
        assert!(two.problems.is_empty(), "{two:?}");
        let problem = |value: &str| Accepted::parse(value).problems.join(" | ");
        assert_eq!(problem("no-pdb: small; one-node"), "`one-node` has no reason");
        assert_eq!(problem("no-pdb"), "`no-pdb` is not CODE: REASON");
        assert_eq!(problem("no-pdb: "), "`no-pdb` has no reason");
        assert_eq!(problem("no-pbd: typo"), "there is no check `no-pbd`; flipguard audit --checks has all");
        assert_eq!(problem("no-pdb: x, one-node: y"), "`one-node` follows a comma; a semicolon separates two");
        assert_eq!(problem(""), "");
    }
}
