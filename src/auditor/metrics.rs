//! A report as metrics. A scrape renames a label `namespace` to that of the Pod, so the label is `service_namespace`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::audit::finding::State;
use crate::model::Timestamp;
use crate::report::Report;
use crate::status::report::NamespaceStatus;

/// A traffic Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfService {
    service_namespace: String,
    service: String,
}

/// Findings of one check in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct OfFindings {
    service_namespace: String,
    code: String,
    severity: String,
}

/// One look at the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// What was found; `None` before the first look, or where no look has succeeded.
    pub report: Option<&'a Report>,
    /// When all was read for the last time.
    pub last_success: Option<Timestamp>,
    /// How long the last look took.
    pub took: Duration,
    /// Whether the last look could read all.
    pub is_complete: bool,
    /// Whether the reports in the cluster are those of the last look; `None` where none are wanted.
    pub are_reports_written: Option<bool>,
}

/// The metrics of a look.
#[must_use]
pub fn text(look: &Look<'_>) -> String {
    let mut registry = Registry::with_prefix("flipguard");
    let complete: Gauge = Gauge::default();
    complete.set(i64::from(look.is_complete));
    registry.register("audit_complete", "1 while the last look could read all, else 0", complete);
    let took: Gauge<f64, AtomicU64> = Gauge::default();
    took.set(look.took.as_secs_f64());
    registry.register_with_unit("audit_duration", "How long the last look took", Unit::Seconds, took);
    if let Some(at) = look.last_success {
        let success: Gauge = Gauge::default();
        success.set(at.0);
        let help = "When all was read for the last time, in seconds since 1970";
        registry.register_with_unit("audit_last_success_timestamp", help, Unit::Seconds, success);
    }
    if let Some(are_written) = look.are_reports_written {
        let written: Gauge = Gauge::default();
        written.set(i64::from(are_written));
        let help = "1 while the reports in the cluster are those of the last look, else 0";
        registry.register("audit_reports_written", help, written);
    }
    if let Some(report) = look.report {
        services(&mut registry, &report.namespaces);
        findings(&mut registry, report);
    }
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = encode(&mut text, &registry);
    text
}

fn services(registry: &mut Registry, namespaces: &[NamespaceStatus]) {
    let (ready, floor) = (Family::<OfService, Gauge>::default(), Family::<OfService, Gauge>::default());
    for namespace in namespaces {
        for service in &namespace.services {
            let of = OfService { service_namespace: namespace.namespace.clone(), service: service.name.clone() };
            ready.get_or_create(&of).set(i64::try_from(service.ready).unwrap_or(i64::MAX));
            floor.get_or_create(&of).set(i64::try_from(service.floor).unwrap_or(i64::MAX));
        }
    }
    registry.register("ready_pods", "Ready Pods behind a traffic Service", ready);
    registry.register("floor_pods", "Ready Pods that a change of a traffic Service has to leave", floor);
}

/// How many findings there are; accepted ones are left out.
fn findings(registry: &mut Registry, report: &Report) {
    let mut counts: BTreeMap<OfFindings, i64> = BTreeMap::new();
    for finding in report.findings.iter().filter(|finding| finding.state != State::Accepted) {
        let of = OfFindings {
            service_namespace: finding.namespace.clone(),
            code: finding.code.to_owned(),
            severity: finding.severity.name().to_owned(),
        };
        *counts.entry(of).or_insert(0) += 1;
    }
    let all = Family::<OfFindings, Gauge>::default();
    for (of, count) in counts {
        all.get_or_create(&of).set(count);
    }
    registry.register("findings", "Findings of the audit, without accepted ones", all);
}
