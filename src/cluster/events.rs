//! Events: a change that only an override allowed, a flip that another writer takes back, and policies that are gone.
//!
//! Events are written asynchronously and never affect the verdict. Their names hash the content, so that replicas do
//! not duplicate them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use kube::Client;
use kube::api::PostParams;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

use super::policies::PATH as POLICIES;
use super::request::{RequestError, within};
use crate::install::KEEPER_LEASE;
use crate::model::{Change, ClusterView, Timestamp};
use crate::rules::state::version::fnv1a;
use crate::rules::{Effect, Outcome, Reason, Verdict};

/// The number of Events that may wait. More are dropped, with a log line.
const MAX_QUEUED: usize = 64;
/// The longest time that writing one Event may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The API server's own limit, in characters (API reference, `Event.note`).
const MAX_MESSAGE: usize = 1024;
/// The longest part of an object's name in the name of its Event, in characters. A name has 253 at most.
const MAX_NAME: usize = 200;

/// The queue of what is written after the answer.
#[derive(Debug, Clone)]
pub struct Events {
    queue: Sender<Told>,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    /// An Event.
    Event(Event),
    /// That an exemption, `POLICY/NAME`, let a change pass.
    Used(String, Timestamp),
}

/// Writes queued Events, one after the other.
pub struct EventWriter {
    client: Client,
    queue: Receiver<Told>,
    /// The day on which the use of each exemption was written for the last time.
    used: BTreeMap<String, i64>,
}

/// One Event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    /// The `reason` of the Event.
    reason: &'static str,
    api_version: &'static str,
    kind: &'static str,
    namespace: String,
    name: String,
    /// The uid of the object; empty where it is not known.
    uid: String,
    message: String,
    at: Timestamp,
}

impl Events {
    /// An empty queue and its writer, which has to be polled.
    #[must_use]
    pub fn new(client: Client) -> (Self, EventWriter) {
        let (sender, receiver) = channel(MAX_QUEUED);
        (Self { queue: sender }, EventWriter { client, queue: receiver, used: BTreeMap::new() })
    }

    /// Queues an Event where an override changed the verdict, and where a flip is taken back. Never waits.
    pub fn tell(&self, change: &Change, view: &ClusterView, verdict: &Verdict, at: Timestamp) {
        let events = [Event::overridden(change, view, verdict, at), Event::flip_undone(change, view, verdict, at)];
        events.into_iter().flatten().for_each(|event| self.queue(Told::Event(event)));
        if !change.dry_run && verdict.outcome() == Outcome::Allowed {
            verdict.exempted().into_iter().for_each(|name| self.queue(Told::Used(name.to_owned(), at)));
        }
    }

    /// Queues an Event about policies that are gone. It is about the Lease of the replica that keeps them: a policy has no
    /// namespace, and an Event is in the namespace of its object.
    pub fn about_policies(&self, own_namespace: &str, message: &str, at: Timestamp) {
        self.queue(Told::Event(Event {
            reason: "PolicyDeleted",
            api_version: "coordination.k8s.io/v1",
            kind: "Lease",
            namespace: own_namespace.to_owned(),
            name: KEEPER_LEASE.to_owned(),
            uid: String::new(),
            message: message.chars().take(MAX_MESSAGE).collect(),
            at,
        }));
    }

    fn queue(&self, told: Told) {
        if let Err(dropped) = self.queue.try_send(told) {
            tracing::warn!(why = %dropped, "an Event is not written");
        }
    }
}

impl EventWriter {
    /// Writes Events for ever. A failure is one log line.
    pub async fn run(mut self) -> Infallible {
        while let Some(told) = self.queue.recv().await {
            match told {
                Told::Event(event) => {
                    if let Err(why) = event.write(&self.client).await {
                        let Event { kind, namespace, name, .. } = &event;
                        tracing::warn!(kind, namespace, name, %why, "an Event is not written");
                    }
                }
                Told::Used(exemption, at) => self.note_use(&exemption, at).await,
            }
        }
        // All senders are gone, so the process is about to end.
        std::future::pending().await
    }
}

/// A day, in seconds.
const DAY: i64 = 86_400;
/// The most exemptions that are remembered: 256 policies with 64 each.
const MOST_USED: usize = 256 * 64;

impl EventWriter {
    /// Writes into the status of the policy that an exemption was used, once a day.
    async fn note_use(&mut self, exemption: &str, at: Timestamp) {
        let day = at.0 / DAY;
        let Some((policy, name)) = exemption.split_once('/') else { return };
        if self.used.get(exemption) == Some(&day) || self.used.len() >= MOST_USED {
            return;
        }
        let patch = Patch::Merge(json!({ "status": { "exemptions": { name: { "lastUsed": at } } } }));
        let request = Request::new(POLICIES).patch_subresource("status", policy, &PatchParams::default(), &patch);
        let written =
            async { within(Instant::now() + WRITE_TIMEOUT, self.client.request::<IgnoredAny>(request?)).await };
        match written.await {
            Ok(_) => {
                self.used.insert(exemption.to_owned(), day);
            }
            Err(why) => tracing::warn!(exemption, %why, "it is not written that an exemption was used"),
        }
    }
}

