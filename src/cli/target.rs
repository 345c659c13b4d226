//! The cluster that a command looks at, and the settings that count there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, FromArgMatches};
use http::Uri;
use kube::Client;
use secrecy::SecretString;
use tokio::time::Instant;

use super::EnforcementFlag;
use super::serve::Serve;
use crate::audit::snapshot::Snapshot;
use crate::cluster::connect::Connection;
use crate::cluster::credentials::Credentials;
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

/// The heading of these flags in the help of each command.
const CLUSTER: &str = "The cluster";

/// The cluster. Most flags are those of kubectl.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    /// The kubeconfig of the cluster; without it, KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE", help_heading = CLUSTER)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without it, the current one
    #[arg(long, value_name = "NAME", help_heading = CLUSTER)]
    context: Option<String>,
    /// The cluster of the kubeconfig; without it, that of the context
    #[arg(long, value_name = "NAME", help_heading = CLUSTER)]
    cluster: Option<String>,
    /// The user of the kubeconfig; without it, that of the context
    #[arg(long, value_name = "NAME", help_heading = CLUSTER)]
    user: Option<String>,
    /// The address of the API server; without it, that of the cluster
    #[arg(long, short, value_name = "URL", value_parser = server, help_heading = CLUSTER)]
    server: Option<Uri>,
    /// A bearer token, in place of all credentials of the user
    #[arg(long, value_parser = token, help_heading = CLUSTER)]
    token: Option<SecretString>,
    /// The user to impersonate
    #[arg(long = "as", value_name = "USER", help_heading = CLUSTER)]
    as_user: Option<String>,
    /// A group to impersonate; may be given several times
    #[arg(long = "as-group", value_name = "GROUP", requires = "as_user", help_heading = CLUSTER)]
    as_groups: Vec<String>,
    /// The uid to impersonate
    #[arg(long, value_name = "UID", requires = "as_user", help_heading = CLUSTER)]
    as_uid: Option<String>,
    /// The longest time for one request, such as 30s; 0 for any time
    #[arg(long, value_name = "DURATION", value_parser = request_timeout, help_heading = CLUSTER)]
    request_timeout: Option<Duration>,
    /// The namespace in which flipguard runs
    #[arg(long, value_name = "NAMESPACE", default_value = "flipguard-system", help_heading = CLUSTER)]
    flipguard_namespace: String,
    /// --enforcement of `serve`; without it, that of flipguard's Deployment
    #[arg(long, value_enum, help_heading = CLUSTER)]
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
        let connection = Connection::open_as(&self.credentials()).await?;
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

    /// A client of the cluster, before anything was asked.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        Ok(Connection::open_as(&self.credentials()).await?.client)
    }

    /// The names of the contexts, clusters or users of the kubeconfig.
    pub(super) fn names_in_kubeconfig(&self, of: &str) -> anyhow::Result<Vec<String>> {
        Ok(self.credentials().names(of)?)
    }

    /// What the flags of kubectl replace.
    fn credentials(&self) -> Credentials {
        Credentials {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
            server: self.server.clone(),
            token: self.token.clone(),
            impersonated: self.as_user.clone(),
            groups: self.as_groups.clone(),
            uid: self.as_uid.clone(),
            timeout: self.request_timeout,
        }
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
    /// The cluster behind a client, without policies.
    #[cfg(test)]
    pub(super) fn fake(client: Client) -> Self {
        let own = "flipguard-system";
        Self {
            name: String::new(),
            installed: None,
            guarding: Guarding::Yes,
            scan: Scan::new(client.clone(), own),
            store: PolicyStore::new(client.clone(), Policy::default(), TIME),
            flags: Policy::default(),
            flags_from: String::new(),
            policies: Policies::default(),
            is_installed: true,
            unread_policies: None,
            exempt: Vec::new(),
            default_namespace: "default".to_owned(),
            own_namespace: own.to_owned(),
            client,
        }
    }

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
        let (guarded, why_not) = self.guards(&snapshot.namespace);
        status.guarded = guarded;
        match guarded {
            Some(_) => status.unguarded_because = why_not,
            None => status.notes.extend(why_not.map(|why| format!("whether flipguard guards is unknown: {why}"))),
        }
        status
    }

    /// Whether flipguard guards a namespace at this moment, and why it does not. `None` where that is not known, with the
    /// reason for it.
    pub(super) fn guards(&self, namespace: &str) -> (Option<bool>, Option<String>) {
        if self.exempt.iter().any(|exempt| exempt == namespace) {
            return (Some(false), Some("this namespace is exempt".to_owned()));
        }
        (self.guarding.is_known(), self.guarding.why_not().map(str::to_owned))
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

/// The address of an API server. Without a scheme, it is HTTPS.
fn server(text: &str) -> Result<Uri, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let parsed = whole.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    let known = parsed.filter(|uri| matches!(uri.scheme_str(), Some("https" | "http")));
    known.ok_or_else(|| "it must be an address such as https://api.example:6443".to_owned())
}

/// A token goes into a header as it is.
fn token(text: &str) -> Result<SecretString, String> {
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(text.into()) } else { Err("a token has no spaces and no line breaks".to_owned()) }
}

/// A duration as kubectl takes it: with a unit, or in seconds.
fn request_timeout(text: &str) -> Result<Duration, String> {
    let parsed = text.parse().map(Duration::from_secs).or_else(|_| humantime::parse_duration(text));
    parsed.map_err(|_| "it must be a number with a unit, such as 30s, or a number of seconds; 0 is any time".to_owned())
}

impl Serve {
    /// The flags in the arguments of a container; `None` where they are those of another version.
    fn of(arguments: &[String]) -> Option<Self> {
        let command = Self::augment_args(clap::Command::new("serve"));
        let matches = command.try_get_matches_from(arguments).ok()?;
        Self::from_arg_matches(&matches).ok()
    }
}
