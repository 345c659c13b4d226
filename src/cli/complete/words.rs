//! What is being completed, from the words before the cursor.

use clap::{Arg, Command};

/// A command line up to the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The commands, such as `gate`, `run`.
    pub(super) path: Vec<String>,
    /// The flags and arguments so far, by their ids.
    pub(super) given: Vec<(String, String)>,
    /// The part of the last word that is typed.
    pub(super) begun: String,
    /// What may stand there.
    pub(super) want: Want,
}

/// What may stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    /// One of these words, each with a description.
    Words(Vec<(String, String)>),
    /// A value of the argument with this id, which the cluster knows.
    Value(String),
    /// The name of a file.
    File,
    /// Nothing that is known.
    Nothing,
}

impl Line {
    /// Reads the words after the name of the program; the last one is not finished. The command must be built.
    pub(super) fn read(root: &Command, words: &[String]) -> Self {
        let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
        let mut at =
            Reader { command: root, path: Vec::new(), given: Vec::new(), positionals: 0, open: None, is_raw: false };
        for word in before {
            at.take(word);
        }
        let (begun, want) = at.want(last);
        Self { path: at.path, given: at.given, begun: begun.to_owned(), want }
    }
}

struct Reader<'c> {
    command: &'c Command,
    path: Vec<String>,
    given: Vec<(String, String)>,
    /// The number of arguments without a flag so far.
    positionals: usize,
    /// The flag whose value comes next.
    open: Option<&'c Arg>,
    /// Whether `--` has ended the flags.
    is_raw: bool,
}

impl<'c> Reader<'c> {
    fn take(&mut self, word: &str) {
        if let Some(arg) = self.open.take() {
            self.give(arg, word);
        } else if self.is_raw {
            self.take_positional(word);
        } else if word == "--" {
            self.is_raw = true;
        } else if let Some(flag) = word.strip_prefix("--") {
            let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
            match (self.long(name), value) {
                (Some(arg), Some(value)) => self.give(arg, value),
                (Some(arg), None) => self.open = Some(arg).filter(|arg| takes_value(arg)),
                (None, _) => {}
            }
        } else if let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) {
            let mut letters = flag.chars();
            let arg = letters.next().and_then(|letter| self.short(letter)).filter(|arg| takes_value(arg));
            match (arg, letters.as_str()) {
                (Some(arg), "") => self.open = Some(arg),
                (Some(arg), value) => self.give(arg, value.trim_start_matches('=')),
                (None, _) => {}
            }
        } else if let Some(command) = self.command.find_subcommand(word).filter(|_| self.positionals == 0) {
            self.command = command;
            self.path.push(command.get_name().to_owned());
        } else {
            self.take_positional(word);
        }
    }

    fn take_positional(&mut self, word: &str) {
        if let Some(arg) = self.positional() {
            self.give(arg, word);
        }
        self.positionals += 1;
    }

    fn give(&mut self, arg: &Arg, value: &str) {
        self.given.push((arg.get_id().to_string(), value.to_owned()));
    }

    fn long(&self, name: &str) -> Option<&'c Arg> {
        self.command.get_arguments().find(|arg| arg.get_long() == Some(name))
    }

    fn short(&self, letter: char) -> Option<&'c Arg> {
        self.command.get_arguments().find(|arg| arg.get_short() == Some(letter))
    }

    /// The argument without a flag that comes next. The last one may come several times.
    fn positional(&self) -> Option<&'c Arg> {
        let all: Vec<&Arg> = self.command.get_positionals().collect();
        let is_many = |arg: &&&Arg| arg.get_num_args().is_some_and(|count| count.max_values() > 1);
        all.get(self.positionals).or_else(|| all.last().filter(is_many)).copied()
    }

    /// The part of the last word that is to be completed, and what may stand there.
    fn want<'w>(&self, last: &'w str) -> (&'w str, Want) {
        if let Some(arg) = self.open {
            return (last, value_of(arg));
        }
        if self.is_raw {
            return (last, self.positional().map_or(Want::Nothing, value_of));
        }
        if let Some((flag, value)) = last.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
            return (value, self.long(flag).map_or(Want::Nothing, value_of));
        }
        if last.starts_with('-') {
            return (last, Want::Words(self.flags()));
        }
        let commands: Vec<(String, String)> = self
            .command
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(|command| {
                (command.get_name().to_owned(), command.get_about().map(ToString::to_string).unwrap_or_default())
            })
            .collect();
        if !commands.is_empty() && self.positionals == 0 {
            return (last, Want::Words(commands));
        }
        (last, self.positional().map_or(Want::Nothing, value_of))
    }

    fn flags(&self) -> Vec<(String, String)> {
        let shown = self.command.get_arguments().filter(|arg| !arg.is_hide_set());
        let named = shown.filter_map(|arg| Some((arg.get_long()?, arg)));
        named
            .map(|(long, arg)| (format!("--{long}"), arg.get_help().map(ToString::to_string).unwrap_or_default()))
            .collect()
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn value_of(arg: &Arg) -> Want {
    let known: Vec<(String, String)> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| (value.get_name().to_owned(), value.get_help().map(ToString::to_string).unwrap_or_default()))
        .collect();
    if !known.is_empty() {
        return Want::Words(known);
    }
    let names = arg.get_value_names().unwrap_or_default();
    if names.iter().any(|name| matches!(name.as_str(), "FILE" | "DIR")) {
        return Want::File;
    }
    Want::Value(arg.get_id().to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn read(words: &str) -> Line {
        let mut root = Cli::command();
        root.build();
        Line::read(&root, &words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn has(line: &Line, word: &str) -> bool {
        matches!(&line.want, Want::Words(all) if all.iter().any(|(one, _)| one == word))
    }

    #[test]
    fn commands_and_flags() {
        let commands = read("");
        assert!(has(&commands, "flip") && has(&commands, "gate") && !has(&commands, "__complete"));
        assert!(has(&read("gate "), "run"));
        let flags = read("flip app --t");
        assert!(has(&flags, "--to") && has(&flags, "--timeout") && flags.begun == "--t");
        assert_eq!(flags.path, ["flip"]);
        assert_eq!(Line::read(&Cli::command(), &[]).begun, "");
    }

    #[test]
    fn values_of_flags_and_arguments() {
        let value = |words: &str| match read(words).want {
            Want::Value(id) => id,
            other => format!("{other:?}"),
        };
        assert_eq!(value("flip "), "service");
        assert_eq!(value("flip app --to "), "to");
        assert_eq!(value("flip app --to=g"), "to");
        assert_eq!(value("flip -n "), "namespace");
        assert_eq!(value("flip --context "), "context");
        assert_eq!(value("gate run "), "gate");
        assert_eq!(value("gate run smoke "), "workload");
        assert_eq!(value("status a b c"), "services");
        assert_eq!(value("flip -- "), "service");
        assert_eq!(read("flip --kubeconfig ").want, Want::File);
        assert!(has(&read("status -o "), "wide") && has(&read("status --output=w"), "wide"));
        assert_eq!(read("flip app more ").want, Want::Nothing);
    }

    #[test]
    fn what_was_given_counts() {
        let line = read("flip -nshop --context=west app --wait --to gr");
        let pair = |id: &str, value: &str| (id.to_owned(), value.to_owned());
        assert_eq!(line.given, [pair("namespace", "shop"), pair("context", "west"), pair("service", "app")]);
        assert_eq!(line.begun, "gr");
    }
}
