//! What a judged change leaves in the ledger, and whether it is to be withdrawn after the answer.

use super::Intent;
use crate::rules::Outcome;

/// What a judged change has left in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// Nothing.
    Nothing,
    /// The intent of an allowed change that stays, whatever becomes of the answer: without one, the API server may admit
    /// the change.
    Admitted(Intent),
    /// The intent of an allowed change. Without an answer, the API server denies the change.
    Pending(Intent),
    /// Perhaps the intent of a denied change: its withdrawal failed, or nobody knows whether it was written.
    Stray(Intent),
}

impl Leftover {
    /// What a change leaves. `may_be_written` says whether the attempt broke off while its intent may be in the ledger.
    /// `may_pass` says whether the API server may admit the change without an answer.
    #[must_use]
    pub fn of(intent: Option<Intent>, outcome: Outcome, may_be_written: bool, may_pass: bool) -> Self {
        match (intent, outcome) {
            (Some(intent), Outcome::Allowed) if may_pass => Self::Admitted(intent),
            (Some(intent), Outcome::Allowed) => Self::Pending(intent),
            (Some(intent), outcome) if outcome != Outcome::Allowed && may_be_written => Self::Stray(intent),
            _ => Self::Nothing,
        }
    }

    /// The intent to withdraw after the answer.
    #[must_use]
    pub fn to_withdraw(self, is_delivered: bool) -> Option<Withdrawal> {
        match self {
            Self::Pending(intent) if !is_delivered => Some(Withdrawal { intent, may_arrive: false }),
            Self::Stray(intent) => Some(Withdrawal { intent, may_arrive: true }),
            Self::Pending(_) | Self::Admitted(_) | Self::Nothing => None,
        }
    }

    /// The intent to withdraw before the change is judged again: whatever there is.
    #[must_use]
    pub fn to_judge_again(self) -> Option<Withdrawal> {
        match self {
            Self::Pending(intent) | Self::Admitted(intent) => Some(Withdrawal { intent, may_arrive: false }),
            Self::Stray(intent) => Some(Withdrawal { intent, may_arrive: true }),
            Self::Nothing => None,
        }
    }
}

/// The withdrawal of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The intent.
    pub intent: Intent,
    /// Whether the write of the intent may still arrive, so that the ledger is to be read again.
    pub may_arrive: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{IntendedChange, ObjectRef};
    use crate::model::Timestamp;

    #[test]
    fn what_is_withdrawn() {
        let intent = Intent {
            ids: vec!["a".to_owned()],
            object: ObjectRef::service("app"),
            uid: "u".to_owned(),
            base: "1".to_owned(),
            effect: IntendedChange::Gone { selector: None },
            user: String::new(),
            manager: String::new(),
            at: Timestamp(0),
            is_crowded: false,
        };
        let withdrawn = |outcome, may_be_written, may_pass, is_delivered| {
            let left = Leftover::of(Some(intent.clone()), outcome, may_be_written, may_pass);
            left.to_withdraw(is_delivered).map(|withdrawal| withdrawal.may_arrive)
        };
        assert_eq!(withdrawn(Outcome::Allowed, false, false, true), None);
        assert_eq!(withdrawn(Outcome::Allowed, false, false, false), Some(false));
        assert_eq!(withdrawn(Outcome::Allowed, false, true, false), None, "the API server may go on");
        assert_eq!(withdrawn(Outcome::Denied, false, false, false), None, "the attempt has withdrawn it");
        assert_eq!(withdrawn(Outcome::Denied, true, false, true), Some(true));
        assert_eq!(Leftover::of(None, Outcome::Denied, true, false), Leftover::Nothing);
        let again = |may_pass| Leftover::of(Some(intent.clone()), Outcome::Allowed, false, may_pass).to_judge_again();
        assert!(again(false).is_some() && again(true).is_some(), "judged again, it writes an intent of its own");
    }
}
