//! One Service flips.

use std::process::ExitCode;
use std::time::Duration;

use kube::core::Request;
use kube::core::params::GetParams;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::printed::Report;
use crate::cli::target::Cluster;
use crate::cluster::connect::one_line;
use crate::cluster::patch::{Said, merge};
use crate::model::{Service, printable, shortened};
use crate::plugin::answer::Answer;
use crate::plugin::next::{Course, Ending, Next, Seen, after, seen, tries_first};
use crate::plugin::target::Move;
use crate::plugin::who::wrote_selector;

/// The time between two attempts of one that waits.
const PAUSE: Duration = Duration::from_secs(2);
/// What is said of an interruption.
pub(super) const INTERRUPTED: &str = "interrupted";
/// The longest reason that is shown in one line.
const MOST: usize = 400;

/// A flip of one Service.
#[derive(Clone)]
pub(super) struct Flight<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The uid of the Service that the flip was planned for.
    pub(super) uid: &'a str,
    pub(super) planned: Move,
    /// The version that the target has to run.
    pub(super) expect: Option<&'a str>,
    pub(super) dry_run: bool,
    /// Until when it waits; `None` where it does not wait.
    pub(super) end: Option<Instant>,
    /// Says that somebody has interrupted a series. A request that was sent is not broken off.
    pub(super) interrupted: Option<watch::Receiver<bool>>,
}

/// How a flight ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The Service is flipped; in a dry run, it would be.
    Flipped {
        /// The warnings of the API server.
        warnings: Vec<String>,
    },
    /// Somebody else has flipped it there.
    Already {
        /// Who, and when.
        by: String,
    },
    /// It is not flipped.
    Stopped {
        /// Why.
        ending: Ending,
        /// All that was said.
        words: String,
        /// The codes of flipguard's rules.
        codes: Vec<String>,
    },
}

/// What an attempt has sent.
enum Sent {
    DryRun,
    Write,
}

/// Flies alone, and reports. No flight is one that is there already.
pub(super) async fn fly_alone(flights: &[Flight<'_>], report: &mut Report) -> ExitCode {
    let Some(flight) = flights.first() else { return ExitCode::SUCCESS };
    let outcome = flight.fly().await;
    report.add(flight, &outcome);
    outcome.code()
}

impl Outcome {
    /// The exit code.
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::Flipped { .. } | Self::Already { .. } => ExitCode::SUCCESS,
            Self::Stopped { ending, .. } => ExitCode::from(ending.code()),
        }
    }
}

