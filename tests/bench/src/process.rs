//! Processor time and memory of one process, as counted by the operating system.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

/// The processor time of all threads of a process, in user and kernel mode. It is exact to the nanosecond;
/// `/proc/PID/stat` has steps of 10 ms.
///
/// # Errors
/// When the process has ended.
pub fn cpu(process: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{process}/task")).context("the process is gone")? {
        // A thread may end meanwhile.
        let text = task.and_then(|task| fs::read_to_string(task.path().join("schedstat"))).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory in MiB.
///
/// # Errors
/// When the process has ended.
pub fn resident(process: u32) -> Result<f64> {
    status(process, "VmRSS:")
}

/// The most resident memory so far, in MiB.
///
/// # Errors
/// When the process has ended.
pub fn most_resident(process: u32) -> Result<f64> {
    status(process, "VmHWM:")
}

fn status(process: u32, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// A command on the first processor only. Compared servers share that processor; the client has the others.
#[must_use]
pub fn on_first_processor(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program);
    command
}

/// Moves the calling thread, and its later threads, to the second processor.
///
/// # Errors
/// When taskset is missing.
pub fn to_second_processor() -> Result<()> {
    let this = fs::read_link("/proc/thread-self").context("no /proc/thread-self")?;
    let id = this.file_name().context("no thread id")?.to_string_lossy().into_owned();
    let moved = Command::new("taskset").args(["-p", "-c", "1", &id]).output().context("cannot run taskset")?;
    anyhow::ensure!(moved.status.success(), "taskset: {}", String::from_utf8_lossy(&moved.stderr));
    Ok(())
}
