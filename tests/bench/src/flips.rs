//! Part 2: a judged flip from end to end, compared with the same PATCH through an API server without webhooks.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use controlplane::{ControlPlane, Guard};
use futures_util::FutureExt as _;
use http::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::cluster::{Cluster, bytes, send};
use crate::figures::{ROUNDS, Spread, order, quantile, ratios};
use crate::process::cpu;
use crate::report::{Report, heading};
use crate::servers::Handler;
use crate::webhook::end;
use crate::{reads, without_flipguard};

/// The numbers of Deployments in the namespace.
const SIZES: [usize; 3] = [10, 100, 1000];
/// The namespace of the webhook that makes the same requests and judges nothing. It has 10 Deployments. flipguard leaves it
/// out, so that the flips of both can take turns.
const BESIDE: &str = "beside";
/// The number of flips in a slice. It is even, so that each slice starts at blue.
const FLIPS: usize = 6;
/// The pause before each flip. The API server checks at most every 100 ms how far its cache of a kind is behind etcd
/// (`apiserver/pkg/storage/cacher/progress`). So the second of two fresh LISTs within that time waits for the rest of
/// it. Ten flips a second are not realistic. The wait is included in the flips below that are counted in processor
/// time.
const PAUSE: Duration = Duration::from_millis(150);
/// The number of flips for which processor time is counted.
const COUNTED: usize = 1000;
/// The duration for which the processor time of the idle servers is counted.
const IDLE: Duration = Duration::from_secs(10);
/// The duration for which the API server is profiled.
const PROFILED: Duration = Duration::from_secs(30);

/// The work of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// The PATCH through the API server without webhooks.
    Bare,
    /// The PATCH through the API server with webhooks.
    Asked,
    /// The same in the namespace of the webhook that judges nothing.
    Beside,
    /// The lists of a flip, read by the bench itself.
    Lists,
    /// One of these lists.
    List,
}

/// Creates the namespaces of each size, for parts 2 and 8.
///
/// # Errors
/// When an object is rejected.
pub async fn prepare(cluster: &Cluster) -> Result<()> {
    without_flipguard::create_account(cluster).await?;
    let sizes = SIZES.map(|size| (namespace(size), size));
    for (namespace, size) in sizes.into_iter().chain([(BESIDE.to_owned(), 10)]) {
        eprintln!("bench: {size} Deployments are made ready ...");
        cluster.shop(&namespace, size).await?;
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        cluster.create(&maps, [json!({ "metadata": { "name": "ledger" } })]).await?;
    }
    Ok(())
}

/// Measures flips in namespaces of each size.
///
/// # Errors
/// When a flip is denied.
pub async fn measure(
    control_plane: &ControlPlane,
    cluster: &Cluster,
    flipguard: &Path,
    folder: &Path,
    report: &mut Report,
) -> Result<()> {
    heading("2. the same PATCH through both API servers, nothing registered yet: the bias of the method");
    let (bias, _) = slices(cluster, 10, &[Doing::Bare, Doing::Asked]).await?;
    println!("  {bias}");
    heading("2. the same through webhooks without flipguard, which answer yes");
    without_flipguard::measure(control_plane, cluster).await?;
    for (level, handler) in [("strict", Handler::WithLedger), ("fresh", Handler::Lists)] {
        let guard = Guard::start(control_plane, flipguard, &["--concurrency", level, "--exempt-namespaces", BESIDE])?;
        heading(&format!(
            "2. flips, level {level}, of those through a webhook that makes the same requests and judges nothing"
        ));
        let webhook = without_flipguard::register(control_plane, cluster, handler, BESIDE).await?;
        let (ratio, _) = slices(cluster, 10, &[Doing::Beside, Doing::Asked]).await?;
        without_flipguard::remove(cluster, &webhook, BESIDE).await?;
        println!("  {ratio}");
        let name = format!("flip/p50, {level}, 10 Deployments, of a webhook that reads the same");
        report.bar(name, ratio.median, 1.25);
        for size in SIZES {
            heading(&format!("2. flips, level {level}, {size} Deployments in the namespace, {ROUNDS} rounds"));
            let (ratio, p50) = slices(cluster, size, &[Doing::Bare, Doing::Asked, Doing::Lists, Doing::List]).await?;
            let [bare, guarded, lists, list] = p50.as_slice() else { continue };
            println!("  p50 in ms: unguarded {bare:.2}, guarded {guarded:.2} ({ratio})");
            println!(
                "  without flipguard: one LIST of Deployments {list:.2}, all 5 LISTs of a flip at once {lists:.2}"
            );
        }
        processor_time(cluster, &guard, level).await?;
        profile(cluster, &folder.join(format!("flips-{level}.pprof"))).await?;
        end(&guard)?;
    }
    Ok(())
}

/// The ratio of the second to the first by round, and the median of each in milliseconds.
pub(crate) async fn slices(cluster: &Cluster, size: usize, doing: &[Doing]) -> Result<(Spread, Vec<f64>)> {
    let mut p50: Vec<Vec<f64>> = doing.iter().map(|_| Vec::new()).collect();
    // The first flip creates the ledger and opens connections.
    for what in doing {
        slice(cluster, size, *what).await?;
    }
    for round in 0..ROUNDS {
        for index in order(round, doing.len()) {
            if let (Some(what), Some(p50)) = (doing.get(index), p50.get_mut(index)) {
                p50.push(slice(cluster, size, *what).await?);
            }
        }
    }
    let ratio = match p50.as_slice() {
        [first, second, ..] => ratios(second, first),
        _ => Spread::of(Vec::new()),
    };
    Ok((ratio, p50.into_iter().map(|figures| Spread::of(figures).median).collect()))
}

