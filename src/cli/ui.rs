//! `flipguard ui`

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use indicatif::ProgressBar;
use tokio::net::TcpListener;

use super::look::{Scope, look};
use super::print_out;
use super::process::stop_signal;
use super::target::{ClusterArgs, run};
use crate::audit::judge::Options;
use crate::certs::authority::token;
use crate::install::namespaces;
use crate::report::Report;
use crate::ui::{Look, serve, url};

/// Show the audit as a page in the browser, fresh every 5 s, until Ctrl-C.
#[derive(Debug, Args)]
#[command(
    after_help = "The page is on 127.0.0.1 only, and its path holds a secret. It shows what your kubeconfig may read, and \
    changes nothing."
)]
pub(super) struct Ui {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The namespace; without it, all namespaces with traffic Services
    #[arg(long, short, value_parser = namespaces::named)]
    namespace: Option<String>,
    /// The port; without it, any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How many namespaces are read at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
}

/// Looks with the rights of the kubeconfig.
struct Looker {
    cluster: ClusterArgs,
    scope: Scope,
}

impl Look for Looker {
    async fn look(&self) -> Result<Report, String> {
        let look = async {
            let cluster = self.cluster.open_to_look().await?;
            look(&cluster, &self.scope, &ProgressBar::hidden()).await
        };
        look.await.map_err(|error: anyhow::Error| format!("{error:#}"))
    }
}

impl Ui {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        run(async {
            // What cannot be reached at all is said here, not in the browser.
            self.cluster.open_to_look().await?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
            let secret = token()? + &token()?;
            let stop = stop_signal()?;
            print_out(&format!("{}\nCtrl-C ends it\n", url(listener.local_addr()?, &secret)))?;
            let scope =
                Scope { namespace: self.namespace, workers: self.workers, flips: true, options: Options::default() };
            serve(listener, &secret, Looker { cluster: self.cluster, scope }, stop).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
