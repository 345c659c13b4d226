//! Instructions for each decision, counted by callgrind and compared with a committed baseline.
//!
//! They are counted in the unoptimised build of the other tests. That build is exact for one version of Rust, and is
//! already there. `make bench` measures the optimised build.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use bench::baseline::{Baseline, Figures};
use bench::recorded;

/// The number of counted decisions: enough that one rare event, such as a map that grows, is negligible.
const COUNTED: u64 = 5;

#[test]
fn a_decision_takes_no_more_instructions_than_the_baseline() -> Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        ensure!(
            std::env::var_os("CI").is_none(),
            "valgrind is missing, and with CI set every test must run: tests/tools"
        );
        say(
            "SKIPPED: instructions per decision are not counted, since valgrind is missing; install it with the system's \
             packages",
        );
        return Ok(());
    }
    let mut figures = Figures::new();
    for name in recorded::UNJUDGED.iter().chain(&recorded::JUDGED) {
        figures.insert((*name).to_owned(), instructions(name)? / COUNTED);
    }
    println!("{figures:?}");
    if !cfg!(debug_assertions) {
        say("not held: the baseline is that of a build that is not optimised");
        return Ok(());
    }
    Baseline::new("instructions", "instructions").hold(&figures)
}

/// Prints past the test harness, which captures the output of passing tests.
fn say(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
}

/// The instructions within decisions, without those of the start.
fn instructions(review: &str) -> Result<u64> {
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*Decisions*take*"])
        .arg(env!("CARGO_BIN_EXE_decision"))
        .args([review, &COUNTED.to_string()])
        .output()
        .context("cannot run valgrind")?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    ensure!(ran.status.success(), "valgrind: {said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    let count: u64 = collected.context("callgrind does not say how many instructions")?.parse()?;
    ensure!(count > 0, "callgrind has not seen a decision");
    Ok(count)
}
