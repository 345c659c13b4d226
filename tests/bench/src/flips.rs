//! Part 2: a judged flip end to end, against the same PATCH through an API server that asks no webhook.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use controlplane::{ControlPlane, Guard};
use futures_util::FutureExt as _;
use futures_util::future::{try_join, try_join_all};
use http::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use crate::cluster::{Cluster, send};
use crate::figures::{ROUNDS, Spread, order, quantile, ratios};
use crate::only_answers;
use crate::process::cpu;
use crate::report::{Report, heading};
use crate::webhook::end;

/// How many Deployments are in the namespace.
const SIZES: [usize; 3] = [10, 100, 1000];
/// How many flips are in a slice: an even number, so that each begins at blue.
const FLIPS: usize = 6;
/// How long nobody asks before each of them. The API server asks etcd at most every 100 ms how far its cache of a kind is
/// behind (`apiserver/pkg/storage/cacher/progress`), so the second of two fresh LISTs within that time waits for the rest
/// of it. Nobody flips ten times a second; who did would wait for that, and it is in the time of the flips that are
/// counted in processor time below.
const PAUSE: Duration = Duration::from_millis(150);
/// What a flip reads after it has arrived, in pages: without these, nobody knows what would serve.
const LISTS: [&str; 5] = [
    "apis/apps/v1 deployments?",
    "apis/apps/v1 statefulsets?",
    "apis/apps/v1 daemonsets?",
    "apis/apps/v1 replicasets?",
    "api/v1 pods?labelSelector=app%3Dapp&",
];
/// How many flips are counted in processor time.
const COUNTED: usize = 1000;
/// How long it is counted what is spent on nothing.
const IDLE: Duration = Duration::from_secs(10);

/// What is done in a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// The PATCH, through the API server that asks nobody,
    Bare,
    /// and through the other.
    Asked,
    /// What a flip reads, all at once, by the bench itself.
    Reads,
    /// The same while a ledger, a ConfigMap, is written.
    ReadsAndWrite,
    /// One object is read, as a ledger is.
    Get,
    /// One list is read.
    List,
}

/// Measures it.
///
/// # Errors
/// When a flip is refused.
pub async fn measure(
    control_plane: &ControlPlane,
    cluster: &Cluster,
    flipguard: &Path,
    report: &mut Report,
) -> Result<()> {
    for size in SIZES {
        eprintln!("bench: {size} Deployments are made ready ...");
        cluster.shop(&namespace(size), size).await?;
        let maps = format!("/api/v1/namespaces/{}/configmaps", namespace(size));
        cluster.create(&maps, [json!({ "metadata": { "name": "ledger" } })]).await?;
    }
    heading("2. the same PATCH through both API servers, nothing registered yet: the bias of the method");
    let (bias, _) = slices(cluster, 10, &[Doing::Bare, Doing::Asked]).await?;
    println!("  x{:.2} [{:.2}-{:.2}]", bias.median, bias.low, bias.high);
    heading("2. the same with a webhook that only answers");
    let only_answers = only_answers::measure(control_plane, cluster).await?;
    println!("  x{:.2} [{:.2}-{:.2}]", only_answers.median, only_answers.low, only_answers.high);
    for (level, bar) in [("strict", 2.0), ("fresh", 1.4)] {
        let guard = Guard::start(control_plane, flipguard, &["--level", level])?;
        for size in SIZES {
            heading(&format!("2. flips, level {level}, {size} Deployments in the namespace, {ROUNDS} rounds"));
            let doing = [Doing::Bare, Doing::Asked, Doing::Reads, Doing::ReadsAndWrite, Doing::Get, Doing::List];
            let (ratio, p50) = slices(cluster, size, &doing).await?;
            let [bare, guarded, reads, reads_and_write, get, list] = p50.as_slice() else { continue };
            println!(
                "  p50 in ms: unguarded {bare:.2}, guarded {guarded:.2} (x{:.2} [{:.2}-{:.2}])",
                ratio.median, ratio.low, ratio.high
            );
            println!(
                "  without flipguard: one object read {get:.2}, one LIST of Deployments {list:.2}, a flip's {} LISTs at \
                 once {reads:.2}, and with a ledger written beside them {reads_and_write:.2}",
                LISTS.len()
            );
            // The ledger has to be read before it is written, and before the lists.
            let least = if level == "strict" { get + reads_and_write } else { *reads };
            let floor = only_answers.median + least / bare;
            println!(
                "  so a webhook that only answers and makes these reads comes to about x{floor:.2}; if it read but one \
                 object, to x{:.2}",
                only_answers.median + get / bare
            );
            if size == 10 {
                let name = format!("flip/p50, {level}, 10 Deployments, of unguarded");
                report.bar_over_floor(name, ratio.median, bar, floor);
            }
        }
        processor_time(cluster, &guard, level).await?;
        end(&guard)?;
    }
    Ok(())
}

