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

/// Takes the time from the `Date` header of an answer. The clock never goes back.
pub(super) fn observe(headers: &HeaderMap) {
    let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
    if let Some(date) = date.and_then(|text| httpdate::parse_http_date(text).ok()) {
        let seconds = OffsetDateTime::from(date).unix_timestamp();
        let _ = LATEST.try_with(|latest| latest.fetch_max(seconds, Ordering::Relaxed));
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
        fn answer(date: &'static str) -> HeaderMap {
            HeaderMap::from_iter([(header::DATE, HeaderValue::from_static(date))])
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(scoped(async {
            assert!(now().0 > 1_700_000_000, "the local time, before any answer");
            observe(&answer("Thu, 01 Jan 2015 00:00:10 GMT"));
            assert_eq!(now().0, 1_420_070_410);
            observe(&answer("Thu, 01 Jan 2015 00:00:05 GMT"));
            observe(&answer("not a date"));
            assert_eq!(now().0, 1_420_070_410, "it never goes back");
            let other_task = tokio::spawn(shared(async { observe(&answer("Thu, 01 Jan 2015 00:00:20 GMT")) }));
            other_task.await.unwrap();
            assert_eq!(now().0, 1_420_070_420, "another task of the same decision has moved it");
        }));
    }
}
