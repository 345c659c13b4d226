//! The metrics of `/metrics`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::rules::{Effect, Outcome, Verdict};

/// The media type of metrics: the text format of OpenMetrics.
pub const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    would_deny: Family<RuleLabels, Counter>,
    overridden: Family<RuleLabels, Counter>,
    exempted: Family<RuleLabels, Counter>,
    policies: Family<StateLabels, Gauge>,
    policy_age: Gauge,
    flips: Family<FlipLabels, Counter>,
    /// The namespaces that `flips` names.
    flip_namespaces: Mutex<BTreeSet<String>>,
    unreadable: Counter,
    seconds: Family<OutcomeLabels, Histogram>,
    /// The histogram of `seconds` for allowed changes, which are nearly all.
    seconds_allowed: Histogram,
    asked: Family<OutcomeLabels, Histogram>,
    written: Family<OutcomeLabels, Histogram>,
    registered: Gauge,
    suspended: Gauge,
    registration_repairs: Counter,
    selector_additions: Gauge,
    last_reached: Gauge,
    missing_permissions: Gauge,
    clock_difference: Gauge,
    refused_connections: Counter,
    token_not_after: Family<TokenLabels, Gauge>,
    certificate_not_after: Family<CertificateLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    kind: &'static str,
    rule: &'static str,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    rule: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlipLabels {
    service_namespace: String,
    act: &'static str,
}

/// The most namespaces that the counter of flips names. All others are counted together, as `other`.
const MAX_NAMESPACES: usize = 1000;

/// The policies of the cluster, by what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicyCounts {
    /// They count.
    pub accepted: usize,
    /// They cannot be read, and are set aside.
    pub invalid: usize,
    /// They are beyond the bounds, and are set aside.
    pub beyond: usize,
    /// Whether the CRD is gone, and policies with it.
    pub is_crd_gone: bool,
}

/// The upper bounds of the histograms of requests to the API server.
const REQUESTS: [f64; 9] = [0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    source: &'static str,
}

/// The kinds of objects that the API server is told to ask about. A request may name any other one.
const KINDS: [&str; 6] = ["Service", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Scale"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: &'static str,
}

/// The upper bounds of the histogram of seconds: from a decision without reads to the longest timeout of a webhook.
const BUCKETS: [f64; 12] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// Registers a gauge without labels.
fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Registers a gauge in seconds, by labels or without.
fn seconds_of<T: Clone + Default + prometheus_client::registry::Metric>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> T {
    let gauge = T::default();
    registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
    gauge
}

/// Registers a counter without labels.
fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// Registers counters or gauges by labels.
fn by<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    Family<L, M>: Clone + Default + prometheus_client::registry::Metric,
{
    let family = Family::<L, M>::default();
    registry.register(name, help, family.clone());
    family
}

/// Registers histograms of requests to the API server.
fn requests(registry: &mut Registry, name: &str, help: &str) -> Family<OutcomeLabels, Histogram> {
    let family = Family::<OutcomeLabels, Histogram>::new_with_constructor(|| Histogram::new(REQUESTS.iter().copied()));
    registry.register(name, help, family.clone());
    family
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("flipguard");
        let decisions = by(
            &mut registry,
            "decisions",
            "Findings by kind of object, rule and action; rule `none` counts changes without a finding",
        );
        let seconds =
            Family::<OutcomeLabels, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS.iter().copied()));
        registry.register_with_unit(
            "admission",
            "Time from the arrival of a review to its answer",
            Unit::Seconds,
            seconds.clone(),
        );
        let seconds_allowed = seconds.get_or_create_owned(&OutcomeLabels { outcome: Outcome::Allowed.name() });
        let asked =
            requests(&mut registry, "decision_reads", "Requests that a judged change sent to the API server to read");
        let written = requests(
            &mut registry,
            "decision_writes",
            "Writes of the ledger for a judged change, including conflicts with other replicas",
        );
        Self {
            decisions,
            would_deny: by(&mut registry, "would_deny", "Denials that enforcement `warn` turned into warnings"),
            overridden: by(&mut registry, "overridden", "Denials that an override turned into warnings"),
            exempted: by(&mut registry, "exempted", "Denials that an exemption turned into warnings"),
            policies: by(
                &mut registry,
                "policies",
                "Policies by state; `crd-missing` is 1 while the CRD is gone, and policies with it",
            ),
            policy_age: seconds_of(&mut registry, "policy_age", "The age of the policies, as they were last read"),
            flips: by(
                &mut registry,
                "flips",
                "Changes of Services that this replica added to the history, by namespace and act",
            ),
            flip_namespaces: Mutex::default(),
            unreadable: counter(&mut registry, "unreadable_reviews", "Reviews that could not be parsed"),
            seconds,
            seconds_allowed,
            asked,
            written,
            registered: gauge(
                &mut registry,
                "registered",
                "1 while the webhooks are registered as this replica renders them, else 0",
            ),
            suspended: gauge(&mut registry, "suspended", "1 while an admin has suspended the registration, else 0"),
            registration_repairs: counter(
                &mut registry,
                "registration_repairs",
                "Repairs of a webhook configuration that another client had changed",
            ),
            selector_additions: gauge(
                &mut registry,
                "selector_additions",
                "Entries of others in the namespaceSelectors of the webhooks, which exempt namespaces",
            ),
            last_reached: seconds_of(
                &mut registry,
                "last_reached",
                "The last time that the API server answered a probe of this replica through flipguard, in Unix seconds",
            ),
            missing_permissions: gauge(
                &mut registry,
                "missing_permissions",
                "Permissions that flipguard needs and lacks, by the latest check",
            ),
            clock_difference: seconds_of(
                &mut registry,
                "clock_difference",
                "The clock of this replica minus that of the API server",
            ),
            refused_connections: counter(
                &mut registry,
                "refused_connections",
                "Connections that were closed at once, because too many were open",
            ),
            token_not_after: seconds_of(
                &mut registry,
                "token_not_after",
                "Expiry of the token for the API server, in Unix seconds; an `inline` token is never read again",
            ),
            certificate_not_after: seconds_of(
                &mut registry,
                "certificate_not_after",
                "Expiry of the served `leaf` and of the `authority` that signed it, in Unix seconds",
            ),
            registry,
        }
    }
}

