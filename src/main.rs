//! The flipguard binary: parses the command line, runs the command, and prints an error in one line.

use std::process::ExitCode;

use flipguard::cli::Cli;

fn main() -> ExitCode {
    // rustls panics at the first connection where it cannot tell which provider to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::of_process();
    let failure = cli.failure();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("flipguard: {error:#}");
            failure
        }
    }
}
