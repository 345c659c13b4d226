//! Rolling updates and crashes under load: three replicas behind HAProxy, writers that never stop, and one fault after
//! another. `make soak` runs the test; `TIMES` sets the number of each fault (3 by default).
//!
//! No verdict may ever be wrong. A replica that is asked to stop may lose no request. A killed replica may lose the
//! requests that it was judging, and the client must be able to tell their failure from a verdict.

mod writers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use controlplane::{Binaries, ControlPlane, Replicas};

use writers::{Tally, WRITERS, Writers};

/// The time limit for one condition.
const PATIENCE: Duration = Duration::from_secs(150);
/// The time for which the writers run before, between and after faults.
const BREATH: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match soak() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The number of requests that a fault may lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// None.
    None,
    /// For each fault, as many as can be in flight.
    InFlight,
    /// Any number: the API server itself was unavailable.
    Away,
}

fn soak() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok().context("a TLS provider is installed already")?;
    let binary = PathBuf::from(std::env::args().nth(1).context("usage: soak FLIPGUARD")?);
    let times: usize = match std::env::var("TIMES") {
        Ok(text) => text.parse().with_context(|| format!("TIMES={text} is no number"))?,
        Err(_) => 3,
    };
    let mut control_plane = ControlPlane::start(&Binaries::ensure()?)?;
    let replicas = Replicas::behind_a_service(&control_plane, Path::new(&binary), 3, &["--drain", "2s"])?;
    let writers = Writers::start(&control_plane)?;
    let mut report = Vec::new();

    sleep(BREATH);
    report.push(("calm", Loss::None, 1, writers.lap()));

    eprintln!("soak: rolling {times} times by SIGTERM");
    for _ in 0..times {
        for number in 0..replicas.count() {
            roll(&control_plane, &replicas, number)?;
        }
    }
    sleep(BREATH);
    report.push(("rolled by SIGTERM", Loss::None, times * replicas.count(), writers.lap()));

    eprintln!("soak: killing {times} times");
    for round in 0..times {
        kill(&control_plane, &replicas, round % replicas.count())?;
        sleep(BREATH);
    }
    report.push(("killed by SIGKILL", Loss::InFlight, times, writers.lap()));

    eprintln!("soak: restarting the API server {times} times");
    for _ in 0..times {
        control_plane.restart_api_server()?;
        sleep(BREATH);
    }
    report.push(("API server restarted", Loss::Away, times, writers.lap()));

    eprintln!("soak: restarting etcd {times} times");
    for _ in 0..times {
        control_plane.restart_etcd()?;
        sleep(BREATH);
    }
    report.push(("etcd restarted", Loss::Away, times, writers.lap()));

    // Normal operation returns as soon as no request waits for a change that never committed. Such an intent expires
    // after 90 s.
    writers.until_calm(PATIENCE)?;
    sleep(BREATH);
    report.push(("calm again", Loss::None, 1, writers.lap()));
    writers.end()?;
    drop(replicas);
    control_plane.stop()?;
    judge(&report)
}

/// A rolling update: one replica ends, and a new one replaces it.
fn roll(control_plane: &ControlPlane, replicas: &Replicas, number: usize) -> Result<()> {
    replicas.with(number, |guard| guard.process().terminate())?;
    let status =
        replicas.with(number, |guard| guard.process().wait(PATIENCE).context("the replica does not end on SIGTERM"))?;
    ensure!(status.success(), "replica {number} ended with {status}");
    comes_back(control_plane, replicas, number)
}

fn kill(control_plane: &ControlPlane, replicas: &Replicas, number: usize) -> Result<()> {
    replicas.with(number, |guard| guard.process().kill())?;
    replicas.with(number, |guard| guard.process().wait(PATIENCE).context("the replica does not end on SIGKILL"))?;
    comes_back(control_plane, replicas, number)
}

fn comes_back(control_plane: &ControlPlane, replicas: &Replicas, number: usize) -> Result<()> {
    replicas.restart(control_plane, number)?;
    let deadline = Instant::now() + PATIENCE;
    let ready = || replicas.with(number, |guard| guard.ask("/readyz")).is_ok_and(|(status, _)| status.contains("200"));
    while !ready() {
        replicas.with(number, |guard| guard.process().ensure_running())?;
        ensure!(Instant::now() < deadline, "replica {number} does not become ready");
        sleep(Duration::from_millis(50));
    }
    // A Service notices the new replica with a delay, and so does the balancer.
    sleep(Duration::from_millis(500));
    Ok(())
}

fn judge(report: &[(&str, Loss, usize, Tally)]) -> Result<()> {
    let heads = ["times", "allowed", "refused", "lost", "waits", "away", "wrong"];
    println!("{:<22} {}", "", heads.map(|head| format!("{head:>8}")).concat());
    let mut failures = Vec::new();
    for (what, loss, times, tally) in report {
        let Tally { allowed, refused, lost, waits, away, wrong } = tally;
        let counts = [*times, *allowed, *refused, lost.len(), waits.len(), away.len(), wrong.len()];
        println!("{what:<22} {}", counts.map(|count| format!("{count:>8}")).concat());
        for wrong in tally.wrong.iter().take(3) {
            failures.push(format!("{what}: a wrong verdict: {wrong}"));
        }
        let may_lose = if *loss == Loss::None { 0 } else { times * WRITERS };
        if *loss == Loss::None && !tally.waits.is_empty() {
            failures.push(format!("{what}: somebody had to wait: {:?}", tally.waits.first()));
        }
        if *loss != Loss::Away && (tally.lost.len() > may_lose || !tally.away.is_empty()) {
            let lost = tally.lost.iter().chain(&tally.away).take(3).cloned().collect::<Vec<_>>().join("; ");
            failures.push(format!("{what}: {} were lost, at most {may_lose} may be: {lost}", tally.lost.len()));
        }
        if tally.allowed == 0 || tally.refused == 0 {
            failures.push(format!("{what}: nothing flowed"));
        }
    }
    for example in report.iter().filter_map(|(what, _, _, tally)| tally.lost.first().map(|lost| (what, lost))) {
        println!("lost while {}: {}", example.0, example.1);
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    println!("no verdict was wrong; nothing was lost but what a killed replica was judging");
    Ok(())
}
