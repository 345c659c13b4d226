//! The policies, as the API server has them: a snapshot with a greatest age.
//!
//! Policies are configuration, like RBAC and webhook registrations. So they may be a stated time old, and no older: a
//! change is judged by a complete list that began at most so long before. There is no watch, and nothing is read while
//! nothing is judged. One change is judged by one snapshot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::connect::causes;
use super::request::{Answer, RequestError, ask, within};
use crate::model::{ColourScheme, Labels, Policy, ReadFailure};
use crate::policy::read::PolicyList;
use crate::policy::{Policies, effective};

/// The path of all policies.
pub(super) const PATH: &str = "/apis/flipguard.dev/v1alpha1/bluegreenpolicies";
/// The number of policies in a page. What is held of a list stays small, whatever their size.
const PAGE: u32 = 32;
/// The largest number of namespaces whose labels are kept.
const NAMESPACES: usize = 256;
/// What the API server says of a kind that it does not know.
const UNKNOWN_KIND: &str = "404 page not found";

/// The policies, read when they are needed.
pub struct PolicyStore {
    client: Client,
    /// What counts where no policy says anything.
    flags: Policy,
    /// The greatest age of what is read.
    age: Duration,
    /// The last complete list.
    snapshot: ArcSwapOption<Snapshot>,
    /// Held while a list is read, so that one read serves all who wait.
    reading: Mutex<()>,
    labels: StdMutex<BTreeMap<String, (Instant, Labels)>>,
}

/// A complete list of policies.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When its read began.
    began: Instant,
    /// The policies.
    pub policies: Arc<Policies>,
    /// Whether the CRD is there.
    pub is_installed: bool,
}

/// The settings of a namespace.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What counts.
    pub policy: Policy,
    /// Why the policies could not be read in time. What is known of them still counts for what it demands.
    pub failure: Option<ReadFailure>,
}

impl PolicyStore {
    /// A store that has read nothing yet. `flags` says what counts where no policy says anything.
    #[must_use]
    pub fn new(client: Client, flags: Policy, age: Duration) -> Self {
        Self {
            client,
            flags,
            age,
            snapshot: ArcSwapOption::empty(),
            reading: Mutex::default(),
            labels: StdMutex::default(),
        }
    }

    /// The greatest age of what is read.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }

    /// What counts where no policy says anything.
    #[must_use]
    pub fn flags(&self) -> &Policy {
        &self.flags
    }

    /// The settings of a namespace, by policies that are at most as old as allowed.
    pub async fn settings(&self, namespace: &str, deadline: Instant) -> Settings {
        let (policies, failure) = match self.current(deadline).await {
            Ok(snapshot) => (snapshot.policies.clone(), None),
            // The last known policies count for what they demand, together with the flags.
            Err(failure) => {
                (self.snapshot.load_full().map(|known| known.policies.clone()).unwrap_or_default(), Some(failure))
            }
        };
        let labels = if policies.needs_labels(namespace) { self.labels(namespace, deadline).await } else { None };
        let policy = effective(&self.flags, &policies, namespace, labels.as_ref());
        let policy = if failure.is_some() { effective::at_least(&policy, &self.flags) } else { policy };
        Settings { policy, failure }
    }

    /// The last list if it is young enough, or else a new one.
    ///
    /// # Errors
    /// When a new list is needed and cannot be read.
    pub async fn current(&self, deadline: Instant) -> Result<Arc<Snapshot>, ReadFailure> {
        let asked = Instant::now();
        if let Some(young) = self.young(asked) {
            return Ok(young);
        }
        let unread = |why: String| ReadFailure::online("the policies".to_owned(), why);
        let too_late = || unread("no time was left to read them".to_owned());
        let _reading = timeout_at(deadline, self.reading.lock()).await.map_err(|_| too_late())?;
        // A list that began while this one waited serves it, too.
        if let Some(young) = self.young(asked) {
            return Ok(young);
        }
        let new = Arc::new(self.list(deadline).await.map_err(unread)?);
        report(self.snapshot.load().as_deref(), &new);
        self.snapshot.store(Some(new.clone()));
        Ok(new)
    }

    /// The age of the last list; `None` before the first one.
    #[must_use]
    pub fn last_age(&self) -> Option<Duration> {
        self.snapshot.load_full().map(|snapshot| snapshot.began.elapsed())
    }

    /// Whether the last list is young enough to judge by now.
    #[must_use]
    pub fn is_young(&self) -> bool {
        self.young(Instant::now()).is_some()
    }

