//! Words that several rules share.

use std::time::Duration;

use serde::Serialize;

use crate::model::{Meta, Workload};

/// The next step after a failed read.
pub(crate) const RETRY_OR_DOCTOR: &str = "Retry; if it persists, run flipguard doctor";

/// The beginning of the warning of a dry run about a change that would be denied. `flipguard flip` looks for it.
pub(crate) const IN_DRY_RUN: &str = "dry run: would be denied now";

/// A next step for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The step in words: a sentence without its period.
    pub words: String,
    /// The command of the step, ready to paste; `None` if there is none.
    pub command: Option<String>,
}

impl Remedy {
    /// A step without a command.
    pub(crate) fn words(words: impl Into<String>) -> Self {
        Self { words: words.into(), command: None }
    }

    /// A step with its `kubectl` command, given without the leading `kubectl -n <namespace>`.
    pub(crate) fn kubectl(words: impl Into<String>, namespace: &str, rest: &str) -> Self {
        Self { words: words.into(), command: Some(format!("kubectl -n {namespace} {rest}")) }
    }
}

/// The cure of a Service that is stamped with a version: the selector no longer names it.
pub(crate) fn version_cure(service: &Meta, key: &str) -> Remedy {
    let patch = format!("[{{\"op\":\"remove\",\"path\":\"/spec/selector/{}\"}}]", key.replace('/', "~1"));
    let command = format!("patch service {} --type=json -p '{patch}'", service.name);
    let words = format!("Only one version is deployed at a time: take {key} out of the selector");
    Remedy::kubectl(words, &service.namespace, &command)
}

/// A workload as `kubectl` takes it: `deployment/app-green`.
pub(crate) fn object(workload: &Workload) -> String {
    format!("{}/{}", workload.kind.singular(), workload.meta.name)
}

/// A number of Pods: `1 pod`, `3 pods`, or with a word before it, `1 ready pod`.
pub(crate) fn pods(count: usize, which: &str) -> String {
    let space = if which.is_empty() { "" } else { " " };
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {which}{space}pod{end}")
}

/// A number of nodes: `1 node`, `3 nodes`.
pub(crate) fn nodes(count: usize) -> String {
    format!("{count} node{}", if count == 1 { "" } else { "s" })
}

/// A length of time: `1 h`, `30 min`, `90 s`.
pub(crate) fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds > 0 && seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// A length of time, roughly: `90 s`, `5 min`. The rest of a minute is left out.
pub(crate) fn roughly(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

/// The same, with the rest of a minute as a whole one: for a time that has to pass.
pub(crate) fn at_least(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

/// A clause about a Service: `it serves 1 pod`.
pub(crate) fn serves(count: usize) -> String {
    format!("it serves {}", pods(count, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(pods(1, "ready"), "1 ready pod");
        assert_eq!(pods(0, ""), "0 pods");
        assert_eq!([3600, 1800, 90].map(|seconds| in_words(Duration::from_secs(seconds))), ["1 h", "30 min", "90 s"]);
        assert_eq!(serves(2), "it serves 2 pods");
    }
}
