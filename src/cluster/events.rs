//! Overrides made loud: an Event on the object whenever one lifts something.
//!
//! Events are written behind the verdict's back: it neither waits for them nor changes with them. What is said already
//! is not said again, by whatever replica: an Event is named by what it says.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use kube::Client;
use kube::api::PostParams;
use kube::core::Request;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::connect::{causes, one_line};
use crate::model::{Change, ClusterView, Meta, Timestamp, Workload, WorkloadKind, Write};
use crate::rules::{Effect, Verdict};

/// Events that wait at most; more are dropped, and that is logged.
const QUEUE: usize = 64;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest message that the API server takes (API doc, `Event`).
const MESSAGE_LIMIT: usize = 1024;
/// How much of an object's name the name of its Event begins with: 253 characters in all is the most.
const NAME_LIMIT: usize = 200;

/// Writes Events, one after the other.
#[derive(Debug, Clone)]
pub struct Events {
    queue: Sender<Event>,
}

/// One Event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    api_version: &'static str,
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
    message: String,
    at: Timestamp,
}

impl Events {
    /// Starts a task that writes them, until all clones of this are dropped.
    #[must_use]
    pub fn start(client: Client) -> Self {
        let (queue, events) = channel(QUEUE);
        tokio::spawn(write_all(client, events));
        Self { queue }
    }

    /// Tells of a verdict, if an override made it what it is. Never waits.
    pub fn tell(&self, change: &Change, view: &ClusterView, verdict: &Verdict, at: Timestamp) {
        let Some(event) = Event::of(change, view, verdict, at) else { return };
        if let Err(dropped) = self.queue.try_send(event) {
            tracing::warn!(why = %dropped, "an Event is not written");
        }
    }
}

impl Event {
    fn of(change: &Change, view: &ClusterView, verdict: &Verdict, at: Timestamp) -> Option<Self> {
        if change.dry_run || !verdict.is_overridden() {
            return None;
        }
        let lifted = verdict.findings.iter().filter(|(_, effect)| *effect == Effect::WarnsOverridden);
        let lifted: Vec<String> =
            lifted.map(|(finding, _)| format!("{}: {}", finding.reason, finding.message)).collect();
        let overriding = verdict.active_override.as_ref()?;
        let (api_version, kind, meta) = object(change, view)?;
        let act = if verdict.summary.is_empty() { "change" } else { &verdict.summary };
        let message = format!(
            "{act} by {} is allowed by the override until {} ({}), against {}",
            change.user.name,
            overriding.until,
            overriding.reason,
            lifted.join("; ")
        );
        Some(Self {
            api_version,
            kind,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            message: message.chars().take(MESSAGE_LIMIT).collect(),
            at,
        })
    }

    /// Its own name: the same for the same words on the same object.
    fn own_name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (self.kind, &self.uid, &self.message).hash(&mut hasher);
        let name: String = self.name.chars().take(NAME_LIMIT).collect();
        format!("{}.{:016x}", name.trim_end_matches(['-', '.']), hasher.finish())
    }

    async fn write(&self, client: &Client) -> Result<(), String> {
        let at = self.at.to_string();
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": self.own_name(), "namespace": self.namespace },
            "involvedObject": {
                "apiVersion": self.api_version, "kind": self.kind,
                "namespace": self.namespace, "name": self.name, "uid": self.uid,
            },
            "type": "Warning",
            "reason": "Overridden",
            "message": self.message,
            "source": { "component": "flipguard" },
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        });
        let request = Request::new(format!("/api/v1/namespaces/{}/events", self.namespace))
            .create(&PostParams::default(), event.to_string().into_bytes())
            .map_err(|error| causes(&error))?;
        match tokio::time::timeout(PATIENCE, client.request::<IgnoredAny>(request)).await {
            Ok(Ok(_)) => Ok(()),
            // Said already.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            Ok(Err(error)) => Err(one_line(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

/// The object that a change is about, as it is stored where it is.
fn object<'a>(change: &'a Change, view: &'a ClusterView) -> Option<(&'static str, &'static str, &'a Meta)> {
    let workload = |workload: &'a Workload| Some(("apps/v1", workload.kind.name(), &workload.meta));
    match &change.write {
        Write::ServiceUpdate { new: service, .. }
        | Write::ServiceCreate { new: service }
        | Write::ServiceDelete { old: service } => Some(("v1", "Service", &service.meta)),
        Write::WorkloadCreate { new } | Write::WorkloadUpdate { new, .. } => workload(new),
        Write::WorkloadDelete { old } => workload(old),
        Write::Scale { kind, name, .. } => stored(view, *kind, name).and_then(workload),
        Write::Other => None,
    }
}

fn stored<'a>(view: &'a ClusterView, kind: WorkloadKind, name: &str) -> Option<&'a Workload> {
    view.workloads.iter().find(|workload| workload.kind == kind && workload.meta.name == name)
}

async fn write_all(client: Client, mut events: Receiver<Event>) {
    while let Some(event) = events.recv().await {
        if let Err(why) = event.write(&client).await {
            let Event { kind, namespace, name, .. } = &event;
            tracing::warn!(kind, namespace, name, why, "an Event is not written");
        }
    }
}
