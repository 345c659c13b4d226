//! `flipguard policy init`

use std::process::ExitCode;

use clap::Args;

use crate::cli::print_out;

/// Two policies whose selectors never overlap.
const PAIR: &str = include_str!("init.yaml");

/// Print two policies to begin with.
#[derive(Debug, Args)]
pub(super) struct Init {}

impl Init {
    #[expect(clippy::unused_self, reason = "every command is run in this way")]
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        print_out(PAIR)?;
        Ok(ExitCode::SUCCESS)
    }
}
