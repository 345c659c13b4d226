//! Words about a loss of ready Pods, and the next steps.

use serde_json::{Map, Value, json};

use crate::model::{Workload, annotation};
use crate::rules::state::traffic::TrafficService;
use crate::rules::wording::{Remedy, version_cure};
use crate::rules::{Finding, Reason};

impl TrafficService<'_> {
    /// A finding that warns at most where blue-green is not in use.
    pub(super) fn finding(&self, reason: Reason, message: String, remedy: Remedy) -> Finding {
        let finding = Finding::new(reason, message, remedy).about(self.name());
        if self.uses_blue_green {
            return finding;
        }
        let mut finding = finding.at_most_warn();
        if let Some(key) = self.version_key {
            finding.remedies.insert(0, version_cure(&self.service.meta, key));
        }
        finding
    }

    /// A finding about lost ready Pods; the other colour has to take over first.
    pub(super) fn finding_of_loss(&self, reason: Reason, message: String, remaining: usize) -> Finding {
        let retire = Remedy::words(format!("To retire the app, delete Service {} first", self.name()));
        let finding = self.finding(reason, message, self.switch_first()).or(Some(retire));
        finding.said_by(self.floor_source(remaining))
    }

    /// `Service app would keep 0 of 3 ready pods`.
    pub(super) fn would_keep(&self, remaining: usize) -> String {
        format!("Service {} would keep {remaining} of {} ready pods", self.name(), self.ready())
    }

    /// `Service app gets traffic from here and would keep 0 of 3 ready pods; it needs 1`.
    pub(super) fn loses(&self, remaining: usize) -> String {
        let of_service = self.floor > 1 && self.floor == self.service.floor();
        let why = if of_service { format!(" ({})", annotation::MIN_REPLICAS) } else { String::new() };
        format!(
            "Service {} gets traffic from here and would keep {remaining} of {} ready pods; it needs {}{why}",
            self.name(),
            self.ready(),
            self.floor
        )
    }

    /// `Service app gets traffic from here, and no pod is ready at the moment; none would be left`.
    pub(super) fn blips(&self) -> String {
        format!("Service {} gets traffic from here, and no pod is ready at the moment; none would be left", self.name())
    }

    /// The safe first step: switch to another colour, where there is one.
    pub(super) fn switch_first(&self) -> Remedy {
        let Some(idle) = self.idle else {
            return self.no_other_colour();
        };
        let patch = json!({ "spec": { "selector": self.selector_of(idle) } });
        let command = format!("patch service {} -p '{patch}'", self.name());
        Remedy::kubectl(format!("Switch to {idle} first"), &self.service.meta.namespace, &command)
    }

    /// The first step where no idle colour exists. If all others are live through other Services, this one may only show
    /// its colour.
    fn no_other_colour(&self) -> Remedy {
        if self.siblings.is_empty() {
            return Remedy::words("Deploy another colour and switch to it first");
        }
        let command = format!("annotate service {} flipguard.dev/role=preview", self.name());
        let namespace = &self.service.meta.namespace;
        Remedy::kubectl("Every colour is live; if this Service only shows one, mark it", namespace, &command)
    }

    /// The pairs of the Service's selector that have another value in this colour.
    fn selector_of(&self, colour: &Workload) -> Map<String, Value> {
        let labels = &colour.template.labels;
        let pairs = self.service.routed().pairs();
        let other = pairs.filter_map(|(key, value)| Some((key, labels.get(key)?)).filter(|(_, own)| *own != value));
        other.map(|(key, own)| (key.to_owned(), json!(own))).collect()
    }

    /// The other colour, as the place for a new version.
    pub(super) fn other_colour(&self) -> Option<String> {
        match (self.idle, self.siblings.first()) {
            (Some(idle), _) => Some(idle.to_string()),
            (None, Some(_)) => Some("another colour".to_owned()),
            (None, None) => None,
        }
    }
}
