//! The part of policies in the registration: the marks of a colour that the API server filters by, and the status of each
//! policy. Only the holder of the Lease writes a status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::policy_status::{differs, is_already_programmed, status};
use super::programmed::Programming;
use crate::cluster::census;
use crate::cluster::connect::one_line;
use crate::cluster::events::Events;
use crate::cluster::policies::{PolicyStore, Snapshot};
use crate::model::ColourScheme;
use crate::policy::BlueGreenPolicy;
use crate::policy::census::Census;
use crate::policy::resource::BlueGreenPolicyStatus;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::PolicyCounts;

/// The longest time for one list of policies.
const LIST: Duration = Duration::from_secs(5);
/// The longest time for the lists of all namespaces and Services.
const CENSUS: Duration = Duration::from_secs(10);
/// The time between two censuses while nothing changes.
const CENSUS_INTERVAL: Duration = Duration::from_secs(300);
/// The shortest time between two censuses, however often policies change.
const CENSUS_PAUSE: Duration = Duration::from_secs(10);
/// The field manager of the statuses.
const FIELD_MANAGER: &str = "flipguard";

/// The policies of a list, each with its generation.
type Generations = BTreeMap<String, i64>;

/// Keeps the statuses of policies.
pub(super) struct PolicyKeeper {
    client: Client,
    store: Arc<PolicyStore>,
    metrics: Arc<Metrics>,
    events: Events,
    own_namespace: String,
    programming: Programming,
    listed: Option<Arc<Snapshot>>,
    /// The policies that this replica has kept last; `None` while another replica keeps them.
    kept: Option<Generations>,
    census: Option<(Census, Generations)>,
    /// When the last census began, whether or not it succeeded.
    counted: Option<Instant>,
    /// Whether some policy is not programmed yet, and will be soon.
    pub(super) is_waiting: bool,
}

impl PolicyKeeper {
    pub(super) fn new(
        client: Client,
        store: Arc<PolicyStore>,
        metrics: Arc<Metrics>,
        events: Events,
        own_namespace: String,
    ) -> Self {
        Self {
            client,
            store,
            metrics,
            events,
            own_namespace,
            programming: Programming::default(),
            listed: None,
            kept: None,
            census: None,
            counted: None,
            is_waiting: false,
        }
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
        self.metrics.policy_age(self.store.last_age().map_or(-1, |age| i64::try_from(age.as_secs()).unwrap_or(-1)));
        self.listed.as_ref().map(|listed| self.store.marks(&listed.policies))
    }

    /// The number of policies, as far as it is to be noted on the Lease: `None` while the policies or their CRD cannot be
    /// read.
    pub(super) fn to_note(&self) -> Option<usize> {
        let listed = self.listed.as_ref().filter(|listed| listed.is_installed)?;
        Some(listed.policies.all.len())
    }

    /// Sets the metrics. `noted` is the number of policies that the Lease has on record.
    pub(super) fn report(&self, noted: usize) {
        let Some(listed) = &self.listed else { return };
        let mut counts = PolicyCounts { is_crd_gone: !listed.is_installed && noted > 0, ..PolicyCounts::default() };
        for stored in &listed.policies.all {
            match &stored.content {
                Ok(_) => counts.accepted += 1,
                Err(unread) if unread.is_beyond => counts.beyond += 1,
                Err(_) => counts.invalid += 1,
            }
        }
        self.metrics.policies(counts);
    }

    /// Takes the result of a reconciliation: whether the registration was read back as the listed policies need it, and
    /// this replica keeps it.
    pub(super) async fn reconciled(&mut self, is_in_place: bool, now: Duration) {
        self.is_waiting = false;
        let Some(listed) = self.listed.take().filter(|_| is_in_place) else {
            self.programming.out_of_place();
            self.kept = None;
            return;
        };
        let all = &listed.policies.all;
        let generations: Vec<(&str, i64)> =
            all.iter().map(|stored| (stored.name.as_str(), stored.generation)).collect();
        self.programming.in_place(&generations, now);
        let generations: Generations =
            generations.into_iter().map(|(name, generation)| (name.to_owned(), generation)).collect();
        self.tell_of_deleted(&generations, listed.is_installed);
        self.count(&listed, &generations).await;
        let now_text = OffsetDateTime::now_utc().replace_nanosecond(0).ok().and_then(|now| now.format(&Rfc3339).ok());
        for stored in all.iter().filter(|stored| stored.is_whole) {
            let is_programmed = self.programming.is_programmed(&stored.name, stored.generation, self.store.age(), now);
            self.is_waiting |= stored.content.is_ok() && !is_programmed && !is_already_programmed(stored);
            let counts = self.census.as_ref().and_then(|(census, _)| census.of(&listed.policies, &stored.name));
            let wanted = status(stored, is_programmed, counts.as_ref(), now_text.as_deref().unwrap_or_default());
            if differs(&stored.status, &wanted) {
                self.write(&stored.name, &wanted, &stored.status).await;
            }
        }
    }

