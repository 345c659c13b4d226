//! The override: a short-lived permission for changes that would be denied, with a reason.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Timestamp;

/// The value of `flipguard.dev/override`: a time and a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The end of the override.
    pub until: Timestamp,
    /// The reason given by the user; never empty.
    pub reason: String,
}

impl Override {
    /// Reads `<RFC 3339 time> <reason>`.
    ///
    /// # Errors
    /// When the time or the reason is missing or malformed; the message shows the expected form.
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

    /// Whether the override applies now: it has not ended, and its end is no further ahead than `most`.
    #[must_use]
    pub fn lasts(&self, now: Timestamp, most: Duration) -> bool {
        self.until > now && self.until <= now.after(most)
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
    fn an_override_lasts_for_an_hour_at_most() {
        let until = |seconds| Override { until: Timestamp(seconds), reason: String::new() };
        let hour = Duration::from_secs(3600);
        assert!(until(100).lasts(Timestamp(99), hour));
        assert!(!until(100).lasts(Timestamp(100), hour));
        assert!(until(3700).lasts(Timestamp(100), hour));
        assert!(!until(3701).lasts(Timestamp(100), hour));
        assert!(!until(3700).lasts(Timestamp(100), hour / 2));
    }
}
