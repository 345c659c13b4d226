//! A verdict in words.

use crate::model::Override;
use crate::rules::{Effect, Finding, Outcome, Patience, Reason, Verdict};

/// The longest warning that every client shows whole (Kubernetes, `AdmissionResponse.warnings`).
const WARNING_LIMIT: usize = 120;
/// How many warnings one long finding may become.
const WARNING_PARTS: usize = 4;

/// Why a change was refused. The first line stands alone, since many tools show no line breaks: what, why, numbers,
/// next step. Empty for a change that was allowed.
#[must_use]
pub fn refusal(verdict: &Verdict) -> String {
    let mut lines = Vec::new();
    let refused = match verdict.outcome() {
        Outcome::Allowed => return String::new(),
        Outcome::Denied if verdict.act.is_empty() => "change refused".to_owned(),
        Outcome::Denied => format!("{} refused", verdict.act),
        Outcome::TryAgain if verdict.act.is_empty() => "change has to wait".to_owned(),
        Outcome::TryAgain => format!("{} has to wait", verdict.act),
        Outcome::CannotJudge => "cannot be judged now".to_owned(),
    };
    for (index, finding) in verdict.denying().enumerate() {
        let Finding { reason, message, next_step, details, .. } = finding;
        lines.push(if index == 0 {
            format!("{}: {refused}, {reason}: {message}; {next_step}", verdict.subject)
        } else {
            format!("  also {reason}: {message}; {next_step}")
        });
        lines.extend(details.iter().map(|detail| format!("  {detail}")));
    }
    let waiting_helps = verdict.denying().all(|finding| finding.reason.row().patience == Patience::NotYet);
    let redeploys = verdict.denying().any(|finding| finding.reason == Reason::LiveRedeployed);
    if let Some(tool) = verdict.tool {
        let hint = if waiting_helps { Some(tool.hint()) } else { redeploys.then(|| tool.hint_on_redeploy()) };
        lines.extend(hint.map(|hint| format!("  {hint}")));
    }
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

/// The warnings of a verdict: each begins with its reason code, has no control character, and is short enough to be
/// shown whole; a long one goes on in the next.
#[must_use]
pub fn warnings(verdict: &Verdict) -> Vec<String> {
    verdict.findings.iter().flat_map(|(finding, effect)| warning(verdict, finding, *effect)).collect()
}

fn warning(verdict: &Verdict, finding: &Finding, effect: Effect) -> Vec<String> {
    let Finding { reason, message, next_step, .. } = finding;
    let said = match (effect, &finding.way_out) {
        (Effect::Denies | Effect::Logs, _) => return Vec::new(),
        (Effect::WarnsInDryRun, _) => format!("would be refused now: {message}"),
        (Effect::WarnsOverridden, _) => match &verdict.lifting {
            Some(Override { until, reason }) => format!("allowed by the override until {until} ({reason}): {message}"),
            None => format!("allowed by an override: {message}"),
        },
        (Effect::WarnsInTrial, _) => format!("would be refused if enforcement were deny: {message}"),
        (Effect::Warns, Some(way_out)) => format!("allowed, {way_out}: {message}"),
        (Effect::Warns, None) => message.clone(),
    };
    let is_lifted = finding.way_out.is_some() || effect == Effect::WarnsOverridden;
    let width = WARNING_LIMIT.saturating_sub(reason.code().len() + 2);
    let mut parts = wrap(&printable(&said), width, WARNING_PARTS);
    if !is_lifted {
        // A command begins a line of its own, so that it can be copied.
        let (words, command) = match next_step.split_once(": kubectl ") {
            Some((words, command)) => (format!("{words}:"), Some(format!("kubectl {command}"))),
            None => (next_step.clone(), None),
        };
        parts.extend([Some(words), command].into_iter().flatten().flat_map(|text| wrap(&printable(&text), width, 2)));
    }
    parts.into_iter().map(|part| format!("{reason}: {part}")).collect()
}

/// Parts of at most `width` characters, broken at spaces where there are any.
fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut part = String::new();
    for word in text.split(' ') {
        for piece in pieces(word, width) {
            if !part.is_empty() && part.chars().count() + 1 + piece.chars().count() > width {
                parts.push(std::mem::take(&mut part));
            }
            if !part.is_empty() {
                part.push(' ');
            }
            part.push_str(&piece);
        }
    }
    parts.push(part);
    if parts.len() > most {
        parts.truncate(most);
        if let Some(last) = parts.last_mut() {
            *last = last.chars().take(width.saturating_sub(3)).chain("...".chars()).collect();
        }
    }
    parts
}

fn pieces(word: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(width.max(1)).map(|piece| piece.iter().collect()).collect()
}

/// Text from the cluster may hold anything; a terminal must not be moved by it.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_parts_fit_and_lose_nothing() {
        let text = format!("short words and {} end", "x".repeat(150));
        let parts = wrap(&text, 100, 9);
        assert!(parts.iter().all(|part| part.chars().count() <= 100), "{parts:?}");
        assert_eq!(parts.concat().replace(' ', ""), text.replace(' ', ""));
    }
}
