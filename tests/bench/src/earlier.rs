//! Part 8: the same flips with an earlier build of flipguard. Both builds take turns on one cluster, in the order A B B A.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use controlplane::{ControlPlane, Guard};

use crate::bursts::{self, apps};
use crate::cluster::Cluster;
use crate::figures::{Spread, order, ratios};
use crate::flips::{self, Doing, flip, idle, slice, spent};
use crate::report::{Report, heading};
use crate::servers::Handler;
use crate::webhook::end;
use crate::without_flipguard::{register, remove};

/// The phases of each build. Many short ones tell more than a few long ones: the machine changes from minute to minute.
const PHASES: usize = 6;
/// The slices of a phase.
const SLICES: usize = 1;
/// The flips of a phase whose processor time is counted.
const COUNTED: u32 = 150;
/// The sizes of the namespaces.
const SIZES: [usize; 2] = [10, 1000];
/// The flips of a burst in a second, and its duration.
const BURST: (u32, Duration) = (20, Duration::from_secs(12));

/// The figures of one phase, in milliseconds.
#[derive(Debug, Default)]
struct Phase {
    /// The median flip, by size.
    p50: Vec<f64>,
    /// The processor time of a flip: of the API server, and of flipguard.
    processor: [f64; 2],
    /// The flips of a burst.
    burst: [f64; 2],
}

/// Compares both builds.
///
/// # Errors
/// When a flip is denied.
pub async fn measure(
    control_plane: &ControlPlane,
    cluster: &Cluster,
    flipguard: &Path,
    earlier: &Path,
    report: &mut Report,
) -> Result<()> {
    heading(&format!("8. with an earlier build, {PHASES} phases each"));
    let namespace = "burst";
    apps(cluster, namespace).await?;
    let floors = floors(control_plane, cluster).await?;
    eprintln!("bench: {floors:.1?} ms of the API server through a webhook that judges nothing");
    let builds = [earlier, flipguard];
    let mut phases = [Vec::new(), Vec::new()];
    for round in 0..PHASES {
        for index in order(round, builds.len()) {
            if let (Some(build), Some(phases)) = (builds.get(index), phases.get_mut(index)) {
                let phase = phase(control_plane, cluster, build, namespace).await?;
                let [p50, p99] = phase.burst;
                let which = if index == 0 { "earlier" } else { "this" };
                eprintln!("bench: round {round}, {which} build: {:.1?} ms, burst {p50:.0} and {p99:.0} ms", phase.p50);
                phases.push(phase);
            }
        }
    }
    let [before, now] = phases;
    let each = |of: &dyn Fn(&Phase) -> f64| -> (Vec<f64>, Vec<f64>) {
        (before.iter().map(of).collect(), now.iter().map(of).collect())
    };
    let compare = |what: &str, of: &dyn Fn(&Phase) -> f64| -> (f64, f64) {
        let (before, now) = each(of);
        let ratio = ratios(&now, &before);
        let now = Spread::of(now).median;
        println!("  {what}: {:.1} ms, earlier {:.1} ({ratio})", now, Spread::of(before).median);
        (ratio.median, now)
    };
    let mut by_size = Vec::new();
    for (index, size) in SIZES.iter().enumerate() {
        let at = |phase: &Phase| phase.p50.get(index).copied().unwrap_or_default();
        by_size.push(compare(&format!("p50 at {size} Deployments"), &at).0);
    }
    let (api_server, _) = compare("processor time of the API server for a flip", &|phase| phase.processor[0]);
    let judges_nothing = ratios(&floors, &each(&|phase| phase.processor[0]).0);
    let floor = Spread::of(floors).median;
    println!("    {floor:.1} ms through a webhook that makes the same requests and judges nothing ({judges_nothing})");
    compare("processor time of flipguard for a flip", &|phase| phase.processor[1]);
    let words = format!("{} flips a second over {} apps of one namespace", BURST.0, bursts::APPS);
    let (_, p50) = compare(&format!("p50 of {words}"), &|phase| phase.burst[0]);
    let (_, p99) = compare(&format!("p99 of {words}"), &|phase| phase.burst[1]);
    if let Some(large) = by_size.last() {
        report.bar("flip/p50 at 1,000 Deployments, of the earlier build", *large, 0.5);
    }
    report.bar("flip/processor time of the API server, of the earlier build", api_server, 0.75);
    report.bar("burst/20 flips a second, p50, ms", p50, 80.0);
    report.bar("burst/20 flips a second, p99, ms", p99, 180.0);
    Ok(())
}

async fn phase(control_plane: &ControlPlane, cluster: &Cluster, build: &Path, namespace: &str) -> Result<Phase> {
    let guard = Guard::start(control_plane, build, &[])?;
    let mut p50 = Vec::new();
    for size in SIZES {
        let mut slices = Vec::new();
        for number in 0..=SLICES {
            let took = slice(cluster, size, Doing::Asked).await?;
            // The first one opens connections.
            if number > 0 {
                slices.push(took);
            }
        }
        p50.push(Spread::of(slices).median);
    }
    let processor = processor(cluster, guard.process().id()).await?;
    let namespaces = [namespace.to_owned()];
    bursts::flips(cluster, &namespaces, 4, Duration::from_secs(4)).await?;
    let burst = bursts::flips(cluster, &namespaces, BURST.0, BURST.1).await?;
    end(&guard)?;
    Ok(Phase { p50, processor, burst: [burst.p50, burst.p99] })
}

/// The processor time of a flip in immediate succession, of the API server and of the webhook, in milliseconds.
async fn processor(cluster: &Cluster, webhook: u32) -> Result<[f64; 2]> {
    let servers = [cluster.guarded_process, webhook];
    let idle = idle(&servers).await?;
    let flips = async {
        for number in 0..COUNTED {
            flip(&cluster.guarded, &flips::namespace(10), usize::try_from(number)?).await?;
        }
        Ok(())
    };
    let (taken, took) = spent(&servers, flips).await?;
    let each = |time: Duration, idle: f64| (time.as_secs_f64() - took.as_secs_f64() * idle) * 1e3 / f64::from(COUNTED);
    let ([api_server, webhook], [of_api_server, of_webhook]) = (taken, idle);
    Ok([each(api_server, of_api_server), each(webhook, of_webhook)])
}

/// The processor time of the API server for a flip through a webhook that makes the requests of flipguard and judges
/// nothing. It is measured before flipguard is registered, once for each phase.
async fn floors(control_plane: &ControlPlane, cluster: &Cluster) -> Result<Vec<f64>> {
    let namespace = flips::namespace(10);
    let webhook = register(control_plane, cluster, Handler::WithLedger, &namespace).await?;
    let mut floors = Vec::new();
    for _ in 0..PHASES {
        let [api_server, _] = processor(cluster, webhook.process).await?;
        floors.push(api_server);
    }
    remove(cluster, &webhook, &namespace).await?;
    Ok(floors)
}
