//! Connects to the API server. The client has short timeouts and does not retry.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::version::Info;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::kubeconfig::Current;
use super::meter::Metered;
use crate::telemetry::mask;

/// The longest time that connecting may take. A network that is fit for admission is faster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest time that one read may take. Reads for a verdict have shorter deadlines.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// The oldest supported Kubernetes: `matchConditions` are generally available since 1.30.
pub const OLDEST: (u32, u32) = (1, 30);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig, or a file that it names, cannot be used.
    #[error("cannot use kubeconfig `{path}`: {why}; give another with --kubeconfig")]
    Kubeconfig {
        /// The path of the kubeconfig.
        path: String,
        /// The file or field that is wrong, and why.
        why: String,
    },
    /// There is neither a kubeconfig nor the service account of a Pod.
    #[error("no cluster to talk to: {0}; give a kubeconfig with --kubeconfig")]
    NoCluster(String),
    /// HTTP 401.
    #[error("the API server at {url} does not accept the credentials: {why}; renew the token or certificate")]
    Unauthorized {
        /// The address of the API server.
        url: String,
        /// The API server's words.
        why: String,
    },
    /// HTTP 403: the credentials are known, but may not even read the version.
    #[error(
        "the API server at {url} does not permit GET /version: {why}; bind the ClusterRole system:public-info-viewer to \
         this user"
    )]
    Forbidden {
        /// The address of the API server.
        url: String,
        /// The API server's words.
        why: String,
    },
    /// The cluster is too old.
    #[error(
        "the API server is Kubernetes {found}; flipguard needs {}.{} or newer, since older ones have no matchConditions",
        OLDEST.0,
        OLDEST.1
    )]
    TooOld {
        /// The version that the API server reports.
        found: String,
    },
    /// The certificate of the API server is not trusted.
    #[error(
        "cannot trust the API server at {url}: {why}; check certificate-authority and server in the kubeconfig, and this \
         machine's clock"
    )]
    Untrusted {
        /// The address of the API server.
        url: String,
        /// What is wrong with its certificate.
        why: String,
    },
    /// A server answered, but not as a healthy API server does.
    #[error("the API server at {url} answered with HTTP status {code}{why}; check that the address is an API server's")]
    Unexpected {
        /// The address of the API server.
        url: String,
        /// The HTTP status.
        code: u16,
        /// The first line of the answer after a colon, or nothing.
        why: String,
    },
    /// No answer came.
    #[error("cannot reach the API server at {url}: {why}; check the address and that it is up")]
    Unreachable {
        /// The address of the API server.
        url: String,
        /// The reason of the last failure.
        why: String,
    },
}

/// Connects to the cluster of a kubeconfig. Without one, to the cluster of the Pod, of KUBECONFIG or of ~/.kube/config.
///
/// # Errors
/// When the kubeconfig or its credentials cannot be used, or the API server does not answer.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let Some((path, file)) = read_kubeconfig(kubeconfig)? else {
        let config = Config::infer().await.map_err(|error| ConnectError::NoCluster(causes(&error)))?;
        let url = config.cluster_url.to_string();
        let unusable = |error: &kube::Error| ConnectError::NoCluster(one_line(error));
        return answering(client(config).map_err(|error| unusable(&error))?, url, unusable).await;
    };
    let unusable = |why: String| ConnectError::Kubeconfig { path: path.clone(), why };
    let current = Current::of(&file);
    current.check().map_err(unusable)?;
    let config = Config::from_custom_kubeconfig(file.clone(), &KubeConfigOptions::default())
        .await
        .map_err(|error| unusable(first_line(&error)))?;
    let url = config.cluster_url.to_string();
    let unusable = |error: &kube::Error| match error {
        kube::Error::Auth(error) => unusable(current.credentials_failed(error)),
        error => unusable(one_line(error)),
    };
    answering(client(config).map_err(|error| unusable(&error))?, url, unusable).await
}

