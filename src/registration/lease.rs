//! The Lease `flipguard-keeper`: of all replicas, only its holder writes the registration.
//!
//! The Lease keeps two replicas from undoing each other's writes; no safety rests on it. A Lease of another replica has
//! expired when this process has observed it unchanged for its whole duration. The clocks of two machines are never
//! compared.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::Instant;

use crate::install::KEEPER_LEASE;

/// The name of the Lease.
pub const LEASE: &str = KEEPER_LEASE;

/// The annotation with the number of policies. It tells a CRD that is gone from one that was never installed.
pub const POLICIES: &str = "flipguard.dev/policies";

/// `leaseDurationSeconds`: how long the Lease is held without a renewal.
const LENGTH: Duration = Duration::from_secs(15);
/// The time between two renewals.
const RENEW: Duration = Duration::from_secs(5);

/// A replica that takes the Lease when it can.
pub(super) struct LeaseCandidate {
    leases: Api<Lease>,
    me: String,
    /// The Lease as it was last observed, and since when it is unchanged.
    seen: Option<(LeaseSpec, Instant)>,
    /// The last renewal by this process.
    renewed: Option<Instant>,
    /// The number of policies to note on the Lease; `None` leaves what is there.
    to_note: Option<usize>,
    /// The number of policies that the Lease has on record.
    noted: usize,
}

/// The holder of the Lease after an attempt to hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// This replica.
    Me,
    /// Another replica, by its name.
    Other(String),
}

/// Whether another replica holds the Lease, as seen by one that does not want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// Another replica renews it.
    Held,
    /// No replica has held or changed it for this time.
    Vacant(Duration),
}

/// What to do about a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// The Lease is ours, and its renewal is not due.
    Hold,
    /// The Lease is ours, and its renewal is due.
    Renew,
    /// The Lease has no holder, or has expired.
    Take,
    /// The Lease is held by another replica.
    Leave,
}

