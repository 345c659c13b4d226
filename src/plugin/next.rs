//! What follows an answer to a flip, and what a Service that was read anew tells.

use super::answer::Answer;
use super::target::Move;
use crate::model::Service;

/// How somebody wants a flip to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Whether it waits for what may resolve by waiting.
    pub waits: bool,
    /// Whether time is left to wait.
    pub has_time: bool,
    /// How many answers were conflicts so far.
    pub conflicts: u32,
}

/// The conflicts after which a flip without `--wait` gives up.
const MOST_CONFLICTS: u32 = 10;

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is done.
    Done,
    /// Wait a little, then ask again. The reason is for people.
    Wait(String),
    /// Read the Service and ask again, at once.
    Again,
    /// Read the Service, since nobody knows whether the flip was made.
    Look(String),
    /// Stop.
    Stop(Ending, String),
}

/// How a command ends that was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was denied, or waiting is no use.
    Refused,
    /// It could not ask.
    Unasked,
    /// The time is up.
    TimeIsUp,
    /// Somebody has interrupted it.
    Interrupted,
}

impl Ending {
    /// The exit code. That of `timeout(1)` says that the time is up, and that of a shell that Ctrl-C was pressed.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Unasked => 2,
            Self::TimeIsUp => 124,
            Self::Interrupted => 130,
        }
    }

    /// The word for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "denied",
            Self::Unasked => "not-asked",
            Self::TimeIsUp => "time-is-up",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What follows an answer.
#[must_use]
pub fn after(answer: &Answer, course: Course) -> Next {
    let later = |reason: String, whole: &str, ending: Ending| match (course.waits, course.has_time) {
        (true, true) => Next::Wait(reason),
        (true, false) => Next::Stop(Ending::TimeIsUp, whole.to_owned()),
        (false, _) => Next::Stop(ending, whole.to_owned()),
    };
    match answer {
        Answer::Done => Next::Done,
        Answer::Refused(refusal) if refusal.may_pass => later(refusal.in_a_line(), &refusal.message, Ending::Refused),
        Answer::Refused(refusal) => Next::Stop(Ending::Refused, refusal.message.clone()),
        Answer::Busy(why) => later(first_line(why), why, Ending::Unasked),
        Answer::Conflict if course.waits && !course.has_time => Next::Stop(Ending::TimeIsUp, CHANGES.to_owned()),
        Answer::Conflict if !course.waits && course.conflicts >= MOST_CONFLICTS => {
            Next::Stop(Ending::Unasked, CHANGES.to_owned())
        }
        Answer::Conflict => Next::Again,
        Answer::Gone(why) | Answer::Invalid(why) => Next::Stop(Ending::Refused, why.clone()),
        Answer::NotPermitted(why) => Next::Stop(Ending::Unasked, why.clone()),
        Answer::Lost(why) => Next::Look(why.clone()),
    }
}

/// Whether a dry run asks first. While a flip waits, its denials are neither in the ledger nor in the metrics. The last
/// attempt is a real one, so that the whole denial is shown.
#[must_use]
pub fn tries_first(was_refused: bool, course: Course) -> bool {
    was_refused && course.waits && course.has_time
}

const CHANGES: &str = "the Service changes all the time, each time before the flip arrives";

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// What a Service that was read anew says about a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is where the flip begins.
    Before,
    /// It is where the flip leads to.
    There,
    /// Somebody else has changed its selector.
    Elsewhere,
    /// It was deleted and created again.
    Replaced,
}

