//! `flipguard manifests`

use std::process::ExitCode;

use clap::Args;

use crate::registration::manifests;

/// Print all that the cluster needs.
#[derive(Debug, Args)]
pub(super) struct ManifestsCommand {
    /// flipguard's own namespace
    #[arg(long, default_value = "flipguard-system")]
    namespace: String,
    /// Where the API server will reach a flipguard that runs outside the cluster, such as https://127.0.0.1:10250
    #[arg(long, value_name = "URL", value_parser = super::serve::external_url)]
    external_url: String,
}

impl ManifestsCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let yaml = manifests::yaml(&manifests::objects(&self.namespace))?;
        super::print_out(&format!(
            "# flipguard at {}; it fills in the registration by itself once it can answer.\n{yaml}",
            self.external_url
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
