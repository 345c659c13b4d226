//! Several Services that flip together: one after the other, and all of them back where one is refused.

/// One Service of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has not been flipped.
    Open,
    /// It is flipped.
    Flipped,
    /// Somebody else has flipped it there.
    Theirs,
    /// It was flipped, and has gone back.
    Back,
    /// It was flipped and did not go back, for this reason.
    Stuck(String),
    /// Its flip failed, for this reason.
    Failed(String),
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Flip the Service with this index.
    Flip(usize),
    /// Take the flip of the Service with this index back.
    Back(usize),
    /// Nothing more.
    End,
}

/// A series of flips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series(Vec<State>);

impl Series {
    /// A series of so many Services.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(vec![State::Open; count])
    }

    /// The next step: forward in order; after a failure, back in the reverse order.
    #[must_use]
    pub fn next(&self) -> Step {
        let is = |wanted: fn(&State) -> bool| move |state: &State| wanted(state);
        if self.has_failed() {
            let flipped = self.0.iter().rposition(is(|state| *state == State::Flipped));
            return flipped.map_or(Step::End, Step::Back);
        }
        self.0.iter().position(is(|state| *state == State::Open)).map_or(Step::End, Step::Flip)
    }

    /// Takes the result of a step.
    pub fn set(&mut self, index: usize, state: State) {
        if let Some(own) = self.0.get_mut(index) {
            *own = state;
        }
    }

    /// Whether a flip failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.iter().any(|state| matches!(state, State::Failed(_)))
    }

    /// The states, in order.
    #[must_use]
    pub fn states(&self) -> &[State] {
        &self.0
    }
}

impl State {
    /// The word for programs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "unchanged",
            Self::Flipped => "flipped",
            Self::Theirs => "live-already",
            Self::Back => "flipped-back",
            Self::Stuck(_) => "stuck",
            Self::Failed(_) => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a series; the flip `fails`, and the way back of `stuck` too.
    fn played(count: usize, fails: Option<usize>, stuck: Option<usize>) -> (Vec<Step>, Series) {
        let (mut series, mut steps) = (Series::new(count), Vec::new());
        loop {
            let step = series.next();
            steps.push(step);
            assert!(steps.len() < 20, "it does not end");
            match step {
                Step::Flip(one) if fails == Some(one) => series.set(one, State::Failed("no".to_owned())),
                Step::Flip(one) => series.set(one, State::Flipped),
                Step::Back(one) if stuck == Some(one) => series.set(one, State::Stuck("no".to_owned())),
                Step::Back(one) => series.set(one, State::Back),
                Step::End => return (steps, series),
            }
        }
    }

    #[test]
    fn all_flip_in_order() {
        let (steps, series) = played(3, None, None);
        assert_eq!(steps, [Step::Flip(0), Step::Flip(1), Step::Flip(2), Step::End]);
        assert!(!series.has_failed() && series.states().iter().all(|state| *state == State::Flipped));
        assert_eq!(played(0, None, None).0, [Step::End]);
    }

    #[test]
    fn after_a_failure_they_go_back_in_reverse_order() {
        let (steps, series) = played(4, Some(2), None);
        assert_eq!(steps, [Step::Flip(0), Step::Flip(1), Step::Flip(2), Step::Back(1), Step::Back(0), Step::End]);
        let failed = State::Failed("no".to_owned());
        assert_eq!(series.states(), [State::Back, State::Back, failed, State::Open]);
    }

    #[test]
    fn the_flip_of_somebody_else_is_not_taken_back() {
        let mut series = Series::new(2);
        series.set(0, State::Theirs);
        series.set(1, State::Failed("no".to_owned()));
        assert_eq!(series.next(), Step::End);
    }

    #[test]
    fn one_that_is_stuck_does_not_hold_up_the_others() {
        let (steps, series) = played(3, Some(2), Some(1));
        assert_eq!(steps, [Step::Flip(0), Step::Flip(1), Step::Flip(2), Step::Back(1), Step::Back(0), Step::End]);
        assert_eq!(series.states()[..2], [State::Back, State::Stuck("no".to_owned())]);
    }
}
