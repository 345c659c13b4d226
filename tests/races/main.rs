//! Races on a real control plane. In each round, two real requests that are each harmless alone are sent at once. No
//! round may end with a Service that routes to no Pod.
//!
//! The rounds run against one replica first. Then they run against three replicas behind HAProxy, one of which is
//! killed or frozen every few seconds. `ROUNDS` sets the total number of rounds (240 by default; `make soak` sets
//! more; 0 runs no races). Then a policy changes again and again under three replicas ([`programmed`]). With
//! `CONCURRENCY=fresh`, the test fails, which shows the need for the ledger.
//!
//! With `API_SERVERS=2`, the two requests go to two API servers over one etcd, and the second one is frozen now and then.
//! flipguard asks both behind HAProxy. At the end, etcd is restored from a backup, and the rounds go on.

mod lane;
mod programmed;
mod recorded;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use controlplane::{ApiServers, Binaries, ControlPlane, Replicas};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::Runtime;

use lane::{Answer, Clients, Lane, Race, Round};

/// The total number of rounds, unless `ROUNDS` is set.
const ROUNDS: usize = 240;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        println!("races: test");
        return ExitCode::SUCCESS;
    }
    match races() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("races: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn races() -> Result<()> {
    let rounds = match std::env::var("ROUNDS") {
        Ok(text) => text.parse().with_context(|| format!("ROUNDS={text} is no number"))?,
        Err(_) => ROUNDS,
    };
    if rounds == 0 {
        println!("ROUNDS=0: no races run here");
        return Ok(());
    }
    rustls::crypto::ring::default_provider().install_default().ok().context("a TLS provider is installed already")?;
    let binaries = Binaries::ensure()?;
    let mut control_plane = ControlPlane::start(&binaries)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut servers = Servers::start(&control_plane)?;
    let clients = runtime.block_on(servers.clients(&control_plane))?;
    let client = clients.first.clone();
    let binary = Path::new(env!("CARGO_BIN_EXE_flipguard"));
    let witness = recorded::Witness::start(&runtime, &client);

    let concurrency = std::env::var("CONCURRENCY").unwrap_or_else(|_| "strict".to_owned());
    let flags = ["--concurrency", concurrency.as_str()];
    let alone = rounds / 4;
    println!("races: {alone} rounds against one replica");
    let one = servers.replicas(&control_plane, binary, 1, &flags)?;
    let calm = runtime.block_on(all_lanes(&clients, alone))?;
    calm.report();
    drop(one);
    ensure!(calm.count(|round| round.broken) == 0, "a Service routes to no Pod");
    ensure!(calm.count(Round::is_lost) == 0, "a request was lost although no replica was killed");
    ensure!(
        calm.count(Round::is_needlessly_refused) == 0,
        "both requests were denied, although one could have been allowed"
    );

    println!("races: {} rounds against three replicas, of which one is killed or frozen now and then", rounds - alone);
    let three = servers.replicas(&control_plane, binary, 3, &flags)?;
    let (rough, killed) = disturbed(&runtime, &control_plane, &servers, &three, &clients, rounds - alone)?;
    if concurrency == "strict" {
        witness.agrees(&runtime, &client)?;
    }
    programmed::generations(&runtime, &clients, &mut control_plane, &three)?;
    ensure!(rough.count(|round| round.broken) == 0, "a Service routes to no Pod");
    ensure!(killed > 0, "no replica was killed");
    if servers.0.is_some() {
        let backup = control_plane.back_up_etcd()?;
        println!("races: {alone} rounds after a backup of etcd, which is then restored");
        let before = runtime.block_on(all_lanes(&clients, alone))?;
        before.report();
        control_plane.restore_etcd(&backup)?;
        servers.restart_second(&control_plane)?;
        let clients = runtime.block_on(servers.clients(&control_plane))?;
        println!("races: {alone} rounds after etcd was restored");
        let after = runtime.block_on(all_lanes(&clients, alone))?;
        after.report();
        let broken = before.count(|round| round.broken) + after.count(|round| round.broken);
        ensure!(broken == 0, "a Service routes to no Pod");
    }
    drop(three);
    control_plane.stop()?;
    println!("test result: ok. {rounds} rounds, 0 broken");
    Ok(())
}

/// The API servers beside that of the control plane.
struct Servers(Option<ApiServers>);

impl Servers {
    /// Starts a second API server, if `API_SERVERS=2` asks for it.
    fn start(control_plane: &ControlPlane) -> Result<Self> {
        match std::env::var("API_SERVERS").as_deref() {
            Err(_) | Ok("" | "1") => Ok(Self(None)),
            Ok("2") => Ok(Self(Some(ApiServers::start(control_plane)?))),
            Ok(other) => bail!("API_SERVERS is `{other}`; it must be 1 or 2"),
        }
    }

    async fn clients(&self, control_plane: &ControlPlane) -> Result<Clients> {
        let first = client(control_plane.kubeconfig()).await?;
        let second = match &self.0 {
            Some(servers) => client(servers.second_kubeconfig()).await?,
            None => first.clone(),
        };
        Ok(Clients { first, second })
    }

    fn replicas(&self, control_plane: &ControlPlane, binary: &Path, count: usize, flags: &[&str]) -> Result<Replicas> {
        match &self.0 {
            Some(servers) => Replicas::with_api_servers(control_plane, servers, binary, count, flags),
            None => Replicas::start(control_plane, binary, count, flags),
        }
    }