    fn young(&self, asked: Instant) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full().filter(|snapshot| snapshot.began + self.age >= asked)
    }

    /// The settings of a namespace by what was read last, however old that is. `None` where too little is known.
    #[must_use]
    pub fn known(&self, namespace: &str) -> Option<Policy> {
        let known = self.snapshot.load_full()?;
        let labels = || self.labels.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned();
        let labels = if known.policies.needs_labels(namespace) { Some(labels()?.1) } else { None };
        Some(effective(&self.flags, &known.policies, namespace, labels.as_ref()))
    }

    /// The marks of a colour in any namespace: the registration must let all such writes through.
    #[must_use]
    pub fn marks(&self, policies: &Policies) -> ColourScheme {
        effective::marks(&self.flags, policies)
    }

    /// Reads all policies, page by page. They arrive in the order of their names.
    async fn list(&self, deadline: Instant) -> Result<Snapshot, String> {
        let began = Instant::now();
        let (mut list, mut params) = (PolicyList::default(), ListParams::default().limit(PAGE));
        loop {
            let request = Request::new(PATH).list(&params).map_err(|error| causes(&error))?;
            let page = match within(deadline, self.client.request::<Page>(request)).await {
                Ok(page) => page,
                Err(RequestError::Api(kube::Error::Api(status))) if is_unknown_kind(&status) => {
                    return Ok(Snapshot { began, policies: Arc::default(), is_installed: false });
                }
                Err(error) => return Err(error.to_string()),
            };
            for Item { metadata, spec, status } in page.items {
                let text = spec.as_deref().map_or("null", RawValue::get);
                let spec: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
                list.add(json!({ "metadata": metadata, "spec": spec, "status": status }), text.len());
            }
            match page.metadata.more.filter(|token| !token.is_empty()) {
                // What comes after these is not even read, and so counts as set aside for every namespace.
                Some(_) if list.is_beyond() => {
                    let policies = list.done().and_more();
                    return Ok(Snapshot { began, policies: Arc::new(policies), is_installed: true });
                }
                Some(token) => params = params.continue_token(&token),
                None => {
                    return Ok(Snapshot { began, policies: Arc::new(list.done()), is_installed: true });
                }
            }
        }
    }

    /// The labels of a namespace; `None` where they cannot be read.
    pub async fn labels(&self, namespace: &str, deadline: Instant) -> Option<Labels> {
        let asked = Instant::now();
        let known = self.labels.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned();
        if let Some((_, labels)) = known.filter(|(began, _)| *began + self.age >= asked) {
            return Some(labels);
        }
        let request = Request::new("/api/v1/namespaces").get(namespace, &GetParams::default()).ok()?;
        let answer = ask::<Namespace>(&self.client, request, deadline).await.and_then(Answer::found);
        let read = match answer {
            Ok(read) => read?,
            Err(error) => {
                tracing::warn!(namespace, why = %error, "cannot read the labels of the namespace");
                return None;
            }
        };
        let labels: Labels = read.metadata.labels.unwrap_or_default().into_iter().collect();
        let mut all = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(namespace.to_owned(), (asked, labels.clone()));
        if all.len() > NAMESPACES {
            let oldest = all.iter().min_by_key(|(_, (began, _))| *began).map(|(name, _)| name.clone());
            oldest.and_then(|name| all.remove(&name));
        }
        Some(labels)
    }
}

/// Whether the API server itself says that it does not know the kind. Another server may answer 404, too.
fn is_unknown_kind(status: &kube::core::Status) -> bool {
    status.code == 404 && status.message.contains(UNKNOWN_KIND)
}

/// One log line for each change.
fn report(known: Option<&Snapshot>, new: &Snapshot) {
    if known.is_some_and(|known| known.is_installed && !new.is_installed) {
        tracing::error!(
            "the CRD bluegreenpolicies.flipguard.dev is gone, and all policies with it; the flags of serve count"
        );
    }
    let versions = |snapshot: &Snapshot| -> Vec<(String, i64)> {
        snapshot.policies.all.iter().map(|stored| (stored.name.clone(), stored.generation)).collect()
    };
    if known.map(versions).unwrap_or_default() == versions(new) {
        return;
    }
    let names: Vec<String> =
        new.policies.all.iter().take(20).map(|stored| format!("{}@{}", stored.name, stored.generation)).collect();
    tracing::info!(count = new.policies.all.len(), policies = names.join(","), "the policies have changed");
    for stored in &new.policies.all {
        if let Err(unread) = &stored.content {
            tracing::warn!(policy = stored.name, why = unread.why, "a policy is set aside");
        }
        let unknown = stored.unknown_rules();
        if !unknown.is_empty() {
            tracing::warn!(policy = stored.name, rules = unknown.join(","), "a policy names rules of another version");
        }
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default)]
    items: Vec<Item>,
}