impl Flight<'_> {
    /// Flips the Service, and waits where that is wanted.
    pub(super) async fn fly(&self) -> Outcome {
        let (mut said, mut conflicts, mut was_refused) = (String::new(), 0, false);
        let mut lost: Option<String> = None;
        loop {
            let has_time = self.end.is_some_and(|end| Instant::now() + PAUSE <= end);
            let course = Course { waits: self.end.is_some(), has_time, conflicts };
            let (answer, warnings, sent) = match self.read().await {
                Err(answer) => (answer, Vec::new(), Sent::Write),
                Ok((service, raw)) => match seen(&self.planned, self.uid, &service) {
                    Seen::There if lost.is_some() => return Outcome::Flipped { warnings: Vec::new() },
                    Seen::There => return Outcome::Already { by: self.who(&raw).await },
                    Seen::Before if lost.is_some() && !has_time => {
                        let words = format!(
                            "no answer came ({}), and the Service is not flipped so far; look again: flipguard status {} -n {}",
                            lost.unwrap_or_default(),
                            self.name,
                            self.namespace
                        );
                        return stopped(Ending::Unasked, words);
                    }
                    Seen::Before => {
                        lost = None;
                        self.attempt(&service.meta.resource_version, tries_first(was_refused, course)).await
                    }
                    Seen::Elsewhere => return self.elsewhere(&service, &raw).await,
                    Seen::Replaced => {
                        let words = "the Service was deleted and created again meanwhile, so nothing was done";
                        return stopped(Ending::Refused, words.to_owned());
                    }
                },
            };
            was_refused = matches!(answer, Answer::Refused(_));
            conflicts += u32::from(answer == Answer::Conflict);
            match after(&answer, course) {
                // A dry run that passes is followed by the real attempt.
                Next::Done if matches!(sent, Sent::DryRun) && !self.dry_run => {}
                Next::Done => return Outcome::Flipped { warnings },
                Next::Again => {}
                Next::Look(why) => {
                    lost = Some(why);
                    if has_time && self.is_interrupted_within(PAUSE).await {
                        return stopped(Ending::Interrupted, INTERRUPTED.to_owned());
                    }
                }
                Next::Wait(reason) => {
                    if reason != said {
                        eprintln!("{}: waiting: {}", self.name, shortened(&reason, MOST));
                        said = reason;
                    }
                    if self.is_interrupted_within(PAUSE).await {
                        return stopped(Ending::Interrupted, INTERRUPTED.to_owned());
                    }
                }
                Next::Stop(ending, words) => return Outcome::Stopped { ending, words, codes: codes(&answer) },
            }
        }
    }

    /// Takes a flip back that was just made. It does not wait, and it undoes nobody else's flip.
    pub(super) fn way_back(&self) -> Self {
        Self { planned: self.planned.reversed(), expect: None, end: None, interrupted: None, ..self.clone() }
    }

    /// Waits, and tells whether somebody has interrupted it.
    async fn is_interrupted_within(&self, time: Duration) -> bool {
        let Some(mut interrupted) = self.interrupted.clone() else {
            sleep(time).await;
            return false;
        };
        timeout(time, interrupted.wait_for(|is_so| *is_so)).await.is_ok()
    }

    /// The same as a dry run.
    pub(super) fn trial(&self) -> Self {
        Self { dry_run: true, ..self.clone() }
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/services", self.namespace)
    }

    /// The Service as it is now, and all of its JSON.
    pub(super) async fn read(&self) -> Result<(Service, Value), Answer> {
        let request = Request::new(self.path()).get(self.name, &GetParams::default());
        let request = request.map_err(|error| Answer::Invalid(error.to_string()))?;
        let raw: Value = self.cluster.client.request(request).await.map_err(|error| match &error {
            kube::Error::Api(status) => Answer::of(status.code, &json!({ "message": status.message })),
            _ => Answer::Busy(one_line(&error)),
        })?;
        let service = serde_json::from_value(raw.clone()).map_err(|error| Answer::Invalid(error.to_string()))?;
        Ok((service, raw))
    }

    async fn attempt(&self, version: &str, tries_first: bool) -> (Answer, Vec<String>, Sent) {
        let is_dry = self.dry_run || tries_first;
        let change = self.planned.patch(version, self.expect);
        let path = format!("{}/{}", self.path(), self.name);
        let sent = if is_dry { Sent::DryRun } else { Sent::Write };
        match merge(&self.cluster.client, &path, &change, is_dry).await {
            Ok(Said { status, body, warnings }) if is_dry => {
                (Answer::of_dry_run(status, &body, &warnings), warnings, sent)
            }
            Ok(Said { status, body, warnings }) => (Answer::of_write(status, &body), warnings, sent),
            // A dry run has changed nothing.
            Err(why) if is_dry => (Answer::Busy(why), Vec::new(), sent),
            Err(why) => (Answer::Lost(why), Vec::new(), sent),
        }
    }

    async fn elsewhere(&self, service: &Service, raw: &Value) -> Outcome {
        let (colour, by) = (service.routed(), self.who(raw).await);
        let (name, planned) = (self.name, &self.planned);
        let words = format!(
            "somebody else has changed Service {name} meanwhile ({by}): its selector is {colour}, and no longer {}; \
             nothing was done. Look at it again: flipguard status {name} -n {}",
            planned.from, self.namespace
        );
        stopped(Ending::Refused, words)
    }

    /// Who has changed the selector: by the ledger with the user, or else by the Service itself.
    async fn who(&self, raw: &Value) -> String {
        let policy = self.cluster.settings(self.namespace).await;
        let snapshot = self.cluster.scan.namespace(self.namespace, &[&policy]).await;
        let service = snapshot.view.services.iter().find(|service| service.meta.name == self.name);
        let flip = service.and_then(|service| snapshot.view.records.last_flip(service));
        let on_record = flip.map(|flip| {
            let manager = if flip.manager.is_empty() { String::new() } else { format!(" with {}", flip.manager) };
            printable(&format!("{}{manager} at {}", flip.user, flip.at)).into_owned()
        });
        on_record.or_else(|| wrote_selector(raw)).unwrap_or_else(|| "the Service does not tell who".to_owned())
    }
}

