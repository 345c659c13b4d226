//! What replaces parts of a kubeconfig, as the flags of kubectl do.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, Kubeconfig, NamedCluster, NamedContext};
use secrecy::SecretString;

use super::connect::{ConnectError, read_kubeconfig};

/// The cluster to talk to, and as whom. Without a field, the kubeconfig counts.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The kubeconfig; without it, that of the Pod, of `KUBECONFIG` or of `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context, in place of the current one.
    pub context: Option<String>,
    /// The cluster, in place of that of the context.
    pub cluster: Option<String>,
    /// The user, in place of that of the context.
    pub user: Option<String>,
    /// The address of the API server, in place of that of the cluster.
    pub server: Option<Uri>,
    /// A bearer token, in place of all credentials of the user.
    pub token: Option<SecretString>,
    /// The user to impersonate.
    pub impersonated: Option<String>,
    /// The groups to impersonate.
    pub groups: Vec<String>,
    /// The uid to impersonate.
    pub uid: Option<String>,
    /// The longest time for one request; zero for any time.
    pub timeout: Option<Duration>,
}

/// The name of what no kubeconfig names.
const NAMELESS: &str = "";

impl Credentials {
    /// The same kubeconfig with the named context, cluster and user as the current ones.
    ///
    /// # Errors
    /// When it has none of this name. The error names those that there are.
    pub(super) fn select(&self, path: &str, file: &mut Kubeconfig) -> Result<(), ConnectError> {
        let known = |what: &str, wanted: Option<&String>, names: Vec<&str>| match wanted {
            Some(wanted) if !names.contains(&wanted.as_str()) => {
                let there =
                    if names.is_empty() { "none at all".to_owned() } else { format!("only {}", names.join(", ")) };
                let why = format!("it has no {what} `{wanted}` (--{what}), {there}");
                Err(ConnectError::Kubeconfig { path: path.to_owned(), why })
            }
            _ => Ok(()),
        };
        known("context", self.context.as_ref(), file.contexts.iter().map(|one| one.name.as_str()).collect())?;
        known("cluster", self.cluster.as_ref(), file.clusters.iter().map(|one| one.name.as_str()).collect())?;
        known("user", self.user.as_ref(), file.auth_infos.iter().map(|one| one.name.as_str()).collect())?;
        if let Some(context) = &self.context {
            file.current_context = Some(context.clone());
        }
        if self.cluster.is_none() && self.user.is_none() {
            return Ok(());
        }
        let current = file.current_context.get_or_insert_with(|| NAMELESS.to_owned()).clone();
        if !file.contexts.iter().any(|one| one.name == current) {
            file.contexts.push(NamedContext {
                name: current.clone(),
                context: Some(Context::default()),
                ..NamedContext::default()
            });
        }
        let context = file.contexts.iter_mut().find(|one| one.name == current);
        if let Some(context) = context {
            let context = context.context.get_or_insert_with(Context::default);
            if let Some(cluster) = &self.cluster {
                context.cluster.clone_from(cluster);
            }
            if self.user.is_some() {
                context.user.clone_from(&self.user);
            }
        }
        Ok(())
    }

