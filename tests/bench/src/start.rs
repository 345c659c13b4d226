//! Part 4: the time from exec to `/readyz` with an existing certificate, and the sizes of binary and image.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use controlplane::{ControlPlane, Guard, free_port};

use crate::figures::Spread;
use crate::report::heading;
use crate::webhook::end;

/// The number of starts.
const STARTS: usize = 7;

/// Measures the starts and the sizes.
///
/// # Errors
/// When flipguard does not become ready.
pub fn measure(control_plane: &ControlPlane, flipguard: &Path, image: Option<&Path>) -> Result<()> {
    heading("4. start");
    // Creates the certificate and the kubeconfig.
    let guard = Guard::start(control_plane, flipguard, &[])?;
    let mut took = Vec::new();
    for number in 0..STARTS {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let status = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = Command::new(flipguard);
        let url = format!("https://{}", guard.listen());
        command.args(["serve", "--drain", "0s", "--external-url", &url, "--kubeconfig"]).arg(guard.kubeconfig());
        command.args(["--listen", &listen.to_string(), "--status-listen", &status.to_string()]);
        let started = Instant::now();
        let process = control_plane.spawn(&format!("flipguard-start-{number}"), command)?;
        while !is_ready(status) {
            process.ensure_running()?;
            ensure!(started.elapsed() < Duration::from_secs(30), "not ready in time");
            std::thread::sleep(Duration::from_millis(1));
        }
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    end(&guard)?;
    let took = Spread::of(took);
    println!("  from exec to /readyz: {:.0} ms [{:.0}-{:.0}]", took.median, took.low, took.high);
    println!("  binary: {:.1} MiB", size(flipguard)?);
    match image {
        // The Dockerfile adds nothing but the binary.
        Some(image) => println!("  image: {:.1} MiB, the static binary, its only file", size(image)?),
        None => println!("  image: not built; `make bench` builds what is in it"),
    }
    Ok(())
}

/// The size of a file in MiB.
fn size(file: &Path) -> Result<f64> {
    let length = std::fs::metadata(file).with_context(|| format!("no {}", file.display()))?.len();
    #[expect(clippy::cast_precision_loss, reason = "some MiB")]
    let size = length as f64 / 1024.0 / 1024.0;
    Ok(size)
}

fn is_ready(status: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(status)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {status}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
