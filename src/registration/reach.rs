//! When the API server was last seen to reach flipguard, and whether it stopped to. Pure.

use std::time::Duration;

use super::probe::NotReached;

/// The time between two probes while they are answered.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long probes have to fail before the API server counts as not reaching flipguard any more. A rolling update may
/// leave the Service without an endpoint for a few seconds.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// The results of the probes so far. The times are those since any fixed moment.
#[derive(Debug, Default)]
pub(super) struct Reach {
    answered: Option<Duration>,
    /// Since when probes fail, and why the last one did.
    failing: Option<(Duration, NotReached)>,
    lost: bool,
}

/// A change that is worth a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// The API server does not reach flipguard any more, for this reason.
    Lost(String),
    /// The API server reaches flipguard again.
    Back,
}

impl Reach {
    /// Whether the next probe of an established registration is due.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.failing.is_some() || self.answered.is_none_or(|at| now.saturating_sub(at) >= INTERVAL)
    }

    /// Notes the result of a probe.
    pub(super) fn note(&mut self, result: Result<(), NotReached>, now: Duration) -> Option<Turn> {
        let Err(why) = result else {
            self.answered = Some(now);
            self.failing = None;
            return std::mem::take(&mut self.lost).then_some(Turn::Back);
        };
        let (since, _) = self.failing.take().unwrap_or((now, why.clone()));
        let said = why.to_string();
        self.failing = Some((since, why));
        if self.lost || now.saturating_sub(since) < LOST_AFTER {
            return None;
        }
        self.lost = true;
        Some(Turn::Lost(said))
    }

    /// Why the API server does not reach flipguard any more; `None` while it does.
    pub(super) fn trouble(&self) -> Option<String> {
        self.failing.as_ref().filter(|_| self.lost).map(|(_, why)| why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_lost_after_half_a_minute_and_said_once() {
        let mut reach = Reach::default();
        let at = Duration::from_secs;
        let failed = || Err(NotReached::Unanswered);
        assert!(reach.is_due(at(0)));
        assert_eq!(reach.note(Ok(()), at(0)), None);
        assert!(!reach.is_due(at(14)) && reach.is_due(at(15)));
        assert_eq!(reach.note(failed(), at(15)), None);
        assert!(reach.is_due(at(16)), "a failed probe is sent again soon");
        assert_eq!((reach.note(failed(), at(44)), reach.trouble()), (None, None));
        let why = NotReached::Unanswered.to_string();
        assert_eq!(reach.note(failed(), at(45)), Some(Turn::Lost(why.clone())));
        assert_eq!((reach.note(failed(), at(60)), reach.trouble()), (None, Some(why)));
        assert_eq!((reach.note(Ok(()), at(63)), reach.trouble()), (Some(Turn::Back), None));
        // A short gap is not worth a word.
        assert_eq!(reach.note(failed(), at(80)), None);
        assert_eq!(reach.note(Ok(()), at(83)), None);
    }
}
