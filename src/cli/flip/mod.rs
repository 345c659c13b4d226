//! `flipguard flip`
//!
//! - `one`: one Service, until it is flipped or will not be
//! - `many`: several Services, and the way back
//! - `printed`: what was done, for people and for programs

mod many;
mod one;
mod printed;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tokio::time::Instant;

use super::Output;
use super::service_filter::LabelFilter;
use super::target::{Cluster, ClusterArgs, run, unreadable};
use crate::audit::snapshot::Snapshot;
use crate::install::namespaces;
use crate::model::{Enforcement, Policy, Role, Service, printable, setting};
use crate::plugin::next::Ending;
use crate::plugin::target::{NoTarget, Target, back, to_colour};
use crate::rules::state::roles::role_because;
use one::Flight;
use printed::Report;

/// Flip a Service to another colour: only the pairs of its selector that pick the colour change
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 the colour is live, 1 denied or waiting is no use, 2 it could not look or ask, 124 the time \
    is up.\nIt has the rights of your kubeconfig: get and patch the Service, and list what `flipguard status` lists."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct FlipCommand {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The Service
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    service: Option<String>,
    /// The colour to flip to, such as green, 2.0 or v2
    #[arg(long, value_name = "COLOUR", required_unless_present = "back", conflicts_with = "back")]
    to: Option<String>,
    /// Flip back to where the last flip on record came from; needs the right to read flipguard's ledger
    #[arg(long)]
    back: bool,
    /// Flip all traffic Services with the labels of -l, or none of them
    #[arg(long, requires = "selector")]
    all: bool,
    /// With --all: the labels, such as app=shop,tier!=test
    #[arg(long, short = 'l', value_name = "LABELS", requires = "all")]
    selector: Option<LabelFilter>,
    /// The namespace; without it, that of the context
    #[arg(long, short, value_parser = namespaces::named)]
    namespace: Option<String>,
    /// Wait while the flip is denied for a reason that may resolve by waiting
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "10m", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Ask the API server whether the flip would pass, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The image or label that the target has to run, such as app:2.0 or version=2.0; it stays on the Service as the
    /// annotation flipguard.dev/expect
    #[arg(long, value_name = "VERSION", conflicts_with = "back")]
    expect: Option<String>,
    /// Flip even if flipguard does not check it
    #[arg(long)]
    unguarded: bool,
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

/// A Service that is to flip.
struct Planned<'s> {
    service: &'s Service,
    target: Target,
}

