//! How the API server answered a write.

use serde_json::Value;

use crate::model::printable;
use crate::rules::{IN_DRY_RUN, Reason};

/// The answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done, or a dry run would be.
    Done,
    /// Admission denied it.
    Refused(Refusal),
    /// The API server or a webhook is too busy, or cannot be reached.
    Busy(String),
    /// The object has changed since it was read.
    Conflict,
    /// There is no such object.
    Gone(String),
    /// RBAC does not permit it, or the credentials are not accepted.
    NotPermitted(String),
    /// It is invalid.
    Invalid(String),
    /// No answer came. Whether it was done is not known.
    Lost(String),
}

/// A denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The codes of flipguard's rules.
    pub codes: Vec<String>,
    /// Why, in a line for each code.
    pub reasons: Vec<String>,
    /// All that was said.
    pub message: String,
    /// Whether the same write may pass later without any other step.
    pub may_pass: bool,
}

impl Answer {
    /// Reads the answer to a read or a write.
    #[must_use]
    pub fn of(status: u16, body: &Value) -> Self {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let message = || {
            let message = text("/message");
            if message.is_empty() { format!("HTTP status {status}") } else { clean(&message) }
        };
        match status {
            200..=299 => Self::Done,
            403 if is_denial(&text("/message")) => Self::Refused(Refusal::of(body, message())),
            401 | 403 => Self::NotPermitted(message()),
            404 => Self::Gone(message()),
            409 => Self::Conflict,
            429 | 500..=599 => Self::Busy(message()),
            _ if is_denial(&text("/message")) => Self::Refused(Refusal::of(body, message())),
            _ => Self::Invalid(message()),
        }
    }

    /// Reads the answer to a dry run. What it only warns of would be denied.
    #[must_use]
    pub fn of_dry_run(status: u16, body: &Value, warnings: &[String]) -> Self {
        match (Self::of(status, body), Refusal::in_dry_run(warnings)) {
            (Self::Done, Some(refusal)) => Self::Refused(refusal),
            (answer, _) => answer,
        }
    }

    /// Reads the answer to a write. A gateway that gave up does not know whether it was made.
    #[must_use]
    pub fn of_write(status: u16, body: &Value) -> Self {
        match Self::of(status, body) {
            Self::Busy(why) if matches!(status, 502 | 504) => Self::Lost(why),
            answer => answer,
        }
    }
}

impl Refusal {
    fn of(body: &Value, message: String) -> Self {
        let causes = body.pointer("/details/causes").and_then(Value::as_array).into_iter().flatten();
        let cause = |cause: &Value| {
            let text = |field: &str| cause.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            (text("reason"), printable(&text("message")).into_owned())
        };
        let causes: Vec<(String, String)> = causes.map(cause).filter(|(code, _)| reason(code).is_some()).collect();
        // The words of others are not known, so their denial is final.
        let may_pass = !causes.is_empty() && causes.iter().all(|(code, _)| reason(code).is_some_and(is_retryable));
        let reasons = causes.iter().map(|(code, why)| format!("{code}: {why}")).collect();
        Self { codes: causes.into_iter().map(|(code, _)| code).collect(), reasons, message, may_pass }
    }

    /// The denial that a dry run only warns of, since its cause resolves by waiting. A long warning is split into several,
    /// each with its code. Its cause ends with a full stop, and the next step follows.
    fn in_dry_run(warnings: &[String]) -> Option<Self> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut is_open = false;
        for warning in warnings {
            let Some((code, words)) = warning.split_once(": ").filter(|(code, _)| reason(code).is_some()) else {
                is_open = false;
                continue;
            };
            if let Some(first) = words.strip_prefix(IN_DRY_RUN) {
                found.push((code.to_owned(), first.trim_start_matches(": ").to_owned()));
                is_open = !words.ends_with('.');
            } else if let Some((_, why)) = found.last_mut().filter(|(last, _)| is_open && last == code) {
                why.push(' ');
                why.push_str(words);
                is_open = !words.ends_with('.');
            } else {
                is_open = false;
            }
        }
        for (_, why) in &mut found {
            why.truncate(why.trim_end_matches('.').len());
        }
        if found.is_empty() {
            return None;
        }
        let reasons: Vec<String> =
            found.iter().map(|(code, why)| printable(&format!("{code}: {why}")).into_owned()).collect();
        let message = format!("would be denied now:\n  {}", reasons.join("\n  "));
        Some(Self { codes: found.into_iter().map(|(code, _)| code).collect(), reasons, message, may_pass: true })
    }

    /// The reasons in one line; without any, the first line of the message.
    #[must_use]
    pub fn in_a_line(&self) -> String {
        if self.reasons.is_empty() {
            return self.message.lines().next().unwrap_or_default().to_owned();
        }
        self.reasons.join("; ")
    }
}