    /// The names of the contexts, clusters or users of the kubeconfig; none without a kubeconfig.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self, of: &str) -> Result<Vec<String>, ConnectError> {
        let Some((_, file)) = read_kubeconfig(self.kubeconfig.as_deref())? else { return Ok(Vec::new()) };
        Ok(match of {
            "context" => file.contexts.into_iter().map(|one| one.name).collect(),
            "cluster" => file.clusters.into_iter().map(|one| one.name).collect(),
            _ => file.auth_infos.into_iter().map(|one| one.name).collect(),
        })
    }

    /// The kubeconfig for an address alone, where there is no other.
    pub(super) fn of_server(&self) -> Option<Kubeconfig> {
        let server = self.server.as_ref()?.to_string();
        let cluster = Cluster { server: Some(server), ..Cluster::default() };
        let context = Context { cluster: NAMELESS.to_owned(), ..Context::default() };
        Some(Kubeconfig {
            clusters: vec![NamedCluster {
                name: NAMELESS.to_owned(),
                cluster: Some(cluster),
                ..NamedCluster::default()
            }],
            contexts: vec![NamedContext {
                name: NAMELESS.to_owned(),
                context: Some(context),
                ..NamedContext::default()
            }],
            current_context: Some(NAMELESS.to_owned()),
            ..Kubeconfig::default()
        })
    }

    /// Replaces what a kubeconfig, or the ServiceAccount of a Pod, says.
    pub(super) fn apply(&self, config: &mut Config) {
        if let Some(server) = &self.server {
            config.cluster_url = server.clone();
            // It belongs to the other address (client-go does the same).
            config.tls_server_name = None;
        }
        if let Some(token) = &self.token {
            let auth = &config.auth_info;
            config.auth_info = AuthInfo {
                token: Some(token.clone()),
                impersonate: auth.impersonate.clone(),
                impersonate_uid: auth.impersonate_uid.clone(),
                impersonate_groups: auth.impersonate_groups.clone(),
                impersonate_user_extra: auth.impersonate_user_extra.clone(),
                ..AuthInfo::default()
            };
        }
        if let Some(user) = &self.impersonated {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(self.groups.clone()).filter(|groups| !groups.is_empty());
            config.auth_info.impersonate_uid.clone_from(&self.uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
current-context: east
contexts:
- {name: east, context: {cluster: c-east, user: alice}}
- {name: west, context: {cluster: c-west, user: bob, namespace: shop}}
clusters:
- {name: c-east, cluster: {server: 'https://east'}}
- {name: c-west, cluster: {server: 'https://west'}}
users:
- {name: alice, user: {token: a}}
- {name: bob, user: {token: b}}
";

    fn selected(credentials: &Credentials) -> Result<String, String> {
        let mut file: Kubeconfig = serde_saphyr::from_str(FILE).unwrap();
        credentials.select("file", &mut file).map_err(|error| error.to_string())?;
        let current = file.contexts.iter().find(|one| Some(&one.name) == file.current_context.as_ref()).unwrap();
        let context = current.context.clone().unwrap();
        Ok(format!("{} as {}", context.cluster, context.user.unwrap_or_default()))
    }

    #[test]
    fn parts_of_a_context_are_replaced() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(selected(&Credentials::default()), Ok("c-east as alice".to_owned()));
        let west = Credentials { context: some("west"), ..Credentials::default() };
        assert_eq!(selected(&west), Ok("c-west as bob".to_owned()));
        let mixed = Credentials { cluster: some("c-west"), user: some("alice"), ..Credentials::default() };
        assert_eq!(selected(&mixed), Ok("c-west as alice".to_owned()));
        let wrong = Credentials { user: some("eve"), ..Credentials::default() };
        let why = selected(&wrong).unwrap_err();
        assert!(why.contains("it has no user `eve` (--user), only alice, bob"), "{why}");
    }

    #[test]
    fn a_token_replaces_every_other_credential() {
        let mut config = Config::new("https://east".parse().unwrap());
        config.auth_info.client_certificate = Some("cert.pem".to_owned());
        config.auth_info.impersonate = Some("alice".to_owned());
        config.tls_server_name = Some("east".to_owned());
        let credentials = Credentials {
            token: Some("t".into()),
            server: Some("https://west".parse().unwrap()),
            ..Credentials::default()
        };
        credentials.apply(&mut config);
        assert_eq!(config.auth_info.client_certificate, None);
        assert_eq!(config.auth_info.impersonate.as_deref(), Some("alice"));
        assert_eq!((config.cluster_url.to_string().as_str(), config.tls_server_name), ("https://west/", None));
    }
}
