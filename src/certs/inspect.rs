//! Inspects the stored identity for the plan.

use super::Identity;
use super::pem::{is_trusted, life_of, names_of, pair};
use super::plan::{Authority, Leaf, Stored};
use super::tokens::is_token;

/// The stored identity as the plan sees it. The leaf must hold `names`; `rotate` requests a new authority.
#[must_use]
pub fn inspect(identity: &Identity, names: &[String], rotate: bool) -> Stored {
    let authority = |certificate: &str, key: &str| {
        Some(Authority { life: life_of(certificate)?, signs: pair(certificate, key).is_ok() })
    };
    let leaf = life_of(&identity.leaf).filter(|_| pair(&identity.leaf, &identity.leaf_key).is_ok()).map(|life| Leaf {
        life,
        // Only the signature counts here. The plan compares the validity with the clock.
        ours: names_of(&identity.leaf)
            .first()
            .is_some_and(|name| is_trusted(&identity.authority, &identity.leaf, name, life.from).is_ok()),
        names: holds(&identity.leaf, names),
    });
    Stored {
        token: is_token(&identity.token),
        current: authority(&identity.authority, &identity.authority_key),
        next: authority(&identity.next, &identity.next_key),
        old: !identity.old.is_empty(),
        leaf,
        rotate,
    }
}

fn holds(leaf: &str, names: &[String]) -> bool {
    let held = names_of(leaf);
    names.iter().all(|name| held.contains(name))
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::certs::plan::{Delays, Observed, Step, plan};

    const DELAYS: Delays = Delays { propagation: Duration::MINUTE, linger: Duration::MINUTE };
    const OBSERVED: Observed =
        Observed { remembered: false, next_out: Some(Duration::MINUTE), leaf_out: Duration::MINUTE };

    fn names() -> Vec<String> {
        vec!["flipguard.flipguard-system.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    fn start() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn step(identity: &Identity, rotate: bool, now: OffsetDateTime) -> Step {
        plan(&inspect(identity, &names(), rotate), &OBSERVED, DELAYS, now)
    }

    #[test]
    fn what_is_issued_is_kept_for_two_thirds_of_its_life() {
        let identity = Identity::issue(&names(), start()).unwrap();
        assert_eq!(step(&identity, false, start()), Step::Keep);
        assert_eq!(step(&identity, false, start() + Duration::days(243)), Step::Keep);
        assert_eq!(step(&identity, false, start() + Duration::days(244)), Step::Renew);
        assert_eq!(identity.token.len(), 32);
        assert!(!format!("{identity:?}").contains("PRIVATE"));
        let other = ["guard.example".to_owned()];
        assert_eq!(plan(&inspect(&identity, &other, false), &OBSERVED, DELAYS, start()), Step::Renew);
        let renewed = identity.clone().renewed(&other, start()).unwrap();
        assert_eq!(plan(&inspect(&renewed, &other, false), &OBSERVED, DELAYS, start()), Step::Keep);
        assert_eq!(renewed.authority, identity.authority);
    }

    /// Whoever knows the bundle of one step trusts the leaf of the next.
    #[test]
    fn an_authority_is_exchanged_in_three_steps() {
        let now = start();
        let trusts = |knows: &Identity, served: &Identity| {
            names().iter().all(|name| is_trusted(&knows.bundle(), &served.leaf, name, now).is_ok())
        };
        let old = Identity::issue(&names(), now).unwrap();
        assert_eq!(step(&old, true, now), Step::Publish);
        let published = old.clone().published(now).unwrap();
        assert_eq!(step(&published, true, now), Step::Promote);
        let promoted = published.clone().promoted(&names(), now).unwrap();
        assert_eq!(step(&promoted, false, now), Step::Retire);
        let retired = promoted.clone().retired();
        assert_eq!(step(&retired, false, now), Step::Keep);
        for (knows, served) in [(&old, &published), (&published, &promoted), (&promoted, &old), (&promoted, &retired)] {
            assert!(trusts(knows, served));
        }
        assert!(!trusts(&old, &promoted), "so the bundle has to be out first");
        assert!(!trusts(&retired, &old));
        assert_eq!(old.token, retired.token);
    }

    #[test]
    fn what_is_broken_is_seen() {
        let whole = Identity::issue(&names(), start()).unwrap();
        let with = |change: fn(&mut Identity)| {
            let mut identity = whole.clone();
            change(&mut identity);
            step(&identity, false, start())
        };
        let half = |text: &mut String| text.truncate(text.len() / 2);
        assert_eq!(with(|_| {}), Step::Keep);
        assert_eq!(with(|identity| identity.leaf.truncate(100)), Step::Renew);
        assert_eq!(with(|identity| identity.leaf_key.clear()), Step::Renew);
        assert_eq!(with(|identity| identity.authority_key.truncate(60)), Step::Publish);
        assert_eq!(with(|identity| identity.authority.truncate(60)), Step::Issue);
        assert_eq!(with(|identity| identity.token.truncate(31)), Step::Issue);
        let mut foreign = whole.clone();
        foreign.leaf = Identity::issue(&names(), start()).unwrap().leaf;
        assert_eq!(step(&foreign, false, start()), Step::Renew, "a leaf without its key");
        half(&mut foreign.leaf);
        assert!(pair(&foreign.leaf, &foreign.leaf_key).is_err());
    }
}
