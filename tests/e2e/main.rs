//! End-to-end tests: real kubectl against a real API server with flipguard registered.
//!
//! One control plane serves the whole run. Each test has a namespace of its own, and the tests run in parallel. Tests
//! that disturb others run one at a time afterwards, and those that start a guard of their own come last. `E2E=parallel`,
//! `E2E=alone` and `E2E=own-guard` run one part, and `E2E=none` runs nothing: `make test` runs all three parts at the same
//! time, each on a control plane of its own.

mod admission;
mod alone;
mod auditor;
mod certificates;
mod commands;
mod controllers;
mod corners;
mod doctor;
mod examples;
mod filter;
mod flips;
mod gates;
mod gitops;
mod helm;
mod history;
mod image;
mod install;
mod labels;
mod ledger;
mod lists;
mod live;
mod never_judged;
mod overrides;
mod owners;
mod plugin;
mod policies;
mod readiness;
mod recipes;
mod recognition;
mod registration;
mod rights;
mod rollouts;
mod seeing;
mod services;
mod shop;
mod stream;
mod tls;
mod traffic;
mod workflows;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use controlplane::{Binaries, ControlPlane, Guard};
use libtest_mimic::{Arguments, Trial};

use shop::Shop;

/// The number of parallel tests. They mostly wait for controllers.
const PARALLEL: usize = 6;

/// The flags of the shared guard. They exempt controllers of another name, as some distributions need. A new authority
/// is served after 300 ms instead of a minute.
const FLAGS: &[&str] =
    &["--exempt-users", "system:serviceaccount:controllers:deployments,the-controllers", "--ca-propagation", "300ms"];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        // Listing needs no control plane, only the names.
        let all = parts().into_iter().flat_map(|part| part.tests);
        let trials = all.map(|(name, _)| Trial::test(name, || Ok(()))).collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    arguments.test_threads.get_or_insert(PARALLEL);
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("the control plane or flipguard did not come up: {error:#}");
            ExitCode::FAILURE
        }
    }
}

type Test = (&'static str, fn(&Shop) -> Result<()>);

/// Whether the tests with real GitOps controllers run instead. They need more programs (`make gitops`).
fn is_gitops() -> bool {
    std::env::var_os("GITOPS").is_some_and(|set| !set.is_empty())
}

fn tests() -> Vec<Test> {
    [
        flips::TESTS,
        filter::TESTS,
        readiness::TESTS,
        recognition::TESTS,
        services::TESTS,
        live::TESTS,
        owners::TESTS,
        overrides::TESTS,
        policies::TESTS,
        gates::TESTS,
        gates::OF_JOBS,
        plugin::TESTS,
        recipes::TESTS,
        history::TESTS,
        seeing::TESTS,
        rollouts::TESTS,
        never_judged::TESTS,
        workflows::TESTS,
        gitops::TESTS,
        helm::TESTS,
        examples::TESTS,
        labels::TESTS,
        ledger::TESTS,
        corners::TESTS,
        admission::TESTS,
        commands::TESTS,
        rights::TESTS,
    ]
    .concat()
}

/// A part of the tests. Several parts may have one name.
struct Part {
    name: &'static str,
    in_parallel: bool,
    tests: Vec<Test>,
}

/// All tests, in the order in which they run.
fn parts() -> Vec<Part> {
    if is_gitops() {
        return vec![Part { name: "parallel", in_parallel: true, tests: controllers::tests() }];
    }
    let disturbing = [gates::ALONE, alone::TESTS, doctor::TESTS, registration::TESTS, certificates::TESTS];
    vec![
        Part { name: "parallel", in_parallel: true, tests: tests() },
        // These look at what all the others have left.
        Part { name: "parallel", in_parallel: false, tests: lists::AFTER_ALL.to_vec() },
        Part { name: "alone", in_parallel: false, tests: disturbing.concat() },
        // These end the shared guard and start their own, so nothing may follow them.
        Part { name: "own-guard", in_parallel: false, tests: alone::WITHOUT_THE_GUARD.to_vec() },
    ]
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let one_at_a_time = Arguments { test_threads: Some(1), ..arguments.clone() };
    let parts = parts();
    let part = std::env::var("E2E").unwrap_or_default();
    let is_known = ["", "none"].contains(&part.as_str()) || parts.iter().any(|one| part == one.name);
    ensure!(is_known, "E2E is `{part}`; it must be `parallel`, `alone`, `own-guard`, `none` or nothing");
    if part == "none" {
        eprintln!("E2E=none: no end-to-end test runs here");
        return Ok(ExitCode::SUCCESS);
    }
    rustls::crypto::ring::default_provider().install_default().ok().context("a TLS provider is installed already")?;
    let binaries = Binaries::ensure()?.with_helm()?;
    let binaries = if is_gitops() { binaries.with_gitops()? } else { binaries };
    let started = Instant::now();
    let control_plane: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start(&binaries)?));
    let guard: &'static Guard =
        Box::leak(Box::new(Guard::start(control_plane, Path::new(env!("CARGO_BIN_EXE_flipguard")), FLAGS)?));
    eprintln!("{}", control_plane.stage_table());
    eprintln!("flipguard guards after {:.1} s", started.elapsed().as_secs_f64());

    let trials = |tests: &[Test]| {
        let trial = |(name, test): &Test| {
            let (name, test) = (*name, *test);
            let skipped = if name.starts_with("image::") { image::cannot_build() } else { None };
            if let Some(why) = skipped {
                eprintln!("skipped: {name}: {why}");
            }
            Trial::test(name, move || {
                Shop::open(name, control_plane, guard).and_then(|shop| test(&shop)).map_err(|e| format!("{e:#}").into())
            })
            .with_ignored_flag(skipped.is_some())
        };
        tests.iter().map(trial).collect()
    };
    let mut has_failed = false;
    for Part { name, in_parallel, tests } in parts.iter().filter(|one| part.is_empty() || part == one.name) {
        let started = Instant::now();
        let arguments = if *in_parallel { arguments } else { &one_at_a_time };
        has_failed |= libtest_mimic::run(arguments, trials(tests)).has_failed();
        eprintln!("{name}: {:.1} s", started.elapsed().as_secs_f64());
    }
    // Control plane and guard end with this process; the watchdog removes the rest.
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
