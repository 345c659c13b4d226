//! Is what guards the namespace whole?

use super::accepted::Accepted;
use super::checks::{
    ACCEPT_IGNORED, EXEMPTION_EXPIRED, NOT_GUARDING, OVERRIDE_ACTIVE, OVERRIDE_LEFT, POLICY_SET_ASIDE, Severity,
};
use super::facts::Facts;
use super::finding::Finding;
use crate::model::{Guarding, Override, annotation};

/// What is found about flipguard itself. It belongs to no namespace.
#[must_use]
pub fn of_cluster(guarding: &Guarding) -> Option<Finding> {
    guarding.is_known().filter(|is_guarding| !is_guarding)?;
    let object = ("ValidatingWebhookConfiguration", "flipguard");
    let mut finding = Finding::new(&NOT_GUARDING, "", object, "", guarding.why_not()?.to_owned());
    if *guarding == Guarding::Never {
        finding.severity = Severity::Warning;
    }
    Some(finding)
}

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let namespace = facts.snapshot.namespace.as_str();
    let mut all: Vec<Finding> = Vec::new();
    for app in &facts.apps {
        let value = app.traffic.service.meta.annotation(annotation::OVERRIDE);
        let Some(parsed) = value.and_then(|value| Override::parse(value).ok()) else { continue };
        if parsed.lasts(facts.snapshot.at, facts.policy.max_override) {
            let message = format!("until {}: {}", parsed.until, parsed.reason);
            all.push(app.finding(&OVERRIDE_ACTIVE, "", message));
        } else if parsed.until <= facts.snapshot.at {
            all.push(app.finding(&OVERRIDE_LEFT, "", format!("it ended at {}", parsed.until)));
        }
    }
    for service in &facts.snapshot.view.services {
        for problem in Accepted::of(service).problems {
            all.push(Finding::new(&ACCEPT_IGNORED, namespace, ("Service", &service.meta.name), "", problem));
        }
    }
    for exemption in &facts.policy.exemptions {
        if let Some(end) = exemption.expires.filter(|end| *end <= facts.snapshot.at) {
            let object = ("BlueGreenPolicy", exemption.policy.as_str());
            let message = format!("exemption {} ended at {end}", exemption.name);
            all.push(Finding::new(&EXEMPTION_EXPIRED, namespace, object, &exemption.name, message));
        }
    }
    for note in &facts.policy.notes {
        all.push(Finding::new(&POLICY_SET_ASIDE, namespace, ("Namespace", namespace), "", note.clone()));
    }
    all
}