impl FlipCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        run(async {
            let cluster = self.cluster.open_to_look().await?;
            let namespace = cluster.namespace(self.namespace.as_deref()).await?;
            let policy = cluster.settings(&namespace).await;
            let snapshot = cluster.scan.namespace(&namespace, &[&policy]).await;
            if let Some(failure) = snapshot.failures().first() {
                return Err(unreadable(failure.clone()));
            }
            let services = self.services(&snapshot, &policy)?;
            if self.back
                && let Some(failure) = snapshot.without_ledger()
            {
                bail!(
                    "the last flip is not known, since {} cannot be read: {}; say --to COLOUR",
                    failure.what,
                    failure.why
                );
            }
            let mut planned = Vec::new();
            for service in services {
                match self.target(service, &snapshot, &policy) {
                    Ok(target) => planned.push(Planned { service, target }),
                    Err(why) => {
                        eprintln!("flipguard: {}", printable(&why.to_string()));
                        // Policies say which labels mark a colour.
                        if let Some(unread) = cluster.unread_policies() {
                            eprintln!("note: {unread}");
                        }
                        return Ok(ExitCode::from(Ending::Refused.code()));
                    }
                }
            }
            let moved = planned.iter().filter(|one| matches!(one.target, Target::Move(_))).map(|one| one.service);
            let moved: Vec<&Service> = moved.collect();
            // What is live already is not asked about.
            if !moved.is_empty()
                && let Some(code) = self.is_stopped(&cluster, &snapshot, &policy, &moved)
            {
                return Ok(code);
            }
            let mut report = Report::new(&namespace, self.dry_run);
            let end = self.wait.then(|| Instant::now() + self.timeout);
            let mut flights = self.flights(&cluster, &namespace, &planned, end, &mut report);
            let code = if self.all {
                many::fly(&mut flights, &mut report).await?
            } else {
                one::fly_alone(&flights, &mut report).await
            };
            report.print(self.output)?;
            Ok(code)
        })
    }

    /// The Services that are meant.
    fn services<'s>(&self, snapshot: &'s Snapshot, policy: &Policy) -> anyhow::Result<Vec<&'s Service>> {
        let namespace = &snapshot.namespace;
        let mut there: Vec<&Service> = snapshot.view.services.iter().filter(|service| !service.meta.deleting).collect();
        there.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
        if let Some(named) = &self.service {
            let name = named.strip_prefix("service/").or_else(|| named.strip_prefix("svc/")).unwrap_or(named);
            if let Some(service) = there.iter().find(|service| service.meta.name == name) {
                return Ok(vec![service]);
            }
            let names: Vec<&str> = there.iter().map(|service| service.meta.name.as_str()).collect();
            let others =
                if names.is_empty() { "none at all; name a namespace with -n".to_owned() } else { names.join(", ") };
            bail!("there is no Service {} in namespace {namespace}; there are {others}", printable(name));
        }
        let is_selected =
            |service: &&&Service| self.selector.as_ref().is_some_and(|filter| filter.matches(&service.meta.labels));
        let is_traffic = |service: &&Service| role_because(service, &snapshot.view, &policy.colours).0 == Role::Traffic;
        let (traffic, others): (Vec<_>, Vec<_>) = there.iter().filter(is_selected).copied().partition(is_traffic);
        for other in others {
            let (role, because) = role_because(other, &snapshot.view, &policy.colours);
            eprintln!("note: {} stays as it is: {}, since {}", other.meta.name, role.name(), because.words());
        }
        if traffic.is_empty() {
            bail!(
                "no traffic Service in namespace {namespace} has the labels of -l; kubectl get services --show-labels shows them"
            );
        }
        Ok(traffic)
    }

    /// Says where nobody checks the flip, or where flipguard only warns. The exit code, where that stops it.
    fn is_stopped(
        &self,
        cluster: &Cluster,
        snapshot: &Snapshot,
        policy: &Policy,
        services: &[&Service],
    ) -> Option<ExitCode> {
        let role_of = |service: &Service| role_because(service, &snapshot.view, &policy.colours);
        let left_alone = services.iter().find_map(|service| match role_of(service) {
            (Role::Unguarded(_), because) => {
                Some(format!("it leaves {} alone, since {}", service.meta.name, because.words()))
            }
            _ => None,
        });
        let (guarded, why_not) = cluster.guards(&snapshot.namespace);
        let unchecked = if guarded == Some(false) { why_not.clone() } else { left_alone };
        if let Some(why) = unchecked {
            eprintln!("WARNING: flipguard does not check this flip: {why}.");
            if !self.unguarded {
                eprintln!("Nobody would notice that the target is not ready. To flip all the same, add --unguarded.");
                return Some(ExitCode::from(Ending::Refused.code()));
            }
        } else if let (None, Some(why)) = (guarded, why_not) {
            eprintln!("note: whether flipguard checks this flip is unknown: {why}");
        } else if policy.enforcement == Enforcement::Warn {
            let by = policy.source(setting::ENFORCEMENT).map(|by| format!(", policy {by}")).unwrap_or_default();
            eprintln!("note: flipguard only warns here (enforcement Warn{by})");
        }
        for service in services {
            if let (Role::Preview, because) = role_of(service) {
                let name = &service.meta.name;
                eprintln!("note: {name} carries no traffic (preview, since {}), so any colour passes", because.words());
            }
        }
        None
    }

    fn target(&self, service: &Service, snapshot: &Snapshot, policy: &Policy) -> Result<Target, NoTarget> {
        match &self.to {
            Some(colour) => to_colour(service, &snapshot.view, &policy.colours, colour),
            None => back(service, &snapshot.view, &policy.colours),
        }
    }

    /// A flight for each Service that is not there yet. The others are reported.
    fn flights<'a>(
        &'a self,
        cluster: &'a Cluster,
        namespace: &'a str,
        planned: &'a [Planned<'a>],
        end: Option<Instant>,
        report: &mut Report,
    ) -> Vec<Flight<'a>> {
        let mut flights = Vec::new();
        for Planned { service, target } in planned {
            match target {
                Target::Live(colour) => report.is_live(&service.meta.name, colour, ""),
                Target::Move(moved) => flights.push(Flight {
                    cluster,
                    namespace,
                    name: &service.meta.name,
                    uid: &service.meta.uid,
                    planned: moved.clone(),
                    expect: self.expect.as_deref(),
                    dry_run: self.dry_run,
                    end,
                    interrupted: None,
                }),
            }
        }
        flights
    }
}
