//! `flipguard version`

use std::process::ExitCode;

use clap::Args;

use super::Output;

/// Print the version.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// How to print it
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

impl Version {
    pub(super) fn run(self) -> ExitCode {
        let version = env!("CARGO_PKG_VERSION");
        match self.output {
            Output::Text => println!("flipguard {version}"),
            Output::Json => println!("{}", serde_json::json!({ "version": version })),
        }
        ExitCode::SUCCESS
    }
}
