//! Connects to the API server. The client has short timeouts and does not retry.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, header};
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::client::retry::RetryPolicy;
use kube::client::{AuthError, Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use tokio::time::Sleep;
use tower::BoxError;
use tower::buffer::BufferLayer;
use tower::retry::{Policy, RetryLayer};

use super::clock::ClockDifference;
use super::credentials::Credentials;
use super::kubeconfig::Current;
use super::meter::Metered;
use super::token::TokenLife;
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
    /// The version is no number.
    #[error("the API server reports the version `{found}`, which is no number; flipguard needs {}.{} or newer", OLDEST.0, OLDEST.1)]
    UnknownVersion {
        /// The version that the API server reports.
        found: String,
    },
    /// A server answered, but not as a healthy API server does.
    #[error("the API server at {url} answered with HTTP status {code}{why}; {}", hint(*.code))]
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

/// A connection to a cluster. Nothing has been asked yet.
pub struct Connection {
    /// The client.
    pub client: Client,
    /// How far this machine's clock is from the API server's.
    pub clock: Arc<ClockDifference>,
    url: String,
    /// The kubeconfig and its path; `None` for the service account of a Pod.
    kubeconfig: Option<(String, Kubeconfig)>,
}

impl Connection {
    /// Prepares a connection to the cluster of a kubeconfig. Without one, to the cluster of the Pod, of KUBECONFIG or of
    /// ~/.kube/config.
    ///
    /// # Errors
    /// When the kubeconfig, or credentials that it names, cannot be used.
    pub async fn open(kubeconfig: Option<&Path>) -> Result<Self, ConnectError> {
        let credentials = Credentials { kubeconfig: kubeconfig.map(Path::to_owned), ..Credentials::default() };
        Self::connect(&credentials, &Patience::None).await
    }

    /// The same for commands of people, with the flags of kubectl. A request that the API server is too busy for is sent
    /// again, after the time that the API server asks for.
    ///
    /// # Errors
    /// When the kubeconfig, its context, or credentials that it names, cannot be used.
    pub async fn open_as(credentials: &Credentials) -> Result<Self, ConnectError> {
        Self::connect(credentials, &Patience::AsAsked).await
    }

    async fn connect(credentials: &Credentials, patience: &Patience) -> Result<Self, ConnectError> {
        let mut kubeconfig = read_kubeconfig(credentials.kubeconfig.as_deref())?;
        if kubeconfig.is_none() && !in_cluster() {
            kubeconfig = credentials.of_server().map(|file| ("--server".to_owned(), file));
        }
        if let Some((path, file)) = &mut kubeconfig {
            credentials.select(path, file)?;
        } else if let Some(context) = &credentials.context {
            return Err(ConnectError::NoCluster(format!("there is no kubeconfig with the context `{context}`")));
        }
        let mut config = match &kubeconfig {
            None => Config::infer().await.map_err(|error| ConnectError::NoCluster(causes(&error)))?,
            Some((path, file)) => {
                let unusable = |why: String| ConnectError::Kubeconfig { path: path.clone(), why };
                Current::of(file).check(credentials.token.is_none()).map_err(unusable)?;
                let config = Config::from_custom_kubeconfig(file.clone(), &KubeConfigOptions::default()).await;
                config.map_err(|error| unusable(first_line(&error)))?
            }
        };
        credentials.apply(&mut config);
        let (url, clock) = (config.cluster_url.to_string(), Arc::default());
        let client = client(config, &clock, patience, credentials.timeout);
        let client = client.map_err(|error| unusable(kubeconfig.as_ref(), &error))?;
        Ok(Self { client, clock, url, kubeconfig })
    }

    /// The name of the cluster in the kubeconfig; without a kubeconfig, its address.
    #[must_use]
    pub fn cluster_name(&self) -> String {
        let current = self.kubeconfig.as_ref().and_then(|(_, file)| {
            let context = file.contexts.iter().find(|known| Some(&known.name) == file.current_context.as_ref())?;
            Some(context.context.as_ref()?.cluster.clone())
        });
        current.unwrap_or_else(|| self.url.clone())
    }

    /// Asks the API server for its version.
    ///
    /// # Errors
    /// When there is no answer, or one that is no version. The error says by the kind of failure what has to be mended.
    pub async fn version(&self) -> Result<Info, ConnectError> {
        let url = self.url.clone();
        self.client.apiserver_version().await.map_err(|error| match &error {
            kube::Error::Api(status) => match status.code {
                401 => ConnectError::Unauthorized { url, why: status.message.clone() },
                403 => ConnectError::Forbidden { url, why: status.message.clone() },
                code => {
                    let words = one_line(&error);
                    let why = if words.starts_with("HTTP status") { String::new() } else { format!(": {words}") };
                    ConnectError::Unexpected { url, code, why }
                }
            },
            error if of_credentials(error).is_some() => unusable(self.kubeconfig.as_ref(), error),
            error => match distrust(error) {
                Some(why) => ConnectError::Untrusted { url, why: why.to_string() },
                None => ConnectError::Unreachable { url, why: one_line(error) },
            },
        })
    }

    /// When the token of this connection ends; `None` where it has no token that tells.
    #[must_use]
    pub fn token(&self) -> Option<TokenLife> {
        match &self.kubeconfig {
            Some((_, file)) => TokenLife::of_kubeconfig(file),
            None => TokenLife::of_pod(),
        }
    }
}

/// Connects to a cluster as [`Connection::open`] does, and asks it for its version.
///
/// # Errors
/// When the kubeconfig or its credentials cannot be used, or the API server does not answer.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let connection = Connection::open(kubeconfig).await?;
    connection.version().await?;
    Ok(connection.client)
}