    fn restart_second(&mut self, control_plane: &ControlPlane) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |servers| servers.restart_second(control_plane))
    }

    /// Freezes the second API server for a while. Returns whether there is one.
    fn freeze(&self, pause: impl FnOnce()) -> Result<bool> {
        let Some(servers) = &self.0 else { return Ok(false) };
        servers.second().suspend()?;
        pause();
        servers.second().resume()?;
        Ok(true)
    }
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    // The client's own retries would last for minutes. The races retry as client-go does.
    config.default_retry = false;
    config.read_timeout = Some(Duration::from_secs(70));
    Ok(Client::try_from(config)?)
}

/// Runs all kinds of races at once, each in a namespace of its own.
async fn all_lanes(clients: &Clients, rounds: usize) -> Result<Tally> {
    let each = rounds / Race::ALL.len();
    let run = |race: Race| async move {
        let mut lane = Lane::open(clients, race).await?;
        let mut tally = Vec::new();
        for number in 1..=each {
            let round = lane.round().await?;
            if round.broken {
                println!("races: {race:?} round {number} ended broken: {round:?}");
            }
            if number % 20 == 0 {
                println!("races: {race:?} {number} of {each}");
            }
            tally.push((race, round));
        }
        Ok::<_, anyhow::Error>(tally)
    };
    let [one, two, three, four] = Race::ALL;
    let (one, two, three, four) = tokio::try_join!(run(one), run(two), run(three), run(four))?;
    Ok(Tally([one, two, three, four].concat()))
}

/// Runs rounds while replicas are killed and frozen, and the second API server is frozen. Returns how many replicas were
/// killed.
fn disturbed(
    runtime: &Runtime,
    control_plane: &ControlPlane,
    servers: &Servers,
    replicas: &Replicas,
    clients: &Clients,
    rounds: usize,
) -> Result<(Tally, usize)> {
    let over = AtomicBool::new(false);
    let (rough, disturbances) = std::thread::scope(|scope| {
        let disturb = scope.spawn(|| disturb(control_plane, servers, replicas, &over));
        let rough = runtime.block_on(all_lanes(clients, rounds));
        over.store(true, Ordering::Relaxed);
        (rough, disturb.join())
    });
    let rough = rough?;
    let Disturbances { killed, frozen, servers_frozen } =
        disturbances.map_err(|_| anyhow::anyhow!("the thread that disturbs the replicas panicked"))??;
    rough.report();
    println!("races: {killed} replicas killed, {frozen} frozen; the second API server frozen {servers_frozen} times");
    Ok((rough, killed))
}

/// The results of all rounds.
struct Tally(Vec<(Race, Round)>);

impl Tally {
    fn count(&self, what: impl Fn(&Round) -> bool) -> usize {
        self.0.iter().filter(|(_, round)| what(round)).count()
    }

    fn report(&self) {
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for (race, round) in &self.0 {
            *ends.entry(format!("{race:?}: {:?} and {:?}", round.answers.0, round.answers.1)).or_default() += 1;
        }
        for (end, count) in ends {
            println!("  {count:>5}  {end}");
        }
        let mut took: Vec<Duration> = self.0.iter().map(|(_, round)| round.took).collect();
        took.sort();
        let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default().as_millis();
        println!(
            "  {} rounds, {} broken; {} where both were refused though no order would refuse both; {} where somebody \
             had to give up; both answered after {} ms (half of them), {} ms (nine of ten)",
            self.0.len(),
            self.count(|round| round.broken),
            self.count(Round::is_needlessly_refused),
            self.count(|round| round.has(Answer::GivenUp)),
            at(50),
            at(90),
        );
    }
}

impl Round {
    fn has(&self, answer: Answer) -> bool {
        self.answers.0 == answer || self.answers.1 == answer
    }

    fn is_lost(&self) -> bool {
        self.has(Answer::Lost)
    }

    fn is_needlessly_refused(&self) -> bool {
        !self.has(Answer::Passed) && !self.is_lost()
    }
}

/// The number of killed and frozen replicas, and how often the second API server was frozen.
struct Disturbances {
    killed: usize,
    frozen: usize,
    servers_frozen: usize,
}

/// Kills or freezes one replica at a time, at intervals, until all rounds are over.
fn disturb(
    control_plane: &ControlPlane,
    servers: &Servers,
    replicas: &Replicas,
    over: &AtomicBool,
) -> Result<Disturbances> {
    let mut disturbances = Disturbances { killed: 0, frozen: 0, servers_frozen: 0 };
    let is_over = |pause: u64| {
        let until = Instant::now() + Duration::from_millis(pause);
        while Instant::now() < until && !over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        over.load(Ordering::Relaxed)
    };
    while !is_over(fastrand::u64(500..3000)) {
        let freezes = fastrand::bool();
        if freezes
            && servers.freeze(|| {
                is_over(fastrand::u64(500..6000));
            })?
        {
            disturbances.servers_frozen += 1;
            continue;
        }
        let victim = fastrand::usize(..replicas.count());
        if fastrand::bool() {
            disturbances.killed += 1;
            replicas.with(victim, |guard| {
                guard.process().kill()?;
                if guard.process().wait(Duration::from_secs(10)).is_none() {
                    bail!("it survives SIGKILL");
                }
                Ok(())
            })?;
            is_over(fastrand::u64(0..1000));
            replicas.restart(control_plane, victim)?;
        } else {
            disturbances.frozen += 1;
            replicas.with(victim, |guard| guard.process().suspend())?;
            is_over(fastrand::u64(500..4000));
            replicas.with(victim, |guard| guard.process().resume())?;
        }
    }
    Ok(disturbances)
}
