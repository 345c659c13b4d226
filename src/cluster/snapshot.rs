//! Snapshots: namespaces as they are, without any change. `flipguard status`, `audit` and `policy` begin with one.
//!
//! The ledger is read before the objects, so a flip that has committed since the ledger was written is on record.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams};
use tokio::time::Instant;

use super::allowance::ReadMemory;
use super::clock;
use super::connect::causes;
use super::ledger_store::LedgerStore;
use super::list::JsonPage;
use super::namespace::Reader;
use super::pages::PAGE;
use super::replica_sets::LargeNamespaces;
use super::request::{Answer, Anything, ask, within};
use crate::audit::snapshot::{LedgerState, Snapshot};
use crate::history::{Head, History};
use crate::ledger::resolve::settled;
use crate::model::{ClusterView, ColourScheme, Policy, ReadFailure, ReadRequest, Selector, Service, Timestamp, User};
use crate::rules::filter;

/// The longest time for all reads of one namespace.
pub(super) const TIME: Duration = Duration::from_secs(60);
/// The bytes that may be held of the namespaces that are read at the same time.
const MEMORY: usize = 1 << 30;

/// Reads namespaces of a cluster.
pub struct Scan {
    pub(super) client: Client,
    ledgers: LedgerStore,
    memory: ReadMemory,
}

/// What is on record of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The history.
    pub history: History,
    /// The last entry that the ledger knows.
    pub head: Option<Head>,
}

impl Scan {
    /// A scan of the cluster behind a client. The ledgers are in flipguard's own namespace.
    #[must_use]
    pub fn new(client: Client, own_namespace: &str) -> Self {
        let ledgers = LedgerStore::new(client.clone(), own_namespace, Duration::ZERO);
        Self { client, ledgers, memory: ReadMemory::of(MEMORY) }
    }

    /// Reads a namespace. A failed read is a failure in the view, and a ledger that cannot be read is no failure.
    /// `policies` are those that changes will be judged by.
    pub async fn namespace(&self, namespace: &str, policies: &[&Policy]) -> Snapshot {
        clock::scoped(self.read(namespace, policies)).await
    }

    /// The workloads and Pods of a namespace, and the API server's time.
    pub async fn running(&self, namespace: &str) -> (ClusterView, Timestamp) {
        let request = ReadRequest { pods: Some(Selector::nothing()), ..ReadRequest::default() };
        clock::scoped(async { (self.view(namespace, request, Instant::now() + TIME).await, clock::now()) }).await
    }

    async fn read(&self, namespace: &str, policies: &[&Policy]) -> Snapshot {
        let first = policies.first().map(|policy| policy.colours.clone());
        let colours = &first.unwrap_or_default();
        let has_gates = policies.iter().any(|policy| !policy.gates.is_empty());
        let deadline = Instant::now() + TIME;
        let ledger = self.ledgers.look(namespace, deadline).await;
        let pods = Some(Selector::nothing());
        let all = ReadRequest { pods, services: true, revisions: true, jobs: has_gates, ..ReadRequest::default() };
        let mut view = self.view(namespace, all, deadline).await;
        let at = clock::now();
        let ledger = match ledger {
            Ok(Some(ledger)) => {
                view.records = settled(ledger, &view, colours, at);
                LedgerState::Read
            }
            Ok(None) => LedgerState::Read,
            Err(failure) => LedgerState::Unread(failure),
        };
        Snapshot { namespace: namespace.to_owned(), view, ledger, at }
    }

    async fn view(&self, namespace: &str, request: ReadRequest, deadline: Instant) -> ClusterView {
        let Some(allowance) = self.memory.reserve(0, deadline).await else {
            let why = "no memory was left to read it".to_owned();
            return ReadFailure::online(format!("namespace {namespace}"), why).into();
        };
        let user = &User::default();
        let (client, allowance, large) = (&self.client, &allowance, &LargeNamespaces::default());
        let reader = Reader { client, namespace, user, allowance, large, deadline };
        Box::pin(reader.read(request)).await
    }

    /// The history of a namespace; empty where there is none.
    ///
    /// # Errors
    /// When the history or the ledger cannot be read.
    pub async fn record(&self, namespace: &str) -> Result<Record, ReadFailure> {
        let deadline = Instant::now() + TIME;
        // The ledger is read first: the history is never behind it.
        let ledger = self.ledgers.look(namespace, deadline).await?;
        let history = self.ledgers.history(namespace, deadline).await?.unwrap_or_default();
        Ok(Record { history, head: ledger.and_then(|ledger| Head::parse(&ledger.head)) })
    }

    /// The history of a namespace, without a look at its ledger; empty where there is none.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub async fn history(&self, namespace: &str) -> Result<History, ReadFailure> {
        Ok(self.ledgers.history(namespace, Instant::now() + TIME).await?.unwrap_or_default())
    }

    /// The namespaces that have a ledger, by name.
    ///
    /// # Errors
    /// When the index of the ledgers cannot be read.
    pub async fn recorded_namespaces(&self) -> Result<Vec<String>, ReadFailure> {
        self.ledgers.namespaces(Instant::now() + TIME).await
    }

    /// Whether a namespace exists; `None` where that cannot be read.
    pub async fn exists(&self, namespace: &str) -> Option<bool> {
        let request = Request::new("/api/v1/namespaces").get(namespace, &GetParams::default()).ok()?;
        let answer = ask::<Anything>(&self.client, request, Instant::now() + TIME).await;
        Some(answer.and_then(Answer::found).ok()?.is_some())
    }

    /// The Services of a namespace.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn services(&self, namespace: &str) -> Result<Vec<Service>, ReadFailure> {
        let request = ReadRequest { services: true, ..ReadRequest::default() };
        let mut view = self.view(namespace, request, Instant::now() + TIME).await;
        view.failures.pop().map_or(Ok(view.services), Err)
    }

    /// The namespaces with Services that a rule can apply to, each with their number. Of the cluster, only the Services are
    /// listed, page by page.
    ///
    /// # Errors
    /// When the Services cannot be listed.
    pub async fn namespaces(&self, marks: &ColourScheme) -> Result<BTreeMap<String, usize>, ReadFailure> {
        let unread = |why: String| ReadFailure {
            what: "the Services of all namespaces".to_owned(),
            why,
            remedy: Some("Name one namespace with -n, or use credentials that may list them".to_owned()),
        };
        let deadline = Instant::now() + TIME;
        let mut params = ListParams::default().limit(PAGE);
        let mut namespaces = BTreeMap::new();
        loop {
            let request = Request::new("/api/v1/services").list(&params).map_err(|error| unread(causes(&error)))?;
            let text = within(deadline, self.client.request_text(request)).await;
            let text = text.map_err(|error| unread(error.to_string()))?;
            let page: JsonPage<Service> = json_skip::from_str(&text).map_err(|error| unread(causes(&error)))?;
            for service in page.items.into_iter().flatten() {
                if filter::is_candidate(&service, marks) {
                    *namespaces.entry(service.meta.namespace).or_insert(0) += 1;
                }
            }
            match page.metadata.unwrap_or_default().more.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(namespaces),
            }
        }
    }
}
