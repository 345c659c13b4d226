//! The command line of `make bench`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use bench::cluster::{self, Cluster};
use bench::report::Report;
use bench::servers::{self, Handler};
use bench::{bursts, earlier, flips, irrelevant, largest, memory, record, requests, start, whole};
use clap::{Parser, Subcommand};
use controlplane::{Binaries, ControlPlane};
use flipguard::certs::Identity;

#[derive(Debug, Parser)]
struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and write report.json
    Run {
        /// A release build of flipguard
        flipguard: PathBuf,
        /// The folder for report.json
        folder: PathBuf,
        /// The content of the image: the static binary
        #[arg(long)]
        image: Option<PathBuf>,
        /// Only these parts
        #[arg(long, value_delimiter = ',')]
        parts: Vec<u8>,
        /// An earlier release build of flipguard: part 8 compares with it
        #[arg(long)]
        earlier: Option<PathBuf>,
        /// Only these reviews of part 1, such as `scale-up`
        #[arg(long, value_delimiter = ',')]
        reviews: Vec<String>,
    },
    /// Record the reviews in tests/bench/reviews again
    Record,
    /// Serve a webhook for comparison: prints its port, its token and its authority
    Serve {
        /// The work of the handler
        handler: Handler,
        /// The cluster that the handler reads, if it reads
        #[arg(long)]
        kubeconfig: Option<PathBuf>,
    },
}

fn main() -> Result<ExitCode> {
    rustls::crypto::ring::default_provider().install_default().ok().context("a TLS provider is installed already")?;
    match Bench::parse().command {
        Command::Run { flipguard, folder, image, earlier, parts, reviews } => {
            let builds = Builds { flipguard: &flipguard, image: image.as_deref(), earlier: earlier.as_deref() };
            return run(&builds, &folder, &parts, &reviews);
        }
        Command::Record => record::record()?,
        Command::Serve { handler, kubeconfig } => serve(handler, kubeconfig.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The programs that are measured.
struct Builds<'a> {
    flipguard: &'a Path,
    /// The content of the image.
    image: Option<&'a Path>,
    /// An earlier build of flipguard.
    earlier: Option<&'a Path>,
}

fn run(builds: &Builds<'_>, folder: &Path, parts: &[u8], reviews: &[String]) -> Result<ExitCode> {
    let Builds { flipguard, image, earlier } = *builds;
    let wanted = |part: u8| parts.is_empty() || parts.contains(&part);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let binaries = Binaries::ensure()?;
    let mut report = Report::default();
    if wanted(1) {
        let control_plane = ControlPlane::start(&binaries)?;
        requests::measure(&control_plane, flipguard, reviews, &mut report)?;
        control_plane.stop()?;
    }
    if (2..=6).chain(8..=9).any(wanted) {
        let control_plane = ControlPlane::start(&binaries)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let cluster = Cluster::open(&control_plane).await?;
            if wanted(2) || wanted(8) {
                flips::prepare(&cluster).await?;
            }
            if wanted(2) {
                flips::measure(&control_plane, &cluster, flipguard, folder, &mut report).await?;
            }
            if wanted(8) {
                match earlier {
                    Some(earlier) => {
                        earlier::measure(&control_plane, &cluster, flipguard, earlier, &mut report).await?;
                    }
                    None => eprintln!("bench: part 8 needs an earlier build: EARLIER=COMMIT make bench"),
                }
            }
            if wanted(9) {
                bursts::measure(&control_plane, &cluster, flipguard).await?;
            }
            // Measured before part 3 creates many Deployments.
            if wanted(4) {
                start::measure(&control_plane, flipguard, image)?;
            }
            if wanted(5) {
                irrelevant::measure(&control_plane, &cluster, flipguard, &mut report).await?;
            }
            if wanted(3) {
                memory::measure(&control_plane, &cluster, flipguard, &mut report).await?;
            }
            if wanted(6) {
                largest::measure(&control_plane, &cluster, flipguard, &mut report).await?;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        control_plane.stop()?;
    }
    if wanted(7) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(whole::measure(flipguard, folder, &mut report))?;
    }
    report.end(folder)?;
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(handler: Handler, kubeconfig: Option<&Path>) -> Result<()> {
    let identity = Identity::issue(&["127.0.0.1".to_owned()], time::OffsetDateTime::now_utc())?;
    let (listener, address) = servers::listener()?;
    println!("{}\n{}\n{}", address.port(), identity.token, identity.authority);
    std::io::stdout().flush()?;
    // The same settings as flipguard's own runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = match kubeconfig {
            Some(kubeconfig) => Some(cluster::client(kubeconfig).await?),
            None => None,
        };
        servers::serve(listener, &identity, handler, client, None).await
    })
}
