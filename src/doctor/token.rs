//! Checks when the token of the kubeconfig ends. It is flipguard's own only where flipguard runs outside the cluster.

use time::OffsetDateTime;

use super::{Check, Health};
use crate::cluster::token::{TokenLife, TokenSource};
use crate::install::NAME;

/// The shortest life that a token from a file needs to have left, in seconds. A timer writes it long before.
const SPARE: i64 = 600;

/// The check of a token of flipguard's ServiceAccount; `None` for any other user's.
pub(super) fn life(token: Option<&TokenLife>, namespace: &str) -> Option<Check> {
    let token = token.filter(|token| token.subject == format!("system:serviceaccount:{namespace}:{NAME}"))?;
    Some(judge(token, OffsetDateTime::now_utc().unix_timestamp()))
}

fn judge(token: &TokenLife, now: i64) -> Check {
    const CHECK: &str = "token";
    let ends = crate::model::Timestamp(token.ends);
    let left = token.ends.saturating_sub(now);
    match token.source {
        TokenSource::Inline => Check::of(
            CHECK,
            Health::Warning,
            format!("the token of the kubeconfig ends at {ends}, and flipguard reads it only once"),
            "name a file with tokenFile, and renew it by a timer: docs/run-outside.md",
        ),
        _ if left < SPARE => Check::of(
            CHECK,
            Health::Warning,
            format!("the token in its file ends at {ends}, and nothing has renewed it"),
            "look at the timer that writes it: docs/run-outside.md",
        ),
        _ => Check::ok(CHECK, format!("the token ends at {ends}, and is read again from its file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_nobody_renews_is_a_warning() {
        let now = 1_893_456_000;
        let subject = "system:serviceaccount:own:flipguard".to_owned();
        let check = |source, left| judge(&TokenLife { source, ends: now + left, subject: subject.clone() }, now);
        assert_eq!(check(TokenSource::File, 3600).health, Health::Ok);
        let late = check(TokenSource::File, 60);
        assert_eq!((late.health, late.message.contains("2030-01-01T00:01:00Z")), (Health::Warning, true), "{late:?}");
        let inline = check(TokenSource::Inline, 86_400);
        assert!(inline.health == Health::Warning && inline.next_step.contains("tokenFile"), "{inline:?}");
        // Of an admin who runs the doctor, nothing is said.
        let admin = TokenLife { source: TokenSource::Inline, ends: now, subject: "alice".to_owned() };
        assert_eq!(life(Some(&admin), "own"), None);
        assert_eq!(life(None, "own"), None);
    }
}
