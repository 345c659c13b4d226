//! The continuous audit, with the rights that its manifests give it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use controlplane::{Process, ask, free_port, published};
use serde_json::Value;

use super::shop::Shop;

const OWN: &str = "flipguard-system";

/// An auditor as its Deployment runs it, with its own ServiceAccount.
struct Auditor {
    process: Process,
    address: SocketAddr,
}

impl Auditor {
    fn start(shop: &Shop) -> Result<Self> {
        let mut manifests = Command::new(env!("CARGO_BIN_EXE_flipguard"));
        let manifests = manifests.args(["manifests", "--part", "auditor"]).output()?;
        apply(shop, "auditor.yaml", &String::from_utf8(manifests.stdout)?)?;
        let kubeconfig = shop.control_plane.service_account_kubeconfig(OWN, "flipguard-auditor")?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = Command::new(env!("CARGO_BIN_EXE_flipguard"));
        command.args(["audit", "--every=5s", "--reports=openreports", "--listen", &address.to_string()]);
        command.arg("--kubeconfig").arg(kubeconfig);
        Ok(Self { process: shop.control_plane.spawn("auditor", command)?, address })
    }

    /// The metrics; empty while it does not answer.
    fn metrics(&self) -> String {
        ask(self.address, "/metrics").map(|(_, body)| body).unwrap_or_default()
    }

    /// The value of a metric; empty where there is none.
    fn value(&self, series: &str) -> String {
        let metrics = self.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_default().to_owned()
    }
}

/// Applies objects that are not of one namespace.
fn apply(shop: &Shop, name: &str, yaml: &str) -> Result<()> {
    let file = shop.control_plane.dir().join(name);
    std::fs::write(&file, yaml)?;
    shop.plain_kubectl(&["apply", "-f", &file.to_string_lossy()])?.succeeds()
}

/// The Report of the namespace; `null` where there is none.
fn report(shop: &Shop) -> Result<Value> {
    let found = shop.kubectl(&["get", "reports.openreports.io", "flipguard", "--ignore-not-found", "-o", "json"])?;
    found.succeeds()?;
    if found.out.trim().is_empty() { Ok(Value::Null) } else { serde_json::from_str(&found.out).context("no JSON") }
}

fn finds(report: &Value, rule: &str) -> bool {
    let results = report.get("results").and_then(Value::as_array);
    results.into_iter().flatten().any(|result| result.get("rule").and_then(Value::as_str) == Some(rule))
}

/// Metrics and a Report follow the namespace, and nothing is written while nothing changes. The Report goes with the last
/// traffic Service. A missing right shows.
pub(crate) fn follows_the_cluster(shop: &Shop) -> Result<()> {
    apply(shop, "openreports.yaml", &published::OPEN_REPORTS.text()?)?;
    let crd = "crd/reports.openreports.io";
    shop.plain_kubectl(&["wait", "--for=condition=Established", "--timeout=60s", crd])?.succeeds()?;
    shop.blue_is_live()?;
    let auditor = Auditor::start(shop)?;
    let of = |name: &str| format!("flipguard_{name}{{service_namespace=\"{}\",service=\"app\"}}", shop.namespace);
    shop.until("the first look has ended", || Ok(auditor.value(&of("ready_pods")) == "3"))?;
    ensure!(auditor.value(&of("floor_pods")) == "1", "{}", auditor.metrics());
    ensure!(auditor.value("flipguard_audit_complete") == "1", "{}{}", auditor.metrics(), auditor.process.log_tail());
    ensure!(ask(auditor.address, "/readyz")?.0.contains(" 200 "), "it is not ready after a look");
    shop.until("the Report is written", || Ok(finds(&report(shop)?, "no-pdb")))?;
    let first = report(shop)?;
    ensure!(!finds(&first, "no-way-back"), "{first:#}");
    // Two more looks, and no write.
    let success = "flipguard_audit_last_success_timestamp_seconds";
    for _ in 0..2 {
        let before = auditor.value(success);
        shop.until("another look has ended", || Ok(auditor.value(success) != before))?;
    }
    let version = |report: &Value| report.pointer("/metadata/resourceVersion").cloned();
    ensure!(version(&report(shop)?) == version(&first), "it was written again, and nothing had changed");
    // The way back goes, and then the Service.
    shop.kubectl(&["delete", "deployment", "app-green"])?.succeeds()?;
    shop.until("the Report tells of it", || Ok(finds(&report(shop)?, "no-way-back")))?;
    let no_way_back = format!(
        "flipguard_findings{{service_namespace=\"{}\",code=\"no-way-back\",severity=\"warning\"}}",
        shop.namespace
    );
    shop.until("the metric tells of it", || Ok(auditor.value(&no_way_back) == "1"))?;
    shop.kubectl(&["annotate", "service", "app", "flipguard.dev/guard=false"])?.succeeds()?;
    shop.kubectl(&["delete", "service", "app"])?.succeeds()?;
    shop.until("the Report is deleted", || Ok(report(shop)?.is_null()))?;
    // Without the right to list Pods, the look is incomplete, and the process goes on.
    shop.plain_kubectl(&["delete", "clusterrolebinding", "flipguard-auditor:flipguard-system"])?.succeeds()?;
    shop.until("it says that it cannot look", || Ok(auditor.value("flipguard_audit_complete") == "0"))?;
    // The right may go in the middle of a look. The next one does not get as far.
    shop.until("the log names the right", || Ok(auditor.process.log_tail().contains("bluegreenpolicies")))?;
    // Neither an idle connection nor half of a request keeps the process.
    let mut half = TcpStream::connect(auditor.address)?;
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: ")?;
    let mut scraper = TcpStream::connect(auditor.address)?;
    scraper.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")?;
    scraper.read_exact(&mut [0; 12])?;
    auditor.process.terminate()?;
    ensure!(auditor.process.wait(std::time::Duration::from_secs(10)).is_some_and(|status| status.success()));
    drop((scraper, half));
    shop.plain_kubectl(&["delete", crd])?.succeeds()
}
