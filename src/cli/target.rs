//! The cluster that a command looks at, and the settings that count there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, FromArgMatches};
use kube::Client;
use tokio::time::Instant;

use super::EnforcementFlag;
use super::serve::Serve;
use crate::audit::snapshot::Snapshot;
use crate::cluster::connect::Connection;
use crate::cluster::installation::{self, Installed};
use crate::cluster::policies::PolicyStore;
use crate::cluster::snapshot::Scan;
use crate::install::namespaces;
use crate::model::{Enforcement, Guarding, Labels, Policy, ReadFailure, Service};
use crate::policy::{Policies, effective};
use crate::registration::guarding::{fails_open, guarding};
use crate::status::{NamespaceStatus, status};

/// The longest time for a read that is none of a whole namespace.
const TIME: Duration = Duration::from_secs(20);

/// The cluster.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    /// The kubeconfig of the cluster; without it, KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without it, the current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The namespace in which flipguard runs
    #[arg(long, value_name = "NAMESPACE", default_value = "flipguard-system")]
    flipguard_namespace: String,
    /// --enforcement of `serve`; without it, that of flipguard's Deployment
    #[arg(long, value_enum)]
    enforcement: Option<EnforcementFlag>,
}

/// A cluster, with the policies as they are now.
pub(super) struct Cluster {
    /// The name of the cluster in the kubeconfig, or its address.
    pub(super) name: String,
    /// flipguard's Deployment, where there is one that can be read.
    pub(super) installed: Option<Installed>,
    /// Whether flipguard guards at this moment.
    pub(super) guarding: Guarding,
    pub(super) scan: Scan,
    store: PolicyStore,
    /// What counts where no policy says anything.
    pub(super) flags: Policy,
    /// Where the flags are from, in words.
    pub(super) flags_from: String,
    pub(super) policies: Policies,
    /// Whether the CRD is there.
    pub(super) is_installed: bool,
    /// Why the policies are not known.
    unread_policies: Option<ReadFailure>,
    /// The namespaces that flipguard does not guard.
    pub(super) exempt: Vec<String>,
    default_namespace: String,
    pub(super) client: Client,
    own_namespace: String,
}

impl ClusterArgs {
    /// Connects, and reads the flags and the policies.
    pub(super) async fn open(&self) -> anyhow::Result<Cluster> {
        let mut cluster = self.open_to_look().await?;
        match cluster.unread_policies.take() {
            None => Ok(cluster),
            Some(failure) => Err(unreadable(failure)),
        }
    }

    /// The same for a look at what there is. Without the right to read the policies, flags and defaults count, and a note
    /// says so.
    pub(super) async fn open_to_look(&self) -> anyhow::Result<Cluster> {
        let connection = Connection::open_context(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
        connection.version().await?;
        let name = connection.cluster_name();
        let client = connection.client;
        let read = installation::installed(&client, &self.flipguard_namespace, deadline()).await;
        let installed = read.as_ref().ok().cloned().flatten();
        let warns = matches!(read, Ok(None)) && fails_open(&client, deadline()).await;
        let (flags, exempt, flags_from) = self.flags(read, warns);
        let store = PolicyStore::new(client.clone(), flags.clone(), Duration::from_secs(3600));
        let (policies, is_installed, unread_policies) = match store.current(deadline()).await {
            Ok(read) => ((*read.policies).clone(), read.is_installed, None),
            Err(failure) => (Policies::default(), false, Some(failure)),
        };
        Ok(Cluster {
            name,
            installed,
            guarding: guarding(&client, &self.flipguard_namespace, deadline()).await,
            scan: Scan::new(client.clone(), &self.flipguard_namespace),
            store,
            flags,
            flags_from,
            policies,
            is_installed,
            unread_policies,
            exempt,
            default_namespace: client.default_namespace().to_owned(),
            own_namespace: self.flipguard_namespace.clone(),
            client,
        })
    }

    /// The settings by the flags of `serve`, the namespaces that it exempts, and where the flags are from.
    /// Of a flipguard outside the cluster, only the registration tells whether it `warns`.
    fn flags(&self, read: Result<Option<Installed>, ReadFailure>, warns: bool) -> (Policy, Vec<String>, String) {
        let place = format!("Deployment {}/flipguard", self.flipguard_namespace);
        let (serve, from) = match read {
            Ok(Some(installed)) => match Serve::of(&installed.arguments) {
                Some(serve) => (Some(serve), format!("the flags of {place}")),
                None => (None, format!("the defaults, since {place} has flags of another version")),
            },
            Ok(None) if warns => (None, format!("the registration and the defaults, since there is no {place}")),
            Ok(None) => (None, format!("the defaults, since there is no {place}")),
            Err(failure) => (None, format!("the defaults, since {place} cannot be read: {}", failure.why)),
        };
        let (mut policy, mut exempt) = serve.map_or_else(Default::default, |serve| serve.settings());
        if warns {
            policy.enforcement = Enforcement::Warn;
        }
        let own = self.flipguard_namespace.as_str();
        exempt.extend(namespaces::NEVER_GUARDED.iter().copied().chain([own]).map(str::to_owned));
        let Some(given) = self.enforcement else { return (policy, exempt, from) };
        policy.enforcement = given.into();
        (policy, exempt, format!("{from}; --enforcement is given"))
    }
}

impl Cluster {
    /// Whether a replica keeps the statuses of policies; `None` where that cannot be read.
    pub(super) async fn is_kept(&self) -> Option<bool> {
        installation::is_kept(&self.client, &self.own_namespace, deadline()).await
    }