impl Event {
    /// A change that only an override allows.
    fn overridden(change: &Change, view: &ClusterView, verdict: &Verdict, at: Timestamp) -> Option<Self> {
        let active = verdict.active_override.as_ref().filter(|_| verdict.is_overridden())?;
        let lifted = verdict.findings.iter().filter(|(_, effect)| *effect == Effect::WarnsOverridden);
        let lifted: Vec<String> =
            lifted.map(|(finding, _)| format!("{}: {}", finding.reason, finding.message)).collect();
        let summary = if verdict.summary.is_empty() { "change" } else { &verdict.summary };
        let message = format!(
            "{summary} by {} is allowed by the override until {} ({}), against {}",
            change.user.name,
            active.until,
            active.reason,
            lifted.join("; ")
        );
        Self::about("Overridden", &message, change, view, at)
    }

    /// A flip that another field manager takes back, and that is allowed.
    fn flip_undone(change: &Change, view: &ClusterView, verdict: &Verdict, at: Timestamp) -> Option<Self> {
        let undone = verdict.findings.iter().find(|(finding, _)| finding.reason == Reason::FlipUndone);
        let (finding, _) = undone.filter(|_| verdict.outcome() == Outcome::Allowed)?;
        Self::about("FlipUndone", &finding.message, change, view, at)
    }

    fn about(reason: &'static str, message: &str, change: &Change, view: &ClusterView, at: Timestamp) -> Option<Self> {
        if change.dry_run {
            return None;
        }
        let (kind, meta) = (change.write.kind()?, change.write.meta(view)?);
        Some(Self {
            reason,
            api_version: kind.api_version(),
            kind: kind.name(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            message: message.chars().take(MAX_MESSAGE).collect(),
            at,
        })
    }

    /// The name of the Event: the same in every replica and every release for the same message on the same object.
    fn event_name(&self) -> String {
        let hash = fnv1a(&[self.kind, &self.uid, &self.message].join("\0"));
        let name: String = self.name.chars().take(MAX_NAME).collect();
        format!("{}.{hash:08x}", name.trim_end_matches(['-', '.']))
    }

    async fn write(&self, client: &Client) -> Result<(), RequestError> {
        let at = self.at.to_string();
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": self.event_name(), "namespace": self.namespace },
            "involvedObject": {
                "apiVersion": self.api_version, "kind": self.kind,
                "namespace": self.namespace, "name": self.name, "uid": self.uid,
            },
            "type": "Warning",
            "reason": self.reason,
            "message": self.message,
            "source": { "component": "flipguard" },
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        });
        let request = Request::new(format!("/api/v1/namespaces/{}/events", self.namespace))
            .create(&PostParams::default(), event.to_string().into_bytes())?;
        match within(Instant::now() + WRITE_TIMEOUT, client.request::<IgnoredAny>(request)).await {
            // 409: this replica or another one has written it before.
            Err(RequestError::Api(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            written => written.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::cluster::fake::FakeApi;

    fn event() -> Event {
        Event {
            reason: "Overridden",
            api_version: "v1",
            kind: "Service",
            namespace: "shop".to_owned(),
            name: "app".to_owned(),
            uid: "0b5e".to_owned(),
            message: "flip".to_owned(),
            at: Timestamp(0),
        }
    }

    /// Another release, built with another standard library, must not write the same Event again.
    #[test]
    fn the_name_of_an_event_is_the_same_in_every_release() {
        assert_eq!(event().event_name(), "app.ceaf6ceb");
        assert_ne!(Event { uid: "0b5f".to_owned(), ..event() }.event_name(), event().event_name());
    }

    #[tokio::test]
    async fn a_failure_does_not_end_the_writer() {
        const EVENTS: &str = "/api/v1/namespaces/shop/events";
        let api = FakeApi::default();
        api.fail(Method::POST, EVENTS, 503);
        let (events, writer) = Events::new(api.client());
        let second = Event { message: "flop".to_owned(), ..event() };
        for event in [event(), second.clone(), second.clone()] {
            events.queue.try_send(Told::Event(event)).unwrap();
        }
        let written = async {
            while api.get(&format!("{EVENTS}/{}", second.event_name())).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            never = writer.run() => match never {},
            () = written => {}
        }
        assert!(api.get(&format!("{EVENTS}/{}", event().event_name())).is_none(), "it failed");
    }

    /// The use of an exemption is written once a day, and a failure is made up for by the next use.
    #[tokio::test]
    async fn a_use_is_written_once_a_day() {
        let api = FakeApi::default();
        let policy = format!("{POLICIES}/night");
        api.put(&policy, json!({ "metadata": { "name": "night" }, "status": {} }));
        api.fail(Method::PATCH, &format!("{policy}/status"), 503);
        let (_, mut writer) = Events::new(api.client());
        let used = || {
            let at = api.get(&policy)?;
            Some(at.pointer("/status/exemptions/scaler/lastUsed")?.as_str()?.to_owned())
        };
        writer.note_use("night/scaler", Timestamp(60)).await;
        assert_eq!(used(), None, "it failed");
        writer.note_use("night/scaler", Timestamp(120)).await;
        writer.note_use("night/scaler", Timestamp(180)).await;
        assert_eq!(used().as_deref(), Some("1970-01-01T00:02:00Z"));
        writer.note_use("night/scaler", Timestamp(DAY + 1)).await;
        assert_eq!(used().as_deref(), Some("1970-01-02T00:00:01Z"));
    }
}
