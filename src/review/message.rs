//! The messages of a verdict.

use crate::model::{self, Override, Tool, annotation};
use crate::rules::{Effect, Finding, IN_DRY_RUN, Outcome, Reason, Remedy, Verdict, in_words};

/// The longest warning that every client shows in full (Kubernetes, `AdmissionResponse.warnings`).
const WARNING_LIMIT: usize = 120;
/// The longest first line of a denial to which the name of a policy is added. Many tools show no more.
const FIRST_LINE: usize = 200;
/// The largest number of warnings for one finding.
const WARNING_PARTS: usize = 4;

/// The message of a denial; empty for an allowed change. The first line must be understandable alone, because many
/// tools show no more. It has the denied change, the cause with its numbers, and the safe step in words. Commands
/// follow, each on its own line.
#[must_use]
pub fn denial(verdict: &Verdict) -> String {
    let summary = if verdict.summary.is_empty() { "change" } else { &verdict.summary };
    let denied = match verdict.outcome() {
        Outcome::Allowed => return String::new(),
        Outcome::Denied => format!("{summary} denied"),
        Outcome::TryAgain => format!("{summary} must wait"),
        Outcome::CannotJudge => "cannot decide".to_owned(),
    };
    let mut lines = Vec::new();
    for (index, finding) in verdict.denying().enumerate() {
        let beginning = if index == 0 { format!("{}: {denied}", verdict.subject) } else { "  also".to_owned() };
        lines.extend(denied_finding(&beginning, finding));
    }
    lines.extend(hint(verdict).map(|hint| format!("  {hint}")));
    lines.extend(override_hint(verdict).map(|hint| format!("  {hint}")));
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

fn denied_finding(beginning: &str, finding: &Finding) -> Vec<String> {
    let Finding { reason, message, remedies, details, policy, .. } = finding;
    let mut remedies = remedies.iter();
    let first = remedies.next();
    let step = first.map(|remedy| format!(" {}.", remedy.words)).unwrap_or_default();
    let line = |code: String| format!("{beginning} ({code}): {message}.{step}");
    let mut lines = vec![line(reason.to_string())];
    if let Some(policy) = policy {
        let named = line(format!("{reason}, policy {policy}"));
        if named.chars().count() <= FIRST_LINE {
            lines = vec![named];
        } else {
            lines.push(format!("  Policy {policy} says so."));
        }
    }
    lines.extend(first.and_then(|remedy| remedy.command.as_ref()).map(|command| format!("  {command}")));
    for Remedy { words, command } in remedies {
        match command {
            Some(command) => lines.extend([format!("  {words}:"), format!("    {command}")]),
            None => lines.push(format!("  {words}.")),
        }
    }
    lines.extend(details.iter().map(|detail| format!("  {detail}")));
    lines
}

/// A hint about the deployment tool: how it retries, or how to split its release.
fn hint(verdict: &Verdict) -> Option<&'static str> {
    let tool = verdict.tool?;
    if verdict.denying().all(|finding| finding.reason.row().retryable) {
        return Some(match tool {
            Tool::ArgoCd => {
                "Argo CD retries by itself where syncPolicy.retry is set. A later sync wave for the Service makes it wait \
                 for the new colour."
            }
            Tool::Flux => {
                "Flux retries at its next interval, and writes nothing after this Service in the same Kustomization. Put the \
                 Service into a Kustomization of its own, with dependsOn and wait: true."
            }
            Tool::Helm => {
                "Run the same helm upgrade again once the new colour is ready. To avoid that, deploy the colour in one \
                 release (with --wait) and flip in the next."
            }
        });
    }
    // The flip to this colour was probably part of the same release and was written first.
    let redeploys = verdict.denying().any(|finding| finding.reason == Reason::LiveRedeployed);
    redeploys.then_some(match tool {
        Tool::ArgoCd => {
            "If the same commit flips to this colour: revert it, and put the Service into a later sync wave, so that the \
             flip comes last."
        }
        Tool::Flux => {
            "If the same commit flips to this colour: revert all of it, and put the Service into a Kustomization of its own \
             with dependsOn and wait: true, so that the flip comes last."
        }
        Tool::Helm => {
            "If the same release flips to this colour: helm rollback; then deploy in one release (with --wait) and flip in \
             the next."
        }
    })
}

/// The hint at an override. It comes last, because it should not be tried first. A value that cannot be read is
/// corrected instead.
fn override_hint(verdict: &Verdict) -> Option<String> {
    let is_refused = verdict.denying().any(|finding| finding.reason.is_about_rights());
    let can_override = !is_refused && verdict.denying().any(|finding| finding.reason != Reason::AnnotationInvalid);
    (verdict.outcome() == Outcome::Denied && can_override).then(|| {
        format!(
            "If you mean it: set {}=\"<end, RFC 3339> <reason>\" on {}, for {} at most (needs verb override on \
             bluegreenpolicies.flipguard.dev in namespace {}).",
            annotation::OVERRIDE,
            verdict.override_on,
            in_words(verdict.max_override),
            verdict.namespace
        )
    })
}

/// The warnings of a verdict. Each begins with its reason code, has no control character, and is short enough to be
/// shown in full. A long one continues in the next warning.
#[must_use]
pub fn warnings(verdict: &Verdict) -> Vec<String> {
    verdict.findings.iter().flat_map(|(finding, effect)| warning(verdict, finding, *effect)).collect()
}

fn warning(verdict: &Verdict, finding: &Finding, effect: Effect) -> Vec<String> {
    let Finding { reason, message, remedies, .. } = finding;
    let said = match (effect, &finding.allowed_because) {
        (Effect::Denies | Effect::Logs, _) => return Vec::new(),
        (Effect::WarnsInDryRun, _) => format!("{IN_DRY_RUN}: {message}."),
        (Effect::WarnsOverridden, _) => match &verdict.active_override {
            Some(Override { until, reason }) => format!("allowed by override until {until} ({reason}): {message}."),
            None => format!("allowed by an override: {message}."),
        },
        (Effect::WarnsExempted, because) => {
            format!("allowed, since {}: {message}.", because.as_deref().unwrap_or("a policy exempts it"))
        }
        (Effect::WarnsInTrial, _) => format!("not enforced: would be denied: {message}."),
        (Effect::Warns, Some(because)) => format!("allowed, since {because}: {message}."),
        (Effect::Warns, None) => format!("{message}."),
    };
    let width = WARNING_LIMIT.saturating_sub(reason.code().len() + 2);
    let mut parts = wrap(&printable(&said), width, WARNING_PARTS);
    let is_settled = finding.allowed_because.is_some() || effect == Effect::WarnsOverridden;
    if let Some(remedy) = remedies.first().filter(|_| !is_settled) {
        parts.extend(step(remedy, width));
    }
    parts.into_iter().map(|part| format!("{reason}: {part}")).collect()
}

/// The step on one line if the command fits; otherwise with its command on a line of its own, which can be copied.
fn step(Remedy { words, command }: &Remedy, width: usize) -> Vec<String> {
    let lines = match command {
        None => vec![format!("{words}.")],
        Some(command) => {
            let whole = format!("{words}: {command}");
            if whole.chars().count() <= width { vec![whole] } else { vec![format!("{words}:"), command.clone()] }
        }
    };
    lines.iter().flat_map(|line| wrap(&printable(line), width, 2)).collect()
}

/// Splits a text into at most `most` parts of at most `width` characters, at spaces if possible.
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

/// Text from the cluster without control characters, so that it cannot control a terminal.
pub(super) fn printable(text: &str) -> String {
    model::printable(text).into_owned()
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