/// The number of policies on record.
#[must_use]
pub fn policies_of(metadata: &ObjectMeta) -> usize {
    let noted = metadata.annotations.as_ref().and_then(|annotations| annotations.get(POLICIES));
    noted.and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn next_move(spec: &LeaseSpec, me: &str, unchanged: Duration, since_renewal: Option<Duration>) -> Move {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder == me {
        return if since_renewal.is_some_and(|since| since < RENEW) { Move::Hold } else { Move::Renew };
    }
    if is_over(spec, unchanged) { Move::Take } else { Move::Leave }
}

/// Whether a Lease has no holder, or was not renewed for its whole duration.
fn is_over(spec: &LeaseSpec, unchanged: Duration) -> bool {
    let length = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    spec.holder_identity.as_deref().unwrap_or_default().is_empty() || unchanged >= length.unwrap_or(LENGTH)
}

impl LeaseCandidate {
    pub(super) fn new(client: &Client, namespace: &str, me: String) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            me,
            seen: None,
            renewed: None,
            to_note: None,
            noted: 0,
        }
    }

    /// Sets the number of policies that the next renewal notes; `None` leaves what is there.
    pub(super) fn note_policies(&mut self, count: Option<usize>) {
        self.to_note = count;
    }

    /// The number of policies that the Lease has on record.
    pub(super) fn noted_policies(&self) -> usize {
        self.noted
    }

    /// Tries to take or renew the Lease, and returns its holder.
    pub(super) async fn hold(&mut self, now: Instant) -> kube::Result<Holder> {
        let Some(lease) = self.read().await? else {
            let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(None)) };
            return match self.leases.create(&PostParams::default(), &lease).await {
                // 404: the namespace does not exist.
                Err(kube::Error::Api(status)) if status.code == 404 => Err(kube::Error::Api(status)),
                created => self.written(created, now),
            };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let unchanged = self.observe(&spec, now);
        match next_move(&spec, &self.me, unchanged, self.renewed.map(|at| now.saturating_duration_since(at))) {
            Move::Hold => Ok(Holder::Me),
            Move::Leave => Ok(Holder::Other(spec.holder_identity.unwrap_or_default())),
            Move::Renew | Move::Take => {
                let mut metadata = lease.metadata;
                if let Some(count) = self.to_note {
                    metadata.annotations.get_or_insert_default().insert(POLICIES.to_owned(), count.to_string());
                }
                let lease = Lease { metadata, spec: Some(self.spec(Some(&spec))) };
                // Of two replicas that take it at once, the resourceVersion lets one succeed.
                self.written(self.leases.replace(LEASE, &PostParams::default(), &lease).await, now)
            }
        }
    }

    /// Leaves the Lease to others, and returns whether one of them holds it.
    pub(super) async fn step_back(&mut self, now: Instant) -> kube::Result<Vacancy> {
        let spec = self.read().await?.and_then(|lease| lease.spec).unwrap_or_default();
        let unchanged = self.observe(&spec, now);
        if spec.holder_identity.as_deref() == Some(&self.me) {
            self.give_up().await;
            return Ok(Vacancy::Vacant(Duration::ZERO));
        }
        Ok(if is_over(&spec, unchanged) { Vacancy::Vacant(unchanged) } else { Vacancy::Held })
    }

    /// Reads the Lease. While the API server does not answer, nobody can renew it: the time begins anew after that.
    async fn read(&mut self) -> kube::Result<Option<Lease>> {
        let read = self.leases.get_opt(LEASE).await;
        if read.is_err() {
            self.seen = None;
        }
        if let Ok(Some(lease)) = &read {
            self.noted = policies_of(&lease.metadata);
        }
        read
    }

    /// Returns for how long the Lease is unchanged, as far as this process has seen.
    fn observe(&mut self, spec: &LeaseSpec, now: Instant) -> Duration {
        match &self.seen {
            Some((seen, since)) if seen == spec => now.saturating_duration_since(*since),
            _ => {
                self.seen = Some((spec.clone(), now));
                Duration::ZERO
            }
        }
    }

    /// Releases the Lease, so that another replica takes over at once. A failure only costs that replica a wait.
    pub(super) async fn give_up(&mut self) {
        self.renewed = None;
        let Ok(Some(mut lease)) = self.leases.get_opt(LEASE).await else { return };
        if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.me)) {
            spec.holder_identity = None;
            spec.renew_time = None;
            let _ = self.leases.replace(LEASE, &PostParams::default(), &lease).await;
        }
    }

    fn written(&mut self, result: kube::Result<Lease>, now: Instant) -> kube::Result<Holder> {
        match result {
            Ok(_) => {
                self.renewed = Some(now);
                Ok(Holder::Me)
            }
            // Another replica was faster; the next read shows its name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                Ok(Holder::Other("another replica".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mine = before.filter(|spec| spec.holder_identity.as_deref() == Some(&self.me));
        let changes = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_duration_seconds: i32::try_from(LENGTH.as_secs()).ok(),
            lease_transitions: Some(if mine.is_some() || before.is_none() { changes } else { changes + 1 }),
            ..LeaseSpec::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::cluster::fake::FakeApi;

    #[test]
    fn a_lease_changes_hands_only_when_it_is_over() {
        let held_by = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        let seconds = Duration::from_secs;
        let rows = [
            ("ours and fresh", held_by("a"), 0, Some(4), Move::Hold),
            ("ours, to be renewed", held_by("a"), 0, Some(5), Move::Renew),
            ("ours, from before a restart", held_by("a"), 0, None, Move::Renew),
            ("another's", held_by("b"), 14, None, Move::Leave),
            ("another's that has stopped", held_by("b"), 15, None, Move::Take),
            ("another's now, though it was ours", held_by("b"), 0, Some(1), Move::Leave),
            ("given up", held_by(""), 0, None, Move::Take),
            ("never held", LeaseSpec::default(), 0, None, Move::Take),
        ];
        for (what, spec, unchanged, renewed, expected) in rows {
            assert_eq!(next_move(&spec, "a", seconds(unchanged), renewed.map(seconds)), expected, "{what}");
        }
    }

    #[tokio::test]
    async fn a_missing_namespace_is_no_other_replica() {
        let api = FakeApi::default();
        let leases = "/apis/coordination.k8s.io/v1/namespaces/own/leases";
        let mut candidate = LeaseCandidate::new(&api.client(), "own", "a".to_owned());
        let now = Instant::now();
        api.fail(Method::POST, leases, 404);
        assert!(candidate.hold(now).await.is_err());
        api.fail(Method::POST, leases, 409);
        assert_eq!(candidate.hold(now).await.unwrap(), Holder::Other("another replica".to_owned()));
        assert_eq!(candidate.hold(now).await.unwrap(), Holder::Me);
    }

    /// A replica that leaves the Lease to others sees whether one of them takes it.
    #[tokio::test]
    async fn a_vacant_lease_is_noticed() {
        let api = FakeApi::default();
        let candidate = |name: &str| LeaseCandidate::new(&api.client(), "own", name.to_owned());
        let (mut old, mut new) = (candidate("old"), candidate("new"));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(old.hold(at(0)).await.unwrap(), Holder::Me);
        assert_eq!(old.step_back(at(1)).await.unwrap(), Vacancy::Vacant(Duration::ZERO));
        assert_eq!(old.step_back(at(2)).await.unwrap(), Vacancy::Vacant(Duration::ZERO), "it was changed just now");
        assert_eq!(old.step_back(at(9)).await.unwrap(), Vacancy::Vacant(Duration::from_secs(7)));
        assert_eq!(new.hold(at(10)).await.unwrap(), Holder::Me);
        assert_eq!(old.step_back(at(11)).await.unwrap(), Vacancy::Held);
        assert_eq!(old.step_back(at(25)).await.unwrap(), Vacancy::Held);
        assert_eq!(old.step_back(at(26)).await.unwrap(), Vacancy::Vacant(Duration::from_secs(15)), "it has expired");
        // After an outage of the API server, its holder gets the time to renew it.
        api.fail(Method::GET, "/apis/coordination.k8s.io/v1/namespaces/own/leases/flipguard-keeper", 500);
        assert!(old.step_back(at(40)).await.is_err());
        assert_eq!(old.step_back(at(300)).await.unwrap(), Vacancy::Held);
    }
}
