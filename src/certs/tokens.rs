//! The tokens at the end of the registered paths: the accepted ones, the one to register, and its exchange. Pure: the
//! caller passes the clock, and the time since the process started.
//!
//! A review with an unknown token is not answered. So a token moves in three steps, as an authority does:
//!
//! ```text
//! exchange   a new token is stored beside the old one, and every replica accepts both
//! register   a minute later, the registration names the new one
//! retire     the registration has not named the old one for ten minutes: it is removed, and not accepted any more
//! ```

use std::time::Duration;

use time::OffsetDateTime;

/// The time from one exchange to the next.
const LIFE: time::Duration = time::Duration::DAY;
/// The largest number of former tokens that are accepted at the same time. Only edits by hand reach it.
const MAX_FORMER: usize = 7;
/// The shortest token that is accepted, in characters. A shorter one was truncated or written by hand.
const MIN_LENGTH: usize = 32;

/// The tokens in the Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredTokens<'a> {
    /// The token to register.
    pub current: &'a str,
    /// The token before, while it is accepted; else empty.
    pub old: &'a str,
    /// When the current one was issued, by the clock of the replica that did it.
    pub issued: Option<OffsetDateTime>,
    /// Whether an admin requests an exchange.
    pub requested: bool,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStep {
    /// Change nothing.
    Keep,
    /// Store a new token, and the current one as the old one.
    Exchange,
    /// Remove the old token.
    Retire,
}

/// How long to wait for API servers and replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDelays {
    /// Until every API server has read a changed registration, and every replica a changed Secret.
    pub propagation: Duration,
    /// Until a token that the registration does not name is dropped.
    pub linger: Duration,
}

/// The tokens that one replica accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    current: String,
    /// Since when this replica accepts the current one; `None` if all replicas have accepted it for long enough.
    since: Option<Duration>,
    /// The former ones, the newest first.
    former: Vec<Former>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Former {
    token: String,
    /// Since when the registration does not name it.
    unnamed: Option<Duration>,
}

impl Tokens {
    /// The tokens of a replica that starts now.
    #[must_use]
    pub fn start(stored: &StoredTokens<'_>, delays: TokenDelays, now: OffsetDateTime) -> Self {
        // Twice the time, since the clocks of two replicas differ.
        let is_new = stored.issued.is_some_and(|issued| (now - issued).abs() < delays.propagation * 2);
        let mut tokens =
            Self { current: stored.current.to_owned(), since: is_new.then_some(Duration::ZERO), former: Vec::new() };
        tokens.add_old(stored);
        tokens
    }

    /// Takes over the content of the Secret, and the tokens that the registration names; `None` where it cannot be read.
    pub fn observe(&mut self, stored: &StoredTokens<'_>, named: Option<&[String]>, delays: TokenDelays, at: Duration) {
        if is_token(stored.current) && stored.current != self.current {
            let before = std::mem::replace(&mut self.current, stored.current.to_owned());
            self.former.insert(0, Former { token: before, unnamed: None });
            self.former.retain(|former| former.token != stored.current);
            self.since = Some(at);
        }
        self.add_old(stored);
        let Some(named) = named else { return };
        for former in &mut self.former {
            former.unnamed = if named.contains(&former.token) { None } else { former.unnamed.or(Some(at)) };
        }
        self.former.retain(|former| {
            former.token == stored.old || former.unnamed.is_none_or(|since| at.saturating_sub(since) < delays.linger)
        });
        self.former.truncate(MAX_FORMER);
    }

    fn add_old(&mut self, stored: &StoredTokens<'_>) {
        let known = self.current == stored.old || self.former.iter().any(|former| former.token == stored.old);
        if is_token(stored.old) && !known {
            self.former.push(Former { token: stored.old.to_owned(), unnamed: None });
        }
    }

    /// All accepted tokens.
    #[must_use]
    pub fn accepted(&self) -> Vec<String> {
        std::iter::once(&self.current).chain(self.former.iter().map(|former| &former.token)).cloned().collect()
    }

    /// The token to register: the current one, once the other replicas have had the time to accept it.
    #[must_use]
    pub fn to_register(&self, named: Option<&[String]>, delays: TokenDelays, at: Duration) -> &str {
        let is_named = |token: &String| named.is_some_and(|named| named.contains(token));
        let is_out = self.since.is_none_or(|since| at.saturating_sub(since) >= delays.propagation);
        if is_out || is_named(&self.current) {
            return &self.current;
        }
        let former = self.former.iter().map(|former| &former.token);
        former.clone().find(|token| is_named(token)).or(former.clone().next()).unwrap_or(&self.current)
    }

