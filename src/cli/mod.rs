//! The command line: one file per command.

mod audit;
mod auditor;
pub mod check;
mod complete;
mod doctor;
mod flip;
mod gate;
mod history;
mod look;
mod manifests;
mod override_command;
mod policy;
mod process;
mod rules;
mod serve;
mod service_filter;
mod start;
mod status;
mod target;
mod ui;
mod upkeep;
mod version;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::guard::Concurrency;
use crate::model::Enforcement;

/// Makes blue-green by hand safe: an admission webhook that denies unsafe flips and protects the live colour.
#[derive(Debug, Parser)]
#[command(name = "flipguard", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Guard a cluster
    Serve(serve::Serve),
    /// Print the manifests to install, as YAML for `kubectl apply -f -`
    Manifests(manifests::ManifestsCommand),
    /// Diagnose an installation: reachability, certificate, permissions, registration, versions, clocks
    Doctor(doctor::Doctor),
    /// Judge a change offline, from files, as the webhook would
    Check(check::Check),
    /// Show how Services are understood, which colour is live, and what a flip would meet now
    Status(status::Status),
    /// Look for what weakens the promise of blue-green: broken colours, no way back, shared state
    Audit(audit::Audit),
    /// Show who flipped what, and prove that nothing was changed afterwards
    History(history::HistoryCommand),
    /// Show the audit as a page in the browser
    Ui(ui::Ui),
    /// Flip a Service to another colour, wait until that passes, or go back
    Flip(flip::FlipCommand),
    /// Explain, try and begin BlueGreenPolicies
    Policy(policy::PolicyCommand),
    /// Let denied changes of a Service or a workload pass for a short time
    Override(override_command::OverrideCommand),
    /// Run the test of a gate of a policy, or say that it is passed or approved
    Gate(gate::GateCommand),
    /// Print the table of rules
    Rules(rules::Rules),
    /// Print a script that completes commands in a shell, or for kubectl
    Completion(complete::Completion),
    #[command(name = "__complete", hide = true)]
    Complete(complete::Complete),
    /// Print the version
    Version(version::Version),
}

/// The format of printed results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

/// Whether denials deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EnforcementFlag {
    /// Deny unsafe changes
    Deny,
    /// Admit unsafe changes with a warning, for a trial
    Warn,
}

impl From<EnforcementFlag> for Enforcement {
    fn from(flag: EnforcementFlag) -> Self {
        match flag {
            EnforcementFlag::Deny => Self::Deny,
            EnforcementFlag::Warn => Self::Warn,
        }
    }
}

/// Whether changes that are made at the same time are judged together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ConcurrencyFlag {
    /// Judge each change with and without every other pending change, by a ledger
    Strict,
    /// Judge each change alone, on fresh reads; without a ledger there is no hold and no rollback class
    Fresh,
}

impl From<ConcurrencyFlag> for Concurrency {
    fn from(flag: ConcurrencyFlag) -> Self {
        match flag {
            ConcurrencyFlag::Strict => Self::Strict,
            ConcurrencyFlag::Fresh => Self::Fresh,
        }
    }
}

/// Writes to standard output. A closed pipe, as after `head`, is no error.
fn print_out(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// The name that kubectl calls the binary by begins so.
const PLUGIN: &str = "kubectl-";

/// What kubectl does not pass on.
const FLAGS_OF_KUBECTL: &str = "Flags such as -n and --context come after the command: kubectl flipguard status -n shop. Flags before the word flipguard belong to kubectl, and do not reach the plugin.";

impl Cli {
    /// Parses the command line. As a plugin of kubectl, it is called `kubectl flipguard`. Bad input ends the process.
    #[must_use]
    pub fn of_process() -> Self {
        let words: Vec<OsString> = std::env::args_os().collect();
        let is_plugin = words.first().is_some_and(|name| is_plugin(Path::new(name)));
        let command = Self::command();
        let command =
            if is_plugin { command.bin_name("kubectl flipguard").after_help(FLAGS_OF_KUBECTL) } else { command };
        // What it parses is what the derived parser knows, so there is no error after the first.
        let matches = command.get_matches_from(words);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Runs the command, and returns its exit code.
    ///
    /// # Errors
    /// When the command fails. The message is one line.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Manifests(manifests) => manifests.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Check(check) => check.run(),
            Command::Audit(audit) => audit.run(),
            Command::History(history) => history.run(),
            Command::Policy(policy) => policy.run(),
            Command::Flip(flip) => flip.run(),
            Command::Gate(gate) => gate.run(),
            Command::Override(command) => command.run(),
            Command::Ui(ui) => ui.run(),
            Command::Status(status) => status.run(),
            Command::Completion(completion) => completion.run(),
            Command::Complete(_) => complete::Complete::run(),
            Command::Version(version) => version.run(),
            Command::Rules(rules) => rules.run(),
        }
    }

    /// The exit code of a failed command: 2 for those whose 1 is a verdict, else 1.
    #[must_use]
    pub fn failure(&self) -> ExitCode {
        let has_verdict = matches!(
            &self.command,
            Command::Audit(_)
                | Command::History(_)
                | Command::Check(_)
                | Command::Doctor(_)
                | Command::Flip(_)
                | Command::Override(_)
                | Command::Policy(_)
                | Command::Status(_)
                | Command::Ui(_)
        ) || matches!(&self.command, Command::Gate(gate) if gate.has_verdict());
        ExitCode::from(if has_verdict { 2 } else { 1 })
    }
}

/// Whether the binary was called as a plugin of kubectl: by the name `kubectl-flipguard`, wherever it is.
fn is_plugin(program: &Path) -> bool {
    program.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PLUGIN))
}
