//! Words about a loss of ready Pods, and the next steps.

use serde_json::{Map, Value, json};

use crate::model::{Labels, Selector, Workload, WorkloadKind, annotation};
use crate::rules::state::readiness::{Shortfall, shortfall};
use crate::rules::state::traffic::TrafficService;
use crate::rules::wording::{Remedy, pods, version_cure};
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
        let (first, then) = self.switch_first();
        let finding = self.finding(reason, message, first).or(then).or(Some(retire));
        finding.said_by(self.floor_source(remaining))
    }

    /// `Service app would keep 0 of 3 ready pods`.
    pub(super) fn would_keep(&self, remaining: usize) -> String {
        format!("Service {} would keep {remaining} of {} ready pods", self.name(), self.ready())
    }

    /// `Service app gets traffic from here and would keep 0 of 3 ready pods; it needs 1`. A Service that needs none while
    /// it sleeps has other words.
    pub(super) fn loses(&self, remaining: usize) -> String {
        if self.may_sleep {
            let ready = pods(self.ready(), "ready");
            return format!(
                "Service {} gets traffic from here ({ready}); it may be scaled to 0, not deleted",
                self.name()
            );
        }
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

    /// The safe first steps: switch to another colour, where there is one. If it is not ready, switching would be denied.
    pub(super) fn switch_first(&self) -> (Remedy, Option<Remedy>) {
        let Some(idle) = self.idle else {
            return (self.no_other_colour(), None);
        };
        let moved = self.selector_of(idle);
        let pairs: Map<String, Value> = moved.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let patch = json!({ "spec": { "selector": pairs } });
        let command = format!("patch service {} -p '{patch}'", self.name());
        let switch = |words: String| Remedy::kubectl(words, &self.service.meta.namespace, &command);
        match self.not_ready(idle, &moved) {
            None => (switch(format!("Switch to {idle} first")), None),
            Some(first) => (first, Some(switch("Once it is ready, switch to it".to_owned()))),
        }
    }

    /// The step that makes the other colour ready; `None` if it is ready, or if a switch to it is allowed all the same:
    /// no Pod of this colour is ready, and one of the other is.
    fn not_ready(&self, idle: &Workload, moved: &Labels) -> Option<Remedy> {
        let mut target: Labels = self.service.routed().pairs().map(owned).collect();
        target.extend(moved.clone());
        let ready = self.view.pods_of(idle).iter().filter(|pod| pod.serves()).count();
        let Shortfall { remedy, .. } = shortfall(idle, &Selector::new(target), self.view, self.demand)?;
        if self.ready() == 0 && ready > 0 {
            return None;
        }
        let how = match usize::try_from(idle.desired) {
            _ if idle.meta.deleting => "being deleted".to_owned(),
            _ if idle.paused => "paused".to_owned(),
            Ok(0) if idle.kind == WorkloadKind::DaemonSet => "on no node".to_owned(),
            Ok(0) => "scaled to 0".to_owned(),
            Ok(desired) if ready < desired => format!("{ready} of {desired} pods"),
            _ => "its rollout goes on".to_owned(),
        };
        Some(Remedy { words: format!("{idle} is not ready yet ({how})"), command: remedy.command })
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

    /// The pairs of the Service's selector that have another value in this colour, with that value.
    fn selector_of(&self, colour: &Workload) -> Labels {
        let labels = &colour.template.labels;
        let pairs = self.service.routed().pairs();
        let other = pairs.filter_map(|(key, value)| Some((key, labels.get(key)?)).filter(|(_, own)| *own != value));
        other.map(|(key, own)| owned((key, own.as_str()))).collect()
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

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}
