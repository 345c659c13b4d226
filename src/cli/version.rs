//! `flipguard version`

use std::process::ExitCode;

use clap::Args;

use super::Output;

/// Print the version.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// The format
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

impl Version {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let version = env!("CARGO_PKG_VERSION");
        super::print_out(&match self.output {
            Output::Text => format!("flipguard {version}\n"),
            Output::Json => format!("{}\n", serde_json::json!({ "version": version })),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