/// The kubeconfig to use, with its path; `None` for the service account of a Pod.
fn read_kubeconfig(given: Option<&Path>) -> Result<Option<(String, Kubeconfig)>, ConnectError> {
    let (path, read) = match given {
        Some(path) => (path.display().to_string(), Kubeconfig::read_from(path)),
        None if in_cluster() => return Ok(None),
        None => match std::env::var("KUBECONFIG").ok().filter(|paths| !paths.is_empty()) {
            Some(paths) => (paths, Kubeconfig::read()),
            None => match std::env::home_dir().map(|home| home.join(".kube/config")).filter(|path| path.exists()) {
                Some(path) => (path.display().to_string(), Kubeconfig::read_from(path)),
                None => return Ok(None),
            },
        },
    };
    match read {
        Ok(file) => Ok(Some((path, file))),
        Err(error) => Err(ConnectError::Kubeconfig { path, why: first_line(&error) }),
    }
}

/// The parser's second line shows the file itself, and with it tokens and keys.
fn first_line(error: &KubeconfigError) -> String {
    if let KubeconfigError::ReadConfig(why, _) = error {
        return why.to_string();
    }
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn client(mut config: Config) -> kube::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    // Retries of minutes would outlive every deadline. The caller decides whether to ask again.
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.with_layer(&Metered).build())
}

/// Asks the API server for its version, and says by the kind of failure what has to be mended.
async fn answering(
    client: Client,
    url: String,
    unusable: impl Fn(&kube::Error) -> ConnectError,
) -> Result<Client, ConnectError> {
    let Err(error) = client.apiserver_version().await else { return Ok(client) };
    Err(match &error {
        kube::Error::Api(status) => match status.code {
            401 => ConnectError::Unauthorized { url, why: status.message.clone() },
            403 => ConnectError::Forbidden { url, why: status.message.clone() },
            code => {
                let words = one_line(&error);
                let why = if words.starts_with("HTTP status") { String::new() } else { format!(": {words}") };
                ConnectError::Unexpected { url, code, why }
            }
        },
        kube::Error::Auth(_) => unusable(&error),
        error => match distrust(error) {
            Some(why) => ConnectError::Untrusted { url, why: why.to_string() },
            None => ConnectError::Unreachable { url, why: one_line(error) },
        },
    })
}

/// Why the certificate of a server is not trusted, if that is the cause of an error.
fn distrust(error: &kube::Error) -> Option<&rustls::CertificateError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = match error {
        kube::Error::Service(cause) => Some(cause.as_ref()),
        error => Some(error),
    };
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            return Some(why);
        }
        // The source of an I/O error is not the error that it wraps, but that one's source.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = wrapped.map_or_else(|| error.source(), |wrapped| Some(wrapped));
    }
    None
}

/// Checks that the cluster has all features that flipguard needs.
///
/// # Errors
/// When the cluster is too old.
pub fn new_enough(version: &Info) -> Result<(), ConnectError> {
    // Some distributions say `30+` or `30-gke.1`.
    let number = |text: &str| {
        let digits = text.split(|letter: char| !letter.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(0)
    };
    if (number(&version.major), number(&version.minor)) >= OLDEST {
        Ok(())
    } else {
        Err(ConnectError::TooOld { found: version.git_version.clone() })
    }
}

/// Whether this process runs in a Pod and uses the Pod's ServiceAccount: KUBECONFIG is not set.
#[must_use]
pub fn in_cluster() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    set("KUBERNETES_SERVICE_HOST") && !set("KUBECONFIG")
}

/// The namespace of the Pod of this process; `None` outside a Pod.
#[must_use]
pub fn own_namespace() -> Option<String> {
    let text = std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()?;
    Some(text.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

/// An error with its causes, in one line, without the token of flipguard's paths.
#[must_use]
pub fn one_line(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            // An answer that is no Status, such as the page of a proxy, may be long.
            let message: String = status.message.lines().next().unwrap_or_default().chars().take(300).collect();
            if message.is_empty() { format!("HTTP status {}", status.code) } else { mask(&message).into_owned() }
        }
        // `ServiceError: ` adds nothing.
        kube::Error::Service(cause) => causes(cause.as_ref()),
        _ => causes(error),
    }
}

/// An error of any kind with its causes, in one line, without the token of flipguard's paths.
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
    mask(&text.replace(['\n', '\r'], " ")).into_owned()
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
            ("1", "30-gke.1", true),
            ("1", "29-gke.1", false),
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