/// Whether a message is that of admission, by a webhook or by a policy of the API server. RBAC has other words.
fn is_denial(message: &str) -> bool {
    message.contains(" denied the request") || message.contains(" denied request")
}

fn reason(code: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.code() == code)
}

fn is_retryable(reason: Reason) -> bool {
    reason.row().retryable
}

/// A message of several lines that cannot control a terminal.
fn clean(message: &str) -> String {
    message.lines().map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DENIED: &str = "admission webhook \"guard.flipguard.dev\" denied the request: service shop/app: flip denied";

    fn refused(causes: &[&str]) -> Refusal {
        let causes: Vec<Value> = causes.iter().map(|code| json!({ "reason": code, "message": "so" })).collect();
        match Answer::of(403, &json!({ "message": DENIED, "details": { "causes": causes } })) {
            Answer::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_denial_may_pass_later_if_each_of_its_codes_says_so() {
        let not_yet = refused(&["target-not-ready", "not-soaked"]);
        assert!(not_yet.may_pass && not_yet.message == DENIED);
        assert_eq!(not_yet.in_a_line(), "target-not-ready: so; not-soaked: so");
        for causes in [&["target-not-ready", "selector-too-wide"][..], &["selector-too-wide"], &[], &["FieldInvalid"]] {
            assert!(!refused(causes).may_pass, "{causes:?}");
        }
    }

    #[test]
    fn a_lack_of_rights_is_no_denial() {
        let words = "services \"app\" is forbidden: User \"bob\" cannot patch resource \"services\" in API group \"\"";
        assert_eq!(Answer::of(403, &json!({ "message": words })), Answer::NotPermitted(words.to_owned()));
        let policy = "ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no";
        assert!(matches!(Answer::of(422, &json!({ "message": policy })), Answer::Refused(one) if !one.may_pass));
    }

    #[test]
    fn other_answers() {
        let of = |status: u16| Answer::of(status, &json!({ "message": "m" }));
        assert_eq!(of(200), Answer::Done);
        assert_eq!(of(409), Answer::Conflict);
        for busy in [429, 500, 503, 504] {
            assert_eq!(of(busy), Answer::Busy("m".to_owned()));
        }
        let of_write = |status: u16| Answer::of_write(status, &json!({ "message": "m" }));
        assert_eq!(of_write(503), Answer::Busy("m".to_owned()));
        assert_eq!((of_write(502), of_write(504)), (Answer::Lost("m".to_owned()), Answer::Lost("m".to_owned())));
        assert_eq!(of(404), Answer::Gone("m".to_owned()));
        assert_eq!(of(422), Answer::Invalid("m".to_owned()));
        assert_eq!(Answer::of(502, &Value::Null), Answer::Busy("HTTP status 502".to_owned()));
    }

    #[test]
    fn a_dry_run_warns_of_what_would_be_denied() {
        let warnings = [
            "image-untagged: image web has no tag.",
            "target-not-ready: dry run: would be denied now: Deployment app-green has 2 of 3",
            "target-not-ready: pods ready.",
            "target-not-ready: Wait, then retry: kubectl rollout status deployment/app-green",
            "capacity-below-live: 3 pods instead of 6.",
        ];
        let warnings: Vec<String> = warnings.iter().map(|one| (*one).to_owned()).collect();
        let Answer::Refused(refusal) = Answer::of_dry_run(200, &json!({}), &warnings) else { panic!() };
        assert_eq!(refusal.reasons, ["target-not-ready: Deployment app-green has 2 of 3 pods ready"]);
        assert!(refusal.may_pass);
        assert_eq!(Answer::of_dry_run(200, &json!({}), &warnings[..1]), Answer::Done);
        assert_eq!(Answer::of_dry_run(409, &json!({}), &warnings), Answer::Conflict);
    }

    #[test]
    fn a_message_cannot_control_a_terminal() {
        let Answer::Busy(words) = Answer::of(500, &json!({ "message": "a\u{1b}[2J\nb" })) else { panic!() };
        assert_eq!(words, "a\\u{1b}[2J\nb");
    }
}