/// A policy, without what only the API server needs: most of a stored object is `managedFields`.
#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
    #[serde(default)]
    spec: Option<Box<RawValue>>,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize, Serialize)]
struct ItemMeta {
    name: String,
    #[serde(default)]
    generation: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageMeta {
    #[serde(rename = "continue")]
    more: Option<String>,
}

#[derive(Deserialize)]
struct Namespace {
    metadata: ObjectMeta,
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::cluster::fake::FakeApi;
    use crate::model::Enforcement;

    const AGE: Duration = Duration::from_secs(2);
    const SHOP: &str = "/api/v1/namespaces/shop";

    fn store(api: &FakeApi) -> PolicyStore {
        PolicyStore::new(api.client(), Policy::default(), AGE)
    }

    fn put(api: &FakeApi, name: &str, spec: &Value) {
        api.put(&format!("{PATH}/{name}"), json!({ "metadata": { "name": name, "generation": 1 }, "spec": spec }));
    }

    async fn settings(store: &PolicyStore) -> Settings {
        store.settings("shop", Instant::now() + Duration::from_secs(5)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_list_in_two_seconds() {
        let api = FakeApi::default();
        put(&api, "a", &json!({ "namespaceSelector": {}, "live": { "floor": 2 } }));
        let store = store(&api);
        for _ in 0..50 {
            assert_eq!(settings(&store).await.policy.floor, Some(2));
        }
        assert_eq!(api.asked(&Method::GET, PATH), 1);
        put(&api, "a", &json!({ "namespaceSelector": {}, "live": { "floor": 3 } }));
        tokio::time::sleep(AGE).await;
        assert_eq!(settings(&store).await.policy.floor, Some(2), "it is not too old yet");
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(settings(&store).await.policy.floor, Some(3));
        assert_eq!(api.asked(&Method::GET, PATH), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_share_one_list() {
        let api = FakeApi::default();
        api.delay(Duration::from_secs(1));
        let store = store(&api);
        futures_util::future::join_all((0..20).map(|_| settings(&store))).await;
        assert_eq!(api.asked(&Method::GET, PATH), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_list_that_cannot_be_read_anew_demands_and_forgives_nothing() {
        let api = FakeApi::default();
        put(&api, "a", &json!({ "namespaceSelector": {}, "enforcement": "Warn", "live": { "floor": 2 } }));
        let store = store(&api);
        assert_eq!(settings(&store).await.policy.enforcement, Enforcement::Warn);
        tokio::time::sleep(AGE * 2).await;
        api.fail(Method::GET, PATH, 500);
        let Settings { policy, failure } = settings(&store).await;
        assert_eq!((policy.enforcement, policy.floor), (Enforcement::Deny, Some(2)));
        assert_eq!(failure.map(|failure| failure.what).as_deref(), Some("the policies"));
        assert!(settings(&store).await.failure.is_none(), "it is read again at once");
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_crd_the_flags_count() {
        let api = FakeApi::default();
        put(&api, "a", &json!({ "namespaceSelector": {}, "live": { "floor": 2 } }));
        let store = store(&api);
        api.answer_with(Method::GET, PATH, 404, "404 page not found\n");
        let none = settings(&store).await;
        assert!(none.failure.is_none() && none.policy == Policy::default());
        tokio::time::sleep(AGE * 2).await;
        // The page of a proxy is no answer.
        api.answer_with(Method::GET, PATH, 404, "<h1>Not here</h1>");
        assert!(settings(&store).await.failure.is_some());
        assert_eq!(settings(&store).await.policy.floor, Some(2), "the CRD was installed meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn labels_are_read_only_where_they_decide() {
        let api = FakeApi::default();
        put(&api, "a", &json!({ "namespaceSelector": {}, "live": { "floor": 2 } }));
        let store = store(&api);
        settings(&store).await;
        assert_eq!(api.asked(&Method::GET, SHOP), 0);
        put(&api, "b", &json!({ "namespaceSelector": { "matchLabels": { "env": "x" } }, "live": { "floor": 3 } }));
        api.put(SHOP, json!({ "metadata": { "name": "shop", "labels": { "env": "x" } } }));
        tokio::time::sleep(AGE * 2).await;
        for _ in 0..5 {
            assert_eq!(settings(&store).await.policy.floor, Some(3));
        }
        assert_eq!(api.asked(&Method::GET, SHOP), 1);
        tokio::time::sleep(AGE * 2).await;
        api.fail(Method::GET, SHOP, 500);
        let unknown = settings(&store).await.policy;
        assert_eq!((unknown.floor, unknown.notes.len()), (Some(3), 1), "it may count, so its demand does");
    }
}
