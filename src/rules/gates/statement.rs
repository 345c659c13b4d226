//! The value of an annotation `flipguard.dev/gate.<name>`: `<template> <images> <time> <user> [<address>]`.

use std::fmt;

use crate::model::{Tested, Timestamp};

/// What a user says of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What was tested.
    pub tested: Tested,
    /// When it is said.
    pub at: Timestamp,
    /// Who says it.
    pub user: String,
    /// Where the test can be looked at; may be empty.
    pub address: String,
}

impl Statement {
    /// Reads the value of an annotation; `None` where it is none.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split(' ');
        let tested = Tested::parse(words.next()?, words.next()?)?;
        let at = words.next()?.parse().ok()?;
        let user = decoded(words.next()?);
        let address = words.next().unwrap_or_default().to_owned();
        (words.next().is_none() && !user.is_empty()).then_some(Self { tested, at, user, address })
    }
}

/// Writes the value of the annotation.
impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tested, at, user, address } = self;
        let space = if address.is_empty() { "" } else { " " };
        write!(f, "{tested} {at} {}{space}{address}", encoded(user))
    }
}

/// A user name as one word: names from certificates may have spaces.
fn encoded(user: &str) -> String {
    user.replace('%', "%25").replace(' ', "%20")
}

fn decoded(word: &str) -> String {
    word.replace("%20", " ").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let tested = Tested { template: "a".repeat(64), images: Some("0".repeat(64)) };
        for (user, address) in [("alice", "https://ci.example/run/8812"), ("CN=Al Ice %20", "")] {
            let (user, address) = (user.to_owned(), address.to_owned());
            let statement = Statement { tested: tested.clone(), at: Timestamp(1_893_456_000), user, address };
            assert_eq!(Statement::parse(&statement.to_string()), Some(statement));
        }
    }

    #[test]
    fn nothing_else_can_be_read() {
        let hash = "a".repeat(64);
        for wrong in [
            String::new(),
            "passed".to_owned(),
            format!("{hash} {hash} 2030-01-01T00:00:00Z"),
            format!("{hash} {hash} today alice"),
            format!("{hash} x 2030-01-01T00:00:00Z alice"),
            format!("{} - 2030-01-01T00:00:00Z alice", "A".repeat(64)),
            format!("{hash} - 2030-01-01T00:00:00Z alice https://ci.example more"),
        ] {
            assert_eq!(Statement::parse(&wrong), None, "{wrong}");
        }
        assert!(Statement::parse(&format!("{hash} - 2030-01-01T00:00:00Z alice")).is_some());
    }
}
