//! The override: a short-lived permission to do what would be refused, with its reason.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment, in seconds since 1970 (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time from another moment to this one; nothing where that one is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// How far ahead an override may reach, in seconds.
pub const LONGEST_OVERRIDE: i64 = 3600;

/// The value of `flipguard.dev/override`: a time and a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// When it ends.
    pub until: Timestamp,
    /// Why somebody set it.
    pub reason: String,
}

impl Override {
    /// Reads `<RFC 3339 time> <reason>`.
    ///
    /// # Errors
    /// What is wrong with the value, and how it should be.
    pub fn parse(value: &str) -> Result<Self, String> {
        const FORM: &str = "it must be like `2030-01-31T15:00:00Z why this is needed`";
        let (time, reason) = value.trim().split_once(' ').ok_or_else(|| format!("`{value}` has no reason; {FORM}"))?;
        let until = OffsetDateTime::parse(time, &Rfc3339).map_err(|_| format!("`{time}` is no time; {FORM}"))?;
        let reason = reason.trim().to_owned();
        if reason.is_empty() {
            return Err(format!("`{value}` has no reason; {FORM}"));
        }
        Ok(Self { until: Timestamp(until.unix_timestamp()), reason })
    }

    /// Whether it counts now: it is not over, and does not reach further ahead than any may.
    #[must_use]
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.until > now && self.until.0 <= now.0.saturating_add(LONGEST_OVERRIDE)
    }
}

/// RFC 3339, in UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp(self.0).ok().and_then(|time| time.format(&Rfc3339).ok());
        f.write_str(time.as_deref().unwrap_or("an unknown time"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(D::Error::custom)?;
        Ok(Self(time.unix_timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_and_a_reason() {
        let until = |value: &str| Override::parse(value).map(|parsed| (parsed.until.to_string(), parsed.reason));
        let fire = Ok(("2030-01-31T14:00:00Z".to_owned(), "the shop is on fire".to_owned()));
        assert_eq!(until("2030-01-31T15:00:00+01:00  the shop is on fire "), fire);
        assert!(until("2030-01-31T15:00:00Z").is_err_and(|why| why.contains("no reason")));
        assert!(until("tomorrow because").is_err_and(|why| why.contains("`tomorrow` is no time")));
        assert!(until("").is_err());
    }

    #[test]
    fn it_lasts_for_an_hour_at_most() {
        let until = |seconds| Override { until: Timestamp(seconds), reason: String::new() };
        assert!(until(100).lasts(Timestamp(99)));
        assert!(!until(100).lasts(Timestamp(100)));
        assert!(until(3700).lasts(Timestamp(100)));
        assert!(!until(3701).lasts(Timestamp(100)));
    }
}