/// Compares a Service with the flip, and with the uid that it had when the flip was planned.
#[must_use]
pub fn seen(planned: &Move, uid: &str, now: &Service) -> Seen {
    if now.meta.uid != uid {
        Seen::Replaced
    } else if *now.routed() == planned.from {
        Seen::Before
    } else if *now.routed() == planned.to {
        Seen::There
    } else {
        Seen::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Selector;
    use crate::plugin::answer::Refusal;

    const COURSE: Course = Course { waits: false, has_time: false, conflicts: 0 };
    const WAITS: Course = Course { waits: true, has_time: true, conflicts: 0 };
    const LATE: Course = Course { waits: true, has_time: false, conflicts: 0 };

    fn refused(may_pass: bool) -> Answer {
        let (codes, reasons) = (vec!["c".to_owned()], vec!["c: so".to_owned()]);
        Answer::Refused(Refusal { codes, reasons, message: "all of it".to_owned(), may_pass })
    }

    #[test]
    fn it_waits_for_what_may_resolve_and_for_nothing_else() {
        let all = "all of it".to_owned();
        assert_eq!(after(&refused(true), WAITS), Next::Wait("c: so".to_owned()));
        assert_eq!(after(&refused(true), LATE), Next::Stop(Ending::TimeIsUp, all.clone()));
        for course in [COURSE, WAITS, LATE] {
            assert_eq!(after(&refused(false), course), Next::Stop(Ending::Refused, all.clone()));
        }
        assert_eq!(after(&refused(true), COURSE), Next::Stop(Ending::Refused, all));
    }

    #[test]
    fn who_is_busy_is_asked_again() {
        let busy = Answer::Busy("slow down\nplease".to_owned());
        assert_eq!(after(&busy, WAITS), Next::Wait("slow down".to_owned()));
        assert_eq!(after(&busy, LATE), Next::Stop(Ending::TimeIsUp, "slow down\nplease".to_owned()));
        assert_eq!(after(&busy, COURSE), Next::Stop(Ending::Unasked, "slow down\nplease".to_owned()));
        assert_eq!(after(&Answer::Lost("gone".to_owned()), COURSE), Next::Look("gone".to_owned()));
    }

    #[test]
    fn a_conflict_is_read_anew_but_not_for_ever() {
        assert_eq!(after(&Answer::Conflict, COURSE), Next::Again);
        assert_eq!(after(&Answer::Conflict, WAITS), Next::Again);
        let often = Course { conflicts: MOST_CONFLICTS, ..COURSE };
        assert_eq!(after(&Answer::Conflict, often), Next::Stop(Ending::Unasked, CHANGES.to_owned()));
        assert_eq!(after(&Answer::Conflict, LATE), Next::Stop(Ending::TimeIsUp, CHANGES.to_owned()));
    }

    #[test]
    fn what_nobody_can_mend_by_waiting_ends_it() {
        for (answer, ending) in [
            (Answer::NotPermitted("m".to_owned()), Ending::Unasked),
            (Answer::Gone("m".to_owned()), Ending::Refused),
            (Answer::Invalid("m".to_owned()), Ending::Refused),
        ] {
            assert_eq!(after(&answer, WAITS), Next::Stop(ending, "m".to_owned()));
        }
    }

    #[test]
    fn the_first_and_the_last_attempt_are_real() {
        assert!(!tries_first(false, WAITS) && tries_first(true, WAITS) && !tries_first(true, LATE));
        assert!(!tries_first(true, COURSE));
    }

    #[test]
    fn another_flip_is_noticed() {
        let selector = |colour: &str| Selector::new([("color".to_owned(), colour.to_owned())].into());
        let planned = Move {
            from: selector("blue"),
            to: selector("green"),
            from_colour: "blue".to_owned(),
            to_colour: "green".to_owned(),
        };
        let service = |colour: &str| {
            let mut service = Service { selector: selector(colour), ..Service::default() };
            service.meta.uid = "1".to_owned();
            service
        };
        assert_eq!(seen(&planned, "1", &service("blue")), Seen::Before);
        assert_eq!(seen(&planned, "1", &service("green")), Seen::There);
        assert_eq!(seen(&planned, "1", &service("red")), Seen::Elsewhere);
        assert_eq!(seen(&planned, "2", &service("blue")), Seen::Replaced);
    }
}
