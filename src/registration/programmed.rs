//! When a policy counts everywhere. Pure.
//!
//! A policy is programmed once the registration that it needs was read back, and the greatest age of policies and a second
//! have passed since. From then on, every replica judges by it or by a later one, and the API server has had its time to
//! see the registration.

use std::collections::BTreeMap;
use std::time::Duration;

/// The time that the API server has to see a changed registration, beyond the age of policies.
const SECOND: Duration = Duration::from_secs(1);

/// The generations of policies that are on their way, by name.
#[derive(Debug, Default)]
pub(super) struct Programming {
    /// The generation, and when it was first seen together with the registration that it needs.
    seen: BTreeMap<String, (i64, Duration)>,
}

impl Programming {
    /// Takes what was listed before the registration was read back at this time, and found in place.
    pub(super) fn in_place(&mut self, listed: &[(&str, i64)], now: Duration) {
        self.seen.retain(|name, _| listed.iter().any(|(listed, _)| listed == name));
        for (name, generation) in listed {
            let seen = self.seen.entry((*name).to_owned()).or_insert((*generation, now));
            if seen.0 != *generation {
                *seen = (*generation, now);
            }
        }
    }

    /// Forgets everything: the registration is not in place, or another replica keeps it.
    pub(super) fn out_of_place(&mut self) {
        self.seen.clear();
    }

    /// Whether no replica judges by an older generation any more.
    pub(super) fn is_programmed(&self, name: &str, generation: i64, age: Duration, now: Duration) -> bool {
        self.seen.get(name).is_some_and(|(seen, since)| *seen == generation && now >= *since + age + SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(2);

    #[test]
    fn it_waits_for_the_age_of_policies_and_a_second() {
        let mut programming = Programming::default();
        let at = Duration::from_millis;
        let is = |programming: &Programming, generation, now| programming.is_programmed("a", generation, AGE, at(now));
        programming.in_place(&[("a", 1)], at(1000));
        assert!(!is(&programming, 1, 3999) && is(&programming, 1, 4000));
        // Seen again, the time goes on; another generation begins anew.
        programming.in_place(&[("a", 1)], at(3000));
        assert!(is(&programming, 1, 4000));
        programming.in_place(&[("a", 2)], at(5000));
        assert!(!is(&programming, 1, 9000) && !is(&programming, 2, 7999) && is(&programming, 2, 8000));
        programming.out_of_place();
        assert!(!is(&programming, 2, 9000), "the registration was changed by somebody");
        programming.in_place(&[("a", 2)], at(9000));
        programming.in_place(&[], at(9500));
        programming.in_place(&[("a", 2)], at(10_000));
        assert!(!is(&programming, 2, 12_999), "it was deleted and created again");
    }
}