    /// Tells of each policy that is gone, by an Event in flipguard's own namespace.
    fn tell_of_deleted(&mut self, listed: &Generations, is_installed: bool) {
        let before = self.kept.replace(listed.clone()).unwrap_or_default();
        let gone: Vec<&str> = before.keys().filter(|name| !listed.contains_key(*name)).map(String::as_str).collect();
        if gone.is_empty() {
            return;
        }
        let names = gone.join(", ");
        let message = if is_installed {
            format!("no change is judged by these policies any more: {names}")
        } else {
            format!("the CRD bluegreenpolicies.flipguard.dev is gone, and these policies with it: {names}")
        };
        self.events.about_policies(&self.own_namespace, &message, crate::cluster::clock::now());
    }

    /// Counts the namespaces and Services: after each change of the policies, and every five minutes.
    async fn count(&mut self, listed: &Snapshot, generations: &Generations) {
        let since = self.counted.map(|at| at.elapsed());
        let is_current = self.census.as_ref().is_some_and(|(_, of)| of == generations);
        let pause = if is_current { CENSUS_INTERVAL } else { CENSUS_PAUSE };
        if generations.is_empty() || since.is_some_and(|since| since < pause) {
            return;
        }
        self.counted = Some(Instant::now());
        let deadline = Instant::now() + CENSUS;
        match census::take(&self.client, self.store.flags(), &listed.policies, deadline).await {
            Ok(census) => self.census = Some((census, generations.clone())),
            Err(why) => tracing::warn!(why, "the statuses of policies keep their counts"),
        }
    }

    async fn write(&self, name: &str, status: &BlueGreenPolicyStatus, stored: &BlueGreenPolicyStatus) {
        let policies = Api::<BlueGreenPolicy>::all(self.client.clone());
        let patch = json!({ "status": cleared(status, stored) });
        let written = policies.patch_status(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Merge(&patch)).await;
        if let Err(error) = written {
            tracing::warn!(policy = name, why = one_line(&error), "cannot write the status of a policy");
        }
    }
}

/// The status as a merge patch. A list that is empty now must be named, or else the stored one stays. Of exemptions, only
/// what is new is named: other replicas write when they are used.
fn cleared(status: &BlueGreenPolicyStatus, stored: &BlueGreenPolicyStatus) -> serde_json::Value {
    let mut patch = json!({ "softens": null, "overlaps": null });
    let said = json!(status);
    if let (Some(patch), Some(said)) = (patch.as_object_mut(), said.as_object()) {
        patch.extend(said.clone());
        let gone = stored.exemptions.keys().filter(|name| !status.exemptions.contains_key(*name));
        let gone = gone.map(|name| (name.clone(), serde_json::Value::Null));
        let new = status.exemptions.iter().filter(|(name, _)| !stored.exemptions.contains_key(*name));
        let new = new.map(|(name, known)| (name.clone(), json!(known)));
        patch.insert("exemptions".to_owned(), gone.chain(new).collect::<serde_json::Map<_, _>>().into());
    }
    patch
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::cluster::fake::FakeApi;
    use crate::model::Policy;

    const PATH: &str = "/apis/flipguard.dev/v1alpha1/bluegreenpolicies/floors";

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    async fn reconcile(keeper: &mut PolicyKeeper, at: u64) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(keeper.marks().await.is_some());
        keeper.reconciled(true, seconds(at)).await;
    }

    fn condition(api: &FakeApi, number: usize) -> Option<String> {
        let stored = api.get(PATH)?;
        let condition = stored.pointer(&format!("/status/conditions/{number}"))?;
        Some(format!("{}={}", condition["type"].as_str()?, condition["status"].as_str()?))
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_cannot_be_written_is_written_later() {
        let api = FakeApi::default();
        let spec = json!({ "namespaceSelector": {}, "live": { "floor": 2 } });
        let meta = json!({ "name": "floors", "generation": 1 });
        let kinds = json!({ "apiVersion": "flipguard.dev/v1alpha1", "kind": "BlueGreenPolicy" });
        api.put(
            PATH,
            json!({ "metadata": meta, "spec": spec, "apiVersion": kinds["apiVersion"], "kind": kinds["kind"] }),
        );
        let store = Arc::new(PolicyStore::new(api.client(), Policy::default(), Duration::ZERO));
        let (events, _writer) = Events::new(api.client());
        let metrics = Arc::new(Metrics::default());
        let mut keeper = PolicyKeeper::new(api.client(), store.clone(), metrics, events, "own".to_owned());
        api.fail(Method::PATCH, &format!("{PATH}/status"), 500);
        reconcile(&mut keeper, 0).await;
        assert_eq!(condition(&api, 0), None);
        let settings = store.settings("shop", Instant::now() + seconds(5)).await;
        assert_eq!(settings.policy.floor, Some(2), "the verdicts are not touched");
        reconcile(&mut keeper, 0).await;
        assert_eq!(condition(&api, 0).as_deref(), Some("Accepted=True"));
        assert_eq!(condition(&api, 1).as_deref(), Some("Programmed=False"));
        reconcile(&mut keeper, 1).await;
        assert_eq!(condition(&api, 1).as_deref(), Some("Programmed=True"));
        // Nothing is written if nothing changed.
        let written = api.asked(&Method::PATCH, &format!("{PATH}/status"));
        reconcile(&mut keeper, 2).await;
        assert_eq!(api.asked(&Method::PATCH, &format!("{PATH}/status")), written);
    }
}
