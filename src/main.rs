//! The flipguard binary: reads the command line, runs the command, says in one line what went wrong.

use std::process::ExitCode;

use clap::Parser;
use flipguard::cli::Cli;

fn main() -> ExitCode {
    // One provider for all of TLS, named here, so that nothing is left to be guessed at the first connection.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let failure = cli.failure();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("flipguard: {error:#}");
            failure
        }
    }
}