/// What is wrong with the credentials of a kubeconfig, or of a Pod.
fn unusable(kubeconfig: Option<&(String, Kubeconfig)>, error: &kube::Error) -> ConnectError {
    let Some((path, file)) = kubeconfig else { return ConnectError::NoCluster(one_line(error)) };
    let why = of_credentials(error).map(|error| Current::of(file).credentials_failed(error));
    ConnectError::Kubeconfig { path: path.clone(), why: why.unwrap_or_else(|| one_line(error)) }
}

/// The credentials' part in an error. A token that is read again later may fail then, too.
fn of_credentials(error: &kube::Error) -> Option<&AuthError> {
    match error {
        kube::Error::Auth(error) => Some(error),
        kube::Error::Service(cause) => cause.downcast_ref(),
        _ => None,
    }
}

/// What an unexpected HTTP status means.
fn hint(code: u16) -> &'static str {
    match code {
        429 | 500..=599 => "it is starting or overloaded, or a proxy cannot reach it",
        _ => "check that the address is an API server's",
    }
}

/// The kubeconfig to use, with its path; `None` for the service account of a Pod.
pub(super) fn read_kubeconfig(given: Option<&Path>) -> Result<Option<(String, Kubeconfig)>, ConnectError> {
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

fn client(
    mut config: Config,
    clock: &Arc<ClockDifference>,
    patience: &Patience,
    time: Option<Duration>,
) -> kube::Result<Client> {
    // As for kubectl, 0 is any time. A server that cannot be connected to is not waited for.
    let time = time.unwrap_or(READ_TIMEOUT);
    config.connect_timeout = Some(if time.is_zero() { CONNECT_TIMEOUT } else { CONNECT_TIMEOUT.min(time) });
    config.read_timeout = Some(time).filter(|time| !time.is_zero());
    config.reset_reader_on_write = true;
    // Retries of minutes would outlive every deadline. The caller decides whether to ask again.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config)?.with_layer(&Metered::new(clock.clone()));
    Ok(match patience.policy() {
        Some(policy) => builder.with_layer(&BufferLayer::new(1024)).with_layer(&RetryLayer::new(policy)).build(),
        None => builder.build(),
    })
}

/// What follows when the API server is too busy (HTTP 429, 503 and 504).
enum Patience {
    /// The request fails.
    None,
    /// The request is sent again, up to five times, after `Retry-After` or up to 2 s. A write is sent again only where the
    /// answer asks for it: after any other answer, nobody knows whether it was made.
    AsAsked,
}

/// Sends again what cannot have had an effect.
#[derive(Clone)]
struct Careful(RetryPolicy);

impl<R> Policy<Request<Body>, Response<R>, BoxError> for Careful {
    type Future = Sleep;

    fn retry(&mut self, request: &mut Request<Body>, answer: &mut Result<Response<R>, BoxError>) -> Option<Sleep> {
        let is_asked = |answer: &Response<R>| answer.headers().contains_key(header::RETRY_AFTER);
        let may = request.method() == Method::GET || answer.as_ref().is_ok_and(is_asked);
        if may { self.0.retry(request, answer) } else { None }
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        <RetryPolicy as Policy<Request<Body>, Response<R>, BoxError>>::clone_request(&mut self.0, request)
    }
}

impl Patience {
    fn policy(&self) -> Option<Careful> {
        match self {
            Self::None => None,
            Self::AsAsked => {
                RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(2), 5, true).ok().map(Careful)
            }
        }
    }
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
/// When the cluster is too old, or its version is no number.
pub fn new_enough(version: &Info) -> Result<(), ConnectError> {
    // Some distributions say `30+` or `30-gke.1`.
    let number = |text: &str| text.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u32>().ok();
    match number(&version.major).zip(number(&version.minor)) {
        Some(found) if found >= OLDEST => Ok(()),
        Some(_) => Err(ConnectError::TooOld { found: version.git_version.clone() }),
        None => Err(ConnectError::UnknownVersion { found: format!("{}.{}", version.major, version.minor) }),
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

    fn judged(major: &str, minor: &str) -> Result<(), String> {
        let git_version = format!("v{major}.{minor}.1");
        let version = Info { major: major.to_owned(), minor: minor.to_owned(), git_version, ..Info::default() };
        new_enough(&version).map_err(|error| error.to_string())
    }

    #[test]
    fn old_clusters_are_refused() {
        for (major, minor) in [("1", "30"), ("1", "30+"), ("1", "30-gke.1"), ("1", "37"), ("2", "0")] {
            assert_eq!(judged(major, minor), Ok(()), "{major}.{minor}");
        }
        for (major, minor) in [("1", "29"), ("1", "29-gke.1"), ("1", "24")] {
            let error = judged(major, minor).unwrap_err();
            let words = format!("is Kubernetes v{major}.{minor}.1; flipguard needs 1.30 or newer");
            assert!(error.contains(&words), "{error}");
        }
    }

    #[test]
    fn a_version_that_is_no_number_is_not_called_old() {
        for (major, minor) in [("", ""), ("1", ""), ("1", "x33")] {
            let error = judged(major, minor).unwrap_err();
            assert!(error.contains(&format!("the version `{major}.{minor}`, which is no number")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_write_is_sent_again_only_where_that_is_asked_for() {
        let again = |method: Method, code: u16, asks: bool| {
            let mut policy = Patience::AsAsked.policy().unwrap();
            let mut request = Request::builder().method(method).body(Body::empty()).unwrap();
            let mut answer = Response::builder().status(code);
            if asks {
                answer = answer.header(header::RETRY_AFTER, "1");
            }
            policy.retry(&mut request, &mut Ok(answer.body(()).unwrap())).is_some()
        };
        for code in [429, 503, 504] {
            assert!(again(Method::GET, code, false), "GET {code}");
            assert!(!again(Method::PATCH, code, false) && !again(Method::POST, code, false), "{code}");
        }
        assert!(again(Method::PATCH, 429, true) && again(Method::PATCH, 503, true) && !again(Method::PATCH, 403, true));
    }

    #[test]
    fn an_unexpected_status_has_its_hint() {
        let words = |code| {
            let (url, why) = ("https://api".to_owned(), ": slow down".to_owned());
            ConnectError::Unexpected { url, code, why }.to_string()
        };
        assert!(
            words(429)
                .ends_with("HTTP status 429: slow down; it is starting or overloaded, or a proxy cannot reach it")
        );
        assert!(words(503).ends_with("it is starting or overloaded, or a proxy cannot reach it"));
        assert!(words(404).ends_with("check that the address is an API server's"));
    }
}
