//! `controlplane up`: a real Kubernetes control plane on this machine, until Ctrl-C.

use std::{env, path::Path, process::ExitCode, thread::sleep, time::Duration};

use anyhow::{Result, bail};
use controlplane::{Binaries, ControlPlane};

const USAGE: &str = "usage:
  controlplane up         start a control plane, and end it on Ctrl-C
  controlplane up --keep  start one and leave it running
  controlplane down DIR   end one that was left running
  controlplane version    the version of Kubernetes, as KUBERNETES chooses it
  controlplane path NAME  the path of a binary, such as kubectl or helm
  controlplane build      only build the binaries, and Helm for tests (the first time: about ten minutes on two cores)";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The error is not returned from `main`: with RUST_BACKTRACE set, a screen of frames would follow the end
            // of the log.
            eprintln!("controlplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<()> {
    match args {
        ["build"] => Binaries::ensure()?.with_helm().map(drop),
        ["path", name] => {
            println!("{}", Binaries::ensure()?.with_helm()?.path(name).display());
            Ok(())
        }
        ["version"] => {
            println!("{}", controlplane::kubernetes_version()?);
            Ok(())
        }
        ["up"] => up(),
        ["up", "--keep"] => up_and_keep(),
        ["down", dir] => ControlPlane::end_kept(Path::new(dir)),
        _ => bail!(USAGE),
    }
}

fn up() -> Result<()> {
    let control_plane = start()?;
    eprintln!("Ctrl-C ends it.");
    // A signal ends this process at once, and then the watchdog ends the others. So nothing is done here.
    loop {
        sleep(Duration::from_millis(500));
        control_plane.ensure_running()?;
    }
}

fn up_and_keep() -> Result<()> {
    let control_plane = start()?;
    let dir = control_plane.keep(&[])?;
    eprintln!("It stays. To end it: controlplane down {}", dir.display());
    Ok(())
}

fn start() -> Result<ControlPlane> {
    let control_plane = ControlPlane::start(&Binaries::ensure()?)?;
    eprint!("{}", control_plane.stage_table());
    println!("export KUBECONFIG='{}'", control_plane.kubeconfig().display());
    Ok(control_plane)
}
