//! `flipguard completion`, and `flipguard __complete` for kubectl.
//!
//! kubectl runs `kubectl_complete-flipguard WORDS` and expects the lines of Cobra: each candidate with a tab and a
//! description, and `:DIRECTIVE` as the last line (kubernetes/kubernetes#105867, cobra `completions.go`).
//!
//! - `words`: what is being completed; pure
//! - `candidates`: what the cluster has

mod candidates;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::{Args, CommandFactory as _, ValueEnum};

use super::{Cli, print_out};
use words::{Line, Want};

/// How long a key press may take.
const TIME: Duration = Duration::from_secs(1);
/// Cobra's `ShellCompDirectiveNoFileComp`: no names of files besides.
const NO_FILES: &str = ":4\n";
/// Cobra's `ShellCompDirectiveDefault`: names of files, where there is nothing else.
const FILES: &str = ":0\n";

/// kubectl looks for a program of this name beside its plugins.
const KUBECTL: &str = "#!/bin/sh
# Completion of `kubectl flipguard` (kubectl 1.26 or newer). Save this as kubectl_complete-flipguard in a folder of
# PATH, and make it executable.
exec kubectl flipguard __complete \"$@\"
";

/// Print a script that completes commands in a shell
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell; kubectl for the program kubectl_complete-flipguard
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Kubectl,
}

/// Print the candidates for the last word
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(super) struct Complete {
    /// Not used: the parser would take `--` away, so the words of the process count
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    _words: Vec<OsString>,
}

impl Completion {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
            Shell::Powershell => clap_complete::Shell::PowerShell,
            Shell::Kubectl => {
                print_out(KUBECTL)?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "flipguard", &mut script);
        print_out(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Complete {
    /// An error is no candidate: then there is none.
    pub(super) fn run() -> anyhow::Result<ExitCode> {
        let mut root = Cli::command();
        root.build();
        let line = Line::read(&root, &words_of_process());
        let (found, directive) = match line.want {
            Want::Nothing => (Vec::new(), NO_FILES),
            Want::Words(ref all) => (all.clone(), NO_FILES),
            Want::File => (Vec::new(), FILES),
            Want::Value(ref id) => {
                let (path, given) = (line.path.clone(), line.given.clone());
                (within(TIME, id.clone(), path, given).unwrap_or_default(), NO_FILES)
            }
        };
        let is_shown = |(word, _): &&(String, String)| word.starts_with(&line.begun) && is_one_word(word);
        let lines = found.iter().filter(is_shown).map(|(word, about)| match about.lines().next().unwrap_or_default() {
            "" => format!("{word}\n"),
            about => format!("{word}\t{}\n", about.replace('\t', " ")),
        });
        print_out(&(lines.collect::<String>() + directive))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The words after `__complete`. `--` is one of them, and the parser would take it away.
fn words_of_process() -> Vec<String> {
    let all = std::env::args_os().skip_while(|word| word != "__complete").skip(1);
    all.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Whether a name cannot be taken for another line, or for several words.
fn is_one_word(word: &str) -> bool {
    !word.is_empty() && !word.starts_with(':') && !word.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// Asks the cluster in a thread of its own. A credential plugin blocks its thread, and this process ends without it.
fn within(
    time: Duration,
    id: String,
    path: Vec<String>,
    given: Vec<(String, String)>,
) -> Option<Vec<(String, String)>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let found = super::target::run(candidates::of(&id, &path, &given));
        // Nobody receives it once the time is up.
        let _ = send.send(found);
    });
    receive.recv_timeout(time).ok()?.ok()
}
