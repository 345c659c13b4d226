//! Tells repairs of what others changed from flipguard's own changes, and counts them. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::compare::differences;
use super::selector::{limits, with_additions};
use super::stored::Webhook;

/// More repairs than this within [`WINDOW`] show that somebody keeps writing.
const FEW: usize = 3;
/// The time in which repairs are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// What is remembered of one configuration.
#[derive(Debug)]
pub(super) struct Memory<W> {
    /// The rendering that was last seen in place.
    in_place: Option<Vec<W>>,
    /// The times of the latest repairs, since any fixed moment.
    repaired: VecDeque<Duration>,
}

impl<W> Default for Memory<W> {
    fn default() -> Self {
        Self { in_place: None, repaired: VecDeque::new() }
    }
}

impl<W: Webhook> Memory<W> {
    /// What others have changed since the rendering was in place, in words. A change of flipguard's own, such as a new
    /// CA bundle or another version, is none.
    pub(super) fn drift(
        &self,
        rendered: &[W],
        stored: &[W],
        own_namespace: &str,
        annotations: Vec<String>,
    ) -> Vec<String> {
        let mut drift = Vec::new();
        if let Some(in_place) = &self.in_place {
            drift.extend(differences(&with_additions(in_place, stored, own_namespace), stored));
            drift.extend(annotations);
        }
        let limits = limits(rendered, stored, own_namespace);
        drift.extend(limits.into_iter().map(|limit| format!("a namespaceSelector admits only {limit}")));
        drift
    }

    /// Notes that a rendering is in place, or that none is.
    pub(super) fn settle(&mut self, in_place: Option<Vec<W>>) {
        self.in_place = in_place;
    }

    /// Notes a repair. Returns its advice.
    pub(super) fn repaired(&mut self, drift: &[String], now: Duration) -> String {
        self.repaired.push_back(now);
        while self.repaired.front().is_some_and(|at| now.saturating_sub(*at) >= WINDOW) {
            self.repaired.pop_front();
        }
        let mut advice = "to switch flipguard off, set the annotation flipguard.dev/suspend on it".to_owned();
        if drift.iter().any(|what| what.contains("amespaceSelector")) {
            advice.push_str("; to exempt namespaces, use --exempt-namespaces, or an entry with NotIn or DoesNotExist");
        }
        let count = self.repaired.len();
        if count > FEW {
            advice =
                format!("another client keeps writing it, {count} times within a minute: find and stop it; {advice}");
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::ValidatingWebhook;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    use super::*;

    fn webhook(policy: &str, timeout: i32) -> ValidatingWebhook {
        ValidatingWebhook {
            name: "a".to_owned(),
            failure_policy: Some(policy.to_owned()),
            timeout_seconds: Some(timeout),
            namespace_selector: Some(LabelSelector::default()),
            ..ValidatingWebhook::default()
        }
    }

    #[test]
    fn only_changes_of_others_are_repairs() {
        let mut memory = Memory::default();
        let (ours, edited, next) = ([webhook("Fail", 5)], [webhook("Ignore", 5)], [webhook("Fail", 7)]);
        let none: Vec<String> = Vec::new();
        assert_eq!(memory.drift(&ours, &edited, "own", vec!["annotation".to_owned()]), none, "nothing is known yet");
        memory.settle(Some(ours.to_vec()));
        assert_eq!(memory.drift(&next, &ours, "own", Vec::new()), none, "the rendering changes");
        assert_eq!(memory.drift(&ours, &edited, "own", Vec::new()), ["a: failurePolicy is Ignore, not Fail"]);
        assert_eq!(memory.drift(&ours, &ours, "own", vec!["annotation x".to_owned()]), ["annotation x"]);
        memory.settle(None);
        assert_eq!(memory.drift(&ours, &edited, "own", Vec::new()), none);
        // A selector that limits the guard is told even by a replica that has just started.
        let mut limited = edited;
        let labels = [("team".to_owned(), "a".to_owned())].into();
        limited[0].namespace_selector = Some(LabelSelector { match_labels: Some(labels), ..LabelSelector::default() });
        assert_eq!(memory.drift(&ours, &limited, "own", Vec::new()), ["a namespaceSelector admits only team=a"]);
    }

    #[test]
    fn after_the_third_repair_in_a_minute_somebody_keeps_writing() {
        let mut memory = Memory::<ValidatingWebhook>::default();
        let drift = ["a: failurePolicy is Ignore, not Fail".to_owned()];
        let mut advice = |at| memory.repaired(&drift, Duration::from_secs(at));
        for at in [0, 10, 20] {
            assert!(advice(at).starts_with("to switch flipguard off, set the annotation flipguard.dev/suspend"));
        }
        assert!(advice(59).starts_with("another client keeps writing it, 4 times within a minute"));
        assert!(advice(90).starts_with("to switch flipguard off"), "the first three are over");
        let limit = ["a namespaceSelector admits only team=a".to_owned()];
        assert!(memory.repaired(&limit, Duration::from_secs(500)).contains("--exempt-namespaces"));
    }
}