    /// The next step of the exchange.
    #[must_use]
    pub fn next_step(
        &self,
        stored: &StoredTokens<'_>,
        delays: TokenDelays,
        now: OffsetDateTime,
        at: Duration,
    ) -> TokenStep {
        if !is_token(stored.current) {
            return TokenStep::Keep;
        }
        let old = self.former.iter().find(|former| former.token == stored.old);
        let unnamed_for = old.and_then(|old| old.unnamed).map(|since| at.saturating_sub(since));
        if unnamed_for.is_some_and(|unnamed| unnamed >= delays.linger) {
            return TokenStep::Retire;
        }
        // A time far ahead was written by a wrong clock.
        let is_due = stored.issued.is_none_or(|issued| (now - issued).abs() >= LIFE);
        let is_free = old.is_none() || unnamed_for.is_some_and(|unnamed| unnamed >= delays.propagation);
        if (stored.requested && is_free) || (is_due && old.is_none()) { TokenStep::Exchange } else { TokenStep::Keep }
    }
}

/// Whether a text is long enough to be a token, and can be a segment of a path.
#[must_use]
pub fn is_token(text: &str) -> bool {
    text.len() >= MIN_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: TokenDelays = TokenDelays { propagation: Duration::from_secs(60), linger: Duration::from_secs(600) };

    fn token(number: usize) -> String {
        format!("{number:032x}")
    }

    fn clock(seconds: u64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000) + Duration::from_secs(seconds)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A Secret with the token of this number, which was issued at this time, and perhaps an old one.
    fn stored<'a>(current: &'a str, old: &'a str, issued: u64) -> StoredTokens<'a> {
        StoredTokens { current, old, issued: Some(clock(issued)), requested: false }
    }

    #[test]
    fn an_exchange_is_due_after_a_day_or_on_request() {
        let (one, two) = (token(1), token(2));
        let step = |stored: &StoredTokens<'_>, unnamed: Option<u64>, now: u64| {
            let mut tokens = Tokens::start(stored, DELAYS, clock(now));
            for former in &mut tokens.former {
                former.unnamed = unnamed.map(|unnamed| at(10_000 - unnamed));
            }
            tokens.next_step(stored, DELAYS, clock(now), at(10_000))
        };
        let day = 24 * 3600;
        let plain = stored(&two, "", 0);
        assert_eq!(step(&plain, None, day - 1), TokenStep::Keep);
        assert_eq!(step(&plain, None, day), TokenStep::Exchange);
        assert_eq!(step(&StoredTokens { issued: None, ..plain }, None, 0), TokenStep::Exchange, "of an older version");
        assert_eq!(step(&stored(&two, "", day - 1), None, 0), TokenStep::Keep, "a clock that is behind");
        assert_eq!(step(&stored(&two, "", 9 * day), None, 0), TokenStep::Exchange, "issued by a wrong clock");
        assert_eq!(step(&StoredTokens { requested: true, ..plain }, None, 1), TokenStep::Exchange);
        let half = stored(&two, &one, 0);
        assert_eq!(step(&half, None, 2 * day), TokenStep::Keep, "the old one is still registered");
        assert_eq!(step(&half, Some(599), 2 * day), TokenStep::Keep);
        assert_eq!(step(&half, Some(600), 1), TokenStep::Retire);
        let asked = StoredTokens { requested: true, ..half };
        assert_eq!(step(&asked, None, 1), TokenStep::Keep, "one exchange at a time");
        assert_eq!(step(&asked, Some(59), 1), TokenStep::Keep);
        assert_eq!(step(&asked, Some(60), 1), TokenStep::Exchange, "no API server calls the old one");
        assert_eq!(step(&StoredTokens { current: "short", ..asked }, Some(60), 1), TokenStep::Keep);
    }

    #[test]
    fn the_old_one_is_accepted_until_the_registration_has_not_named_it_for_ten_minutes() {
        let (one, two) = (token(1), token(2));
        let mut tokens = Tokens::start(&stored(&one, "", 0), DELAYS, clock(500));
        let (named_one, named_two) = ([one.clone()], [two.clone()]);
        assert_eq!(tokens.to_register(None, DELAYS, at(0)), one);
        let exchanged = stored(&two, &one, 1000);
        tokens.observe(&exchanged, Some(&named_one), DELAYS, at(500));
        assert_eq!(tokens.accepted(), [two.clone(), one.clone()]);
        assert_eq!(tokens.to_register(Some(&named_one), DELAYS, at(559)), one);
        assert_eq!(tokens.to_register(None, DELAYS, at(559)), one);
        assert_eq!(tokens.to_register(Some(&[]), DELAYS, at(559)), one, "suspended meanwhile");
        assert_eq!(tokens.to_register(Some(&named_two), DELAYS, at(559)), two, "by another replica");
        assert_eq!(tokens.to_register(Some(&named_one), DELAYS, at(560)), two);
        // While the registration cannot be read, nothing is dropped.
        tokens.observe(&stored(&two, "", 1000), Some(&named_two), DELAYS, at(600));
        tokens.observe(&stored(&two, "", 1000), None, DELAYS, at(5000));
        assert_eq!(tokens.accepted(), [two.clone(), one.clone()]);
        // Named again, as from a backup.
        tokens.observe(&stored(&two, "", 1000), Some(&named_one), DELAYS, at(5001));
        tokens.observe(&stored(&two, "", 1000), Some(&named_two), DELAYS, at(5002));
        tokens.observe(&stored(&two, "", 1000), Some(&named_two), DELAYS, at(5601));
        assert_eq!(tokens.accepted(), [two.clone(), one.clone()]);
        // What is stored stays.
        tokens.observe(&exchanged, Some(&named_two), DELAYS, at(5602));
        assert_eq!(tokens.accepted(), [two.clone(), one]);
        tokens.observe(&stored(&two, "", 1000), Some(&named_two), DELAYS, at(5603));
        assert_eq!(tokens.accepted(), [two]);
    }

    #[test]
    fn a_token_written_by_hand_moves_in_the_same_way() {
        let (one, two) = (token(1), token(2));
        let mut tokens = Tokens::start(&stored(&one, "", 0), DELAYS, clock(500));
        tokens.observe(&stored("too-short", "", 0), None, DELAYS, at(1));
        assert_eq!(tokens.accepted(), std::slice::from_ref(&one));
        tokens.observe(&stored(&two, "", 0), Some(std::slice::from_ref(&one)), DELAYS, at(2));
        assert_eq!(tokens.accepted(), [two, one.clone()]);
        assert_eq!(tokens.to_register(Some(std::slice::from_ref(&one)), DELAYS, at(3)), one);
        for number in 3..100 {
            tokens.observe(&stored(&token(number), "", 0), Some(std::slice::from_ref(&one)), DELAYS, at(4));
        }
        assert_eq!(tokens.accepted().len(), MAX_FORMER + 1);
    }

    /// One replica of the simulation.
    struct Replica {
        tokens: Tokens,
        /// The difference of its clock, in seconds.
        skew: u64,
        started: u64,
    }

    /// Three days with three replicas, which restart, read late and have different clocks, and with an admin who asks
    /// for exchanges. No API server ever sends a token that a replica does not accept.
    #[test]
    fn three_days_without_a_lost_review() {
        let mut random = fastrand::Rng::with_seed(22);
        let mut number = 1;
        let (mut current, mut old, mut issued, mut requested) = (token(1), String::new(), 40, false);
        // The registration, and since when it is so. An API server may use any of the last minute.
        let mut registered = vec![(0, token(1))];
        let start = |current: &str, old: &str, issued: u64, now: u64, skew: u64| Replica {
            tokens: Tokens::start(&stored(current, old, issued), DELAYS, clock(now + skew)),
            skew,
            started: now,
        };
        let mut replicas: Vec<Replica> = [0, 40, 80].map(|skew| start(&current, &old, issued, 0, skew)).into();
        let (mut exchanges, mut retired) = (0, 0);
        for now in (2..3 * 24 * 3600).step_by(2) {
            requested |= random.u32(..3000) == 0;
            if random.u32(..500) == 0 {
                let which = random.usize(..3);
                let skew = replicas[which].skew;
                replicas[which] = start(&current, &old, issued, now, skew);
            }
            for (which, replica) in replicas.iter_mut().enumerate() {
                // Reads are late by up to some seconds.
                if random.u32(..3) == 0 {
                    continue;
                }
                let named = [registered.last().unwrap().1.clone()];
                let known = (current.clone(), old.clone());
                let stored = StoredTokens { requested, ..stored(&known.0, &known.1, issued) };
                let Replica { tokens, skew, started } = replica;
                let uptime = at(now - *started);
                tokens.observe(&stored, Some(&named), DELAYS, uptime);
                match tokens.next_step(&stored, DELAYS, clock(now + *skew), uptime) {
                    TokenStep::Keep => {}
                    TokenStep::Exchange => {
                        number += 1;
                        exchanges += 1;
                        (old, current) = (current, token(number));
                        // Some ask twice.
                        (issued, requested) = (now + *skew, random.u32(..3) == 0);
                    }
                    TokenStep::Retire => {
                        retired += 1;
                        old.clear();
                    }
                }
                // Any of them may hold the Lease.
                let wanted = tokens.to_register(Some(&named), DELAYS, uptime).to_owned();
                if which as u64 == now / 3600 % 3 && wanted != named[0] {
                    registered.push((now, wanted));
                }
            }
            let in_use = registered.iter().enumerate().filter(|(index, _)| {
                registered.get(index + 1).is_none_or(|(until, _)| until + DELAYS.propagation.as_secs() > now)
            });
            for (_, (_, token)) in in_use {
                for replica in &replicas {
                    assert!(replica.tokens.accepted().contains(token), "at {now}: {token} is not accepted");
                }
            }
        }
        assert!(exchanges > 20 && retired > 20, "{exchanges} exchanges, {retired} retired");
    }
}
