//! Decides the next step for the certificates. Pure: the caller passes the clock and its observations.
//!
//! A leaf may be served only once every API server trusts the authority that signed it. So an authority moves in three
//! steps, each of them one write of the Secret:
//!
//! ```text
//! publish   a next authority is added beside the current one; the registration trusts both
//! promote   every API server trusts both: the next one becomes current and signs a leaf; the old one is still trusted
//! retire    every replica serves the new leaf: the old one is removed
//! ```
//!
//! A new leaf of the same authority is trusted already, and is served at once.

use time::{Duration, OffsetDateTime};

/// The validity of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// `notBefore`.
    pub from: OffsetDateTime,
    /// `notAfter`.
    pub until: OffsetDateTime,
}

/// An authority in the Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// The validity of its certificate.
    pub life: Life,
    /// Whether its key is stored and belongs to the certificate.
    pub signs: bool,
}

/// The leaf in the Secret, whose key belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The validity of the certificate.
    pub life: Life,
    /// Whether the current authority signed it.
    pub ours: bool,
    /// Whether it holds all the names that the API server may call.
    pub names: bool,
}

/// The content of the Secret. A part that cannot be read counts as missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// Whether a usable token is stored.
    pub token: bool,
    /// The authority that signs.
    pub current: Option<Authority>,
    /// The authority that signs after the current one.
    pub next: Option<Authority>,
    /// Whether the authority before is still trusted.
    pub old: bool,
    /// The certificate that replicas serve.
    pub leaf: Option<Leaf>,
    /// Whether an admin requests a new authority.
    pub rotate: bool,
}

/// What this process has observed itself. A restart forgets it, which only delays the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// Whether this process remembers an identity that is usable now.
    pub remembered: bool,
    /// For how long all registered webhooks have trusted the next authority.
    pub next_out: Option<Duration>,
    /// For how long the stored leaf has been unchanged.
    pub leaf_out: Duration,
}

/// How long to wait for API servers and replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// Until every API server has read a changed registration.
    pub propagation: Duration,
    /// Until every replica serves the stored leaf. It is longer, since each replica waits for the API servers first.
    pub linger: Duration,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Change nothing.
    Keep,
    /// Sign a new leaf with the current authority.
    Renew,
    /// Add a new authority beside the current one, and trust both.
    Publish,
    /// Let the next authority sign the leaf, and still trust the old one.
    Promote,
    /// Stop trusting the old authority.
    Retire,
    /// Write the remembered identity again.
    Restore,
    /// Issue everything anew. Calls fail until the API servers have read the new registration.
    Issue,
}

impl Step {
    /// The name of the step in log lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Renew => "renew",
            Self::Publish => "publish",
            Self::Promote => "promote",
            Self::Retire => "retire",
            Self::Restore => "restore",
            Self::Issue => "issue",
        }
    }
}

impl Life {
    /// Whether the certificate is valid at this time.
    #[must_use]
    pub fn holds(&self, now: OffsetDateTime) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether two thirds of the validity are over.
    #[must_use]
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        now >= self.from + (self.until - self.from) * 2 / 3
    }
}

impl Authority {
    fn can_sign(&self, now: OffsetDateTime) -> bool {
        self.signs && self.life.holds(now)
    }
}