    /// The namespace to look at: the given one, or that of the context.
    pub(super) async fn namespace(&self, given: Option<&str>) -> anyhow::Result<String> {
        let namespace = given.unwrap_or(&self.default_namespace);
        if self.scan.exists(namespace).await == Some(false) {
            bail!("there is no namespace {namespace}; name another with -n");
        }
        Ok(namespace.to_owned())
    }

    /// What is shown of a namespace: the Services that `wanted` names, and what is known of flipguard itself.
    pub(super) fn status(
        &self,
        snapshot: &Snapshot,
        policy: &Policy,
        wanted: &dyn Fn(&Service) -> bool,
    ) -> NamespaceStatus {
        let mut status = status(snapshot, policy, wanted);
        if let Some(why) = self.unread_policies() {
            status.notes.push(why);
            status.without_policies();
        }
        let is_exempt = self.exempt.contains(&snapshot.namespace);
        let why_not = self.guarding.why_not().map(str::to_owned);
        (status.guarded, status.unguarded_because) = match (is_exempt, self.guarding.is_known()) {
            (true, _) => (Some(false), Some("this namespace is exempt".to_owned())),
            (false, Some(is_guarding)) => (Some(is_guarding), why_not),
            (false, None) => {
                status.notes.extend(why_not.map(|why| format!("whether flipguard guards is unknown: {why}")));
                (None, None)
            }
        };
        status
    }

    /// Adds the last flips of each Service that is shown.
    pub(super) async fn add_flips(&self, status: &mut NamespaceStatus, policy: &Policy) {
        match self.scan.history(&status.namespace).await {
            Ok(history) => status.add_flips(&history, &policy.colours),
            Err(failure) => {
                status.notes.push(format!("last flips are unknown: cannot read {}: {}", failure.what, failure.why));
            }
        }
    }

    /// That the policies are unknown, where they are.
    pub(super) fn unread_policies(&self) -> Option<String> {
        let why = &self.unread_policies.as_ref()?.why;
        Some(format!("the policies are unknown, so flags and defaults count here: {why}"))
    }

    /// The labels of a namespace, where a policy selects by them.
    pub(super) async fn labels(&self, namespace: &str, policies: &Policies) -> Option<Labels> {
        if policies.needs_labels(namespace) { self.store.labels(namespace, deadline()).await } else { None }
    }

    /// The settings of a namespace by the present policies.
    pub(super) async fn settings(&self, namespace: &str) -> Policy {
        let labels = self.labels(namespace, &self.policies).await;
        effective(&self.flags, &self.policies, namespace, labels.as_ref())
    }
}

/// A failed read that nothing can be said without.
pub(super) fn unreadable(failure: ReadFailure) -> anyhow::Error {
    let ReadFailure { what, why, remedy } = failure;
    let remedy = remedy.unwrap_or_else(|| "use credentials that may read it, such as a cluster admin's".to_owned());
    anyhow::anyhow!("cannot read {what}: {why}; {remedy}")
}

/// Runs a command that asks a cluster.
pub(super) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
    runtime.block_on(work)
}

fn deadline() -> Instant {
    Instant::now() + TIME
}

impl Serve {
    /// The flags in the arguments of a container; `None` where they are those of another version.
    fn of(arguments: &[String]) -> Option<Self> {
        let command = Self::augment_args(clap::Command::new("serve"));
        let matches = command.try_get_matches_from(arguments).ok()?;
        Self::from_arg_matches(&matches).ok()
    }
}