/// The ratio of guarded to unguarded, round by round, and the median of each in milliseconds.
pub(crate) async fn slices(cluster: &Cluster, size: usize, doing: &[Doing]) -> Result<(Spread, Vec<f64>)> {
    let mut p50: Vec<Vec<f64>> = doing.iter().map(|_| Vec::new()).collect();
    // The first flip makes the ledger, and connections are opened.
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
        [bare, guarded, ..] => ratios(guarded, bare),
        _ => Spread::of(Vec::new()),
    };
    Ok((ratio, p50.into_iter().map(|figures| Spread::of(figures).median).collect()))
}

/// The median of a slice in milliseconds.
async fn slice(cluster: &Cluster, size: usize, doing: Doing) -> Result<f64> {
    let mut took = Vec::new();
    for number in 0..FLIPS {
        sleep(PAUSE).await;
        let started = Instant::now();
        match doing {
            Doing::Bare => flip(&cluster.bare, size, number).await?,
            Doing::Asked => flip(&cluster.guarded, size, number).await?,
            Doing::Reads => drop(try_join_all(LISTS.map(|what| list(cluster, size, what))).await?),
            Doing::ReadsAndWrite => {
                let path = format!("/api/v1/namespaces/{}/configmaps/ledger", namespace(size));
                let change = json!({ "data": { "number": number.to_string() } });
                let write = send(&cluster.guarded, Method::PATCH, &path, Some(&change));
                try_join(write, try_join_all(LISTS.map(|what| list(cluster, size, what)))).await.map(drop)?;
            }
            Doing::Get => drop(read(cluster, size, "api/v1 configmaps/ledger").await?),
            Doing::List => list(cluster, size, "apis/apps/v1 deployments?").await?,
        }
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(quantile(&took, 0.5))
}

/// Page by page, as flipguard reads.
async fn list(cluster: &Cluster, size: usize, what: &str) -> Result<()> {
    let mut more = String::new();
    loop {
        let page = read(cluster, size, &format!("{what}limit=500{more}")).await?;
        match flipguard::json::from_str::<Page>(&page)?.metadata.token {
            Some(token) => more = format!("&continue={token}"),
            None => return Ok(()),
        }
    }
}

/// As much of a page as tells where the next begins.
#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
}

#[derive(Deserialize)]
struct PageMeta {
    #[serde(rename = "continue")]
    token: Option<String>,
}

async fn read(cluster: &Cluster, size: usize, what: &str) -> Result<String> {
    let (group, rest) = what.split_once(' ').context("no plural")?;
    send(&cluster.guarded, Method::GET, &format!("/{group}/namespaces/{}/{rest}", namespace(size)), None).await
}

/// An even number flips to green, an odd one back to blue.
pub(crate) async fn flip(client: &kube::Client, size: usize, number: usize) -> Result<()> {
    let colour = if number.is_multiple_of(2) { "green" } else { "blue" };
    let change = json!({ "spec": { "selector": { "color": colour } } });
    let path = format!("/api/v1/namespaces/{}/services/app", namespace(size));
    send(client, Method::PATCH, &path, Some(&change)).await.map(drop)
}

pub(crate) fn namespace(size: usize) -> String {
    format!("shop-{size}")
}

async fn processor_time(cluster: &Cluster, guard: &Guard, level: &str) -> Result<()> {
    heading(&format!("2. processor time of {COUNTED} flips, level {level}, 10 Deployments, in ms a flip"));
    let servers = [cluster.bare_process, cluster.guarded_process, guard.process().id()];
    // A control plane is never idle, and guarded flips take long: what passes meanwhile is not theirs.
    let (idle, _) = spent(&servers, sleep(IDLE).map(Ok)).await?;
    let idle = idle.map(|time| time.as_secs_f64() / IDLE.as_secs_f64());
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
        flip(client, 10, number).await?;
    }
    Ok(())
}

/// The processor time that each server spends meanwhile, and how long that is.
async fn spent<const N: usize>(
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
