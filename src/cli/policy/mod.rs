//! `flipguard policy`

mod explain;
mod init;
mod test;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Explain, try and begin BlueGreenPolicies.
#[derive(Debug, Args)]
pub(super) struct PolicyCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print each setting of a namespace or a Service, its value, and who says it
    Explain(explain::Explain),
    /// Print what would change for the cluster as it is, if policies were applied or deleted
    Test(test::Test),
    /// Print two policies to begin with: one for all namespaces, and one for namespaces on trial
    Init(init::Init),
}

impl PolicyCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Explain(explain) => explain.run(),
            Command::Test(test) => test.run(),
            Command::Init(init) => init.run(),
        }
    }
}
