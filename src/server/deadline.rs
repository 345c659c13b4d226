//! The deadline of a review. The API server sends it in the query: `?timeout=5s`.

use std::time::Duration;

/// The timeout where the query has none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest timeout of a webhook (API reference, `ValidatingWebhook.timeoutSeconds`).
const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// The part of the timeout that is kept for sending the answer.
const MARGIN: Duration = Duration::from_millis(250);

/// The longest time that the reads for a review may take.
pub(super) fn time_for_reads(query: Option<&str>) -> Duration {
    let given = query
        .unwrap_or("")
        .split('&')
        .find_map(|pair| pair.strip_prefix("timeout="))
        .and_then(parse)
        .unwrap_or(DEFAULT_TIMEOUT)
        .min(MAX_TIMEOUT);
    given.saturating_sub(MARGIN.min(given / 4))
}

/// Parses a duration of one unit, as Go prints it: `5s`, `1.5s`, `500ms`.
fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let seconds = number.parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_sets_the_time() {
        let millis = |query| time_for_reads(query).as_millis();
        assert_eq!(millis(Some("timeout=5s")), 4750);
        assert_eq!(millis(Some("a=b&timeout=1s")), 750);
        assert_eq!(millis(Some("timeout=400ms")), 300);
        assert_eq!(millis(None), 4750);
        assert_eq!(millis(Some("timeout=soon")), 4750);
        assert_eq!(millis(Some("timeout=-1s")), 4750);
        assert_eq!(millis(Some("timeout=9999s")), 29_750);
    }
}
