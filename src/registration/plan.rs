//! How far a registration may go: until the API server was seen to reach flipguard, nothing may depend on it. Pure.

use super::endpoint::Endpoint;
use super::probe::WEBHOOK;
use super::stored::Webhook;

/// The webhooks of one configuration, as this flipguard renders them.
#[derive(Debug, Clone)]
pub struct Rendering<W> {
    /// All webhooks, as they are to be in the end.
    pub whole: Vec<W>,
    /// The same, where no webhook may stop a write.
    pub trial: Vec<W>,
    /// The webhook that receives the probe, if this configuration has one. It says why a call failed.
    pub probe: Option<W>,
}

impl<W: Webhook> Rendering<W> {
    /// Whether stored webhooks already call this address, and stop writes if the rendering does. Some replica has seen
    /// then that the API server reaches it. Nothing is to be proven again: a guard that is in place stays.
    #[must_use]
    pub fn is_established(&self, stored: &[W], endpoint: &Endpoint) -> bool {
        let fails = |webhook: &W| webhook.failure_policy() == Some("Fail");
        let guards = |webhook: &&W| webhook.name() != WEBHOOK;
        let must_fail = self.whole.iter().filter(guards).any(fails);
        stored
            .iter()
            .filter(guards)
            .any(|webhook| endpoint.is_called_by(webhook.client_config()) && (fails(webhook) || !must_fail))
    }

    /// The webhooks while the API server was not yet seen to reach this address: the probe, and the stored guards.
    /// Those at another address stay as they are, until this address is known to work. Those at this address may not
    /// stop a write.
    #[must_use]
    pub fn held_back(&self, stored: &[W], endpoint: &Endpoint) -> Vec<W> {
        let trial = self.trial.iter().filter(|webhook| webhook.name() != WEBHOOK);
        let kept = trial.filter_map(|trial| {
            let stored = stored.iter().find(|stored| stored.name() == trial.name())?;
            Some(if endpoint.is_called_by(stored.client_config()) { trial } else { stored }.clone())
        });
        kept.chain(self.probe.clone()).collect()
    }

    /// Whether the stored probe calls this endpoint.
    #[must_use]
    pub fn is_probed(&self, stored: &[W]) -> bool {
        let probe = self.probe.as_ref();
        probe.is_some_and(|probe| {
            stored.iter().any(|stored| stored.name() == WEBHOOK && stored.client_config() == probe.client_config())
        })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::ValidatingWebhook;

    use super::*;
    use crate::model::{ColourScheme, Enforcement};
    use crate::registration::endpoint::Address;
    use crate::registration::webhooks::{Webhooks, probe, validating};

    fn endpoint(url: &str, token: &str) -> Endpoint {
        Endpoint { address: Address::Url(url.to_owned()), authority: String::new(), token: token.to_owned() }
    }

    fn rendering(endpoint: &Endpoint, enforcement: Enforcement) -> Rendering<ValidatingWebhook> {
        let colours = ColourScheme::default();
        let webhooks = |enforcement| Webhooks {
            endpoint,
            colours: &colours,
            own_namespace: "own",
            exempt_users: &[],
            exempt_namespaces: &[],
            enforcement,
        };
        Rendering {
            whole: validating(&webhooks(enforcement)),
            trial: validating(&webhooks(Enforcement::Warn)),
            probe: Some(probe(&webhooks(enforcement), true)),
        }
    }

    fn names(webhooks: &[ValidatingWebhook]) -> Vec<&str> {
        webhooks.iter().map(|webhook| webhook.name.as_str()).collect()
    }

    #[test]
    fn only_the_probe_comes_first() {
        for enforcement in [Enforcement::Deny, Enforcement::Warn] {
            let here = endpoint("https://here", "t");
            let ours = rendering(&here, enforcement);
            let first = ours.held_back(&[], &here);
            assert_eq!(names(&first), [WEBHOOK]);
            assert!(!ours.is_established(&first, &here) && ours.is_probed(&first));
            assert!(ours.is_established(&ours.whole, &here) && ours.is_probed(&ours.whole));
            // A webhook of a stranger is not kept.
            let stranger = ValidatingWebhook { name: "a.example".to_owned(), ..ours.whole[0].clone() };
            assert_eq!(names(&ours.held_back(&[stranger], &here)), [WEBHOOK]);
        }
    }

    #[test]
    fn guards_elsewhere_stay_until_this_address_is_proven() {
        let (here, there) = (endpoint("https://here", "t"), endpoint("https://there", "t"));
        let ours = rendering(&here, Enforcement::Deny);
        let theirs = rendering(&there, Enforcement::Deny).whole;
        assert!(!ours.is_established(&theirs, &here) && !ours.is_probed(&theirs));
        let held = ours.held_back(&theirs, &here);
        let (probe, guards) = held.split_last().unwrap();
        assert_eq!(guards, &theirs[..theirs.len() - 1]);
        assert_eq!(Some(probe), ours.probe.as_ref());
    }

    #[test]
    fn a_trial_is_no_proof_for_a_guard_that_denies() {
        let here = endpoint("https://here", "t");
        let (warns, denies) = (rendering(&here, Enforcement::Warn), rendering(&here, Enforcement::Deny));
        assert!(warns.is_established(&denies.whole, &here));
        assert!(!denies.is_established(&warns.whole, &here));
        let held = denies.held_back(&warns.whole, &here);
        assert_eq!(names(&held), names(&denies.whole));
        let fails = held.iter().filter(|webhook| webhook.failure_policy() == Some("Fail"));
        assert_eq!(fails.map(|webhook| webhook.name.as_str()).collect::<Vec<_>>(), [WEBHOOK], "to hear why");
    }

    #[test]
    fn a_new_token_is_no_new_address() {
        let (before, now) = (endpoint("https://here", "old"), endpoint("https://here", "new"));
        let (old, new) = (rendering(&before, Enforcement::Deny), rendering(&now, Enforcement::Deny));
        assert!(new.is_established(&old.whole, &now));
        assert!(!new.is_probed(&old.whole), "the probe of the old token proves nothing about the new one");
    }
}
