//! The part of policies in the registration: the marks of a colour that the API server filters by, and the status of each
//! policy. Only the holder of the Lease writes a status.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::programmed::Programming;
use crate::cluster::connect::one_line;
use crate::cluster::policies::{PolicyStore, Snapshot};
use crate::model::ColourScheme;
use crate::policy::BlueGreenPolicy;
use crate::policy::merge::softened;
use crate::policy::read::Stored;
use crate::policy::resource::{BlueGreenPolicyStatus, Condition};

/// The longest time for one list of policies.
const LIST: Duration = Duration::from_secs(5);
/// The field manager of the statuses.
const FIELD_MANAGER: &str = "flipguard";

/// Keeps the statuses of policies.
pub(super) struct PolicyKeeper {
    client: Client,
    store: Arc<PolicyStore>,
    programming: Programming,
    listed: Option<Arc<Snapshot>>,
    /// Whether some policy is not programmed yet, and will be soon.
    pub(super) is_waiting: bool,
}

impl PolicyKeeper {
    pub(super) fn new(client: Client, store: Arc<PolicyStore>) -> Self {
        Self { client, store, programming: Programming::default(), listed: None, is_waiting: false }
    }

    /// Reads the policies, and returns the marks of a colour in any namespace. `None` where they cannot be read: the
    /// registration stays as it is then.
    pub(super) async fn marks(&mut self) -> Option<ColourScheme> {
        self.listed = match self.store.current(Instant::now() + LIST).await {
            Ok(listed) => Some(listed),
            Err(failure) => {
                tracing::warn!(why = failure.why, "cannot read the policies; the registration stays");
                None
            }
        };
        self.listed.as_ref().map(|listed| self.store.marks(&listed.policies))
    }

    /// Takes the result of a reconciliation: whether the registration was read back as the listed policies need it, and
    /// this replica keeps it.
    pub(super) async fn reconciled(&mut self, is_in_place: bool, now: Duration) {
        self.is_waiting = false;
        let Some(listed) = self.listed.take().filter(|_| is_in_place) else {
            self.programming.out_of_place();
            return;
        };
        let all = &listed.policies.all;
        let generations: Vec<(&str, i64)> =
            all.iter().map(|stored| (stored.name.as_str(), stored.generation)).collect();
        self.programming.in_place(&generations, now);
        for stored in all.iter().filter(|stored| stored.is_whole) {
            let is_programmed = self.programming.is_programmed(&stored.name, stored.generation, self.store.age(), now);
            self.is_waiting |= stored.content.is_ok() && !is_programmed && !is_already_programmed(stored);
            let wanted = status(stored, is_programmed);
            if differs(&stored.status, &wanted) {
                self.write(&stored.name, &wanted).await;
            }
        }
    }

    async fn write(&self, name: &str, status: &BlueGreenPolicyStatus) {
        let policies = Api::<BlueGreenPolicy>::all(self.client.clone());
        let patch = json!({ "status": status });
        let written = policies.patch_status(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Merge(&patch)).await;
        if let Err(error) = written {
            tracing::warn!(policy = name, why = one_line(&error), "cannot write the status of a policy");
        }
    }
}

/// Whether the stored status says that this generation is programmed. Another keeper has waited for it.
fn is_already_programmed(stored: &Stored) -> bool {
    let programmed = stored.status.conditions.iter().find(|condition| condition.kind == "Programmed");
    programmed.is_some_and(|programmed| {
        programmed.status == "True" && programmed.observed_generation == Some(stored.generation)
    })
}

/// The status that a policy should have.
fn status(stored: &Stored, is_programmed: bool) -> BlueGreenPolicyStatus {
    let unknown = stored.unknown_rules().join(", ");
    let accepted = match &stored.content {
        Err(unread) => ("False", "Invalid", unread.why.clone()),
        Ok(_) if !unknown.is_empty() => ("True", "Accepted", format!("this version leaves out the rules {unknown}")),
        Ok(_) => ("True", "Accepted", String::new()),
    };
    let programmed = match &stored.content {
        Err(_) => ("False", "Invalid", "it is set aside".to_owned()),
        Ok(_) if is_programmed || is_already_programmed(stored) => {
            ("True", "Programmed", "every replica judges by it".to_owned())
        }
        Ok(_) => ("False", "Pending", "some replica may still judge by an older one".to_owned()),
    };
    let conditions = [("Accepted", accepted), ("Programmed", programmed)];
    BlueGreenPolicyStatus {
        observed_generation: Some(stored.generation),
        conditions: conditions.into_iter().map(|(kind, said)| condition(kind, said, stored)).collect(),
        softens: stored.content.as_ref().map(softened).unwrap_or_default(),
        ..stored.status.clone()
    }
}

fn condition(kind: &str, (status, reason, message): (&str, &str, String), stored: &Stored) -> Condition {
    let before = stored.status.conditions.iter().find(|condition| condition.kind == kind && condition.status == status);
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).ok().and_then(|now| now.format(&Rfc3339).ok());
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.chars().take(1000).collect(),
        last_transition_time: before
            .map_or(now, |before| Some(before.last_transition_time.clone()))
            .unwrap_or_default(),
        observed_generation: Some(stored.generation),
    }
}

/// Whether a status says something else than the stored one.
fn differs(stored: &BlueGreenPolicyStatus, wanted: &BlueGreenPolicyStatus) -> bool {
    let plain = |status: &BlueGreenPolicyStatus| {
        let mut status = status.clone();
        for condition in &mut status.conditions {
            condition.last_transition_time.clear();
        }
        status
    };
    plain(stored) != plain(wanted)
}