/// The median of a slice in milliseconds.
pub(crate) async fn slice(cluster: &Cluster, size: usize, doing: Doing) -> Result<f64> {
    let namespace = namespace(size);
    let mut took = Vec::new();
    for number in 0..FLIPS {
        sleep(PAUSE).await;
        let started = Instant::now();
        match doing {
            Doing::Bare => flip(&cluster.bare, &namespace, number).await?,
            Doing::Asked => flip(&cluster.guarded, &namespace, number).await?,
            Doing::Beside => flip(&cluster.guarded, BESIDE, number).await?,
            Doing::Lists => reads::lists(&cluster.guarded, &namespace).await?,
            Doing::List => reads::deployments(&cluster.guarded, &namespace).await?,
        }
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(quantile(&took, 0.5))
}

/// An even number flips to green, an odd one back to blue.
pub(crate) async fn flip(client: &kube::Client, namespace: &str, number: usize) -> Result<()> {
    let colour = if number.is_multiple_of(2) { "green" } else { "blue" };
    let change = json!({ "spec": { "selector": { "color": colour } } });
    let path = format!("/api/v1/namespaces/{namespace}/services/app");
    send(client, Method::PATCH, &path, Some(&change)).await.map(drop)
}

pub(crate) fn namespace(size: usize) -> String {
    format!("shop-{size}")
}

async fn processor_time(cluster: &Cluster, guard: &Guard, level: &str) -> Result<()> {
    heading(&format!("2. processor time of {COUNTED} flips, level {level}, 10 Deployments, in ms a flip"));
    let servers = [cluster.bare_process, cluster.guarded_process, guard.process().id()];
    let idle = idle(&servers).await?;
    let (bare, bare_took) = spent(&servers, flips(&cluster.bare)).await?;
    let (guarded, guarded_took) = spent(&servers, flips(&cluster.guarded)).await?;
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    let each = |time: f64| time * 1e3 / COUNTED as f64;
    let own = |time: Duration, took: Duration, idle: f64| each(time.as_secs_f64() - took.as_secs_f64() * idle);
    let ([bare, ..], [_, api_server, flipguard]) = (bare, guarded);
    let [bare_idle, api_server_idle, flipguard_idle] = idle;
    println!(
        "  one right after the other, each takes {:.1} ms, unguarded {:.1}",
        each(guarded_took.as_secs_f64()),
        each(bare_took.as_secs_f64())
    );
    println!(
        "  API server unguarded {:.2}, guarded {:.2}; flipguard {:.2}",
        own(bare, bare_took, bare_idle),
        own(api_server, guarded_took, api_server_idle),
        own(flipguard, guarded_took, flipguard_idle)
    );
    println!(
        "  besides what they take while nobody flips: {:.0}, {:.0} and {:.0} ms a second",
        bare_idle * 1e3,
        api_server_idle * 1e3,
        flipguard_idle * 1e3
    );
    Ok(())
}

async fn flips(client: &kube::Client) -> Result<()> {
    for number in 0..COUNTED {
        flip(client, &namespace(10), number).await?;
    }
    Ok(())
}

/// Profiles the processor time of the API server while guarded flips are sent, for `tests/bench/profile.sh`.
async fn profile(cluster: &Cluster, file: &Path) -> Result<()> {
    let client = cluster.guarded.clone();
    let path = format!("/debug/pprof/profile?seconds={}", PROFILED.as_secs());
    let profile = tokio::spawn(async move { bytes(&client, &path, "*/*").await });
    let mut flips = 0;
    while !profile.is_finished() {
        // One flip there and one back, so that the next slice starts at blue.
        for number in 0..2 {
            flip(&cluster.guarded, &namespace(10), number).await?;
            flips += 1;
        }
    }
    let profile = profile.await?.context("no profile of the API server")?;
    std::fs::write(file, profile).with_context(|| format!("cannot write {}", file.display()))?;
    println!("  a profile of the API server during {flips} more flips: {}", file.display());
    Ok(())
}

/// The share of a processor that each server takes while nobody flips. A control plane is never idle, and guarded flips
/// take long, so the idle time spent meanwhile is subtracted.
pub(crate) async fn idle<const N: usize>(servers: &[u32; N]) -> Result<[f64; N]> {
    let (idle, _) = spent(servers, sleep(IDLE).map(Ok)).await?;
    Ok(idle.map(|time| time.as_secs_f64() / IDLE.as_secs_f64()))
}

/// The processor time of each server during some work, and the duration of the work.
pub(crate) async fn spent<const N: usize>(
    servers: &[u32; N],
    doing: impl Future<Output = Result<()>>,
) -> Result<([Duration; N], Duration)> {
    let times = || -> Result<Vec<Duration>> { servers.iter().map(|id| cpu(*id)).collect() };
    let (started, before) = (Instant::now(), times()?);
    doing.await?;
    let (took, after) = (started.elapsed(), times()?);
    let mut spent = [Duration::ZERO; N];
    for (spent, (after, before)) in spent.iter_mut().zip(after.iter().zip(&before)) {
        *spent = after.saturating_sub(*before);
    }
    Ok((spent, took))
}