impl Metrics {
    /// Counts a verdict, its requests and its time.
    pub(crate) fn decided(&self, kind: &str, verdict: &Verdict, (reads, writes): (u32, u32), took: Duration) {
        let outcome = OutcomeLabels { outcome: verdict.outcome().name() };
        if verdict.outcome() == Outcome::Allowed {
            self.seconds_allowed.observe(took.as_secs_f64());
        } else {
            self.seconds.get_or_create(&outcome).observe(took.as_secs_f64());
        }
        if verdict.judged {
            self.asked.get_or_create(&outcome).observe(f64::from(reads));
            self.written.get_or_create(&outcome).observe(f64::from(writes));
        }
        let kind = KINDS.into_iter().find(|known| *known == kind).unwrap_or("other");
        let count = |rule: &'static str, action: &'static str| {
            self.decisions.get_or_create(&DecisionLabels { kind, rule, action }).inc();
        };
        if verdict.findings.is_empty() {
            count("none", "allow");
        }
        for (finding, effect) in &verdict.findings {
            count(finding.reason.code(), effect.name());
            let by_rule = match effect {
                Effect::WarnsInTrial => &self.would_deny,
                Effect::WarnsOverridden => &self.overridden,
                Effect::WarnsExempted => &self.exempted,
                _ => continue,
            };
            by_rule.get_or_create(&RuleLabels { rule: finding.reason.code() }).inc();
        }
    }

    pub(crate) fn unreadable(&self) {
        self.unreadable.inc();
    }

    /// Sets whether an admin has suspended the registration.
    pub fn suspended(&self, is: bool) {
        self.suspended.set(i64::from(is));
    }

    /// Sets whether the webhooks are registered.
    pub fn registered(&self, is: bool) {
        self.registered.set(i64::from(is));
    }

    /// Counts a repair of a webhook configuration.
    pub fn registration_repaired(&self) {
        self.registration_repairs.inc();
    }

    /// Sets the number of entries of others in the namespaceSelectors.
    pub fn selector_additions(&self, count: usize) {
        self.selector_additions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the number of policies in each state.
    pub fn policies(&self, counts: PolicyCounts) {
        let set = |state, count: usize| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.policies.get_or_create(&StateLabels { state }).set(count);
        };
        set("accepted", counts.accepted);
        set("invalid", counts.invalid);
        set("set-aside", counts.beyond);
        set("crd-missing", usize::from(counts.is_crd_gone));
    }

    /// Sets the age of the policies that were read last, in seconds.
    pub fn policy_age(&self, seconds: i64) {
        self.policy_age.set(seconds);
    }

    /// Counts a change of a Service that was added to the history.
    pub fn recorded(&self, namespace: &str, act: &'static str) {
        let mut known = self.flip_namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let is_named = known.contains(namespace) || known.len() < MAX_NAMESPACES && known.insert(namespace.to_owned());
        drop(known);
        let service_namespace = if is_named { namespace } else { "other" }.to_owned();
        self.flips.get_or_create(&FlipLabels { service_namespace, act }).inc();
    }

    /// Sets the time at which the API server was last seen to reach flipguard, in Unix seconds.
    pub fn reached(&self, at: i64) {
        self.last_reached.set(at);
    }

    /// Sets the number of permissions that flipguard lacks.
    pub fn missing_permissions(&self, count: usize) {
        self.missing_permissions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets how far this replica's clock is ahead of the API server's, in seconds.
    pub fn clock_difference(&self, seconds: i64) {
        self.clock_difference.set(seconds);
    }

    /// Sets the expiry of the token for the API server, in Unix seconds.
    pub fn token_ends(&self, source: &'static str, at: i64) {
        self.token_not_after.get_or_create(&TokenLabels { source }).set(at);
    }

    pub(crate) fn connection_refused(&self) {
        self.refused_connections.inc();
    }

    /// Sets the expiry of a certificate, in Unix seconds.
    pub fn certificate_ends(&self, certificate: &'static str, at: i64) {
        self.certificate_not_after.get_or_create(&CertificateLabels { certificate }).set(at);
    }

    /// All metrics, in the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path token is no authentication: anyone who has seen it may send any kind.
    #[test]
    fn a_kind_from_a_request_makes_no_series() {
        let metrics = Metrics::default();
        for kind in ["Service", "Scale", "Evil\"} 1\n", "Pod"] {
            metrics.decided(kind, &Verdict::not_judged(), (0, 0), Duration::ZERO);
        }
        let text = metrics.text();
        let series: Vec<&str> = text.lines().filter(|line| line.starts_with("flipguard_decisions_total")).collect();
        assert_eq!(series.len(), 3, "{series:?}");
        for (kind, count) in [("Service", 1), ("Scale", 1), ("other", 2)] {
            let line = format!("flipguard_decisions_total{{kind=\"{kind}\",rule=\"none\",action=\"allow\"}} {count}");
            assert!(series.contains(&line.as_str()), "{series:?}");
        }
    }
}
