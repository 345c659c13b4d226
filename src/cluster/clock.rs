//! The API server's clock, as its answers to one decision show it.
//!
//! A decision compares times of objects, which the API server wrote, with the same server's time: two clocks of two
//! machines are never compared.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::{HeaderMap, header};
use time::OffsetDateTime;

use crate::model::Timestamp;

tokio::task_local! {
    /// The latest `Date` of an answer, in Unix seconds; 0 before the first answer.
    static LATEST: Arc<AtomicI64>;
}

/// Runs a future with a clock of its own.
pub(super) fn scoped<F: Future>(future: F) -> impl Future<Output = F::Output> {
    LATEST.scope(Arc::default(), future)
}

/// Runs a future of another task with the clock of this one.
pub(super) fn shared<F: Future>(future: F) -> impl Future<Output = F::Output> {
    LATEST.scope(LATEST.try_with(Arc::clone).unwrap_or_default(), future)
}

/// The `Date` header of an answer, in Unix seconds.
pub(super) fn date(headers: &HeaderMap) -> Option<i64> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    httpdate::parse_http_date(date).ok().map(|date| OffsetDateTime::from(date).unix_timestamp())
}

/// Takes the time of an answer. The clock never goes back.
pub(super) fn observe(seconds: i64) {
    let _ = LATEST.try_with(|latest| latest.fetch_max(seconds, Ordering::Relaxed));
}

/// How far this machine's clock is from the API server's, as of the latest answer to this process.
#[derive(Debug)]
pub struct ClockDifference(AtomicI64);

/// Before the first answer.
const UNKNOWN: i64 = i64::MIN;

impl Default for ClockDifference {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl ClockDifference {
    /// The largest difference with which certificates are issued, in seconds. They are valid from five minutes before
    /// they are issued.
    pub const MAX: i64 = 300;

    /// The difference in seconds, positive where this clock is ahead; `None` before the first answer.
    #[must_use]
    pub fn seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != UNKNOWN)
    }

    /// The difference where it is too large, in words that stay the same: `more than 5 min ahead of the API server's`.
    #[must_use]
    pub fn too_large(&self) -> Option<String> {
        let seconds = self.seconds().filter(|seconds| seconds.abs() > Self::MAX)?;
        let (minutes, side) = (Self::MAX / 60, if seconds < 0 { "behind" } else { "ahead of" });
        Some(format!("more than {minutes} min {side} the API server's"))
    }

    /// Takes the time of an answer, in Unix seconds.
    pub(crate) fn observe(&self, there: i64) {
        self.0.store(OffsetDateTime::now_utc().unix_timestamp().saturating_sub(there), Ordering::Relaxed);
    }
}

/// The API server's time as of its latest answer to this decision; the local time before the first answer.
#[must_use]
pub fn now() -> Timestamp {
    let latest = LATEST.try_with(|latest| latest.load(Ordering::Relaxed)).unwrap_or(0);
    Timestamp(if latest == 0 { OffsetDateTime::now_utc().unix_timestamp() } else { latest })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_latest_answer_tells_the_time() {
        fn answered(text: &'static str) {
            if let Some(date) = date(&HeaderMap::from_iter([(header::DATE, HeaderValue::from_static(text))])) {
                observe(date);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(scoped(async {
            assert!(now().0 > 1_700_000_000, "the local time, before any answer");
            answered("Thu, 01 Jan 2015 00:00:10 GMT");
            assert_eq!(now().0, 1_420_070_410);
            answered("Thu, 01 Jan 2015 00:00:05 GMT");
            answered("not a date");
            assert_eq!(now().0, 1_420_070_410, "it never goes back");
            let other_task = tokio::spawn(shared(async { answered("Thu, 01 Jan 2015 00:00:20 GMT") }));
            other_task.await.unwrap();
            assert_eq!(now().0, 1_420_070_420, "another task of the same decision has moved it");
        }));
    }

    #[test]
    fn a_difference_is_too_large_from_five_minutes_on() {
        let clock = ClockDifference::default();
        assert_eq!((clock.seconds(), clock.too_large()), (None, None));
        let now = OffsetDateTime::now_utc().unix_timestamp();
        clock.observe(now - 290);
        assert_eq!(clock.too_large(), None);
        clock.observe(now - 400);
        assert_eq!(clock.too_large().as_deref(), Some("more than 5 min ahead of the API server's"));
        clock.observe(now + 400);
        assert_eq!(clock.too_large().as_deref(), Some("more than 5 min behind the API server's"));
    }
}