/// The next step.
#[must_use]
pub fn plan(stored: &Stored, observed: &Observed, delays: Delays, now: OffsetDateTime) -> Step {
    let lost = if observed.remembered { Step::Restore } else { Step::Issue };
    if !stored.token {
        return lost;
    }
    let current = stored.current.filter(|current| current.can_sign(now));
    let next = stored.next.filter(|next| next.can_sign(now));
    let Some(leaf) = stored.leaf.filter(|leaf| leaf.ours && leaf.life.holds(now)) else {
        // No client can trust the served leaf. The fastest remedy is the best one.
        return match (current, next) {
            (Some(_), _) => Step::Renew,
            (None, _) if observed.remembered => Step::Restore,
            (None, Some(_)) => Step::Promote,
            (None, None) => Step::Issue,
        };
    };
    if current.is_some() && (leaf.life.is_due(now) || !leaf.names) {
        return Step::Renew;
    }
    if stored.old {
        // One rotation at a time, so that the bundle holds two authorities at most.
        return if observed.leaf_out >= delays.linger { Step::Retire } else { Step::Keep };
    }
    if next.is_some() {
        return if observed.next_out.is_some_and(|out| out >= delays.propagation) { Step::Promote } else { Step::Keep };
    }
    if stored.rotate || current.is_none_or(|current| current.life.is_due(now)) { Step::Publish } else { Step::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: Delays = Delays { propagation: Duration::MINUTE, linger: Duration::minutes(3) };

    fn day(day: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::days(20_000 + day)
    }

    fn life(from: i64, until: i64) -> Life {
        Life { from: day(from), until: day(until) }
    }

    /// Day 0: an authority for 3650 days, a leaf for 365.
    fn fresh() -> Stored {
        Stored {
            token: true,
            current: Some(Authority { life: life(0, 3650), signs: true }),
            next: None,
            old: false,
            leaf: Some(Leaf { life: life(0, 365), ours: true, names: true }),
            rotate: false,
        }
    }

    fn with(change: impl FnOnce(&mut Stored)) -> Stored {
        let mut stored = fresh();
        change(&mut stored);
        stored
    }

    fn authority(from: i64, signs: bool) -> Authority {
        Authority { life: life(from, from + 3650), signs }
    }

    const NOTHING: Observed = Observed { remembered: false, next_out: None, leaf_out: Duration::ZERO };
    const REMEMBERS: Observed = Observed { remembered: true, ..NOTHING };
    const LONG: Observed =
        Observed { remembered: true, next_out: Some(Duration::MINUTE), leaf_out: Duration::minutes(3) };
    const SHORT: Observed =
        Observed { remembered: true, next_out: Some(Duration::seconds(59)), leaf_out: Duration::seconds(179) };

    #[test]
    fn every_state_and_clock() {
        use Step::{Issue, Keep, Promote, Publish, Renew, Restore, Retire};
        let leaf_only = |leaf: Leaf| with(|s| s.leaf = Some(leaf));
        let rows: Vec<(&str, Stored, Observed, i64, Step)> = vec![
            // A whole Secret, by the clock.
            ("it is fresh", fresh(), NOTHING, 1, Keep),
            ("just before two thirds of the leaf", fresh(), LONG, 243, Keep),
            ("after two thirds of the leaf", fresh(), NOTHING, 244, Renew),
            ("the leaf has ended: all slept for a year", fresh(), NOTHING, 366, Renew),
            ("the leaf has ended, and one remembers it", fresh(), NOTHING, 400, Renew),
            ("the clock was ahead when it was issued", fresh(), REMEMBERS, -1, Restore),
            ("nothing is valid yet, and nobody remembers", fresh(), NOTHING, -1, Issue),
            ("a name is missing", leaf_only(Leaf { life: life(0, 365), ours: true, names: false }), LONG, 1, Renew),
            (
                "somebody put in a leaf of their own",
                leaf_only(Leaf { life: life(0, 365), ours: false, names: true }),
                LONG,
                1,
                Renew,
            ),
            // The authority's own age.
            ("just before two thirds of it", leaf_only(leaf(2400)), NOTHING, 2433, Keep),
            ("two thirds of it are over", leaf_only(leaf(2400)), NOTHING, 2434, Publish),
            ("both are due: the leaf first", leaf_only(leaf(2000)), NOTHING, 2434, Renew),
            ("it has ended, and so has all else", leaf_only(leaf(3200)), NOTHING, 3651, Issue),
            ("it has ended, and one remembers better", leaf_only(leaf(3200)), REMEMBERS, 3651, Restore),
            ("it has ended under a good leaf", leaf_only(leaf(3600)), NOTHING, 3651, Publish),
            ("somebody asked for a new one", with(|s| s.rotate = true), NOTHING, 1, Publish),
            // A next authority.
            ("nobody has seen it out", with(|s| s.next = Some(authority(0, true))), NOTHING, 1, Keep),
            ("not for long enough", with(|s| s.next = Some(authority(0, true))), SHORT, 1, Keep),
            ("long enough", with(|s| s.next = Some(authority(0, true))), LONG, 1, Promote),
            (
                "it cannot sign: another one",
                with(|s| (s.next, s.rotate) = (Some(authority(0, false)), true)),
                LONG,
                1,
                Publish,
            ),
            ("it cannot sign, and nobody needs it", with(|s| s.next = Some(authority(0, false))), LONG, 1, Keep),
            ("it is not valid yet", with(|s| (s.next, s.rotate) = (Some(authority(2, true)), true)), LONG, 1, Publish),
            ("the leaf is due meanwhile", with(|s| s.next = Some(authority(200, true))), SHORT, 250, Renew),
            ("the leaf has ended meanwhile", with(|s| s.next = Some(authority(200, true))), SHORT, 366, Renew),
            (
                "the current one has lost its key: it is no worse off",
                with(|s| (s.current, s.next) = (Some(authority(0, false)), Some(authority(0, true)))),
                SHORT,
                1,
                Keep,
            ),
            (
                "and without a good leaf, the next one is all there is",
                with(|s| (s.current, s.next, s.leaf) = (Some(authority(0, false)), Some(authority(0, true)), None)),
                NOTHING,
                1,
                Promote,
            ),
            // An old authority.
            ("not everybody serves the new leaf yet", with(|s| s.old = true), SHORT, 1, Keep),
            ("everybody does", with(|s| s.old = true), LONG, 1, Retire),
            ("the next move waits for the end of this one", with(|s| (s.old, s.rotate) = (true, true)), SHORT, 1, Keep),
            (
                "by hand, both: the old one goes first",
                with(|s| (s.old, s.next) = (true, Some(authority(0, true)))),
                LONG,
                1,
                Retire,
            ),
            ("the leaf is due first", with(|s| s.old = true), LONG, 250, Renew),
            // Parts are missing.
            ("empty, at the first start", Stored::default(), NOTHING, 1, Issue),
            ("deleted under a running replica", Stored::default(), REMEMBERS, 1, Restore),
            ("no token", with(|s| s.token = false), NOTHING, 1, Issue),
            ("no token, but one remembers it", with(|s| s.token = false), REMEMBERS, 1, Restore),
            ("no leaf", with(|s| s.leaf = None), NOTHING, 1, Renew),
            ("no leaf, but one remembers it", with(|s| s.leaf = None), REMEMBERS, 1, Renew),
            ("no authority", with(|s| s.current = None), NOTHING, 1, Publish),
            ("the authority has lost its key", with(|s| s.current = Some(authority(0, false))), NOTHING, 1, Publish),
            ("and the leaf is due", with(|s| s.current = Some(authority(0, false))), NOTHING, 250, Publish),
            (
                "and the leaf is gone",
                with(|s| (s.current, s.leaf) = (Some(authority(0, false)), None)),
                NOTHING,
                1,
                Issue,
            ),
            (
                "but one remembers",
                with(|s| (s.current, s.leaf) = (Some(authority(0, false)), None)),
                REMEMBERS,
                1,
                Restore,
            ),
        ];
        for (what, stored, seen, at, expected) in rows {
            assert_eq!(plan(&stored, &seen, DELAYS, day(at)), expected, "{what}");
        }
    }

    fn leaf(from: i64) -> Leaf {
        Leaf { life: life(from, from + 365), ours: true, names: true }
    }

    /// Fifty years of a cluster whose replicas restart and see things late: at no time is a leaf served that an API
    /// server does not trust, and what has to be renewed is.
    #[test]
    fn fifty_years_without_a_gap() {
        // Which authorities the API server trusts, and which one signed what the replicas serve; by number.
        let mut stored = Stored::default();
        let (mut current, mut newest) = (0_u32, 0_u32);
        let (mut trusted, mut served) = (Vec::new(), 0);
        let (mut stored_since, mut out_since) = (0_i64, None);
        let mut authorities = 0;
        // Hours; a replica looks once an hour, and others follow within two.
        let delays = Delays { propagation: Duration::hours(3), linger: Duration::hours(6) };
        for hour in 0..50 * 365 * 24_i64 {
            let now = OffsetDateTime::UNIX_EPOCH + Duration::hours(hour);
            let lives = |days: i64| Life { from: now, until: now + Duration::days(days) };
            // Every 97 hours a restart forgets what was observed.
            if hour % 97 == 0 {
                (stored_since, out_since) = (hour, None);
            }
            if stored.next.is_some() && trusted.contains(&newest) {
                out_since.get_or_insert(hour);
            }
            let seen = Observed {
                remembered: false,
                next_out: out_since.map(|since| Duration::hours(hour - since)),
                leaf_out: Duration::hours(hour - stored_since),
            };
            let step = plan(&stored, &seen, delays, now);
            match step {
                Step::Keep => {}
                Step::Restore => panic!("nobody remembers"),
                Step::Renew => stored.leaf = Some(Leaf { life: lives(365), ours: true, names: true }),
                Step::Publish => {
                    newest += 1;
                    authorities += 1;
                    stored.next = Some(Authority { life: lives(3650), signs: true });
                    out_since = None;
                }
                Step::Promote => {
                    stored.current = stored.next.take();
                    stored.old = true;
                    stored.leaf = Some(Leaf { life: lives(365), ours: true, names: true });
                    (current, stored_since) = (newest, hour);
                }
                Step::Retire => stored.old = false,
                Step::Issue => {
                    assert_eq!(hour, 0, "only the first start makes everything new");
                    stored.token = true;
                    stored.current = Some(Authority { life: lives(3650), signs: true });
                    stored.leaf = Some(Leaf { life: lives(365), ours: true, names: true });
                    trusted = vec![0];
                }
            }
            // The replicas serve it an hour late, the registration follows two hours late.
            if hour - stored_since >= 1 {
                served = current;
            }
            if hour % 2 == 0 {
                trusted = (0..=newest)
                    .filter(|number| {
                        *number == current
                            || (stored.next.is_some() && *number == newest)
                            || (stored.old && number + 1 == current)
                    })
                    .collect();
            }
            assert!(trusted.contains(&served), "hour {hour}: {served} is served, {trusted:?} are trusted");
            assert!(stored.leaf.unwrap().life.holds(now) && stored.current.unwrap().life.holds(now), "hour {hour}");
        }
        assert_eq!(authorities, 7, "one every two thirds of ten years");
    }
}
