//! One request to the API server, answered by a deadline or not at all.

use kube::Client;
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Duration, Instant, timeout_at};

use super::connect::{causes, one_line};

/// An answer of the API server that is no error.
pub(super) enum Answer<T> {
    /// The object.
    Is(T),
    /// HTTP 404 with the API server's own words: there is no such object.
    NotFound,
    /// HTTP 404 without them, with the first line of the answer. The API server answers so for a kind that it does not
    /// know, and another server for anything.
    NoPage(String),
    /// HTTP 403, with the API server's words: RBAC does not permit the request.
    Forbidden(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The deadline passed first.
    #[error("no answer within the {:.1} s that were left", .0.as_secs_f64())]
    Timeout(Duration),
    /// The deadline had passed before the request could be sent.
    #[error("no time was left to ask: what came before took all of it")]
    TooLate,
    /// HTTP 404 where the API server has its own words for a missing object.
    #[error("another server answers in its place, with HTTP status 404 ({0})")]
    NoPage(String),
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
    /// When RBAC does not permit the request, or another server answered.
    pub(super) fn found(self) -> Result<Option<T>, RequestError> {
        match self {
            Self::Is(object) => Ok(Some(object)),
            Self::NotFound => Ok(None),
            Self::NoPage(words) => Err(RequestError::NoPage(words)),
            Self::Forbidden(why) => Err(RequestError::Forbidden(why)),
        }
    }
}

/// An object of which only the existence matters.
#[derive(Deserialize)]
pub(super) struct Anything {}

/// Whether the API server itself says that an object does not exist. The page of a proxy may have the same code.
pub(super) fn is_not_found(status: &Status) -> bool {
    status.code == 404 && status.reason == "NotFound"
}

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
        Err(RequestError::Api(error)) => match &error {
            kube::Error::Api(status) if is_not_found(status) => Ok(Answer::NotFound),
            kube::Error::Api(status) if status.code == 404 => Ok(Answer::NoPage(one_line(&error))),
            kube::Error::Api(status) if status.code == 403 => Ok(Answer::Forbidden(one_line(&error))),
            _ => Err(RequestError::Api(error)),
        },
        Err(error) => Err(error),
    }
}

/// Waits for a request until the deadline.
///
/// # Errors
/// When it fails or takes longer.
pub(super) async fn within<T>(
    deadline: Instant,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    let started = Instant::now();
    if started >= deadline {
        return Err(RequestError::TooLate);
    }
    match timeout_at(deadline, request).await {
        Ok(answer) => answer.map_err(RequestError::Api),
        Err(_) => Err(RequestError::Timeout(started.elapsed())),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use kube::core::params::GetParams;

    use super::*;
    use crate::cluster::fake::FakeApi;

    const PATH: &str = "/api/v1/namespaces/shop/services";

    async fn asked(api: &FakeApi, time: Duration) -> Result<Option<Anything>, RequestError> {
        let request = kube::core::Request::new(PATH).get("app", &GetParams::default())?;
        ask::<Anything>(&api.client(), request, Instant::now() + time).await?.found()
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_api_servers_own_words_say_that_there_is_none() {
        let api = FakeApi::default();
        assert!(matches!(asked(&api, Duration::from_secs(1)).await, Ok(None)));
        api.answer_with(Method::GET, &format!("{PATH}/app"), 404, "<h1>Not here</h1>");
        let error = asked(&api, Duration::from_secs(1)).await.err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("another server answers in its place, with HTTP status 404 (<h1>Not here</h1>)")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lack_of_time_is_told_from_a_slow_answer() {
        let api = FakeApi::default();
        api.delay(Duration::from_secs(2));
        let words = async |time| asked(&api, time).await.err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(words(Duration::from_secs(1)).await, "no answer within the 1.0 s that were left");
        assert_eq!(words(Duration::ZERO).await, "no time was left to ask: what came before took all of it");
    }
}
