//! A client for the API server that never waits long.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::version::Info;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::meter::Metered;

/// No connection takes longer on a network that is fit for admission.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// No read that flipguard does takes longer; those for a verdict have a shorter deadline of their own.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// The oldest Kubernetes that can be guarded: it has `matchConditions` (general availability: 1.30).
pub const OLDEST: (u32, u32) = (1, 30);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file cannot be used.
    #[error("cannot use kubeconfig `{path}`: {why}; give another with --kubeconfig")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Neither a file nor a Pod's own credentials.
    #[error("no cluster to talk to: {0}; give a kubeconfig with --kubeconfig")]
    NoCluster(String),
    /// The API server does not take the credentials.
    #[error("the API server at {url} does not accept the credentials: {why}; renew the token or certificate")]
    Refused {
        /// Where it is.
        url: String,
        /// What it said.
        why: String,
    },
    /// The cluster is too old.
    #[error(
        "the API server is Kubernetes {found}; flipguard needs {}.{} or newer, since older ones have no matchConditions",
        OLDEST.0,
        OLDEST.1
    )]
    TooOld {
        /// What it says it is.
        found: String,
    },
    /// Nobody answers, or not as an API server would.
    #[error("cannot reach the API server at {url}: {why}; check the address and that it is up")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What happened.
        why: String,
    },
}

/// A client for the cluster of a kubeconfig, or of the Pod or kubeconfig that the surroundings give.
///
/// # Errors
/// When the kubeconfig cannot be used, or nobody answers at its address.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let broken = |error: kube::config::KubeconfigError| ConnectError::Kubeconfig {
                path: path.display().to_string(),
                // The parser's second line shows the file itself, and with it tokens and keys.
                why: error.to_string().lines().next().unwrap_or_default().to_owned(),
            };
            let file = Kubeconfig::read_from(path).map_err(broken)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(broken)?
        }
        None => Config::infer().await.map_err(|error| ConnectError::NoCluster(causes(&error)))?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    // Retrying for minutes would outlive every deadline; who asks decides whether to ask again.
    config.default_retry = false;
    let url = config.cluster_url.to_string();
    let unreachable = |why: String| ConnectError::Unreachable { url: url.clone(), why };
    let client = ClientBuilder::try_from(config).map_err(|error| unreachable(one_line(&error)))?;
    let client = client.with_layer(&Metered).build();
    match client.apiserver_version().await {
        Ok(_) => Ok(client),
        Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
            Err(ConnectError::Refused { url, why: status.message.clone() })
        }
        Err(error) => Err(unreachable(one_line(&error))),
    }
}

/// Checks that the cluster is new enough to be guarded.
///
/// # Errors
/// When it is too old.
pub fn new_enough(version: &Info) -> Result<(), ConnectError> {
    // Some distributions say `30+`.
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().unwrap_or(0);
    if (number(&version.major), number(&version.minor)) >= OLDEST {
        Ok(())
    } else {
        Err(ConnectError::TooOld { found: version.git_version.clone() })
    }
}

/// Whether this process runs in a Pod, and is to use the Pod's own credentials.
#[must_use]
pub fn in_cluster() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    set("KUBERNETES_SERVICE_HOST") && !set("KUBECONFIG")
}

/// The namespace of the Pod that this process runs in.
#[must_use]
pub fn own_namespace() -> Option<String> {
    let text = std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()?;
    Some(text.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

/// An error with its causes, in one line.
#[must_use]
pub fn one_line(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            // What is no Status, such as a page of a proxy, is not worth its length.
            let message: String = status.message.lines().next().unwrap_or_default().chars().take(300).collect();
            if message.is_empty() { format!("HTTP status {}", status.code) } else { message }
        }
        // What the client calls this tells nobody anything.
        kube::Error::Service(cause) => causes(cause.as_ref()),
        _ => causes(error),
    }
}

/// An error of any kind with its causes, in one line.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clusters_are_refused() {
        let version = |major: &str, minor: &str| Info {
            major: major.to_owned(),
            minor: minor.to_owned(),
            git_version: format!("v{major}.{minor}.1"),
            ..Info::default()
        };
        for (major, minor, fits) in [
            ("1", "29", false),
            ("1", "30", true),
            ("1", "30+", true),
            ("1", "37", true),
            ("2", "0", true),
            ("", "", false),
        ] {
            assert_eq!(new_enough(&version(major, minor)).is_ok(), fits, "{major}.{minor}");
        }
        let error = new_enough(&version("1", "24")).map_err(|error| error.to_string());
        assert!(error.unwrap_err().contains("is Kubernetes v1.24.1; flipguard needs 1.30 or newer"));
    }
}