pub(super) fn stopped(ending: Ending, words: String) -> Outcome {
    Outcome::Stopped { ending, words, codes: Vec::new() }
}

fn codes(answer: &Answer) -> Vec<String> {
    match answer {
        Answer::Refused(refusal) => refusal.codes.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::cluster::fake::FakeApi;
    use crate::model::Selector;

    const PATH: &str = "/api/v1/namespaces/shop/services/app";

    fn selector(colour: &str) -> Selector {
        Selector::new([("color".to_owned(), colour.to_owned())].into())
    }

    /// Puts the Service there, and returns it as it is stored.
    fn stored(api: &FakeApi, colour: &str) -> Value {
        let metadata = json!({ "name": "app", "namespace": "shop" });
        api.put(PATH, json!({ "metadata": metadata, "spec": { "selector": { "color": colour } } }));
        api.get(PATH).unwrap()
    }

    /// The next read finds it with this colour.
    fn is_read_as(api: &FakeApi, stored: &Value, colour: &str) {
        let mut read = stored.clone();
        read["spec"]["selector"]["color"] = json!(colour);
        api.answer_with(Method::GET, PATH, 200, &read.to_string());
    }

    /// Flips from blue to green, without waiting.
    async fn flown(api: &FakeApi, uid: &str) -> Outcome {
        let cluster = Cluster::fake(api.client());
        let flight = Flight {
            cluster: &cluster,
            namespace: "shop",
            name: "app",
            uid,
            planned: Move {
                from: selector("blue"),
                to: selector("green"),
                from_colour: "blue".to_owned(),
                to_colour: "green".to_owned(),
            },
            expect: None,
            dry_run: false,
            end: None,
            interrupted: None,
        };
        flight.fly().await
    }

    fn colour(api: &FakeApi) -> Value {
        api.get(PATH).unwrap()["spec"]["selector"]["color"].clone()
    }

    fn uid(stored: &Value) -> &str {
        stored["metadata"]["uid"].as_str().unwrap()
    }

    #[tokio::test]
    async fn after_a_conflict_the_service_is_read_anew() {
        let api = FakeApi::default();
        let blue = stored(&api, "blue");
        api.fail(Method::PATCH, PATH, 409);
        assert_eq!(flown(&api, uid(&blue)).await, Outcome::Flipped { warnings: Vec::new() });
        assert_eq!(colour(&api), "green");
    }

    #[tokio::test]
    async fn a_flip_that_comes_in_between_is_not_undone() {
        for (other, code) in [("green", 0), ("red", 1)] {
            let api = FakeApi::default();
            let blue = stored(&api, "blue");
            stored(&api, other);
            // It was read just before somebody else flipped it.
            is_read_as(&api, &blue, "blue");
            let outcome = flown(&api, uid(&blue)).await;
            assert_eq!(outcome.code(), ExitCode::from(code), "{outcome:?}");
            assert_eq!(colour(&api), other);
        }
    }

    #[tokio::test]
    async fn a_lost_answer_is_looked_after() {
        let api = FakeApi::default();
        let blue = stored(&api, "blue");
        is_read_as(&api, &blue, "blue");
        is_read_as(&api, &blue, "green");
        api.fail(Method::PATCH, PATH, 504);
        assert_eq!(flown(&api, uid(&blue)).await, Outcome::Flipped { warnings: Vec::new() });
        // It did not arrive.
        api.fail(Method::PATCH, PATH, 504);
        let Outcome::Stopped { ending, words, .. } = flown(&api, uid(&blue)).await else { panic!() };
        assert_eq!(ending, Ending::Unasked);
        assert!(words.starts_with("no answer came (code 504), and the Service is not flipped so far"), "{words}");
    }

    #[tokio::test]
    async fn another_service_of_the_same_name_is_left_alone() {
        let api = FakeApi::default();
        stored(&api, "blue");
        let outcome = flown(&api, "that-of-another").await;
        assert!(matches!(outcome, Outcome::Stopped { ending: Ending::Refused, .. }), "{outcome:?}");
        assert_eq!(colour(&api), "blue");
    }
}
