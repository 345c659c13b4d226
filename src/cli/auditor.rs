//! `flipguard audit --every`: looks again and again, for metrics and for reports in the cluster.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::look::{Scope, look};
use super::process::{log, stop_signal};
use super::target::{ClusterArgs, run};
use crate::auditor::metrics::{Look, text};
use crate::auditor::server::{Shown, serve};
use crate::cluster::reports::{Written, write};
use crate::model::Timestamp;
use crate::report::Report;
use crate::report::open_reports::{Group, objects};

/// What is looked at, how often, and where the results go.
pub(super) struct Auditor {
    pub(super) cluster: ClusterArgs,
    pub(super) scope: Scope,
    pub(super) every: Duration,
    pub(super) listen: SocketAddr,
    /// The group of the reports in the cluster; without it, nothing is written.
    pub(super) reports: Option<Group>,
}

/// The results of the looks so far.
#[derive(Default)]
struct Results {
    report: Option<Report>,
    last_success: Option<Timestamp>,
    are_reports_written: Option<bool>,
}

impl Auditor {
    /// Looks until a signal ends it.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        log()?;
        run(async {
            let listener =
                TcpListener::bind(self.listen).await.with_context(|| format!("cannot listen on {}", self.listen))?;
            tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %listener.local_addr()?, "auditing");
            let shown = Shown::default();
            let stop = stop_signal()?;
            tokio::select! {
                served = serve(listener, shown.clone(), stop) => served?,
                never = self.look_for_ever(&shown) => match never {},
            }
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn look_for_ever(&self, shown: &Shown) -> std::convert::Infallible {
        let mut ticks = interval(self.every);
        // A look that takes longer than the time between two is followed by the next at once, not by several.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut results = Results::default();
        loop {
            ticks.tick().await;
            let began = Instant::now();
            let is_complete = match self.look(&mut results).await {
                Ok(is_complete) => is_complete,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "the look failed");
                    false
                }
            };
            let Results { report, last_success, are_reports_written } = &results;
            let look = Look {
                report: report.as_ref(),
                last_success: *last_success,
                took: began.elapsed(),
                is_complete,
                are_reports_written: *are_reports_written,
            };
            shown.store(Arc::new(text(&look)));
        }
    }

    /// Looks once. Policies and flags are read again each time.
    async fn look(&self, results: &mut Results) -> anyhow::Result<bool> {
        let cluster = self.cluster.open().await?;
        let report = look(&cluster, &self.scope, &ProgressBar::hidden()).await?;
        let summary = report.summary;
        tracing::info!(
            namespaces = report.namespaces.len(),
            errors = summary.errors,
            warnings = summary.warnings,
            infos = summary.infos,
            complete = report.complete,
            "looked"
        );
        for unread in &report.unread {
            tracing::warn!(%unread, "cannot read");
        }
        if report.complete {
            results.last_success = Some(report.at);
        }
        let is_complete = report.complete;
        if let Some(group) = self.reports {
            let is_all = is_complete && self.scope.namespace.is_none();
            let written = write(&cluster.client, group, &objects(&report, group), is_all).await;
            results.are_reports_written = Some(written.is_ok());
            match written {
                Ok(Written { written: 0, deleted: 0 }) => {}
                Ok(Written { written, deleted }) => tracing::info!(written, deleted, "wrote reports"),
                Err(error) => tracing::error!(%error, "the reports were not all written"),
            }
        }
        results.report = Some(report);
        Ok(is_complete)
    }
}
