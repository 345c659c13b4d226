//! One request to the API server, answered by a deadline or not at all.

use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Duration, Instant, timeout_at};

use super::connect::{causes, one_line};

/// An answer of the API server that is no error.
pub(super) enum Answer<T> {
    /// The object.
    Is(T),
    /// HTTP 404: no such object, or no such kind.
    NotFound,
    /// HTTP 403, with the API server's words: RBAC does not permit the request.
    Forbidden(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The deadline passed first.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// RBAC does not permit a request that must be permitted.
    #[error("{0}")]
    Forbidden(String),
    /// The API server answered with an error, or the connection failed.
    #[error("{}", one_line(.0))]
    Api(kube::Error),
    /// The request could not be built, as from a name that is no part of a URL.
    #[error("{}", causes(.0))]
    Request(#[from] kube::core::request::Error),
}

impl<T> Answer<T> {
    /// The object, or `None` where there is none.
    ///
    /// # Errors
    /// When RBAC does not permit the request.
    pub(super) fn found(self) -> Result<Option<T>, RequestError> {
        match self {
            Self::Is(object) => Ok(Some(object)),
            Self::NotFound => Ok(None),
            Self::Forbidden(why) => Err(RequestError::Forbidden(why)),
        }
    }
}

/// An object of which only the existence matters.
#[derive(Deserialize)]
pub(super) struct Anything {}

/// Sends a request and waits for its answer until the deadline.
///
/// # Errors
/// When no answer arrives in time, or the answer is an error other than 403 and 404.
pub(super) async fn ask<T: DeserializeOwned>(
    client: &Client,
    request: http::Request<Vec<u8>>,
    deadline: Instant,
) -> Result<Answer<T>, RequestError> {
    match within(deadline, client.request::<T>(request)).await {
        Ok(object) => Ok(Answer::Is(object)),
        Err(RequestError::Api(kube::Error::Api(status))) if status.code == 404 => Ok(Answer::NotFound),
        Err(RequestError::Api(error @ kube::Error::Api(_))) if is_forbidden(&error) => {
            Ok(Answer::Forbidden(one_line(&error)))
        }
        Err(error) => Err(error),
    }
}

/// Waits for a request of kube's own API until the deadline.
///
/// # Errors
/// When it fails or takes longer.
pub(super) async fn within<T>(
    deadline: Instant,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    let started = Instant::now();
    match timeout_at(deadline, request).await {
        Ok(answer) => answer.map_err(RequestError::Api),
        Err(_) => Err(RequestError::Timeout(started.elapsed())),
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}
